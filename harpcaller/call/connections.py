"""Getting connections to agents: one that was kept, or a new one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import TimeoutError as EndpointTimeout
from twisted.internet.interfaces import (
    IProtocol,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from harpcaller.call.context import AgentContext, AgentTLS
from harpcaller.call.faults import fault_of
from harpcaller.call.pool import Pool, PoolSettings
from harpcaller.call.protocol import AgentProtocol
from harpcaller.errors import CallTimeout
from harpcaller.interfaces import Host
from harpcaller.job.patience import Patience, seconds
from harpcaller.tls import UnbufferedTLS


class Connections:
    """Where connections come from, and go to after a call.

    Args:
        context: The TLS of the trust now in force.
        connect_timeout_seconds: For connecting and handshake together; may be replaced.
        endpoint: Gives the place to connect to.
        clock: For timeouts.
        settings: How many connections wait for another call, and how long.
    """

    def __init__(
        self,
        context: AgentContext,
        connect_timeout_seconds: float,
        endpoint: Callable[[Host, float], IStreamClientEndpoint],
        clock: IReactorTime,
        settings: PoolSettings,
    ) -> None:
        self.connect_timeout_seconds = connect_timeout_seconds
        self.pool = Pool(settings, clock)
        self._context = context
        self._endpoint = endpoint
        self._clock = clock

    @property
    def context(self) -> AgentContext:
        """The TLS of the trust now in force; connections of others don't wait for calls."""
        return self._context

    @context.setter
    def context(self, context: AgentContext) -> None:
        self._context = context
        self.pool.drop(lambda key: key[0] is not context)

    def kept(self, host: Host) -> AgentProtocol | None:
        """Give a connection that waits for a call to this host, if there is one."""
        while (agent := self.pool.take(self._context, host)) is not None:
            if not agent.tls.has_expired():
                return agent
            agent.close()
        return None

    def release(self, agent: AgentProtocol) -> None:
        """Take a connection after its call: it waits for another, or is closed."""
        if agent.can_rest and agent.tls.context is self._context and not agent.tls.has_expired():
            self.pool.put(self._context, agent)
        else:
            agent.close()

    def unused(self, agent: AgentProtocol) -> None:
        """Take a connection back that nothing was asked on."""
        if agent.was_kept and agent.is_open and agent.tls.context is self._context:
            self.pool.put(self._context, agent)
        else:
            agent.abort()

    def distrust(self, host: Host) -> None:
        """Close those that wait for this host: one of them was found dead."""
        self.pool.drop(lambda key: key[1] == host)

    def keep_only(self, hosts: Collection[Host]) -> None:
        """Close those that wait for hosts that aren't what they were, or aren't there."""
        self.pool.drop(lambda key: key[1] not in hosts)

    def new(self, host: Host, patience: Patience) -> Deferred[AgentProtocol]:
        """Connect.

        Fails with a WireError if that can't be had, or not in time.  Cancelling gives it up.
        """
        left = max(0.0, patience.due() - self._clock.seconds())
        limit = min(self.connect_timeout_seconds, left)
        attempt = _Attempt(self._context.connection(host), host, patience, limit, self._clock)
        attempt.begin(self._endpoint(host, limit))
        return attempt.outcome


class _Attempt:
    """One connection on its way: to be made, and to be secured.

    Attributes:
        outcome: Of it.
    """

    def __init__(
        self, tls: AgentTLS, host: Host, patience: Patience, limit: float, clock: IReactorTime
    ) -> None:
        self.outcome: Deferred[AgentProtocol] = Deferred(self._given_up)
        self._agent = AgentProtocol(host, tls, clock)
        self._host = host
        self._patience = patience
        self._limit = limit
        self._clock = clock
        self._alarm = clock.callLater(limit, self._took_too_long)
        # Of what is waited for now.
        self._step: Deferred[Any] | None = None

    def begin(self, endpoint: IStreamClientEndpoint) -> None:
        """Connect."""
        agent = self._agent
        factory = Factory.forProtocol(lambda: agent)
        factory.noisy = False
        wrapped = TLSMemoryBIOFactory(agent.tls, True, factory, self._clock)
        # The request is the only write.
        wrapped.protocol = UnbufferedTLS
        try:
            self._step = endpoint.connect(wrapped)
        except Exception:  # noqa: BLE001  # what a name can't be, say
            self._not_connected(Failure())
            return
        _ = self._step.addCallbacks(self._connected, self._not_connected)

    def _connected(self, _: IProtocol) -> None:
        if not self.outcome.called:
            self._step = self._agent.secured.addCallbacks(self._secured, self._fail)

    def _not_connected(self, failure: Failure) -> None:
        # Endpoints have errors of their own for being cancelled, or say that a name isn't found.
        if self.outcome.called:
            return
        if failure.check(EndpointTimeout):
            self._took_too_long()
            return
        fault = fault_of(failure, self._host, handshake=False)
        self._fail(failure if fault is None else Failure(fault))

    def _secured(self, _: None) -> None:
        if not self.outcome.called:
            self._stop_watching()
            self.outcome.callback(self._agent)

    def _fail(self, failure: Failure) -> None:
        if not self.outcome.called:
            self._stop_watching()
            self.outcome.errback(failure)

    def _took_too_long(self) -> None:
        place = f"{self._host.address} port {self._host.port}"
        late = self._patience.exhausted(self._clock.seconds()) or CallTimeout(
            f"connecting to {place} took longer than {seconds(self._limit)}"
        )
        self._fail(Failure(late))
        self._stop_step()

    def _given_up(self, outcome: Deferred[AgentProtocol]) -> None:
        self._stop_watching()
        outcome.errback(CancelledError())
        self._stop_step()

    def _stop_step(self) -> None:
        step, self._step = self._step, None
        if step is not None:
            step.cancel()

    def _stop_watching(self) -> None:
        if self._alarm.active():
            self._alarm.cancel()
