"""Password hashes as ``crypt(3)`` writes them: SHA-256 (``$5$``), SHA-512 (``$6$``), and
yescrypt (``$y$``) where the system knows it.

Nothing here ever shows a hash or a password.
"""

from __future__ import annotations

import enum
import hmac
import re
from typing import Protocol

from passlib.hash import (  # type: ignore[import-untyped]  # libpass has no types
    sha256_crypt,
    sha512_crypt,
)

from harpcaller.agent.auth.libcrypt import MAX_PASSWORD_BYTES, LibCrypt, system_libcrypt

#: The longest password that is looked at, in characters.
MAX_PASSWORD = 4096
#: The most rounds a hash may ask for; this many already take seconds.
MAX_ROUNDS = 10_000_000
#: The rounds of new hashes: a twentieth of a second or so.
NEW_ROUNDS = 100_000
#: How a new password can be hashed, the usual way first.
METHODS = ("sha512", "sha256", "yescrypt")

_SCHEMES = {"5": sha256_crypt, "6": sha512_crypt}
_UNSUPPORTED = {
    "1": "MD5",
    "2a": "bcrypt",
    "2b": "bcrypt",
    "2y": "bcrypt",
    "7": "scrypt",
    "gy": "gost-yescrypt",
    "md5": "Sun MD5",
    "sha1": "SHA-1",
}
_EXPECTED = "expected SHA-512 ($6$), SHA-256 ($5$) or yescrypt ($y$)"
# As crypt_gensalt(3) makes them: up to a gigabyte.
_yescrypt = re.compile(r"\$y\$j[./0-9A-F][5T]\$[./0-9A-Za-z]{1,86}\$[./0-9A-Za-z]{43}").fullmatch


class _System(enum.Enum):
    """Stands for the system's libcrypt, which not everybody has."""

    LIBCRYPT = enum.auto()


_SYSTEM = _System.LIBCRYPT


class BadHash(ValueError):
    """It isn't a hash that can be used; the message says what it is."""


class Secret(Protocol):
    """What a password is compared with."""

    def matches(self, password: str) -> bool:
        """Tell whether this is the password; takes as long if it isn't."""


class Plain:
    """A password as it is."""

    def __init__(self, password: str) -> None:
        self._password = password.encode()

    def matches(self, password: str) -> bool:
        return hmac.compare_digest(self._password, password.encode())


class SHACrypt:
    """A password's hash by SHA-256 or SHA-512.

    Args:
        hashed: The hash as ``crypt(3)`` writes it.
        library: Computes it faster, and without holding up other threads; libpass does
            where it is missing.

    Raises:
        BadHash: It is broken, or asks for too much.
    """

    def __init__(self, hashed: str, library: LibCrypt | None) -> None:
        scheme = hashed.split("$")[1]
        self._scheme = _SCHEMES[scheme]
        try:
            rounds = self._scheme.from_string(hashed).rounds
        except ValueError:
            raise BadHash(f"a broken ${scheme}$ hash") from None
        if not self._scheme.from_string(hashed).checksum:
            raise BadHash(f"a ${scheme}$ hash without its end")
        if rounds > MAX_ROUNDS:
            raise BadHash(f"a hash of {rounds} rounds; at most {MAX_ROUNDS} are tried")
        self._hashed = hashed
        self._library = library

    def matches(self, password: str) -> bool:
        if len(password) > MAX_PASSWORD or "\0" in password:
            return False
        if self._library is not None and len(password.encode()) <= MAX_PASSWORD_BYTES:
            found = self._library.hashed(password, self._hashed)
            if found is not None:
                return hmac.compare_digest(found, self._hashed)
        return bool(self._scheme.verify(password, self._hashed))


class Yescrypt:
    """A password's hash by yescrypt, which only the system's libcrypt knows.

    Args:
        hashed: The hash as ``crypt(3)`` writes it.
        library: Computes it.

    Raises:
        BadHash: It is broken, or the system can't compute it.
    """

    def __init__(self, hashed: str, library: LibCrypt | None) -> None:
        if not _yescrypt(hashed):
            raise BadHash("a broken $y$ hash, or one that asks for too much memory")
        if library is None or not library.knows(hashed):
            raise BadHash("yescrypt ($y$) needs the system's libcrypt to be libxcrypt; it isn't")
        self._hashed = hashed
        self._library = library

    def matches(self, password: str) -> bool:
        if len(password.encode()) > MAX_PASSWORD_BYTES or "\0" in password:
            return False
        found = self._library.hashed(password, self._hashed)
        return found is not None and hmac.compare_digest(found, self._hashed)


def read_hash(hashed: str, library: LibCrypt | _System | None = _SYSTEM) -> Secret:
    """Read a hash as ``crypt(3)`` writes it.

    Args:
        hashed: The hash, with the setting before it.
        library: What computes it; the system's if not given.

    Raises:
        BadHash: It is of a kind that can't be used, or broken.
    """
    if isinstance(library, _System):
        library = system_libcrypt()
    parts = hashed.split("$")
    scheme = parts[1] if hashed.startswith("$") and len(parts) > 2 else ""
    if scheme in _SCHEMES:
        return SHACrypt(hashed, library)
    if scheme == "y":
        return Yescrypt(hashed, library)
    name = _UNSUPPORTED.get(scheme)
    found = f"{name} (${scheme}$) isn't supported" if name else "not a known kind of hash"
    raise BadHash(f"{found}; {_EXPECTED}")


def make_hash(method: str, password: str, library: LibCrypt | _System | None = _SYSTEM) -> str:
    """Hash a new password.

    Args:
        method: One of :data:`METHODS`.
        password: What is to be hashed.
        library: What computes yescrypt; the system's if not given.

    Raises:
        BadHash: The method can't be had here, or not for this password.
    """
    if "\0" in password or len(password) > MAX_PASSWORD:
        raise BadHash(f"a password has at most {MAX_PASSWORD} characters, none of them null")
    if method != "yescrypt":
        scheme = _SCHEMES[{"sha256": "5", "sha512": "6"}[method]]
        return str(scheme.using(rounds=NEW_ROUNDS).hash(password))
    if isinstance(library, _System):
        library = system_libcrypt()
    if library is None:
        raise BadHash("yescrypt needs the system's libcrypt to be libxcrypt; it isn't")
    if len(password.encode()) > MAX_PASSWORD_BYTES:
        raise BadHash(f"for yescrypt a password has at most {MAX_PASSWORD_BYTES} bytes")
    try:
        hashed = library.hashed(password, library.new_setting("$y$"))
    except ValueError as error:
        raise BadHash(str(error)) from None
    if hashed is None:
        raise BadHash("the system's libcrypt couldn't hash the password")
    return hashed


#: Compared with when there are no users at all.
NOBODY = f"$6$rounds={NEW_ROUNDS}$nobody$" + "." * 86


class Users:
    """Users and their secrets.

    An unknown user costs as much as a known one: the password is compared with that of
    some known user, always the same for the same name, and the answer is no.
    """

    def __init__(self, secrets: dict[str, Secret]) -> None:
        self._secrets = secrets
        self._decoys = list(secrets.values()) or [read_hash(NOBODY)]

    def __len__(self) -> int:
        return len(self._secrets)

    def authenticate(self, user: str, password: str) -> bool:
        """Tell whether this is the user's password."""
        known = self._secrets.get(user)
        # hash() of a text differs from run to run, so nobody can predict the decoy.
        secret = known or self._decoys[hash(user) % len(self._decoys)]
        return secret.matches(password) and known is not None
