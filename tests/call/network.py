"""A network in memory that behaves as TCP does where a caller can tell.

Bytes move only in :meth:`MemoryNetwork.settle`; a receiver that paused gets none, and then
its peer's producer is paused; aborting throws away what is under way; and nobody hears of a
lost connection from inside his own call.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IProtocol,
    IProtocolFactory,
    IPushProducer,
    IStreamClientEndpoint,
    ITCPTransport,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.interfaces import Host

_SERVER = IPv4Address("TCP", "192.0.2.1", 4306)
_CLIENT = IPv4Address("TCP", "192.0.2.2", 50000)


@implementer(ITCPTransport, IConsumer, IPushProducer)
class MemoryTransport:
    """One end of a connection."""

    #: A read of the real reactor gives no more than this.
    READ_SIZE = 64 * 1024
    #: A registered producer is paused above this.
    BUFFER_SIZE = 64 * 1024

    def __init__(self, protocol: IProtocol, clock: Clock, host: IPv4Address, peer: IPv4Address):
        self.protocol = protocol
        self.other: MemoryTransport
        self.outgoing = bytearray()
        self.sent = 0
        self.paused = False
        self.disconnecting = False
        self.gone = False
        self._clock = clock
        self._host = host
        self._peer = peer
        self._producer: IPushProducer | None = None
        self._producer_paused = False

    # --- What the protocol calls -----------------------------------------------------------

    def write(self, data: bytes) -> None:
        if not self.disconnecting:
            self.outgoing += data
            self.sent += len(data)
            if len(self.outgoing) > self.BUFFER_SIZE:
                self._pause_producer(True)

    def writeSequence(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def loseConnection(self) -> None:
        self.disconnecting = True

    def loseWriteConnection(self) -> None:
        raise AssertionError("nobody should do this")

    def abortConnection(self) -> None:
        if not self.gone:
            self.disconnecting = True
            self.outgoing.clear()
            self.other.outgoing.clear()
            self.close(ConnectionLost(), ConnectionLost())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        self.loseConnection()

    def getHost(self) -> IPv4Address:
        return self._host

    def getPeer(self) -> IPv4Address:
        return self._peer

    def getTcpNoDelay(self) -> bool:
        return False

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def getTcpKeepAlive(self) -> bool:
        return False

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    # --- What the network does -------------------------------------------------------------

    def deliver(self) -> bool:
        """Give the other end what it reads at once; tells whether anything happened."""
        if self.gone:
            return False
        if self.outgoing:
            if self.other.paused:
                return False
            data = bytes(self.outgoing[: self.READ_SIZE])
            del self.outgoing[: self.READ_SIZE]
            self.other.protocol.dataReceived(data)
            if len(self.outgoing) <= self.BUFFER_SIZE:
                self._pause_producer(False)
            return True
        if self.disconnecting and not self.other.paused:
            self.close(ConnectionDone(), ConnectionDone())
            return True
        return False

    def close(self, here: Exception, there: Exception) -> None:
        """End the connection for both."""
        for end, reason in ((self, here), (self.other, there)):
            end.gone = end.disconnecting = True
            self._clock.callLater(0, end.protocol.connectionLost, Failure(reason))

    def _pause_producer(self, pause: bool) -> None:
        if self._producer is not None and pause is not self._producer_paused:
            self._producer_paused = pause
            if pause:
                self._producer.pauseProducing()
            else:
                self._producer.resumeProducing()


@implementer(IStreamClientEndpoint)
class _Attempt:
    """Somebody who wants to connect."""

    def __init__(self, network: MemoryNetwork, host: Host) -> None:
        self.network = network
        self.host = host
        self.factory: IProtocolFactory
        self.connected: Deferred[IProtocol]
        # As Twisted's own endpoints do it.
        self.cancelled_as: Exception = ConnectingCancelledError(_SERVER)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        self.factory = protocolFactory
        self.connected = Deferred(self._cancelled)
        self.network.attempts.append(self)
        return self.connected

    def _cancelled(self, connected: Deferred[IProtocol]) -> None:
        self.network.attempts.remove(self)
        connected.errback(self.cancelled_as)


class MemoryNetwork:
    """Connections of callers to one server.

    Attributes:
        attempts: Those who are connecting.
        connections: The callers' ends of the connections so far.
    """

    def __init__(self, server: IProtocolFactory, clock: Clock) -> None:
        self.server = server
        self.clock = clock
        self.attempts: list[_Attempt] = []
        self.connections: list[MemoryTransport] = []
        self.hosts: list[Host] = []

    def endpoint(self, host: Host, _timeout_seconds: float) -> IStreamClientEndpoint:
        """Make the endpoint that a caller asks for."""
        self.hosts.append(host)
        return _Attempt(self, host)

    def accept(self) -> None:
        """Let the oldest attempt succeed."""
        attempt = self.attempts.pop(0)
        near = attempt.factory.buildProtocol(_SERVER)
        far = self.server.buildProtocol(_CLIENT)
        assert near is not None
        assert far is not None
        caller = MemoryTransport(near, self.clock, _CLIENT, _SERVER)
        agent = MemoryTransport(far, self.clock, _SERVER, _CLIENT)
        caller.other, agent.other = agent, caller
        self.connections.append(caller)
        far.makeConnection(agent)
        near.makeConnection(caller)
        attempt.connected.callback(near)

    def refuse(self, reason: Exception) -> None:
        """Let the oldest attempt fail."""
        self.attempts.pop(0).connected.errback(Failure(reason))

    def settle(self) -> None:
        """Move bytes and time's zero-length steps until nothing moves any more."""
        for _ in range(10_000):
            due = [
                call
                for call in self.clock.getDelayedCalls()
                if call.getTime() <= self.clock.seconds()
            ]
            self.clock.advance(0)
            moved = [end.deliver() for near in self.connections for end in (near, near.other)]
            if not (due or any(moved)):
                return
        raise AssertionError("it goes on for ever")

    def connect(self) -> None:
        """Let everybody connect who wants to."""
        while self.attempts:
            self.accept()
        self.settle()
