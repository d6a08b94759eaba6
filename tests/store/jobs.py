"""Jobs for tests, and a base that runs a store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar
from uuid import UUID

from twisted.internet.defer import Deferred

from harpcaller.interfaces import (
    Ended,
    IJobStore,
    LeftOver,
    Recorded,
    Started,
    StoredJob,
    Submitted,
)
from harpcaller.wire.client import Call, JobId, QueueSpec
from harpcaller.wire.client_answers import Record
from harpcaller.wire.ending import Ending, Returned
from harpcaller.wire.values import Raw, encode
from tests.house import HouseCase

_T = TypeVar("_T")

DONE = Returned(Raw(b'"done"'))


def job(number: int) -> JobId:
    """Give a job id that is always the same; neighbours share no directory."""
    return JobId(str(UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % 2**128, version=4)))


def call(
    host: str = "web01", arguments: bytes = b"[1, 2.50]", queue: QueueSpec | None = None
) -> Call:
    """Give a call."""
    return Call(host, "some.procedure", Raw(arguments), queue=queue, info=Raw(b'{"by":"test"}'))


def record(number: int, data: object = "line") -> Recorded:
    """Give a record, its time made of its number."""
    return Recorded(Record(number, encode(data), 100.0 + number))


def ended(at: float = 1000.0, ending: Ending = DONE) -> Ended:
    """Give an end."""
    return Ended(ending, at)


class StoreCase(HouseCase):
    """A test with a store that is open."""

    store: Any  # an IJobStore, with the knobs of its kind

    def finish(self, work: Deferred[_T]) -> _T:
        """Let the clock turn until a Deferred has fired, and give its result."""
        for _ in range(10_000):
            if work.called:
                break
            self.clock.advance(0)
        return self.successResultOf(work)

    def open(self) -> Sequence[LeftOver]:
        """Open the store."""
        found: Sequence[LeftOver] = self.finish(self.store.open())
        return found

    def close(self) -> None:
        """Close the store."""
        self.finish(self.store.close())

    def submit(self, number: int, *, at: float = 10.0, of: Call | None = None) -> JobId:
        """Store a job."""
        job_id = job(number)
        self.finish(self.store.add(job_id, Submitted(of or call(), at)))
        return job_id

    def run_job(self, number: int, records: int = 0, *, end: float = 1000.0) -> JobId:
        """Store a job and its whole life."""
        job_id = self.submit(number)
        self.finish(self.store.add(job_id, Started(11.0)))
        for each in range(records):
            self.finish(self.store.add(job_id, record(each)))
        self.finish(self.store.add(job_id, ended(end)))
        return job_id

    def listing(self, page: int = 100) -> list[StoredJob]:
        """List all jobs."""
        found: list[StoredJob] = []
        after = 0
        while True:
            some, after = self.finish(self.store.jobs(after, page))
            if not some:
                return found
            found.extend(some)

    def all_records(self, job_id: JobId, since: int = 0) -> list[Record]:
        """Read a job's records, page by page."""
        found: list[Record] = []
        while True:
            page = self.finish(self.store.read(job_id, since + len(found)))
            if not page.records:
                return found
            found.extend(page.records)


def provides_store(store: object) -> bool:
    """Tell whether this says that it is a store."""
    return bool(IJobStore.providedBy(store))
