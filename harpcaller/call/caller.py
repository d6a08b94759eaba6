"""Carrying one call out, from connecting to its ending.

A call that its agent keeps may take several connections: when one breaks, the next goes on with
the first record that isn't there.  See ``doc/protocol``, "Resuming".
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import TimeoutError as EndpointTimeout
from twisted.internet.interfaces import IProtocol, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.call.context import AgentContext
from harpcaller.call.course import Course
from harpcaller.call.faults import fault_of
from harpcaller.call.protocol import AgentProtocol, Farewell
from harpcaller.errors import (
    CallTimeout,
    InvalidRequest,
    LeftRunning,
    MissingResult,
    NetworkError,
    NotSupported,
    StorageError,
    WireError,
)
from harpcaller.interfaces import Host, ICaller, ICallSink, Limits
from harpcaller.job.patience import Patience, seconds
from harpcaller.logs.events import EventLog, forget
from harpcaller.wire.agent import (
    Attach,
    ListProcedures,
    encode_attach,
    encode_list_request,
    encode_request,
)
from harpcaller.wire.client import Call, JobId
from harpcaller.wire.conversation import Conversation
from harpcaller.wire.ending import Ending, Failed
from harpcaller.wire.procedures import ProcedureList

_log = EventLog("call")
_T = TypeVar("_T")


@implementer(ICaller)
class Caller:
    """Calls agents over TLS, a connection for each call, or more if it breaks.

    Args:
        context: The TLS of the trust now in force; may be replaced while running, calls under
            way keep theirs.
        connect_timeout_seconds: For connecting and handshake together; may be replaced.
        endpoint: Gives the place to connect to.
        clock: For timeouts.
    """

    #: How long an agent may take to tell its procedures, in seconds.
    LISTING_SECONDS = 5.0
    #: How long it is tried to end a call that its agent keeps, in seconds.
    FAREWELL_SECONDS = 60.0

    def __init__(
        self,
        context: AgentContext,
        connect_timeout_seconds: float,
        endpoint: Callable[[Host, float], IStreamClientEndpoint],
        clock: IReactorTime,
    ) -> None:
        self.context = context
        self.connect_timeout_seconds = connect_timeout_seconds
        self._endpoint = endpoint
        self._clock = clock
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
        return ending

    async def _call(self, course: Course, call: Call, clearance: Deferred[None]) -> Ending:
        # Whether it is awaited or not, its failure is seen to.
        cleared: Deferred[WireError | None] = clearance.addErrback(_as_value)
        try:
            agent = await self._connect_in_time(course.host, course.patience)
        except WireError as fault:
            return Failed.because(fault)
        try:
            objection = await cleared
            if objection is not None:
                raise objection
            asked = self._ask(course, agent, encode_request(course.request(call)))
        except BaseException:
            agent.abort()
            raise
        try:
            ending = await asked
        except StorageError:
            raise
        except WireError as fault:
            if agent.is_broken:
                course.is_kept = True
                return await self._go_on(course, fault)
            return Failed.because(fault)
        return ending

    def _ask(self, course: Course, agent: AgentProtocol, request: bytes) -> Deferred[Ending]:
        course.agent = agent
        farewell = Farewell(course.cancel_line(), lambda: self._unheard(course))
        return agent.ask(request, course.talk, course.sink, course.patience, farewell)

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
        agent = await self._connect_in_time(course.host, course.patience)
        since = course.talk.records
        course.talk = Conversation(since)
        request = encode_attach(Attach(course.job_id, since, course.host.credentials))
        ending = await self._ask(course, agent, request)
        if isinstance(ending, Failed) and not course.talk.acknowledged:
            return Failed.because(
                MissingResult(f"the agent can't go on with the call: {ending.message}")
            )
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
                agent = await self._connect_in_time(course.host, patience)
                _ = await agent.cancel_job(course.cancel_line(), patience)
            except WireError as fault:
                _log.info("call.not_ended_yet", job=course.job_id, reason=fault.message)
            else:
                return
            await deferLater(self._clock, course.next_delay())

    def stop(self) -> None:
        """Give up what goes on without anybody waiting for it."""
        for saying in list(self._farewells):
            saying.cancel()

    # --- What there is to call ---------------------------------------------------------------

    def procedures(self, host: Host) -> Deferred[ProcedureList | Failed]:
        """Ask an agent which procedures it has."""
        return Deferred.fromCoroutine(self._procedures(host))

    async def _procedures(self, host: Host) -> ProcedureList | Failed:
        total = self.connect_timeout_seconds + self.LISTING_SECONDS
        patience = Patience(Limits(self.LISTING_SECONDS, total), self._clock.seconds())
        try:
            agent = await self._connect_in_time(host, patience)
            request = encode_list_request(ListProcedures(host.credentials))
            told = await agent.ask_for_list(request, patience)
        except WireError as fault:
            return Failed.because(fault)
        if isinstance(told, Failed) and told.type == InvalidRequest.wire_type:
            return Failed.because(NotSupported("the agent cannot list its procedures"))
        return told

    async def _connect_in_time(self, host: Host, patience: Patience) -> AgentProtocol:
        left = max(0.0, patience.due() - self._clock.seconds())
        limit = min(self.connect_timeout_seconds, left)
        connecting = Deferred.fromCoroutine(self._connect(host, limit))
        try:
            return await connecting.addTimeout(limit, self._clock)
        except DeferredTimeout:
            place = f"{host.address} port {host.port}"
            raise patience.exhausted(self._clock.seconds()) or CallTimeout(
                f"connecting to {place} took longer than {seconds(limit)}"
            ) from None

    async def _connect(self, host: Host, limit: float) -> AgentProtocol:
        tls = self.context.connection(host)
        agent = AgentProtocol(host, tls, self._clock)
        factory = Factory.forProtocol(lambda: agent)
        factory.noisy = False
        wrapped = TLSMemoryBIOFactory(tls, True, factory, self._clock)
        # Without the buffering of small writes: the request is the only one.
        wrapped.protocol = TLSMemoryBIOProtocol
        try:
            await _attempt(self._endpoint(host, limit).connect(wrapped))
        except CancelledError:
            raise
        except EndpointTimeout:
            raise DeferredTimeout from None
        except Exception:
            fault = fault_of(Failure(), host, handshake=False)
            if fault is None:
                raise
            raise fault from None
        await agent.secured
        return agent


def _not_reached(fault: WireError, error: CallTimeout) -> NetworkError:
    """Give the error of a call whose agent couldn't be reached again in time."""
    return NetworkError(
        f"the connection broke and couldn't be had again ({fault.message}), until {error.message}"
    )


def _attempt(connecting: Deferred[IProtocol]) -> Deferred[None]:
    """Wait for an endpoint; cancelled, this fails as everything else does.

    Endpoints have errors of their own for that, or say that a name isn't found.
    """
    given_up = False

    def give_up(_: Deferred[None]) -> None:
        nonlocal given_up
        given_up = True
        connecting.cancel()

    def done(result: IProtocol | Failure) -> None:
        if given_up:
            return
        if isinstance(result, Failure):
            attempt.errback(result)
        else:
            attempt.callback(None)

    attempt: Deferred[None] = Deferred(give_up)
    _ = connecting.addBoth(done)
    return attempt


def _as_value(failure: Failure) -> WireError:
    failure.trap(WireError)
    error = failure.value
    assert isinstance(error, WireError)
    return error
