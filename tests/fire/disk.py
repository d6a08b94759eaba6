"""A disk as one process sees it: with trouble, on occasion, until the process dies."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from random import Random
from typing import Any

import attrs

from tests.fire.platter import Database, File, Platter


class Dead(BaseException):
    """The process is no more; what still runs of it must not do anything."""


@attrs.define
class Trouble:
    """What is wrong with the disk now.

    Attributes:
        full: Whether there is no room.
        bad_syncs: How likely a sync fails.
        die_at: How many calls from now the process is killed in the middle of one.
    """

    full: bool = False
    bad_syncs: float = 0.0
    die_at: int | None = None


class _Connection(sqlite3.Connection):
    """A database connection that knows its disk."""

    disk: SimulatedDisk | None = None

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        disk = self.disk
        if disk is not None:
            disk.note("database", sql[:12])
            if disk.trouble.full and sql.startswith(("BEGIN", "CREATE", "UPDATE")):
                raise sqlite3.OperationalError("database or disk is full")
        return super().execute(sql, values)

    def close(self) -> None:
        if self.disk is not None:
            self.disk.connections.pop(id(self), None)
            self.disk = None
        super().close()


@attrs.define(eq=False)
class _Handle:
    path: str
    file: File | None
    synced: bool = False
    is_lock: bool = False


class SimulatedDisk:
    """See :class:`~harpcaller.store.disk.Disk`.

    Args:
        platter: What outlives it.
        trouble: What is wrong, may change at any time.
        random: Decides about what goes wrong.
        die: Called when the process is to be killed in the middle of a call.
        trace: Told every call.

    Attributes:
        handles: What is open.
        connections: The open database connections.
        is_dead: Whether its process was killed.
    """

    def __init__(
        self,
        platter: Platter,
        trouble: Trouble,
        random: Random,
        die: Callable[[], None],
        trace: Callable[..., None],
    ) -> None:
        self.trouble = trouble
        self.handles: dict[int, _Handle] = {}
        self.connections: dict[int, sqlite3.Connection] = {}
        self.is_dead = False
        self._platter = platter
        self._random = random
        self._die = die
        self._trace = trace
        self._last_handle = 2

    def kill(self) -> None:
        """Do nothing from now on."""
        self.is_dead = True
        for connection in list(self.connections.values()):
            connection.close()
        self.handles.clear()

    def note(self, *what: object) -> None:
        """Begin a call, unless the process is dead or dies now."""
        if self.is_dead:
            raise Dead
        if self.trouble.die_at is not None:
            self.trouble.die_at -= 1
            if self.trouble.die_at <= 0:
                self.trouble.die_at = None
                self._trace("dies in", *what)
                self._die()
                raise Dead
        self._trace(*what)

    def _no_room(self, number: int = errno.ENOSPC) -> OSError:
        return OSError(number, os.strerror(number))

    def _sync_fails(self) -> bool:
        return self._random.random() < self.trouble.bad_syncs

    def _file(self, path: str) -> File:
        file = self._platter.files.get(path)
        if file is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return file

    def _handle(self, handle: _Handle) -> int:
        self._last_handle += 1
        self.handles[self._last_handle] = handle
        return self._last_handle

    # --- Disk ----------------------------------------------------------------------------

    def make_directory(self, path: str) -> None:
        self.note("make_directory", path)
        if path not in self._platter.directories and self.trouble.full:
            raise self._no_room()
        while path:
            self._platter.directories.add(path)
            path = path.rpartition("/")[0]

    def remove_directory(self, path: str) -> None:
        self.note("remove_directory", path)
        inside = f"{path}/"
        if any(
            name.startswith(inside) for name in (*self._platter.files, *self._platter.directories)
        ):
            raise self._no_room(errno.ENOTEMPTY)
        self._platter.directories.discard(path)

    def names(self, path: str) -> list[str]:
        self.note("names", path)
        if path not in self._platter.directories:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        inside = f"{path}/"
        everything = (*self._platter.files, *self._platter.directories, *self._platter.databases)
        found = {
            name[len(inside) :].partition("/")[0] for name in everything if name.startswith(inside)
        }
        return sorted(found)

    def size(self, path: str) -> int | None:
        self.note("size", path)
        if path in self._platter.databases:
            return 4096
        file = self._platter.files.get(path)
        return None if file is None else len(file.data)

    def remove(self, path: str) -> None:
        self.note("remove", path)
        if path in self._platter.databases:
            self._platter.databases.pop(path).close()
            return
        _ = self._file(path)
        del self._platter.files[path]

    def truncate(self, path: str, size: int) -> None:
        self.note("truncate", path, size)
        self._file(path).cut(size)

    def write_at(self, path: str, offset: int, data: bytes, *, create: bool = True) -> None:
        self.note("write_at", path, offset, len(data))
        file = self._platter.files.get(path)
        if file is None:
            if not create or path.rpartition("/")[0] not in self._platter.directories:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            if self.trouble.full:
                raise self._no_room()
            file = self._platter.files[path] = File()
        if self.trouble.full:
            file.write(offset, data[: self._random.randrange(len(data))])
            raise self._no_room()
        file.write(offset, data)

    def open(self, path: str) -> int:
        self.note("open", path)
        return self._handle(_Handle(path, self._file(path)))

    def length(self, handle: int) -> int:
        self.note("length", handle)
        return len(self._content(handle).data)

    def read(self, handle: int, offset: int, size: int) -> bytes:
        self.note("read", handle, offset, size)
        return bytes(self._content(handle).data[offset : offset + size])

    def create_log(self, path: str, *, synced: bool) -> int:
        self.note("create_log", path)
        if path in self._platter.files:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        if self.trouble.full:
            raise self._no_room()
        file = self._platter.files[path] = File()
        return self._handle(_Handle(path, file, synced))

    def append(self, handle: int, data: bytes) -> None:
        self.note("append", handle, len(data))
        file = self._content(handle)
        if self.trouble.full:
            file.write(len(file.data), data[: self._random.randrange(len(data))])
            raise self._no_room()
        file.write(len(file.data), data)
        if self.handles[handle].synced:
            self._sync(file)

    def sync(self, handle: int) -> None:
        self.note("sync", handle)
        self._sync(self._content(handle))

    def _sync(self, file: File) -> None:
        if self._sync_fails():
            file.fail_to_sync()
            raise self._no_room(errno.EIO)
        file.sync()

    def cut(self, handle: int, size: int) -> None:
        self.note("cut", handle, size)
        self._content(handle).cut(size)

    def close(self, handle: int) -> None:
        if self.is_dead:
            # Closed already; nobody needs to be told.
            return
        self._trace("close", handle)
        one = self.handles.pop(handle)
        if one.is_lock and one.file is not None:
            one.file.locked = False

    def sync_directory(self, path: str) -> None:
        self.note("sync_directory", path)
        if self._sync_fails():
            raise self._no_room(errno.EIO)
        self._platter.sync_names(path)

    def open_tree(self, path: str) -> int:
        self.note("open_tree", path)
        return self._handle(_Handle(path, None))

    def sync_tree(self, handle: int) -> None:
        self.note("sync_tree", handle)
        assert handle in self.handles
        if self._sync_fails():
            self._platter.fail_to_sync()
            raise self._no_room(errno.EIO)
        self._platter.sync()

    def lock(self, path: str) -> int:
        self.note("lock", path)
        file = self._platter.files.setdefault(path, File())
        if file.locked:
            raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))
        file.locked = True
        return self._handle(_Handle(path, file, is_lock=True))

    def database(self, path: str) -> sqlite3.Connection:
        self.note("database", path)
        found = self._platter.databases.get(path)
        if found is None:
            if self.trouble.full:
                raise sqlite3.OperationalError("unable to open database file")
            found = self._platter.databases[path] = Database()
        connection = sqlite3.connect(
            found.name, uri=True, isolation_level=None, factory=_Connection
        )
        connection.disk = self
        self.connections[id(connection)] = connection
        return connection

    def _content(self, handle: int) -> File:
        file = self.handles[handle].file
        assert file is not None
        return file
