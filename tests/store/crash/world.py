"""A store on a machine in memory, without threads and without time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from harpcaller.errors import InvalidJobId
from harpcaller.interfaces import (
    Ended,
    Fact,
    LeftOver,
    Recorded,
    Resumable,
    Started,
    StoredJob,
    Submitted,
)
from harpcaller.store.disk import RealDisk
from harpcaller.store.filestore import FileJobStore
from harpcaller.store.layout import job_path
from harpcaller.store.sizes import Durability, Sizes
from harpcaller.testing.filesystem import FileSystem
from harpcaller.wire.client import JobId
from tests.store.fakes import NoReactor, SteppedLane

_T = TypeVar("_T")

#: Where the store is; the directory above is there already.
DIRECTORY = "/stream"


class World:
    """A machine, and at most one process with a store on it.

    Args:
        files: The machine's file system.
        durability: The store's.
        sizes: The store's.
    """

    def __init__(self, files: FileSystem, durability: Durability, sizes: Sizes) -> None:
        self.files = files
        self.durability = durability
        self.sizes = sizes
        self.clock = Clock()
        self._lanes: dict[str, SteppedLane] = {}
        self.store = self._make()

    def _make(self) -> FileJobStore:
        self.clock = Clock()
        self._lanes.clear()
        return FileJobStore(
            DIRECTORY,
            disk=RealDisk(self.files),
            clock=self.clock,
            reactor=NoReactor(),
            durability=self.durability,
            sizes=self.sizes,
            random_bytes=lambda size: b"\x2a" * size,
            lane=lambda name, reactor: self._lanes.setdefault(name, SteppedLane()),
        )

    # --- Turning -------------------------------------------------------------------------

    def step(self, lane: str) -> None:
        """Let a lane do a piece of work, if it has any."""
        found = self._lanes.get(f"harpcaller {lane}")
        if found is not None and found.waiting:
            found.step()

    def turn(self) -> None:
        """Let the reactor take a turn."""
        self.clock.advance(0)

    def settle(self) -> None:
        """Let everything happen that is about to."""
        for _ in range(100_000):
            calls = [call for call in self.clock.getDelayedCalls() if call.getTime() <= self._now()]
            busy = [lane for lane in self._lanes.values() if lane.waiting]
            if not calls and not busy:
                return
            for lane in busy:
                lane.step()
            self.clock.advance(0)
        raise AssertionError("the store never comes to rest")

    def _now(self) -> float:
        return self.clock.seconds()

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.settle()
        for _ in range(4):
            self.clock.advance(seconds / 4)
            self.settle()

    def result(self, work: Deferred[_T]) -> _T:
        """Let things happen until a Deferred has fired, and give its result."""
        found: list[_T | Failure] = []
        _ = work.addBoth(found.append)
        if not found:
            self.settle()
        if not found:
            raise AssertionError("nothing comes of it")
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return found[0]

    # --- Processes -----------------------------------------------------------------------

    def open(self) -> Sequence[LeftOver]:
        """Open the store."""
        return self.result(self.store.open())

    def close(self) -> None:
        """Close the store; nothing may be left open."""
        self.result(self.store.close())
        left = self.files.handles()
        if left or self.clock.getDelayedCalls():
            raise AssertionError(f"left behind: {left} {self.clock.getDelayedCalls()}")

    def kill(self) -> None:
        """Kill the process and begin another; its store isn't opened yet."""
        self.files.kill()
        self.store = self._make()

    # --- Looking -------------------------------------------------------------------------

    def facts(self, job_id: JobId) -> list[Fact] | None:
        """Read back everything that is known of a job; None if there is no such job."""
        store, result = self.store, self.result
        try:
            call = result(store.call(job_id))
        except InvalidJobId:
            return None
        status = result(store.status(job_id))
        found: list[Fact] = [Submitted(call, status.submitted_at)]
        if status.started_at is not None:
            found.append(Started(status.started_at))
        # No question is answered by this line, but a start reads it.
        kept = _kept(self.files.content(job_path(DIRECTORY, job_id)))
        if kept is not None:
            found.append(Resumable(kept))
        records = 0
        while True:
            page = result(store.read(job_id, records))
            found += [Recorded(record) for record in page.records]
            records += len(page.records)
            if page.ending is not None or not page.records:
                break
        counted = result(store.count(job_id))
        ending = result(store.ending(job_id))
        if counted != records or ending != page.ending:
            raise AssertionError(f"{job_id}: {counted} records, {records} read; {ending}, {page}")
        if ending is not None:
            assert status.ended_at is not None, job_id
            found.append(Ended(ending, status.ended_at))
        elif status.ended_at is not None:
            raise AssertionError(f"{job_id} has ended, but how?")
        return found

    def listing(self) -> list[StoredJob]:
        """List all jobs."""
        found: list[StoredJob] = []
        after = 0
        while True:
            some, after = self.result(self.store.jobs(after, 7))
            if not some:
                return found
            found += some


def _kept(content: bytes) -> float | None:
    found = re.search(rb'^\{"resumable":([0-9.]+)\}$', content, re.MULTILINE)
    return None if found is None else float(found[1])
