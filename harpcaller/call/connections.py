"""Getting connections to agents: one that was kept, or a new one."""

from __future__ import annotations

from collections.abc import Callable, Collection

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import TimeoutError as EndpointTimeout
from twisted.internet.interfaces import IProtocol, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from harpcaller.call.context import AgentContext
from harpcaller.call.faults import fault_of
from harpcaller.call.pool import Pool, PoolSettings
from harpcaller.call.protocol import AgentProtocol
from harpcaller.errors import CallTimeout
from harpcaller.interfaces import Host
from harpcaller.job.patience import Patience, seconds


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

    async def new(self, host: Host, patience: Patience) -> AgentProtocol:
        """Connect.

        Raises:
            WireError: That can't be had, or not in time.
        """
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
        tls = self._context.connection(host)
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
