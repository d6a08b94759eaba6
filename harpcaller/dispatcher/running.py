"""The jobs whose turn came: each is carried out by its host's agent until it has an ending."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from harpcaller.dispatcher.living import Crowd, LivingJob, NextTurn
from harpcaller.dispatcher.sink import JobSink
from harpcaller.errors import (
    LeftRunning,
    MissingResult,
    SystemFailure,
    UnknownHost,
    WireError,
)
from harpcaller.interfaces import Ended, ICaller, IHosts, IJobStore, LeftOver, Limits
from harpcaller.logs.events import EventLog, forget
from harpcaller.wire.client import Call
from harpcaller.wire.ending import Ending, Failed

_log = EventLog("dispatcher")


class Running:
    """The jobs that run, from their turns until their ends are stored.

    Args:
        next_turn: When those who wait are told.
        now: The wall clock, in Unix seconds.
        limits: How long a call may take that starts now.
        ended: Called with each job that has come to its end, to store it; not with one that
            was cancelled, of which others know, nor with one that was left to its agent.
    """

    def __init__(
        self,
        *,
        store: IJobStore,
        hosts: IHosts,
        caller: ICaller,
        next_turn: NextTurn,
        now: Callable[[], float],
        limits: Callable[[Call], Limits],
        ended: Callable[[LivingJob, Ended], object],
    ) -> None:
        self._store = store
        self._hosts = hosts
        self._caller = caller
        self._now = now
        self._limits = limits
        self._ended = ended
        self._all: dict[LivingJob, None] = {}  # in the order of their starts
        #: Those of them that can't be left to their agents.
        self._bound: dict[LivingJob, None] = {}
        self._none_bound = Crowd(next_turn)

    # --- Carrying out ------------------------------------------------------------------

    def start(self, job: LivingJob, call: Call | None) -> None:
        """Carry out a job; its call is read from the store if it isn't at hand."""
        self._launch(job, self._carry_out(job, call))

    def go_on(self, job: LivingJob, found: LeftOver, started_at: float) -> None:
        """Go on with a job that its agent keeps for an earlier dispatcher."""
        self._launch(job, self._go_on(job, found, started_at))

    def _launch(self, job: LivingJob, work: Coroutine[Any, Any, Ending]) -> None:
        self._all[job] = None
        if not job.is_resumable:
            self._bound[job] = None
        job.run = Deferred.fromCoroutine(self._run(job, work))
        forget(job.run, _log, "job.bug")

    async def _run(self, job: LivingJob, work: Coroutine[Any, Any, Ending]) -> None:
        try:
            ending = await work
        except LeftRunning:
            _log.info("job.left_running", job=job.job_id)
            return
        except WireError as error:
            ending = Failed.because(error)
        except CancelledError:
            # If it was our cancel, the job has ended, and this comes too late to count.
            ending = Failed.because(SystemFailure("the dispatcher gave the call up"))
        except Exception:  # noqa: BLE001  # a bug of ours must not leave a job without an end
            _log.bug("job.bug", Failure(), job=job.job_id)
            ending = Failed.because(SystemFailure("the dispatcher failed; its log tells more"))
        ended = job.life.finished(self._now(), ending)
        if ended is not None:
            self._ended(job, ended)

    async def _carry_out(self, job: LivingJob, call: Call | None) -> Ending:
        if call is None:
            call = await self._store.call(job.job_id)
        host = await self._hosts.find(call.host)
        started = job.life.turn_came(self._now())
        if started is None:
            raise CancelledError
        _log.info("job.started", job=job.job_id, host=call.host, procedure=call.procedure)
        limits = self._limits(call)
        # Connecting goes on while the start is being stored; the request waits for it, so
        # a job whose start a crash made forgotten has certainly not run.
        clearance = self._store.add(job.job_id, started).addCallback(lambda _: job.stored())
        sink = JobSink(job, self._store, self._now, self._kept)
        return await self._caller.call(host, job.job_id, call, limits, sink, clearance)

    async def _go_on(self, job: LivingJob, found: LeftOver, started_at: float) -> Ending:
        try:
            host = await self._hosts.find(found.call.host)
        except UnknownHost as error:
            raise MissingResult(f"{error.message} any more, and it had the job") from None
        _log.info("job.resumed", job=job.job_id, host=found.call.host, records=found.records)
        elapsed = max(0.0, self._now() - started_at)
        sink = JobSink(job, self._store, self._now, self._kept)
        limits = self._limits(found.call)
        return await self._caller.resume(host, job.job_id, found.records, limits, elapsed, sink)

    def dismiss(self, job: LivingJob) -> None:
        """Let go of a job whose end is stored, if it ran, and let its agent know."""
        self._all.pop(job, None)
        self._caller.forget(job.job_id)
        self._unbind(job)

    # --- Before a stop -----------------------------------------------------------------

    @property
    def bound(self) -> int:
        """How many can't be left to their agents."""
        return len(self._bound)

    def none_bound(self) -> Deferred[None]:
        """Wait until all can be left; cancelling gives the waiting up."""
        return self._none_bound.wait()

    def leave(self) -> list[LivingJob]:
        """Leave to their agents those that they keep, and give the others."""
        return [
            job
            for job in list(self._all)
            if not (job.is_resumable and self._caller.leave(job.job_id))
        ]

    def _kept(self, job: LivingJob) -> None:
        """It is stored that the agent keeps the job."""
        job.is_resumable = True
        self._unbind(job)

    def _unbind(self, job: LivingJob) -> None:
        self._bound.pop(job, None)
        if not self._bound:
            self._none_bound.tell()
