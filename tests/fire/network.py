"""Connections in memory, on a clock: slow, cut, half closed, or with nobody at the other end.

Bytes arrive in pieces and some time after they were written, or as long as nobody takes them not at
all; then the writer's producer is paused.  Nobody hears of a lost connection from inside a call of
his own.  What an end belongs to may die: nothing of it moves any more, but what it had written
arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

Alive = Callable[[], bool]


def always() -> bool:
    """Say that what an end belongs to lives, whatever happens."""
    return True


@implementer(ITCPTransport, ISystemHandle, IConsumer, IPushProducer)
class End:
    """One end of a connection.

    Args:
        network: Where it is.
        address: Its own.
        alive: Whether what it belongs to lives.

    Attributes:
        closed_at: When its owner closed it, heard that it was closed, or died.
        trap: What happens the next time that something is written; None is nothing.
    """

    #: A registered producer is paused above this.
    ROOM = 4096

    def __init__(self, network: Network, address: IPv4Address, alive: Alive) -> None:
        self.protocol: IProtocol
        self.other: End
        self.closed_at: float | None = None
        self.trap: Callable[[], None] | None = None
        self._network = network
        self._address = address
        self._alive = alive
        self._outgoing = bytearray()
        self._moving = False
        self._paused = False
        self._closing = False
        self._closing_writes = False
        self._told_half = False
        self._gone = False
        self._is_forgotten = False
        self._producer: IPushProducer | None = None
        self._producer_paused = False

    # --- What the protocol calls ---------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._gone or self._closing or self._closing_writes or not self._alive():
            return
        self._outgoing += data
        if len(self._outgoing) > self.ROOM:
            self._pause_producer(True)
        self._move()
        trap, self.trap = self.trap, None
        if trap is not None:
            trap()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        if self._alive() and not self._closing:
            self._closing = True
            self._closed()
            self._move()

    def loseWriteConnection(self) -> None:
        if self._alive():
            self._closing_writes = True
            self._move()

    def abortConnection(self) -> None:
        if self._alive() and not self._gone:
            self._outgoing.clear()
            self._closed()
            if self._is_forgotten:
                self._gone = True
                self._network.later(self._tell_lost, Failure(ConnectionAborted()))
            else:
                self.lose(ConnectionAborted(), ConnectionLost())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self.other._move()

    def stopProducing(self) -> None:
        self.loseConnection()

    def getHost(self) -> IPv4Address:
        return self._address

    def getPeer(self) -> IPv4Address:
        return self.other._address

    def getHandle(self) -> object:
        return None

    def getTcpNoDelay(self) -> bool:
        return True

    def setTcpNoDelay(self, enabled: bool) -> None:
        pass

    def getTcpKeepAlive(self) -> bool:
        return True

    def setTcpKeepAlive(self, enabled: bool) -> None:
        pass

    # --- What the network does -----------------------------------------------------------

    def die(self) -> None:
        """Let its owner be dead: what it had written arrives, then the end."""
        self._closed()
        self._closing = True
        self._producer = None
        self._move()

    def forget(self) -> None:
        """Let nothing get through any more, in either direction, without anybody being told."""
        self._is_forgotten = self.other._is_forgotten = True

    def lose(self, here: Exception, there: Exception) -> None:
        """End the connection for both."""
        for end, reason in ((self, here), (self.other, there)):
            if not end._gone:
                end._gone = True
                self._network.later(end._tell_lost, Failure(reason))

    def _tell_lost(self, reason: Failure) -> None:
        self._closed()
        if not self._alive():
            return
        if self._producer is not None:
            self._producer.stopProducing()
        self.protocol.connectionLost(reason)

    def _closed(self) -> None:
        if self.closed_at is None:
            self.closed_at = self._network.clock.seconds()

    def _move(self) -> None:
        """See to it that something arrives at the other end, if there is something to."""
        idle = not (self._outgoing or self._closing or self._closing_writes)
        if not (self._moving or self._gone or idle):
            if self._outgoing and self.other._paused and not self.other._closing:
                return
            self._moving = True
            self._network.later(self._arrive)

    def _arrive(self) -> None:
        self._moving = False
        if self._gone or self._is_forgotten:
            return
        other = self.other
        if self._outgoing:
            if other._paused and not other._closing:
                return
            size = self._network.piece(len(self._outgoing))
            data = bytes(self._outgoing[:size])
            del self._outgoing[:size]
            if not other._closing and other._alive():
                other.protocol.dataReceived(data)
            if len(self._outgoing) <= self.ROOM:
                self._pause_producer(False)
            self._move()
        elif self._closing:
            self.lose(ConnectionDone(), ConnectionDone())
        elif self._closing_writes and not self._told_half:
            self._told_half = True
            if not other._alive():
                return
            if IHalfCloseableProtocol.providedBy(other.protocol):
                other.protocol.readConnectionLost()
            else:
                self.lose(ConnectionDone(), ConnectionDone())

    def _pause_producer(self, pause: bool) -> None:
        if self._producer is not None and pause is not self._producer_paused and self._alive():
            self._producer_paused = pause
            if pause:
                self._producer.pauseProducing()
            else:
                self._producer.resumeProducing()


class Network:
    """All connections.

    Args:
        clock: On which bytes travel.
        random: Decides how long, and in what pieces.

    Attributes:
        slowness: How long bytes travel at most, in seconds.
    """

    def __init__(self, clock: Clock, random: Random) -> None:
        self.clock = clock
        self.slowness = 0.002
        self._random = random
        self._count = 0

    def later(self, what: Callable[..., None], *arguments: object) -> None:
        """Let something happen after a while that belongs to nobody who could die."""
        self.clock.callLater(self._random.random() * self.slowness, what, *arguments)

    def piece(self, size: int) -> int:
        """Tell how many of so many bytes arrive at once: mostly all of them."""
        return self._random.randrange(size) + 1 if self._random.random() < 0.1 else size

    def join(
        self, near: IProtocol, far: IProtocol, near_alive: Alive, far_alive: Alive
    ) -> tuple[End, End]:
        """Make a connection; the far end hears of it first."""
        self._count += 1
        here = End(self, IPv4Address("TCP", "192.0.2.1", self._count), near_alive)
        there = End(self, IPv4Address("TCP", "192.0.2.2", self._count), far_alive)
        here.other, there.other = there, here
        here.protocol, there.protocol = near, far
        far.makeConnection(there)
        near.makeConnection(here)
        return here, there
