"""Back-pressure: a control connection's two directions, each held when it is too full.

Both faces write through an :class:`Outlet` and begin nothing before there is room in it,
so that what waits for a slow client is one transport buffer and one item.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


class ControlTransport(Protocol):
    """What a control connection's transport has to be able to do."""

    def write(self, data: bytes) -> object: ...
    def registerProducer(self, producer: IPushProducer, streaming: bool) -> object: ...
    def unregisterProducer(self) -> object: ...
    def pauseProducing(self) -> object: ...
    def resumeProducing(self) -> object: ...
    def loseConnection(self) -> object: ...
    def abortConnection(self) -> object: ...


@implementer(IPushProducer)
class Outlet:
    """A connection, with the knowledge of whether it can take more.

    To the transport it is a producer that is paused and resumed; to a face it is what to
    write to.  It has one user, that waits for room once at a time.

    Args:
        transport: The connection; reading from it is paused here too.
    """

    def __init__(self, transport: ControlTransport) -> None:
        self._transport = transport
        self._full = False
        self._crowded = False
        self._reading = True
        self._waiter: Deferred[None] | None = None
        self._closing = False
        self.gone = False
        transport.registerProducer(self, True)

    def write(self, data: bytes) -> None:
        """Send; into the void once the connection is closed or gone."""
        if not self.gone and not self._closing:
            self._transport.write(data)

    async def room(self) -> None:
        """Wait until what was written has gone out; cancelled when the connection is lost."""
        if self._full and not self.gone:
            self._waiter = Deferred()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def crowded(self, crowded: bool) -> None:
        """Say whether the face has so much to do that it wants to hear no more for now."""
        self._crowded = crowded
        self._hold_or_read()

    def close(self) -> None:
        """Close once everything written is out."""
        if not self.gone and not self._closing:
            self._closing = True
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def abort(self) -> None:
        """Close at once."""
        if not self.gone:
            self._closing = True
            self._transport.abortConnection()

    def lost(self) -> None:
        """Take note that the connection is gone."""
        self.gone = True
        if self._waiter is not None:
            self._waiter.cancel()

    def _hold_or_read(self) -> None:
        # A client that asks on and never reads its answers would fill the buffer without end.
        want = not self._full and not self._crowded
        if want != self._reading and not self.gone and not self._closing:
            self._reading = want
            if want:
                self._transport.resumeProducing()
            else:
                self._transport.pauseProducing()

    # IPushProducer, for the transport

    def pauseProducing(self) -> None:
        self._full = True
        self._hold_or_read()

    def resumeProducing(self) -> None:
        self._full = False
        self._hold_or_read()
        if self._waiter is not None:
            self._waiter.callback(None)

    def stopProducing(self) -> None:
        """Nothing to do: the face is told of the loss, and stops."""
