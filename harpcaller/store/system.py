"""The system calls that the store makes, one method each.

They are a seam of their own beneath :class:`~harpcaller.store.disk.RealDisk`, so that a test can
answer every single one of them as a kernel might: with an error, with less than was asked for,
or by forgetting it when the power goes.  Nothing is looped, retried or decided here.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import sqlite3
from typing import Protocol


class System(Protocol):
    """What a kernel does for the store.  Every method raises OSError as the call does."""

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """open(2)."""

    def close(self, handle: int) -> None:
        """close(2); the handle is gone, also if this fails."""

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        """pread(2)."""

    def write(self, handle: int, data: bytes | memoryview) -> int:
        """write(2); it may write less than all."""

    def pwrite(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        """pwrite(2); it may write less than all."""

    def ftruncate(self, handle: int, size: int) -> None:
        """ftruncate(2)."""

    def truncate(self, path: str, size: int) -> None:
        """truncate(2)."""

    def fdatasync(self, handle: int) -> None:
        """fdatasync(2)."""

    def fsync(self, handle: int) -> None:
        """fsync(2)."""

    def syncfs(self, handle: int) -> None:
        """syncfs(2), which since Linux 5.8 tells of failed writes."""

    def size(self, path: str) -> int:
        """stat(2), of which the size is wanted."""

    def length(self, handle: int) -> int:
        """fstat(2), of which the size is wanted."""

    def names(self, path: str) -> list[str]:
        """Read a directory, in whatever order."""

    def unlink(self, path: str) -> None:
        """unlink(2)."""

    def mkdir(self, path: str, mode: int) -> None:
        """mkdir(2)."""

    def rmdir(self, path: str) -> None:
        """rmdir(2)."""

    def lock(self, handle: int) -> None:
        """flock(2), exclusive and without waiting."""

    def database(self, path: str) -> sqlite3.Connection:
        """Open an SQLite database, which makes its system calls itself."""


class Linux:
    """The system's own calls."""

    def __init__(self) -> None:
        self._syncfs = ctypes.CDLL(None, use_errno=True).syncfs

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """See :class:`System`."""
        return os.open(path, flags, mode)

    def close(self, handle: int) -> None:
        """See :class:`System`."""
        os.close(handle)

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        """See :class:`System`."""
        return os.pread(handle, size, offset)

    def write(self, handle: int, data: bytes | memoryview) -> int:
        """See :class:`System`."""
        return os.write(handle, data)

    def pwrite(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        """See :class:`System`."""
        return os.pwrite(handle, data, offset)

    def ftruncate(self, handle: int, size: int) -> None:
        """See :class:`System`."""
        os.ftruncate(handle, size)

    def truncate(self, path: str, size: int) -> None:
        """See :class:`System`."""
        os.truncate(path, size)

    def fdatasync(self, handle: int) -> None:
        """See :class:`System`."""
        os.fdatasync(handle)

    def fsync(self, handle: int) -> None:
        """See :class:`System`."""
        os.fsync(handle)

    def syncfs(self, handle: int) -> None:
        """See :class:`System`."""
        if self._syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def size(self, path: str) -> int:
        """See :class:`System`."""
        return os.stat(path).st_size

    def length(self, handle: int) -> int:
        """See :class:`System`."""
        return os.fstat(handle).st_size

    def names(self, path: str) -> list[str]:
        """See :class:`System`."""
        return os.listdir(path)

    def unlink(self, path: str) -> None:
        """See :class:`System`."""
        os.unlink(path)

    def mkdir(self, path: str, mode: int) -> None:
        """See :class:`System`."""
        os.mkdir(path, mode)

    def rmdir(self, path: str) -> None:
        """See :class:`System`."""
        os.rmdir(path)

    def lock(self, handle: int) -> None:
        """See :class:`System`."""
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def database(self, path: str) -> sqlite3.Connection:
        """See :class:`System`."""
        return sqlite3.connect(path, isolation_level=None, timeout=5)
