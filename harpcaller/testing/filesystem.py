"""A file system in memory, at the level of system calls, whose power can be cut.

It provides :class:`~harpcaller.store.system.System`.  Every call has a number and can be answered
with an error or with less than was asked for (:class:`~harpcaller.testing.trouble.Trouble`).  At
any moment :meth:`FileSystem.after_power_cut` tells what a machine would find after its power came
back, and :meth:`FileSystem.kill` ends the process that uses it.  What is synced when is told in
:mod:`harpcaller.testing.durability`; SQLite databases are kept whole, as the bytes they have.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from contextlib import suppress

import attrs

from harpcaller.testing.databases import Databases
from harpcaller.testing.durability import Cell, Directory, File, Outcome
from harpcaller.testing.trouble import SystemCall, Trouble, no_trouble


@attrs.frozen
class _Handle:
    node: File | Directory
    flags: int
    path: str
    number: int


def _nothing() -> None:
    pass


class FileSystem:
    """A machine's file system, and the calls of the one process that uses it.

    Attributes:
        trouble: Asked before each call whether it goes wrong.
        changed: Called after each change of what a power cut would leave, also in the
            middle of a synced write.  It may look, not touch.
        calls: How many calls were made.
        misused: Handles that were used after they were closed.
    """

    def __init__(self, root: Directory | None = None) -> None:
        self.trouble: Callable[[SystemCall], Trouble | None] = no_trouble
        self.changed: Callable[[], None] = _nothing
        self.calls = 0
        self.misused: list[str] = []
        self._root = root or Directory()
        self._when = 0
        self._handles: dict[int, _Handle] = {}
        self._next_handle = 100
        self._databases = Databases()

    # --- What happens to machines ---------------------------------------------------------

    def after_power_cut(self, outcome: Outcome) -> FileSystem:
        """Give a file system as it may be found after a power cut now."""
        self._databases.note(self._when)
        return FileSystem(self._root.left(outcome.pick()))

    def kill(self) -> None:
        """End the process: handles and locks are gone, what was written is still there."""
        for handle in self._handles.values():
            if isinstance(handle.node, File):
                handle.node.is_locked = False
        self._handles.clear()
        self._databases.disconnect()

    def handles(self) -> list[str]:
        """Give the paths of what is open."""
        return [handle.path for handle in self._handles.values()]

    def moments(self) -> list[int]:
        """Give the numbers of the changes that a power cut may undo."""
        found = {
            when
            for node in self._root.tree()
            for cell in node.cells()
            if len(cell.history) > 1
            for when, _ in cell.history
        }
        return sorted(found)

    def replace(self, path: str, data: bytes | None) -> None:
        """Put other bytes in a file's place, durably, as a meddler would; None takes it away."""
        directory, name = self._parent(path)
        if data is None:
            directory.names.pop(name, None)
        else:
            directory.names[name] = Cell[File | Directory | None](File(data))

    def content(self, path: str) -> bytes:
        """Look into a file."""
        node = self._node(path)
        assert isinstance(node, File)
        return bytes(node.data)

    def files(self, path: str = "") -> list[str]:
        """Give the paths of all files beneath a directory."""
        node = self._node(path)
        assert isinstance(node, Directory)
        found = []
        for name in sorted(node.listing()):
            if isinstance(node.get(name), File):
                found.append(f"{path}/{name}")
            else:
                found += self.files(f"{path}/{name}")
        return found

    def forget(self) -> None:
        """Give the memory of databases back; the file system is of no use then."""
        self._databases.forget()

    # --- Calls -----------------------------------------------------------------------------

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """See :class:`~harpcaller.store.system.System`."""
        makes = bool(flags & os.O_CREAT) and not self._is_there(path)
        self._begin("create" if makes else "open", path, grows=makes)
        directory, name = self._parent(path)
        node = directory.get(name)
        if node is None:
            if not makes:
                raise _error(errno.ENOENT, path)
            node = File()
            directory.put(self._tick(), name, node)
            self.changed()
        elif flags & os.O_EXCL:
            raise _error(errno.EEXIST, path)
        elif isinstance(node, Directory) and flags & (os.O_WRONLY | os.O_RDWR):
            raise _error(errno.EISDIR, path)
        elif isinstance(node, File) and flags & os.O_DIRECTORY:
            raise _error(errno.ENOTDIR, path)
        self._next_handle += 1
        self._handles[self._next_handle] = _Handle(node, flags, path, self._next_handle)
        return self._next_handle

    def close(self, handle: int) -> None:
        """See :class:`~harpcaller.store.system.System`."""
        found = self._handle(handle)
        trouble = self._ask("close", found.path)
        del self._handles[handle]
        if isinstance(found.node, File) and found.flags & os.O_RDWR:
            found.node.is_locked = False
        if trouble is not None:
            trouble.raise_it(found.path)

    def pread(self, handle: int, size: int, offset: int) -> bytes:
        """See :class:`~harpcaller.store.system.System`."""
        found, file = self._file(handle)
        trouble = self._ask("pread", found.path)
        if trouble is not None:
            trouble.raise_it(found.path)
            size = max(1, int(size * trouble.taken))
        return bytes(file.data[offset : offset + size])

    def write(self, handle: int, data: bytes | memoryview) -> int:
        """See :class:`~harpcaller.store.system.System`."""
        found, file = self._file(handle)
        return self._write("write", found, file, len(file.data), data)

    def pwrite(self, handle: int, data: bytes | memoryview, offset: int) -> int:
        """See :class:`~harpcaller.store.system.System`."""
        found, file = self._file(handle)
        return self._write("pwrite", found, file, offset, data)

    def _write(
        self, name: str, found: _Handle, file: File, offset: int, data: bytes | memoryview
    ) -> int:
        trouble = self._ask(name, found.path, grows=offset + len(data) > len(file.data))
        taken = len(data)
        if trouble is not None:
            taken = int(len(data) * trouble.taken)
            if not trouble.error:
                taken = max(1, taken)  # a write of nothing would be no write
        if taken:
            written = file.write(self._tick(), offset, bytes(data[:taken]))
            self.changed()
            if found.flags & os.O_DSYNC:
                for cell in written:
                    if trouble is not None and trouble.error:
                        cell.fail_to_sync()
                    else:
                        cell.sync()
                self.changed()
        if trouble is not None:
            trouble.raise_it(found.path)
        return taken

    def ftruncate(self, handle: int, size: int) -> None:
        """See :class:`~harpcaller.store.system.System`."""
        found, file = self._file(handle)
        self._begin("ftruncate", found.path)
        file.truncate(self._tick(), size)
        self.changed()

    def truncate(self, path: str, size: int) -> None:
        """See :class:`~harpcaller.store.system.System`."""
        self._begin("truncate", path)
        file = self._node(path)
        if isinstance(file, Directory):
            raise _error(errno.EISDIR, path)
        file.truncate(self._tick(), size)
        self.changed()

    def fdatasync(self, handle: int) -> None:
        """See :class:`~harpcaller.store.system.System`."""
        self._sync("fdatasync", self._handle(handle))

    def fsync(self, handle: int) -> None:
        """See :class:`~harpcaller.store.system.System`."""
        self._sync("fsync", self._handle(handle))

    def _sync(self, name: str, found: _Handle) -> None:
        trouble = self._ask(name, found.path)
        if trouble is not None:
            if isinstance(found.node, File):
                for cell in found.node.cells():
                    cell.fail_to_sync()
            trouble.raise_it(found.path)
        for cell in found.node.cells():
            cell.sync()
        self.changed()

    def syncfs(self, handle: int) -> None:
        """See :class:`~harpcaller.store.system.System`."""
        found = self._handle(handle)
        trouble = self._ask("syncfs", found.path)
        self._databases.note(self._tick())
        for node in list(self._root.tree()):
            cells = list(node.cells())
            if isinstance(node, File) and node.database is not None:
                cells.append(node.database)
            for cell in cells:
                if trouble is None:
                    cell.sync()
                elif isinstance(node, File):
                    cell.fail_to_sync()
        if trouble is not None:
            trouble.raise_it(found.path)
        self.changed()

    def size(self, path: str) -> int:
        """See :class:`~harpcaller.store.system.System`."""
        self._begin("size", path)
        node = self._node(path)
        return len(node.data) if isinstance(node, File) else 4096

    def length(self, handle: int) -> int:
        """See :class:`~harpcaller.store.system.System`."""
        found, file = self._file(handle)
        self._begin("length", found.path)
        return len(file.data)

    def names(self, path: str) -> list[str]:
        """See :class:`~harpcaller.store.system.System`."""
        self._begin("names", path)
        node = self._node(path)
        if isinstance(node, File):
            raise _error(errno.ENOTDIR, path)
        return node.listing()

    def unlink(self, path: str) -> None:
        """See :class:`~harpcaller.store.system.System`."""
        self._begin("unlink", path)
        directory, name = self._parent(path)
        if isinstance(self._node(path), Directory):
            raise _error(errno.EISDIR, path)
        directory.put(self._tick(), name, None)
        self.changed()

    def mkdir(self, path: str, mode: int) -> None:
        """See :class:`~harpcaller.store.system.System`."""
        self._begin("mkdir", path, grows=True)
        directory, name = self._parent(path)
        if directory.get(name) is not None:
            raise _error(errno.EEXIST, path)
        directory.put(self._tick(), name, Directory())
        self.changed()

    def rmdir(self, path: str) -> None:
        """See :class:`~harpcaller.store.system.System`."""
        self._begin("rmdir", path)
        directory, name = self._parent(path)
        node = self._node(path)
        if isinstance(node, File):
            raise _error(errno.ENOTDIR, path)
        if node.listing():
            raise _error(errno.ENOTEMPTY, path)
        directory.put(self._tick(), name, None)
        self.changed()

    def lock(self, handle: int) -> None:
        """See :class:`~harpcaller.store.system.System`."""
        found, file = self._file(handle)
        self._begin("lock", found.path)
        if file.is_locked:
            raise _error(errno.EWOULDBLOCK, found.path)
        file.is_locked = True

    # --- Databases -------------------------------------------------------------------------

    def database(self, path: str) -> sqlite3.Connection:
        """See :class:`~harpcaller.store.system.System`."""
        trouble = self._ask("database", path, grows=not self._is_there(path))
        if trouble is not None:
            raise sqlite3.OperationalError("unable to open database file")
        directory, name = self._parent(path)
        node = directory.get(name)
        if node is None:
            node = File()
            node.database = Cell(b"")
            directory.put(self._tick(), name, node)
            self.changed()
        assert isinstance(node, File)
        return self._databases.connect(node, lambda sql: self._statement(sql, path))

    def _statement(self, sql: str, path: str) -> None:
        if sql == "ROLLBACK":
            return  # SQLite needs nothing for that
        name = "read" if sql.lstrip().startswith(("SELECT", "PRAGMA user")) else "execute"
        trouble = self._ask(name, path, grows=name == "execute")
        if trouble is not None and trouble.error:
            told = {errno.ENOSPC: "database or disk is full"}.get(trouble.error, "disk I/O error")
            raise sqlite3.OperationalError(told)

    # --- Beneath ---------------------------------------------------------------------------

    def _ask(self, name: str, path: str, *, grows: bool = False) -> Trouble | None:
        call = SystemCall(self.calls, name, path, grows)
        self.calls += 1
        return self.trouble(call)

    def _begin(self, name: str, path: str, *, grows: bool = False) -> None:
        trouble = self._ask(name, path, grows=grows)
        if trouble is not None:
            trouble.raise_it(path)

    def _tick(self) -> int:
        self._when += 1
        return self._when

    def _handle(self, handle: int) -> _Handle:
        found = self._handles.get(handle)
        if found is None:
            self.misused.append(f"handle {handle} isn't open")
            raise _error(errno.EBADF, "")
        return found

    def _file(self, handle: int) -> tuple[_Handle, File]:
        found = self._handle(handle)
        if isinstance(found.node, Directory):
            raise _error(errno.EISDIR, found.path)
        return found, found.node

    def _node(self, path: str) -> File | Directory:
        node: File | Directory = self._root
        for name in path.split("/")[1:]:
            if isinstance(node, File):
                raise _error(errno.ENOTDIR, path)
            found = node.get(name)
            if found is None:
                raise _error(errno.ENOENT, path)
            node = found
        return node

    def _parent(self, path: str) -> tuple[Directory, str]:
        above, _, name = path.rpartition("/")
        node = self._node(above)
        if isinstance(node, File):
            raise _error(errno.ENOTDIR, path)
        return node, name

    def _is_there(self, path: str) -> bool:
        with suppress(OSError):
            self._node(path)
            return True
        return False


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)
