"""A job store in memory, for tests of what stands on a store.

It keeps the contract of :class:`~harpcaller.interfaces.IJobStore` (the tests of the real
store run on it too) and does what the real one does only under bad luck: it holds writes
back, fails them, and dies with writes under way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar
from uuid import UUID

import attrs
from twisted.internet.defer import Deferred, execute, fail
from zope.interface import implementer

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.interfaces import (
    Ended,
    Fact,
    IJobStore,
    LeftOver,
    Page,
    Pruned,
    Recorded,
    Resumable,
    Started,
    StoredJob,
    Submitted,
)
from harpcaller.wire.client import Call, JobId
from harpcaller.wire.client_answers import JobStatus, Record
from harpcaller.wire.ending import Ending

_T = TypeVar("_T")


@attrs.define
class _Job:
    """What is durable of one job."""

    serial: int
    submitted: Submitted
    started_at: float | None = None
    is_resumable: bool = False
    records: list[Record] = attrs.Factory(list)
    ended: Ended | None = None


@attrs.frozen
class _Write:
    """A write that waits for its release."""

    job_id: JobId
    facts: Sequence[Fact]
    fails: bool
    done: Deferred[None]


@implementer(IJobStore)
class MemoryJobStore:
    """Jobs in memory, behind the interface of the store on disk.

    What was closed can be opened again, which is how a test restarts its dispatcher.

    Args:
        page_records: How many records a page has at most.
        page_bytes: How much data a page has at most, its first record excepted.
    """

    def __init__(self, *, page_records: int = 128, page_bytes: int = 64 * 1024) -> None:
        self._page_records = page_records
        self._page_bytes = page_bytes
        self._jobs: dict[JobId, _Job] = {}
        self._last_serial = 0
        self._is_open = False
        self._held = False
        self._failures = 0
        self._waiting: deque[_Write] = deque()
        #: Every fact that became durable, in that order.
        self.facts: list[tuple[JobId, Fact]] = []

    # --- Knobs ---------------------------------------------------------------------------

    def hold(self) -> None:
        """Let writes wait from now on: they neither fire nor can be read."""
        self._held = True

    def release(self) -> None:
        """Let the waiting writes happen, in order, and hold back no more."""
        self._held = False
        while self._waiting:
            self._write(self._waiting.popleft())

    def release_one(self) -> None:
        """Let the oldest waiting write happen, and go on holding the others."""
        self._write(self._waiting.popleft())

    @property
    def waiting(self) -> int:
        """How many writes are held back."""
        return len(self._waiting)

    def fail_next(self, times: int = 1) -> None:
        """Let the next calls of :meth:`add` fail with StorageError, as a full disk does."""
        self._failures = times

    def crash(self) -> None:
        """Die as by ``kill -9``: writes under way never happen and never fire."""
        self._waiting.clear()
        self._held = False
        self._is_open = False

    def facts_of(self, job_id: JobId) -> list[Fact]:
        """Give what is durable of one job, in order."""
        return [fact for owner, fact in self.facts if owner == job_id]

    # --- IJobStore -----------------------------------------------------------------------

    def open(self) -> Deferred[Sequence[LeftOver]]:
        """See :meth:`IJobStore.open`."""
        self._is_open = True
        return execute(self._left_over)

    def close(self) -> Deferred[None]:
        """See :meth:`IJobStore.close`; writes held back happen now."""
        self.release()
        return execute(self._close)

    def add(self, job_id: JobId, *facts: Fact) -> Deferred[None]:
        """See :meth:`IJobStore.add`."""
        fails = self._failures > 0
        if fails:
            self._failures -= 1
        done: Deferred[None] = Deferred()
        write = _Write(job_id, facts, fails, done)
        if self._held or self._waiting:
            self._waiting.append(write)
        else:
            self._write(write)
        return done

    def call(self, job_id: JobId) -> Deferred[Call]:
        """See :meth:`IJobStore.call`."""
        return self._tell(lambda: self._find(job_id).submitted.call)

    def status(self, job_id: JobId) -> Deferred[JobStatus]:
        """See :meth:`IJobStore.status`."""
        return self._tell(lambda: _status(self._find(job_id)))

    def ending(self, job_id: JobId) -> Deferred[Ending | None]:
        """See :meth:`IJobStore.ending`."""
        return self._tell(lambda: _ending(self._find(job_id)))

    def count(self, job_id: JobId) -> Deferred[int]:
        """See :meth:`IJobStore.count`."""
        return self._tell(lambda: len(self._find(job_id).records))

    def read(self, job_id: JobId, since: int) -> Deferred[Page]:
        """See :meth:`IJobStore.read`."""
        return self._tell(lambda: self._page(self._find(job_id), since))

    def jobs(self, after: int, limit: int) -> Deferred[tuple[Sequence[StoredJob], int]]:
        """See :meth:`IJobStore.jobs`."""
        return self._tell(lambda: self._listing(after, limit))

    def prune(self, ended_before: float) -> Deferred[Pruned]:
        """See :meth:`IJobStore.prune`."""
        return self._tell(lambda: self._prune(ended_before))

    # --- Inside --------------------------------------------------------------------------

    def _tell(self, look: Callable[[], _T]) -> Deferred[_T]:
        if not self._is_open:
            return fail(StorageError("the store is not open"))
        return execute(look)

    def _close(self) -> None:
        self._is_open = False

    def _left_over(self) -> Sequence[LeftOver]:
        return [
            LeftOver(
                job_id,
                job.submitted.call,
                job.submitted.at,
                job.started_at,
                len(job.records),
                job.is_resumable,
                job.submitted.client,
            )
            for job_id, job in self._jobs.items()
            if job.ended is None
        ]

    def _write(self, write: _Write) -> None:
        try:
            if not self._is_open:
                raise StorageError("the store is not open")
            if write.fails:
                raise StorageError("the store was told to fail")
            for fact in write.facts:
                self._keep(write.job_id, fact)
        except (StorageError, InvalidJobId, ValueError) as error:
            write.done.errback(error)
            return
        self.facts += [(write.job_id, fact) for fact in write.facts]
        write.done.callback(None)

    def _keep(self, job_id: JobId, fact: Fact) -> None:
        if isinstance(fact, Submitted):
            _must_be_job_id(job_id)
            if job_id in self._jobs:
                raise ValueError(f"the job {job_id} was submitted before")
            self._last_serial += 1
            self._jobs[job_id] = _Job(self._last_serial, fact)
            return
        job = self._jobs.get(job_id)
        if job is None or job.ended is not None:
            raise ValueError(f"the job {job_id} isn't living, but has news: {type(fact).__name__}")
        if isinstance(fact, Started):
            if job.started_at is not None or job.records:
                raise ValueError(f"the job {job_id} started before")
            job.started_at = fact.at
        elif isinstance(fact, Resumable):
            if job.started_at is None or job.is_resumable or job.records:
                raise ValueError(f"the job {job_id} can't become resumable now")
            job.is_resumable = True
        elif isinstance(fact, Recorded):
            if fact.record.number != len(job.records) or fact.record.time is None:
                raise ValueError(f"the job {job_id}: record {fact.record.number} is out of place")
            job.records.append(fact.record)
        else:
            job.ended = fact

    def _find(self, job_id: JobId) -> _Job:
        job = self._jobs.get(job_id)
        if job is None:
            raise InvalidJobId("no job has this id")
        return job

    def _page(self, job: _Job, since: int) -> Page:
        taken: list[Record] = []
        size = 0
        for record in job.records[since : since + self._page_records]:
            size += len(record.data)
            if taken and size > self._page_bytes:
                break
            taken.append(record)
        last = since + len(taken) >= len(job.records)
        return Page(tuple(taken), _ending(job) if last else None)

    def _listing(self, after: int, limit: int) -> tuple[Sequence[StoredJob], int]:
        later = [(job_id, job) for job_id, job in self._jobs.items() if job.serial > after][:limit]
        listed = [StoredJob(job_id, _status(job)) for job_id, job in later]
        return listed, later[-1][1].serial if later else after

    def _prune(self, ended_before: float) -> Pruned:
        old = [
            job_id
            for job_id, job in self._jobs.items()
            if job.ended is not None and job.ended.at < ended_before
        ]
        for job_id in old:
            del self._jobs[job_id]
        return Pruned(len(old), 0)


def _must_be_job_id(job_id: JobId) -> None:
    try:
        uuid = UUID(job_id)
    except ValueError:
        uuid = None
    if uuid is None or str(uuid) != job_id or uuid.version != 4:
        raise InvalidJobId("no job has this id")


def _ending(job: _Job) -> Ending | None:
    return None if job.ended is None else job.ended.ending


def _status(job: _Job) -> JobStatus:
    call = job.submitted.call
    return JobStatus(
        host=call.host,
        procedure=call.procedure,
        arguments=call.arguments,
        submitted_at=job.submitted.at,
        started_at=job.started_at,
        ended_at=None if job.ended is None else job.ended.at,
        info=call.info,
        queue_name=None if call.queue is None else call.queue.name,
        client=job.submitted.client,
    )
