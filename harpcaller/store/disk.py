"""The one door from the store to the file system.

Everything the store does to files goes through a :class:`Disk`, so that a test can put one
in its place that fails.  The system calls that a method is made of go through a
:class:`~harpcaller.store.system.System`, so that each of them can fail by itself.
Every method raises OSError as the system does.  All but :meth:`Disk.database` may be
called from any thread.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from contextlib import suppress
from typing import Protocol

from harpcaller.store.system import Linux, System


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
        """Close any handle.

        It never fails: the handle is gone in any case, and what counts was synced before.
        """

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
    """A file system behind system calls; what it makes is for the daemon's user alone.

    Args:
        system: Who answers the calls; by default the system.
    """

    def __init__(self, system: System | None = None) -> None:
        self._system: System = system or Linux()

    def make_directory(self, path: str) -> None:
        """See :class:`Disk`; parents that are made are for the daemon's user alone, too."""
        try:
            self._system.mkdir(path, 0o700)
        except FileNotFoundError:
            self.make_directory(os.path.dirname(path))
            self.make_directory(path)
        except FileExistsError:
            # Raises if it is something else.
            self.close(self.open_tree(path))

    def remove_directory(self, path: str) -> None:
        """See :class:`Disk`."""
        self._system.rmdir(path)

    def names(self, path: str) -> list[str]:
        """See :class:`Disk`."""
        return sorted(self._system.names(path))

    def size(self, path: str) -> int | None:
        """See :class:`Disk`."""
        try:
            return self._system.size(path)
        except FileNotFoundError:
            return None

    def remove(self, path: str) -> None:
        """See :class:`Disk`."""
        self._system.unlink(path)

    def truncate(self, path: str, size: int) -> None:
        """See :class:`Disk`."""
        self._system.truncate(path, size)

    def write_at(self, path: str, offset: int, data: bytes, *, create: bool = True) -> None:
        """See :class:`Disk`."""
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC  # which would be for a pipe, too
        handle = self._system.open(path, flags | (os.O_CREAT if create else 0), 0o600)
        try:
            written = self._system.pwrite(handle, data, offset)
            while written < len(data):
                written += self._system.pwrite(handle, memoryview(data)[written:], offset + written)
        finally:
            self._system.close(handle)

    def open(self, path: str) -> int:
        """See :class:`Disk`; where a named pipe lies in a file's place, nobody waits for it."""
        return self._system.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)

    def length(self, handle: int) -> int:
        """See :class:`Disk`."""
        return self._system.length(handle)

    def read(self, handle: int, offset: int, size: int) -> bytes:
        """See :class:`Disk`; in what lies in a file's place and is none, there is nothing."""
        try:
            data = self._system.pread(handle, size, offset)
        except OSError as error:
            if error.errno in (errno.EISDIR, errno.ESPIPE):
                return b""
            raise
        while data and len(data) < size:
            more = self._system.pread(handle, size - len(data), offset + len(data))
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
        return self._system.open(path, flags | (os.O_DSYNC if synced else 0), 0o600)

    def append(self, handle: int, data: bytes) -> None:
        """See :class:`Disk`."""
        written = self._system.write(handle, data)
        while written < len(data):
            written += self._system.write(handle, memoryview(data)[written:])

    def sync(self, handle: int) -> None:
        """See :class:`Disk`."""
        self._system.fdatasync(handle)

    def cut(self, handle: int, size: int) -> None:
        """See :class:`Disk`."""
        self._system.ftruncate(handle, size)

    def close(self, handle: int) -> None:
        """See :class:`Disk`."""
        with suppress(OSError):
            self._system.close(handle)

    def sync_directory(self, path: str) -> None:
        """See :class:`Disk`."""
        handle = self._system.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._system.fsync(handle)
        finally:
            self.close(handle)

    def open_tree(self, path: str) -> int:
        """See :class:`Disk`."""
        return self._system.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def sync_tree(self, handle: int) -> None:
        """See :class:`Disk`; one syncfs."""
        self._system.syncfs(handle)

    def lock(self, path: str) -> int:
        """See :class:`Disk`."""
        handle = self._system.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._system.lock(handle)
            self._system.ftruncate(handle, 0)
            self._system.pwrite(handle, b"%d\n" % os.getpid(), 0)
        except BaseException:
            self.close(handle)
            raise
        return handle

    def database(self, path: str) -> sqlite3.Connection:
        """See :class:`Disk`."""
        # SQLite would let everybody read it; what it makes beside it gets the same mode.
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._system.close(self._system.open(path, flags, 0o600))
        return self._system.database(path)
