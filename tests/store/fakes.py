"""What the store's tests put in place of threads and a healthy disk."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.store.disk import RealDisk
from harpcaller.store.filestore import FileJobStore
from harpcaller.store.sizes import Durability, Sizes

_T = TypeVar("_T")


@implementer(IReactorFromThreads)
class NoReactor:
    """A reactor for lanes that have no thread."""

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Never called."""
        raise AssertionError("there is no thread")


class StraightLane:
    """A lane that does its work at once, in the caller's thread."""

    def __init__(self) -> None:
        self.is_stopped = False

    def run(self, work: Callable[[], _T], done: Callable[[_T | Failure], None]) -> None:
        """See :class:`~harpcaller.store.lane.Lane`."""
        try:
            outcome: _T | Failure = work()
        except Exception:  # noqa: BLE001 - as the real one
            outcome = Failure()
        done(outcome)

    def stop(self) -> None:
        """See :class:`~harpcaller.store.lane.Lane`."""
        self.is_stopped = True


class SteppedLane(StraightLane):
    """A lane that works when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: deque[Callable[[], None]] = deque()

    def run(self, work: Callable[[], _T], done: Callable[[_T | Failure], None]) -> None:
        """See :class:`~harpcaller.store.lane.Lane`."""
        self.waiting.append(lambda: StraightLane.run(self, work, done))

    def step(self) -> None:
        """Do one piece of work."""
        self.waiting.popleft()()

    def drain(self) -> None:
        """Do all work that there is, and that comes of it."""
        while self.waiting:
            self.step()


class HastyConnection(sqlite3.Connection):
    """A database that doesn't wait for syncs, whatever it is told."""

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        """See :class:`sqlite3.Connection`."""
        if sql.startswith("PRAGMA synchronous"):
            sql = "PRAGMA synchronous=OFF"
        return super().execute(sql, values)


class FaultyDisk(RealDisk):
    """A disk that fails when told to; it never waits for a sync, as nobody cuts its power.

    Attributes:
        failing: Method names, and the error each fails with until it is taken out.
        partly: How much of the data a failing write still writes, in bytes.
        calls: Every method called, in order.
        failing_paths: Files that can't be removed, nor opened if there is something in them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failing: dict[str, int] = {}
        self.partly = 0
        self.calls: list[str] = []
        self.failing_paths: set[str] = set()

    def fill_up(self) -> None:
        """Have no room any more."""
        for name in ("append", "write_at", "create_log"):
            self.failing[name] = errno.ENOSPC

    def recover(self) -> None:
        """Work again."""
        self.failing.clear()

    def _go(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            number = self.failing[name]
            raise OSError(number, os.strerror(number))

    def _look_at(self, path: str) -> None:
        if path in self.failing_paths:
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    def make_directory(self, path: str) -> None:
        self._go("make_directory")
        super().make_directory(path)

    def names(self, path: str) -> list[str]:
        self._go("names")
        return super().names(path)

    def size(self, path: str) -> int | None:
        self._go("size")
        return super().size(path)

    def remove(self, path: str) -> None:
        self._go("remove")
        self._look_at(path)
        super().remove(path)

    def write_at(self, path: str, offset: int, data: bytes, *, create: bool = True) -> None:
        if "write_at" in self.failing and self.partly:
            super().write_at(path, offset, data[: self.partly], create=create)
        self._go("write_at")
        super().write_at(path, offset, data, create=create)

    def open(self, path: str) -> int:
        self._go("open")
        if self.size(path):
            self._look_at(path)
        return super().open(path)

    def read(self, handle: int, offset: int, size: int) -> bytes:
        self._go("read")
        return super().read(handle, offset, size)

    def create_log(self, path: str, *, synced: bool) -> int:
        self._go("create_log")
        return super().create_log(path, synced=False)

    def append(self, handle: int, data: bytes) -> None:
        if "append" in self.failing and self.partly:
            super().append(handle, data[: self.partly])
        self._go("append")
        super().append(handle, data)

    def sync(self, handle: int) -> None:
        self._go("sync")

    def cut(self, handle: int, size: int) -> None:
        self._go("cut")
        super().cut(handle, size)

    def sync_directory(self, path: str) -> None:
        self._go("sync_directory")

    def sync_tree(self, handle: int) -> None:
        self._go("sync_tree")

    def database(self, path: str) -> sqlite3.Connection:
        self._go("database")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        return sqlite3.connect(path, isolation_level=None, factory=HastyConnection)


def file_store(
    directory: str,
    clock: Clock,
    *,
    disk: FaultyDisk | None = None,
    durability: Durability = "full",
    sizes: Sizes | None = None,
    lane: Callable[[str], StraightLane] = lambda name: StraightLane(),
) -> FileJobStore:
    """Make a store without threads."""
    return FileJobStore(
        directory,
        disk=disk or FaultyDisk(),
        clock=clock,
        reactor=NoReactor(),
        durability=durability,
        sizes=sizes,
        lane=lambda name, reactor: lane(name),
    )
