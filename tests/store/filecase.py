"""A base for tests of the store on disk."""

from __future__ import annotations

import os
import shutil
from typing import TypeVar

from twisted.internet.defer import Deferred

from harpcaller.interfaces import LeftOver
from harpcaller.store.filestore import FileJobStore
from harpcaller.store.layout import INDEX, job_path
from harpcaller.store.sizes import Durability, Sizes
from harpcaller.wire.client import JobId
from tests.store.fakes import FaultyDisk, SteppedLane, StraightLane, file_store
from tests.store.jobs import StoreCase, job

_T = TypeVar("_T")


class FileCase(StoreCase):
    """A test with a store on disk, and ways to treat it badly.

    ``lanes`` has the store's lanes by name; they work at once unless ``stepped`` is set.
    """

    durability: Durability = "full"
    sizes: Sizes | None = None
    stepped = False
    store: FileJobStore

    def setUp(self) -> None:
        super().setUp()
        self.disk = FaultyDisk()
        self.lanes: dict[str, StraightLane] = {}
        self._all_lanes: list[StraightLane] = []
        self.directory = os.path.abspath(self.mktemp())
        self.store = self.make()

    def make(self) -> FileJobStore:
        """Make a store on the directory, which is closed at the end of the test."""
        store = file_store(
            self.directory,
            self.clock,
            disk=self.disk,
            durability=self.durability,
            sizes=self.sizes,
            lane=self.make_lane,
        )
        self.addCleanup(self._end, store)
        return store

    def make_lane(self, name: str) -> StraightLane:
        """Make a lane and remember it."""
        lane = SteppedLane() if self.stepped else StraightLane()
        self.lanes[name] = lane
        self._all_lanes.append(lane)
        return lane

    def _end(self, store: FileJobStore) -> None:
        self.disk.recover()
        self.settle(store.close())

    def settle(self, work: Deferred[_T]) -> _T:
        """Let lanes and clock go on until a Deferred has fired, and give its result."""
        for _ in range(1000):
            for lane in self._all_lanes:
                if isinstance(lane, SteppedLane):
                    lane.drain()
            self.clock.advance(0)
            if work.called:
                break
        return self.successResultOf(work)

    def kill(self) -> None:
        """Go on with a copy of what is on disk now, as after ``kill -9``; it isn't opened yet."""
        copy = os.path.abspath(self.mktemp())
        shutil.copytree(self.directory, copy)
        self.directory = copy
        self.store = self.make()

    def restart(self) -> list[LeftOver]:
        """Die and open again."""
        self.kill()
        return list(self.open())

    def drop_index(self) -> None:
        """Throw the index away."""
        for suffix in ("", "-wal", "-shm"):
            path = f"{self.directory}/{INDEX}{suffix}"
            if os.path.exists(path):
                os.unlink(path)

    def file_of(self, job_id: JobId) -> str:
        """Give the path of a job's file."""
        return job_path(self.directory, job_id)

    def journal(self) -> list[str]:
        """Give the names in the journal's directory."""
        return sorted(os.listdir(f"{self.directory}/journal"))

    def let_turn(self) -> None:
        """Let the clock turn until nothing waits on it."""
        for _ in range(1000):
            if not self.clock.getDelayedCalls():
                return
            self.clock.advance(0)


class SteppedCase(FileCase):
    """A test that says when the disk has done its work."""

    stepped = True

    def setUp(self) -> None:
        super().setUp()
        self.open()
        lane = self.lanes["harpcaller journal"]
        assert isinstance(lane, SteppedLane)
        self.lane = lane

    def add(self, number: int, *facts: object) -> list[Deferred[None]]:
        """Store facts without waiting."""
        return [self.store.add(job(number), fact) for fact in facts]  # type: ignore[arg-type]  # facts

    def do(self, number: int, *facts: object) -> None:
        """Store facts and let the disk do its work."""
        added = self.add(number, *facts)
        self.lane.drain()
        for one in added:
            self.successResultOf(one)


def read_file(path: str) -> bytes:
    """Read a whole file."""
    with open(path, "rb") as file:
        return file.read()


def write_file(path: str, data: bytes) -> None:
    """Write a whole file."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(data)
