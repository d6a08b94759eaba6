"""What can be done with jobs: submit, cancel, read, follow.

Store first, tell after: whatever happens to a job goes through its machine
(:mod:`harpcaller.job.life`), the fact that comes out is stored, and only then does anyone hear
of it.  Those whose turn came are carried out by :mod:`~harpcaller.dispatcher.running`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import attrs
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    TimeoutError,
    fail,
    succeed,
)
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from zope.interface import implementer

from harpcaller.dispatcher.ends import Ends, was_logged
from harpcaller.dispatcher.following import Follower, unaccounted
from harpcaller.dispatcher.living import LivingJob, NextTurn
from harpcaller.dispatcher.running import Running
from harpcaller.dispatcher.shield import shielded
from harpcaller.errors import MissingResult, Shutdown, StorageError
from harpcaller.interfaces import (
    IBoard,
    ICaller,
    IDispatcher,
    IFollower,
    IHosts,
    IJobStore,
    LeftOver,
    Limits,
    Page,
    Pruned,
    Requester,
    StoredJob,
    Submitted,
)
from harpcaller.job.identity import new_job_id
from harpcaller.job.life import new_life
from harpcaller.job.patience import limits_of
from harpcaller.logs.events import EventLog
from harpcaller.wire.client import Call, JobId, QueueSpec
from harpcaller.wire.client_answers import JobStatus
from harpcaller.wire.ending import Ending, Failed
from harpcaller.wire.procedures import ProcedureList
from harpcaller.wire.values import Raw

_log = EventLog("dispatcher")


@attrs.frozen
class CallSettings:
    """How long calls may take, in seconds; see ``doc/configuration``."""

    default_timeout: float = 600
    max_exec_time: float = 600


@implementer(IDispatcher)
class Dispatcher:
    """The jobs of one store.

    Args:
        store: Open already.
        clock: For waiting.
        now: The wall clock, in Unix seconds.
        random_bytes: Where job ids come from; must not be guessable.
        settings: May be replaced while running; calls under way keep theirs.
    """

    #: How many jobs of a queue are cancelled in one turn of the reactor.
    SLICE = 50

    def __init__(
        self,
        *,
        store: IJobStore,
        board: IBoard,
        hosts: IHosts,
        caller: ICaller,
        clock: IReactorTime,
        now: Callable[[], float],
        random_bytes: Callable[[int], bytes],
        settings: CallSettings,
    ) -> None:
        self.settings = settings
        self._store = store
        self._board = board
        self._hosts = hosts
        self._caller = caller
        self._clock = clock
        self._now = now
        self._random_bytes = random_bytes
        self._living: dict[JobId, LivingJob] = {}
        self._next_turn = NextTurn(clock)
        self._ends = Ends(store, clock, self._dismiss)
        self._running = Running(
            store=store,
            hosts=hosts,
            caller=caller,
            next_turn=self._next_turn,
            now=now,
            limits=self._limits,
            ended=self._ends.write_or_log,
        )
        self._stopping = False
        self._hurried = False
        self._grace: Deferred[None] | None = None

    # --- Submitting --------------------------------------------------------------------

    def submit(self, call: Call, client: Requester) -> Deferred[JobId]:
        """Make a job of a call; fires when it is stored."""
        return shielded(Deferred.fromCoroutine(self._submit(call, client)))

    async def _submit(self, call: Call, client: Requester) -> JobId:
        if self._stopping:
            raise Shutdown("the dispatcher is stopping and takes no new calls")
        job = LivingJob(new_job_id(self._random_bytes), call.host, call.procedure, client.name)
        if call.queue is not None:
            job.place = self._board.reserve(job.job_id, call.queue)
            if call.queue.concurrency != job.place.concurrency:
                call = replace(call, queue=QueueSpec(call.queue.name, job.place.concurrency))
        try:
            await self._store.add(job.job_id, Submitted(call, self._now(), client.name))
        except BaseException:
            if job.place is not None:
                job.place.leave()
            raise
        _log.info(
            "job.submitted",
            job=job.job_id,
            host=call.host,
            procedure=call.procedure,
            queue=None if call.queue is None else call.queue.name.decode(),
            client=client.name,
            peer=client.peer,
        )
        self._living[job.job_id] = job
        self._await_turn(job, call)
        return job.job_id

    def recover(self, left_over: Iterable[LeftOver]) -> Deferred[None]:
        """Take up what an earlier dispatcher left: queued jobs wait again, in their order.

        Those that ran are gone on with where their agents keep them; others end with
        ``missing_result``.  Fires when that is stored.
        """
        endings: list[Deferred[None]] = []
        for found in left_over:
            job = LivingJob(found.job_id, found.call.host, found.call.procedure, found.client)
            self._living[found.job_id] = job
            if found.started_at is None:
                if found.call.queue is not None:
                    job.place = self._board.reserve(found.job_id, found.call.queue)
                self._await_turn(job, None)
                continue
            if found.resumable:
                self._take_up(job, found, found.started_at)
                continue
            job.life.turn_came(found.started_at)
            lost = MissingResult(
                "the dispatcher was stopped or died while the job ran; how it ended is not known"
            )
            ended = job.life.finished(self._now(), Failed.because(lost))
            assert ended is not None
            endings.append(self._ends.write_or_log(job, ended))
        return shielded(DeferredList(endings).addCallback(lambda _: None))

    def _take_up(self, job: LivingJob, found: LeftOver, started_at: float) -> None:
        """Go on with a job that ran, in the place of its queue that it had."""
        job.is_resumable = True
        job.life = new_life(found.records)
        job.life.turn_came(started_at)
        job.life.kept(started_at)

        def go_on() -> None:
            self._running.go_on(job, found, started_at)

        if found.call.queue is None:
            go_on()
        else:
            # It is older than those that wait, so the turn is its own.
            job.place = self._board.reserve(found.job_id, found.call.queue)
            job.place.wait(go_on)

    def _await_turn(self, job: LivingJob, call: Call | None) -> None:
        if job.place is not None:
            # The call is read again when the turn comes, which may be in an hour.
            job.place.wait(lambda: self._running.start(job, None))
        elif not self._stopping:
            self._running.start(job, call)

    def _limits(self, call: Call) -> Limits:
        return limits_of(
            call.timeout,
            call.max_exec_time,
            default=self.settings.default_timeout,
            most=self.settings.max_exec_time,
        )

    # --- Ending ------------------------------------------------------------------------

    def cancel(self, job_id: JobId) -> Deferred[bool]:
        """End a job; False if it had ended already or there is none.

        Fails with StorageError when the end can't be stored now; it will be, later.
        """
        job = self._living.get(job_id)
        if job is None:
            return succeed(False)
        ended = job.life.cancelled(self._now())
        if ended is None:
            # It has ended, but that is nobody's to know before it is stored.
            if self._ends.are_owed(job):
                return fail(StorageError("the job has ended, but its end can't be stored now"))
            return job.wait_for_end(self._next_turn).addCallback(lambda _: False)
        if job.run is not None:
            job.run.cancel()
        return shielded(self._ends.write(job, ended).addCallback(lambda _: True))

    def cancel_queue(self, name: Raw) -> Deferred[int]:
        """End all jobs that are in the queue now; tells how many it ended."""
        return shielded(Deferred.fromCoroutine(self._cancel_queue(name)))

    async def _cancel_queue(self, name: Raw) -> int:
        # From the back, so that none is given a turn only to lose it; in slices, so that
        # a long queue doesn't keep everybody else waiting.
        remaining = list(self._board.members(name))
        ended = 0
        while remaining:
            piece = remaining[-self.SLICE :]
            del remaining[-self.SLICE :]
            outcomes = await DeferredList(
                [self.cancel(job_id) for job_id in reversed(piece)], consumeErrors=True
            )
            ended += sum(1 for success, outcome in outcomes if success and outcome)
            await deferLater(self._clock, 0)
        return ended

    def _dismiss(self, job: LivingJob) -> None:
        """Let go of a job that is over, and tell those who wait for that."""
        del self._living[job.job_id]
        if job.place is not None:
            job.place.leave()
        job.ended()
        self._running.dismiss(job)

    # --- Stopping ----------------------------------------------------------------------

    def stop(self, grace_seconds: float) -> Deferred[None]:
        """Take no new calls, let the running ones end, cancel those that don't in time.

        Those that their agents keep are not waited for, but left to them.  Jobs that wait stay
        as they are.  The next dispatcher of the store takes up both.  The board must be closed
        first.  Fires when nothing runs here and every end is stored, or can't be.
        """
        return Deferred.fromCoroutine(self._stop(grace_seconds))

    def hurry(self) -> None:
        """Cut the grace of :meth:`stop` short, also one that is yet to begin."""
        self._hurried = True
        if self._grace is not None:
            self._grace.cancel()

    async def _stop(self, grace_seconds: float) -> None:
        self._stopping = True
        if self._running.bound and not self._hurried:
            _log.info("dispatcher.waits_for_jobs", running=self._running.bound)
            self._grace = self._running.none_bound().addTimeout(grace_seconds, self._clock)
            try:
                await self._grace
            except (TimeoutError, CancelledError):
                _log.warn("dispatcher.cancels_jobs", running=self._running.bound)
            self._grace = None
        self._ends.try_once_more()
        for job in self._running.leave():
            _ = self.cancel(job.job_id).addErrback(was_logged)
        await self._ends.settled()

    # --- Reading -----------------------------------------------------------------------

    def ending(self, job_id: JobId, wait: bool) -> Deferred[Ending | None]:
        """Tell how a job ended, or None if it hasn't and ``wait`` is false."""
        job = self._living.get(job_id)
        if job is None:
            return self._past_ending(job_id, wait)
        if not wait:
            return succeed(None)
        over = job.wait_for_end(self._next_turn)
        return over.addCallback(lambda _: self._past_ending(job_id, wait))

    def _past_ending(self, job_id: JobId, wait: bool) -> Deferred[Ending | None]:
        ending = self._store.ending(job_id)
        return ending.addCallback(_is_accounted_for) if wait else ending

    def status(self, job_id: JobId) -> Deferred[JobStatus]:
        """Tell what a job is and how far it came."""
        return self._store.status(job_id)

    def read(self, job_id: JobId, since: int) -> Deferred[Page]:
        """Read a page of what there is now, without waiting."""
        return self._store.read(job_id, since)

    def follow(self, job_id: JobId, since: int) -> IFollower:
        """Read from record ``since`` on until the end."""
        return Follower(
            job_id,
            since,
            store=self._store,
            living=self._living.get,
            next_turn=self._next_turn,
        )

    def position(self, job_id: JobId, recent: int) -> Deferred[int]:
        """Give the number from which the last ``recent`` of the records so far are read."""
        return self._store.count(job_id).addCallback(lambda count: max(0, count - recent))

    def living(self) -> Sequence[JobId]:
        """Give the jobs that wait or run, in order of submission."""
        return list(self._living)

    def jobs(self, after: int, limit: int) -> Deferred[tuple[Sequence[StoredJob], int]]:
        """List all jobs, ended ones too."""
        return self._store.jobs(after, limit)

    def queues(self) -> Sequence[Raw]:
        """Give the names of the queues that live."""
        return self._board.queues()

    def queue_members(self, name: Raw) -> Sequence[JobId]:
        """Give the jobs of a queue."""
        return self._board.members(name)

    def prune(self, max_age_seconds: float) -> Deferred[Pruned]:
        """Forget the jobs that ended longer ago than this."""
        # A job that ended while the clock was wrong may seem to have ended in the future; an age
        # of nothing means every job that has ended, that one too.
        before = self._now() - max_age_seconds if max_age_seconds > 0 else float("inf")
        return self._store.prune(before)

    # --- What there is to call -----------------------------------------------------------

    def hosts(self) -> Deferred[Sequence[str]]:
        """Give the names of all hosts, in order."""
        return succeed([host.hostname for host in self._hosts.all()])

    def procedures(self, host: str) -> Deferred[ProcedureList | Failed]:
        """Ask a host's agent which procedures it has; nothing is stored."""
        return self._hosts.find(host).addCallback(self._caller.procedures)


def _is_accounted_for(ending: Ending | None) -> Ending:
    if ending is None:
        raise unaccounted()
    return ending
