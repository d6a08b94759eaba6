"""Password hashes as ``crypt(3)`` writes them: SHA-256 (``$5$``) and SHA-512 (``$6$``).

Nothing here ever shows a hash or a password.
"""

from __future__ import annotations

import hmac
from typing import Protocol

from passlib.hash import (  # type: ignore[import-untyped]  # libpass has no types
    sha256_crypt,
    sha512_crypt,
)

#: The longest password that is looked at, in characters.
MAX_PASSWORD = 4096
#: The most rounds a hash may ask for; this many already take seconds.
MAX_ROUNDS = 10_000_000

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
    "y": "yescrypt",
}
_EXPECTED = "expected SHA-256 ($5$) or SHA-512 ($6$)"


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


class Crypt:
    """A password's hash.

    Args:
        hashed: The hash as ``crypt(3)`` writes it.

    Raises:
        BadHash: It is of another kind, or broken.
    """

    def __init__(self, hashed: str) -> None:
        parts = hashed.split("$")
        scheme = parts[1] if hashed.startswith("$") and len(parts) > 2 else ""
        if scheme not in _SCHEMES:
            name = _UNSUPPORTED.get(scheme)
            found = f"{name} (${scheme}$) isn't supported" if name else "not a known kind of hash"
            raise BadHash(f"{found}; {_EXPECTED}")
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

    def matches(self, password: str) -> bool:
        if len(password) > MAX_PASSWORD:
            return False
        try:
            return bool(self._scheme.verify(password, self._hashed))
        except ValueError:  # a null character in it
            return False


#: Compared with when there are no users at all.
NOBODY = "$6$rounds=5000$nobody$" + "." * 86


class Users:
    """Users and their secrets.

    An unknown user costs as much as a known one: the password is compared with that of
    some known user, always the same for the same name, and the answer is no.
    """

    def __init__(self, secrets: dict[str, Secret]) -> None:
        self._secrets = secrets
        self._decoys = list(secrets.values()) or [Crypt(NOBODY)]

    def __len__(self) -> int:
        return len(self._secrets)

    def authenticate(self, user: str, password: str) -> bool:
        """Tell whether this is the user's password."""
        known = self._secrets.get(user)
        # hash() of a text differs from run to run, so nobody can predict the decoy.
        secret = known or self._decoys[hash(user) % len(self._decoys)]
        return secret.matches(password) and known is not None
