"""Carrying one call out, from connecting to its ending.

A call that its agent keeps may take several connections: when one breaks, the next goes on with
the first record that isn't there.  And a connection may carry several calls, one after the other.
See ``doc/protocol``, "Resuming" and "Kept connections".
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.call.connections import Connections
from harpcaller.call.course import Course
from harpcaller.call.exchange import Farewell, Loss
from harpcaller.call.protocol import AgentProtocol
from harpcaller.errors import (
    CallTimeout,
    InvalidRequest,
    LeftRunning,
    NetworkError,
    NotSupported,
    StorageError,
    WireError,
)
from harpcaller.interfaces import Host, ICaller, ICallSink, Limits
from harpcaller.job.patience import Patience
from harpcaller.logs.events import EventLog, forget
from harpcaller.wire.agent import (
    ListProcedures,
    encode_list_request,
)
from harpcaller.wire.client import Call, JobId
from harpcaller.wire.conversation import Conversation
from harpcaller.wire.ending import Ending, Failed
from harpcaller.wire.procedures import ProcedureList

_log = EventLog("call")
_T = TypeVar("_T")


@implementer(ICaller)
class Caller:
    """Calls agents over TLS.

    Args:
        connections: Where connections come from.
        clock: For timeouts.
        steady: A clock that nobody sets, in seconds; None is ``clock``.
    """

    #: How long an agent may take to tell its procedures, in seconds.
    LISTING_SECONDS = 5.0
    #: How long it is tried to end a call that its agent keeps, in seconds.
    FAREWELL_SECONDS = 60.0

    def __init__(
        self,
        connections: Connections,
        clock: IReactorTime,
        steady: Callable[[], float] | None = None,
    ) -> None:
        self._connections = connections
        self._clock = clock
        self._steady = steady or clock.seconds
        self._courses: dict[JobId, Course] = {}
        #: Where agents are that have kept a call.
        self._keepers: dict[tuple[str, int], None] = {}
        self._farewells: dict[Deferred[None], None] = {}

    # --- Calls -------------------------------------------------------------------------------

    def call(
        self,
        host: Host,
        job_id: JobId,
        call: Call,
        limits: Limits,
        sink: ICallSink,
        clearance: Deferred[None],
    ) -> Deferred[Ending]:
        """Run one call on one agent."""
        course = Course(host, job_id, sink, Patience(limits, self._clock.seconds()))
        return self._carry(course, self._call(course, call, clearance))

    def resume(
        self,
        host: Host,
        job_id: JobId,
        since: int,
        limits: Limits,
        elapsed_seconds: float,
        sink: ICallSink,
    ) -> Deferred[Ending]:
        """Go on with a call that its agent keeps."""
        now = self._clock.seconds()
        # How long the agent was silent while nobody listened isn't known.
        patience = Patience(limits, now - elapsed_seconds, heard_at=now)
        course = Course(host, job_id, sink, patience, Conversation(since), is_kept=True)
        return self._carry(course, self._go_on(course, None))

    def leave(self, job_id: JobId) -> bool:
        """Let go of a call that its agent keeps, without ending it."""
        course = self._courses.get(job_id)
        if course is None or course.work is None or course.work.called:
            return False
        if not (course.is_kept or course.talk.resumable):
            return False
        course.is_left = True
        if course.agent is not None:
            course.agent.leave()
        course.work.cancel()
        return True

    def forget(self, job_id: JobId) -> None:
        """Hear that a call's end is stored."""
        course = self._courses.pop(job_id, None)
        if course is not None and course.agent is not None:
            course.agent.confirm()
            self._connections.release(course.agent)

    def _carry(self, course: Course, work: Coroutine[Any, Any, Ending]) -> Deferred[Ending]:
        self._courses[course.job_id] = course
        course.work = Deferred.fromCoroutine(self._see_through(course, work))
        return course.work

    async def _see_through(self, course: Course, work: Coroutine[Any, Any, Ending]) -> Ending:
        try:
            ending = await work
        except BaseException as error:
            del self._courses[course.job_id]
            if not isinstance(error, CancelledError):
                raise
            if course.is_left:
                raise LeftRunning("the agent keeps the call") from None
            if course.is_kept and course.agent is None:
                self._say_farewell(course)
            raise
        if course.talk.acknowledged and course.talk.resumable:
            self._keepers[course.host.address, course.host.port] = None
        else:
            # Its agent waits for no word.
            del self._courses[course.job_id]
            if course.agent is not None:
                self._connections.release(course.agent)
        return ending

    async def _call(self, course: Course, call: Call, clearance: Deferred[None]) -> Ending:
        # Whether it is awaited or not, its failure is seen to.
        cleared: Deferred[WireError | None] = clearance.addErrback(_as_value)
        course.call = call
        agent = self._connections.kept(course.host)
        try:
            agent = agent or await self._connections.new(course.host, course.patience)
        except WireError as fault:
            return Failed.because(fault)
        try:
            objection = await cleared
            if objection is not None:
                raise objection
        except BaseException:
            self._connections.unused(agent)
            raise
        return await self._begin(course, agent)

    async def _begin(self, course: Course, agent: AgentProtocol) -> Ending:
        """Ask for the call, on another connection if a kept one turns out to be closed."""
        while True:
            try:
                if agent.was_kept and not agent.is_open:
                    # Nothing was sent.
                    agent.abort()
                else:
                    return await self._ask(course, agent, course.begin(self._steady()))
            except StorageError:
                raise
            except WireError as fault:
                if agent.is_broken:
                    course.is_kept = True
                    return await self._go_on(course, fault)
                if agent.loss is None:
                    return Failed.because(fault)
                self._connections.distrust(course.host)
                if agent.loss is Loss.NOT_KNOWN:
                    return await self._find_out(course, agent, fault)
            course.agent = None
            try:
                agent = await self._connections.new(course.host, course.patience)
            except WireError as fault:
                return Failed.because(fault)

    async def _find_out(self, course: Course, agent: AgentProtocol, fault: WireError) -> Ending:
        """Go on with a call of which nobody knows whether the agent has heard of it."""
        _log.info("call.not_acknowledged", job=course.job_id, reason=fault.message)
        if not agent.resumes:
            return Failed.because(fault)
        course.is_kept = course.is_unsure = True
        return await self._go_on(course, None)

    def _ask(self, course: Course, agent: AgentProtocol, request: bytes) -> Deferred[Ending]:
        course.agent = agent
        farewell = Farewell(course.cancel_line, lambda: self._unheard(course))
        limit = self._connections.connect_timeout_seconds if agent.was_kept else None
        return agent.ask(request, course.talk, course.sink, course.patience, farewell, limit)

    # --- Going on after a break ----------------------------------------------------------------

    async def _go_on(self, course: Course, fault: WireError | None) -> Ending:
        """Come back for a call as often as need be, while the patience lasts."""
        while True:
            course.agent = None
            if fault is not None:
                _log.info("call.broken", job=course.job_id, reason=fault.message)
                await self._wait(course)
            error = course.patience.exhausted(self._clock.seconds())
            if error is not None:
                self._say_farewell(course)
                return Failed.because(error if fault is None else _not_reached(fault, error))
            try:
                return await self._attach(course)
            except StorageError:
                raise
            except WireError as found:
                if course.agent is not None and not isinstance(found, NetworkError):
                    # It was reached, and this is of what was said.
                    return Failed.because(found)
                fault = found

    async def _attach(self, course: Course) -> Ending:
        agent = await self._connections.new(course.host, course.patience)
        if course.is_unsure and course.talk.acknowledged:
            course.is_unsure = False
        ending = await self._ask(course, agent, course.go_on(self._steady()))
        if isinstance(ending, Failed) and not course.talk.acknowledged:
            return course.refused(ending)
        return ending

    async def _wait(self, course: Course) -> None:
        left = course.patience.due() - self._clock.seconds()
        await deferLater(self._clock, max(0.0, min(course.next_delay(), left)))

    # --- Ending what can't be told on its own connection -----------------------------------------

    def _unheard(self, course: Course) -> None:
        # Others end a call when its connection closes.
        place = course.host.address, course.host.port
        if course.is_kept or course.talk.resumable or place in self._keepers:
            self._say_farewell(course)

    def _say_farewell(self, course: Course) -> None:
        saying = Deferred.fromCoroutine(self._cancel_job(course))
        self._farewells[saying] = None
        forget(saying.addBoth(self._said, saying), _log, "call.farewell_failed")

    def _said(self, result: _T, saying: Deferred[None]) -> _T:
        del self._farewells[saying]
        return result

    async def _cancel_job(self, course: Course) -> None:
        limits = Limits(self.FAREWELL_SECONDS, self.FAREWELL_SECONDS)
        patience = Patience(limits, self._clock.seconds())
        while patience.exhausted(self._clock.seconds()) is None:
            try:
                agent = await self._connections.new(course.host, patience)
                _ = await agent.cancel_job(course.cancel_line(), patience)
            except WireError as fault:
                _log.info("call.not_ended_yet", job=course.job_id, reason=fault.message)
            else:
                return
            await deferLater(self._clock, course.next_delay())

    def stop(self) -> None:
        """Give up what goes on without anybody waiting for it, and what waits for calls."""
        for saying in list(self._farewells):
            saying.cancel()
        self._connections.pool.stop()

    # --- What there is to call ---------------------------------------------------------------

    def procedures(self, host: Host) -> Deferred[ProcedureList | Failed]:
        """Ask an agent which procedures it has."""
        return Deferred.fromCoroutine(self._procedures(host))

    async def _procedures(self, host: Host) -> ProcedureList | Failed:
        total = self._connections.connect_timeout_seconds + self.LISTING_SECONDS
        patience = Patience(Limits(self.LISTING_SECONDS, total), self._clock.seconds())
        try:
            agent = await self._connections.new(host, patience)
            request = encode_list_request(ListProcedures(host.credentials))
            told = await agent.ask_for_list(request, patience)
        except WireError as fault:
            return Failed.because(fault)
        if isinstance(told, Failed) and told.type == InvalidRequest.wire_type:
            return Failed.because(NotSupported("the agent cannot list its procedures"))
        return told


def _not_reached(fault: WireError, error: CallTimeout) -> NetworkError:
    """Give the error of a call whose agent couldn't be reached again in time."""
    return NetworkError(
        f"the connection broke and couldn't be had again ({fault.message}), until {error.message}"
    )


def _as_value(failure: Failure) -> WireError:
    failure.trap(WireError)
    error = failure.value
    assert isinstance(error, WireError)
    return error
