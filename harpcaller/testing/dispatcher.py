"""A dispatcher, a registry and a daemon in memory, for tests of the rooms that ask them.

They do what :mod:`harpcaller.interfaces` says and nothing by themselves: a job starts,
speaks and ends when the test says so.  They use no reactor; whatever was waited for
fires inside the test's own call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from harpcaller.errors import InvalidJobId, StorageError, UnknownHost, WireError
from harpcaller.interfaces import (
    Host,
    IDaemon,
    IDispatcher,
    IFollower,
    IHosts,
    Page,
    Pruned,
    Requester,
    StoredJob,
)
from harpcaller.wire.client import Call, JobId
from harpcaller.wire.client_answers import JobStatus, Record
from harpcaller.wire.ending import Cancelled, Ending, Failed
from harpcaller.wire.procedures import ProcedureList
from harpcaller.wire.values import Raw, canonical


class Bell:
    """Where any number wait for the same moment; each has a Deferred of its own."""

    def __init__(self) -> None:
        self._waiting: list[Deferred[None]] = []

    def wait(self) -> Deferred[None]:
        """Wait for the next ring; cancelling gives the waiting up."""
        waiter: Deferred[None] = Deferred(self._gave_up)
        self._waiting.append(waiter)
        return waiter

    def ring(self) -> None:
        """Fire everyone who waits now."""
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.called:  # an earlier one may have cancelled it
                waiter.callback(None)

    def __len__(self) -> int:
        """Count those who wait."""
        return len(self._waiting)

    def _gave_up(self, waiter: Deferred[None]) -> None:
        # A ring that is under way has taken it out of the list already.
        if waiter in self._waiting:
            self._waiting.remove(waiter)


@attrs.define
class FakeJob:
    """One job of a :class:`FakeDispatcher`.

    Attributes:
        client: Who is said to have submitted it.
        position: Its place in the order of submission, from 1.
        damaged: Reading anything of it is a storage error.
        changed: Rings at each record and at the end.
    """

    job_id: JobId
    call: Call
    client: Requester
    position: int
    submitted_at: float
    started_at: float | None = None
    ended_at: float | None = None
    records: list[Record] = attrs.field(factory=list)
    ending: Ending | None = None
    damaged: bool = False
    changed: Bell = attrs.field(factory=Bell)

    def status(self) -> JobStatus:
        """Say how far it came, as the dispatcher does."""
        call = self.call
        return JobStatus(
            host=call.host,
            procedure=call.procedure,
            arguments=call.arguments,
            submitted_at=self.submitted_at,
            started_at=self.started_at,
            ended_at=self.ended_at,
            info=call.info,
            queue_name=None if call.queue is None else call.queue.name,
            client=self.client.name,
        )

    def page(self, since: int, size: int) -> Page:
        """Give at most ``size`` records, and the ending once none follow."""
        records = tuple(self.records[since : since + size])
        whole = since + len(records) >= len(self.records)
        return Page(records, self.ending if whole else None)


@implementer(IDispatcher)
class FakeDispatcher:
    """Jobs in memory, told by the test what happens to them.

    Args:
        now: The time, in Unix seconds; a ``Clock``'s ``seconds``, say.
        page_size: The most records that a page holds.

    Attributes:
        submitted: Every job there was, in order, the pruned ones too.
        refusal: While it is set, :meth:`submit` fails with it.
        unprunable: How many jobs :meth:`prune` says it couldn't remove.
        listed: The hosts there are, and what each one's agent says that it has.
    """

    def __init__(self, now: Callable[[], float] = lambda: 0.0, page_size: int = 100) -> None:
        self._now = now
        self._page_size = page_size
        self._jobs: dict[JobId, FakeJob] = {}
        self.submitted: list[FakeJob] = []
        self.refusal: WireError | None = None
        self.unprunable = 0
        self.listed: dict[str, ProcedureList | Failed] = {}

    # What happens, as the test says.

    def job(self, job_id: JobId) -> FakeJob:
        """Give a job to be looked at; KeyError if there is none."""
        return self._jobs[job_id]

    def start(self, job_id: JobId) -> None:
        """Let a job's turn have come."""
        self._jobs[job_id].started_at = self._now()

    def say(self, job_id: JobId, data: bytes) -> None:
        """Let the job's procedure stream a record."""
        job = self._jobs[job_id]
        job.records.append(Record(len(job.records), Raw(data), self._now()))
        job.changed.ring()

    def end(self, job_id: JobId, ending: Ending) -> None:
        """Let a job end."""
        job = self._jobs[job_id]
        assert job.ending is None, f"{job_id} has ended already"
        job.ending = ending
        job.ended_at = self._now()
        job.changed.ring()

    def damage(self, job_id: JobId) -> None:
        """Let a job's record on disk be unreadable from now on."""
        self._jobs[job_id].damaged = True

    # IDispatcher

    def submit(self, call: Call, client: Requester) -> Deferred[JobId]:
        if self.refusal is not None:
            return fail(self.refusal)
        number = len(self.submitted) + 1
        job = FakeJob(
            JobId(f"{number:08x}-0000-4000-8000-000000000000"), call, client, number, self._now()
        )
        self.submitted.append(job)
        self._jobs[job.job_id] = job
        return succeed(job.job_id)

    def cancel(self, job_id: JobId) -> Deferred[bool]:
        job = self._jobs.get(job_id)
        if job is None or job.ending is not None:
            return succeed(False)
        self.end(job_id, Cancelled())
        return succeed(True)

    def ending(self, job_id: JobId, wait: bool) -> Deferred[Ending | None]:
        return Deferred.fromCoroutine(self._ending(job_id, wait))

    async def _ending(self, job_id: JobId, wait: bool) -> Ending | None:
        job = self._readable(job_id)
        while wait and job.ending is None:
            await job.changed.wait()
        return job.ending

    def status(self, job_id: JobId) -> Deferred[JobStatus]:
        try:
            return succeed(self._readable(job_id).status())
        except WireError as error:
            return fail(error)

    def read(self, job_id: JobId, since: int) -> Deferred[Page]:
        try:
            return succeed(self._readable(job_id).page(since, self._page_size))
        except WireError as error:
            return fail(error)

    def follow(self, job_id: JobId, since: int) -> IFollower:
        return FakeFollower(self, job_id, since)

    def position(self, job_id: JobId, recent: int) -> Deferred[int]:
        try:
            return succeed(max(0, len(self._readable(job_id).records) - recent))
        except WireError as error:
            return fail(error)

    def living(self) -> Sequence[JobId]:
        return [job.job_id for job in self._jobs.values() if job.ending is None]

    def jobs(self, after: int, limit: int) -> Deferred[tuple[Sequence[StoredJob], int]]:
        # A damaged job has no entry that could be listed, as in the store's index.
        found = [job for job in self._jobs.values() if job.position > after and not job.damaged][
            :limit
        ]
        listed = [StoredJob(job.job_id, job.status()) for job in found]
        return succeed((listed, found[-1].position if found else after))

    def queues(self) -> Sequence[Raw]:
        names: dict[bytes, Raw] = {}
        for job in self._jobs.values():
            queue = job.call.queue
            if queue is not None and job.ending is None:
                names.setdefault(queue.key(), queue.name)
        return list(names.values())

    def queue_members(self, name: Raw) -> Sequence[JobId]:
        key = canonical(name)
        members = [
            job
            for job in self._jobs.values()
            if job.call.queue is not None and job.call.queue.key() == key and job.ending is None
        ]
        members.sort(key=lambda job: job.started_at is None)
        return [job.job_id for job in members]

    def cancel_queue(self, name: Raw) -> Deferred[int]:
        members = self.queue_members(name)
        for job_id in members:
            self.end(job_id, Cancelled())
        return succeed(len(members))

    def prune(self, max_age_seconds: float) -> Deferred[Pruned]:
        before = self._now() - max_age_seconds
        old = [
            j.job_id for j in self._jobs.values() if j.ended_at is not None and j.ended_at < before
        ]
        for job_id in old:
            del self._jobs[job_id]
        return succeed(Pruned(len(old), self.unprunable))

    def hosts(self) -> Deferred[Sequence[str]]:
        return succeed(sorted(self.listed))

    def procedures(self, host: str) -> Deferred[ProcedureList | Failed]:
        if host not in self.listed:
            return fail(UnknownHost(f"the host {host} is not in the registry"))
        return succeed(self.listed[host])

    def _readable(self, job_id: JobId) -> FakeJob:
        if job_id not in self._jobs:
            raise InvalidJobId("no job with this id")
        job = self._jobs[job_id]
        if job.damaged:
            raise StorageError(f"the record of job {job_id} is damaged")
        return job

    async def next_page(self, job_id: JobId, since: int) -> Page:
        """Wait until there are records from ``since`` on, or the ending."""
        job = self._readable(job_id)
        while job.ending is None and since >= len(job.records):
            await job.changed.wait()
        return job.page(since, self._page_size)


@implementer(IFollower)
class FakeFollower:
    """A place in the stream of one of a :class:`FakeDispatcher`'s jobs."""

    def __init__(self, dispatcher: FakeDispatcher, job_id: JobId, since: int) -> None:
        self._dispatcher = dispatcher
        self._job_id = job_id
        self._since = since

    def next_page(self) -> Deferred[Page]:
        return Deferred.fromCoroutine(self._next_page())

    async def _next_page(self) -> Page:
        page = await self._dispatcher.next_page(self._job_id, self._since)
        self._since += len(page.records)
        return page


@implementer(IHosts)
class FakeHosts:
    """A registry that is what the test says.

    Attributes:
        hosts: What is registered, by name.
        printed: What the filler script would print: a refresh makes the registry this.
        problem: While it is set, a refresh changes nothing and says so.
        refreshes: How often the script was run.
    """

    def __init__(self, *hosts: Host) -> None:
        self.hosts = {host.hostname: host for host in hosts}
        self.printed: Sequence[Host] = hosts
        self.problem: str | None = None
        self.refreshes = 0

    def find(self, hostname: str) -> Deferred[Host]:
        if hostname not in self.hosts:
            return fail(UnknownHost(f"no such host in the registry: {hostname}"))
        return succeed(self.hosts[hostname])

    def all(self) -> Sequence[Host]:
        return [self.hosts[name] for name in sorted(self.hosts)]

    def refresh(self) -> Deferred[str | None]:
        self.refreshes += 1
        if self.problem is None:
            self.hosts = {host.hostname: host for host in self.printed}
        return succeed(self.problem)


@implementer(IDaemon)
class FakeDaemon:
    """A daemon that does nothing but count what it was asked.

    Args:
        pid: The process id that it claims.
        started: Whether its start-up is complete.

    Attributes:
        stops: How often it was told to stop.
        reloads: How often it was told to read its configuration.
        problems: What a reload finds wrong.
        reopenings: How often it reopened its logs.
        reopen_error: While it is set, reopening the logs raises it.
        waiting: Those who wait for the start-up.
    """

    def __init__(self, pid: int = 4711, started: bool = True) -> None:
        self.pid = pid
        self._started = started
        self.stops = 0
        self.reloads = 0
        self.problems: Sequence[str] = ()
        self.reopenings = 0
        self.reopen_error: OSError | None = None
        self.waiting = Bell()

    def started(self) -> None:
        """Let the start-up be complete."""
        self._started = True
        self.waiting.ring()

    def ready(self) -> Deferred[None]:
        return succeed(None) if self._started else self.waiting.wait()

    def stop(self) -> None:
        self.stops += 1

    def reload(self) -> Deferred[Sequence[str]]:
        self.reloads += 1
        return succeed(self.problems)

    def reopen_logs(self) -> None:
        if self.reopen_error is not None:
            raise self.reopen_error
        self.reopenings += 1
