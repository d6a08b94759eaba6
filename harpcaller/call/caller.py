"""Carrying one call out, from connecting to its ending."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import TimeoutError as EndpointTimeout
from twisted.internet.interfaces import IProtocol, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.call.context import AgentContext
from harpcaller.call.faults import fault_of
from harpcaller.call.protocol import AgentProtocol
from harpcaller.errors import (
    CallTimeout,
    InvalidRequest,
    NotSupported,
    StorageError,
    WireError,
)
from harpcaller.interfaces import Host, ICaller, ICallSink, Limits
from harpcaller.job.patience import Patience, seconds
from harpcaller.wire.agent import (
    ListProcedures,
    ProcedureCall,
    encode_list_request,
    encode_request,
)
from harpcaller.wire.client import Call
from harpcaller.wire.ending import Ending, Failed
from harpcaller.wire.procedures import ProcedureList


@implementer(ICaller)
class Caller:
    """Calls agents over TLS, a connection for each call.

    Args:
        context: The TLS of the trust now in force; may be replaced while running, calls under
            way keep theirs.
        connect_timeout_seconds: For connecting and handshake together; may be replaced.
        endpoint: Gives the place to connect to.
        clock: For timeouts.
    """

    #: How long an agent may take to tell its procedures, in seconds.
    LISTING_SECONDS = 5.0

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

    def call(
        self, host: Host, call: Call, limits: Limits, sink: ICallSink, clearance: Deferred[None]
    ) -> Deferred[Ending]:
        """Run one call on one agent."""
        return Deferred.fromCoroutine(self._call(host, call, limits, sink, clearance))

    async def _call(
        self, host: Host, call: Call, limits: Limits, sink: ICallSink, clearance: Deferred[None]
    ) -> Ending:
        patience = Patience(limits, self._clock.seconds())
        # Whether it is awaited or not, its failure is seen to.
        cleared: Deferred[WireError | None] = clearance.addErrback(_as_value)
        try:
            agent = await self._connect_in_time(host, patience)
        except WireError as fault:
            return Failed.because(fault)
        try:
            objection = await cleared
            if objection is not None:
                raise objection
            request = ProcedureCall(call.procedure, call.arguments, host.credentials)
            asked = agent.ask(encode_request(request), sink, patience)
        except BaseException:
            agent.abort()
            raise
        try:
            return await asked
        except StorageError:
            raise
        except WireError as fault:
            return Failed.because(fault)

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
        limit = min(self.connect_timeout_seconds, patience.limits.total_seconds)
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
