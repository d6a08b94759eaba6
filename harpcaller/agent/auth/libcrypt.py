"""The system's own ``crypt(3)``, where it is libxcrypt: the one that knows yescrypt.

``crypt_rn`` is called and not ``crypt``, since that has one buffer for all threads.  While
it computes, other Python threads go on, which they don't while libpass does.  Debian,
Ubuntu, Fedora, Arch and openSUSE have libxcrypt; a system whose libcrypt is glibc's or
musl's is as one without.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterable

#: What it is called: as Debian has it, and as those who dropped the oldest interface.
NAMES = ("libcrypt.so.1", "libcrypt.so.2")
#: The longest password it takes, in bytes.
MAX_PASSWORD_BYTES = 511

_STATE_SIZE = 32768
_SETTING_SIZE = 192
_SALT_OK = 0


class LibCrypt:
    """A libxcrypt; may be used by several threads.

    Args:
        library: What was loaded.

    Raises:
        AttributeError: It is another libcrypt.
    """

    def __init__(self, library: ctypes.CDLL) -> None:
        self._crypt = library.crypt_rn
        self._crypt.restype = ctypes.c_char_p
        self._crypt.argtypes = (
            ctypes.c_char_p,
            ctypes.c_char_p,
            ctypes.c_void_p,
            ctypes.c_int,
        )
        self._new_setting = library.crypt_gensalt_rn
        self._new_setting.restype = ctypes.c_char_p
        self._new_setting.argtypes = (
            ctypes.c_char_p,
            ctypes.c_ulong,
            ctypes.c_char_p,
            ctypes.c_int,
            ctypes.c_char_p,
            ctypes.c_int,
        )
        self._check = library.crypt_checksalt
        self._check.restype = ctypes.c_int
        self._check.argtypes = (ctypes.c_char_p,)

    def knows(self, setting: str) -> bool:
        """Tell whether it can compute such a hash."""
        return bool(self._check(setting.encode()) == _SALT_OK)

    def hashed(self, password: str, setting: str) -> str | None:
        """Compute a hash.

        Args:
            password: At most :data:`MAX_PASSWORD_BYTES`, without a null character.
            setting: What comes before the hash itself, or a hash made with it.

        Returns:
            The hash with its setting; None if it can't be computed.
        """
        state = ctypes.create_string_buffer(_STATE_SIZE)
        found = self._crypt(password.encode(), setting.encode(), state, _STATE_SIZE)
        return None if found is None else str(found.decode("ascii"))

    def new_setting(self, prefix: str) -> str:
        """Make a setting with a salt of the system's randomness.

        Raises:
            ValueError: It doesn't know this kind of hash.
        """
        room = ctypes.create_string_buffer(_SETTING_SIZE)
        found = self._new_setting(prefix.encode(), 0, None, 0, room, _SETTING_SIZE)
        if found is None:
            raise ValueError(f"the system's libcrypt makes no {prefix} hashes")
        return str(found.decode("ascii"))


def load(names: Iterable[str] = NAMES) -> LibCrypt | None:
    """Load the first of these that is libxcrypt."""
    for name in names:
        try:
            return LibCrypt(ctypes.CDLL(name))
        except (OSError, AttributeError):
            continue
    return None


@functools.cache
def system_libcrypt() -> LibCrypt | None:
    """Give the system's libxcrypt; None if it has none."""
    return load()
