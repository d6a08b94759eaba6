"""Network process and monitor in one process, joined in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import cast

import attrs
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from harpcaller.agent.separation.channel import Channels


@attrs.define
class Wire:
    """Delivers what was written, in order, and never while somebody is busy."""

    waiting: deque[Callable[[], None]] = attrs.Factory(deque)
    is_busy: bool = False

    def later(self, work: Callable[[], None]) -> None:
        self.waiting.append(work)
        if not self.is_busy:
            self.hold(lambda: None)

    def hold(self, work: Callable[[], None]) -> None:
        """Do something, and deliver only then what is written meanwhile."""
        if self.is_busy:
            work()
            return
        self.is_busy = True
        try:
            work()
            while self.waiting:
                self.waiting.popleft()()
        finally:
            self.is_busy = False


class End(StringTransport):
    """One end of a channel."""

    def __init__(self, wire: Wire, protocol: Protocol) -> None:
        super().__init__()
        self.wire = wire
        self.protocol = protocol
        self.other: End | None = None
        self.is_open = True
        self.is_held = False
        self.held: list[Callable[[], None]] = []

    def write(self, data: bytes) -> None:
        if self.is_open and self.other is not None:
            self.wire.later(lambda: self.other_end().hear(data))

    def other_end(self) -> End:
        assert self.other is not None
        return self.other

    def hear(self, data: bytes) -> None:
        if self.is_held:
            self.held.append(lambda: self.hear(data))
        elif self.is_open:
            self.protocol.dataReceived(data)

    def loseConnection(self) -> None:
        if self.is_open:
            self.wire.later(self.other_end().close)
            self.wire.later(self.close)

    abortConnection = loseConnection

    def close(self) -> None:
        if self.is_held:
            self.held.append(self.close)
        elif self.is_open:
            self.is_open = False
            self.wire.later(self.other_end().close)
            self.protocol.connectionLost(Failure(connectionDone.value))

    def pauseProducing(self) -> None:
        self.is_held = True
        other = self.other_end()
        if other.producer is not None:
            cast(IPushProducer, other.producer).pauseProducing()

    def resumeProducing(self) -> None:
        self.is_held = False
        held, self.held = self.held, []
        for work in held:
            self.wire.later(work)
        other = self.other_end()
        if other.producer is not None:
            cast(IPushProducer, other.producer).resumeProducing()

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        super().registerProducer(producer, streaming)
        if self.other_end().is_held:
            producer.pauseProducing()


def opener(channels: Channels, wire: Wire) -> Callable[[Protocol], None]:
    """Make what opens channels of the network process to this monitor."""

    def open_channel(question: Protocol) -> None:
        channel = channels.take()
        ours, theirs = End(wire, question), End(wire, channel or Protocol())
        ours.other, theirs.other = theirs, ours
        question.makeConnection(ours)
        theirs.protocol.makeConnection(theirs)
        if channel is None:
            theirs.loseConnection()

    return open_channel
