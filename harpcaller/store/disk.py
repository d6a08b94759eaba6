"""The one door from the store to the file system.

Everything the store does to files goes through a :class:`Disk`, so that a test can put one
in its place that fails, fills up, or forgets what wasn't synced.  No decision is made here.
Every method raises OSError as the system does.  All but :meth:`Disk.database` may be
called from any thread.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import sqlite3
from typing import Protocol


class Disk(Protocol):
    """What the store asks of a file system.

    Handles are integers that only the disk that gave them understands.
    """

    def make_directory(self, path: str) -> None:
        """Make a directory and its parents; it may be there already."""

    def remove_directory(self, path: str) -> None:
        """Remove a directory; it must be empty."""

    def names(self, path: str) -> list[str]:
        """Give the names in a directory, sorted."""

    def size(self, path: str) -> int | None:
        """Give a file's length in bytes, or None if there is no such file."""

    def remove(self, path: str) -> None:
        """Remove a file."""

    def truncate(self, path: str, size: int) -> None:
        """Cut a file."""

    def write_at(self, path: str, offset: int, data: bytes, *, create: bool = True) -> None:
        """Write into a file, by default made if it isn't there; it is not synced.

        After an OSError some of the data may have been written.
        """

    def open(self, path: str) -> int:
        """Open a file for reading."""

    def length(self, handle: int) -> int:
        """Give an open file's length in bytes."""

    def read(self, handle: int, offset: int, size: int) -> bytes:
        """Read from an open file; fewer bytes mean that it ends there."""

    def create_log(self, path: str, *, synced: bool) -> int:
        """Make a new file for appending.

        Args:
            path: No file may be there.
            synced: Whether what is appended is to be durable when :meth:`append` returns.
        """

    def append(self, handle: int, data: bytes) -> None:
        """Write all of the data, or fail with some of it written."""

    def sync(self, handle: int) -> None:
        """Make what was appended durable."""

    def cut(self, handle: int, size: int) -> None:
        """Cut an open file."""

    def close(self, handle: int) -> None:
        """Close any handle."""

    def sync_directory(self, path: str) -> None:
        """Make the coming and going of names in a directory durable."""

    def open_tree(self, path: str) -> int:
        """Begin to watch a directory and all that is beneath it for failed writes."""

    def sync_tree(self, handle: int) -> None:
        """Make durable all that was done beneath a directory.

        It fails if anything since :meth:`open_tree` couldn't be written back.
        """

    def lock(self, path: str) -> int:
        """Take a lock that is given up when the handle is closed, or the process dies.

        Raises:
            BlockingIOError: Somebody else has it; their process id stands in the file.
        """

    def database(self, path: str) -> sqlite3.Connection:
        """Open an SQLite database, for the calling thread only."""


class RealDisk:
    """The system's own file system; what it makes is for the daemon's user alone."""

    def __init__(self) -> None:
        self._syncfs = ctypes.CDLL(None, use_errno=True).syncfs

    def make_directory(self, path: str) -> None:
        """See :class:`Disk`; parents that are made are for the daemon's user alone, too."""
        try:
            os.mkdir(path, 0o700)
        except FileNotFoundError:
            self.make_directory(os.path.dirname(path))
            self.make_directory(path)
        except FileExistsError:
            if not os.path.isdir(path):
                raise

    def remove_directory(self, path: str) -> None:
        """See :class:`Disk`."""
        os.rmdir(path)

    def names(self, path: str) -> list[str]:
        """See :class:`Disk`."""
        return sorted(os.listdir(path))

    def size(self, path: str) -> int | None:
        """See :class:`Disk`."""
        try:
            return os.stat(path).st_size
        except FileNotFoundError:
            return None

    def remove(self, path: str) -> None:
        """See :class:`Disk`."""
        os.unlink(path)

    def truncate(self, path: str, size: int) -> None:
        """See :class:`Disk`."""
        os.truncate(path, size)

    def write_at(self, path: str, offset: int, data: bytes, *, create: bool = True) -> None:
        """See :class:`Disk`."""
        flags = os.O_WRONLY | os.O_CLOEXEC
        handle = os.open(path, flags | (os.O_CREAT if create else 0), 0o600)
        try:
            written = os.pwrite(handle, data, offset)
            while written < len(data):
                written += os.pwrite(handle, memoryview(data)[written:], offset + written)
        finally:
            os.close(handle)

    def open(self, path: str) -> int:
        """See :class:`Disk`."""
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def length(self, handle: int) -> int:
        """See :class:`Disk`."""
        return os.fstat(handle).st_size

    def read(self, handle: int, offset: int, size: int) -> bytes:
        """See :class:`Disk`."""
        data = os.pread(handle, size, offset)
        while data and len(data) < size:
            more = os.pread(handle, size - len(data), offset + len(data))
            if not more:
                break
            data += more
        return data

    def create_log(self, path: str, *, synced: bool) -> int:
        """See :class:`Disk`.

        A synced log is written with O_DSYNC: write and sync in one system call, so that
        the writing thread asks for Python's lock once per batch and not twice.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return os.open(path, flags | (os.O_DSYNC if synced else 0), 0o600)

    def append(self, handle: int, data: bytes) -> None:
        """See :class:`Disk`."""
        written = os.write(handle, data)
        while written < len(data):
            written += os.write(handle, memoryview(data)[written:])

    def sync(self, handle: int) -> None:
        """See :class:`Disk`."""
        os.fdatasync(handle)

    def cut(self, handle: int, size: int) -> None:
        """See :class:`Disk`."""
        os.ftruncate(handle, size)

    def close(self, handle: int) -> None:
        """See :class:`Disk`."""
        os.close(handle)

    def sync_directory(self, path: str) -> None:
        """See :class:`Disk`."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def open_tree(self, path: str) -> int:
        """See :class:`Disk`."""
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def sync_tree(self, handle: int) -> None:
        """See :class:`Disk`; one syncfs, which since Linux 5.8 tells of failed writes."""
        if self._syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def lock(self, path: str) -> int:
        """See :class:`Disk`."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(handle, 0)
            os.pwrite(handle, b"%d\n" % os.getpid(), 0)
        except BaseException:
            os.close(handle)
            raise
        return handle

    def database(self, path: str) -> sqlite3.Connection:
        """See :class:`Disk`."""
        # SQLite would let everybody read it; what it makes beside it gets the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return sqlite3.connect(path, isolation_level=None, timeout=5)
