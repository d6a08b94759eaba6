"""A channel on which an event loop pushes bytes; asyncio's and Twisted's differ in its line only.

Here is what bytes, ends, limits and silences mean; nothing of an event loop.
"""

from __future__ import annotations

from typing import Protocol

from harpcaller.client.channel import has_news
from harpcaller.client.exceptions import CommunicationError

#: How much is given to the line at once: its limit of time counts for that much.
_PIECE_SIZE = 256 * 1024
#: So many bytes that nobody takes make the peer wait, until they are taken.
_MAX_UNREAD = 1024 * 1024


class Line(Protocol):
    """One connection of an event loop, and a way to wait for what happens on it."""

    def here(self) -> bool:
        """Tell whether the connection may be used by who asks."""

    def write(self, data: bytes) -> None:
        """Have bytes sent; :meth:`PushedChannel.filled` and ``drained`` tell of too many."""

    def hold(self, held: bool) -> None:
        """Stop taking bytes from the peer, or go on."""

    def fileno(self) -> int:
        """Give the socket's descriptor."""

    def abort(self) -> None:
        """Close it at once; the garbage collector may ask for it, in any thread."""

    def wake(self) -> None:
        """End the wait of who waits, if anybody does."""

    async def wait(self, seconds: float | None) -> bool:
        """Wait to be woken, and tell whether it was so; False when the time has run out."""


class PushedChannel:
    """Bytes to and from one peer, as :class:`~harpcaller.client.asking.Channel` describes it.

    Args:
        line: The connection.
        address: What error messages call the peer.
        read_timeout: The longest silence allowed in seconds, or None for any.
    """

    def __init__(self, line: Line, address: str, read_timeout: float | None) -> None:
        self._line = line
        self._address = address
        self._read_timeout = read_timeout
        self._unread = bytearray()
        self._held = False
        self._full = False
        self._closed = False
        self._reason = ""
        self.lost = False
        self.sent = 0
        self.received = False

    # --- What the event loop tells -----------------------------------------------------------

    def arrived(self, data: bytes) -> None:
        """Take what the peer sent."""
        self._unread += data
        if len(self._unread) > _MAX_UNREAD and not self._held:
            self._held = True
            self._line.hold(True)
        self._line.wake()

    def ended(self, reason: str = "") -> None:
        """Take note that the peer has closed, or why the connection broke."""
        if not self.lost:
            self.lost = True
            self._reason = reason
        self._line.wake()

    def filled(self) -> None:
        """Take note that the line wants no more to write just now."""
        self._full = True

    def drained(self) -> None:
        """Take note that it does again."""
        self._full = False
        self._line.wake()

    # --- What is asked of a channel ----------------------------------------------------------

    @property
    def ours(self) -> bool:
        """Whether the connection may be used here."""
        return self._line.here()

    def error(self, what: object) -> CommunicationError:
        """Make the error that says what is wrong with this peer."""
        return CommunicationError(f"{self._address}: {what}")

    async def send(self, data: bytes) -> None:
        """Send all of it, or as much as the peer takes before it closes.

        Raises:
            CommunicationError: Nothing could be sent, or it took too long.
        """
        self.sent = 0
        self.received = False
        rest = memoryview(data)
        while rest and not self.lost:
            self._line.write(bytes(rest[:_PIECE_SIZE]))
            self.sent += len(rest[:_PIECE_SIZE])
            rest = rest[_PIECE_SIZE:]
            while self._full and not self.lost:
                await self._wait("nothing taken")
        if not self.sent:
            raise self.error(self._reason or "the connection was closed")

    async def receive(self) -> bytes:
        """Wait for bytes.

        Returns:
            What came; nothing means that the peer closed.

        Raises:
            CommunicationError: The connection broke, or was silent too long.
        """
        while not (self._unread or self.lost):
            await self._wait("no answer")
        if not self._unread:
            if self._reason:
                raise self.error(self._reason)
            return b""
        data = bytes(self._unread)
        self._unread.clear()
        self.received = True
        if self._held and not self._closed:
            self._held = False
            self._line.hold(False)
        return data

    async def _wait(self, what: str) -> None:
        if self._closed:
            raise self.error("the connection was closed on this side")
        if not await self._line.wait(self._read_timeout):
            raise self.error(f"{what} within {self._read_timeout} s")
        if self._closed:
            raise self.error("the connection was closed on this side")

    def quiet(self) -> bool:
        """Tell whether the connection stands and nothing lies unread on it."""
        if self.lost or self._closed or self._unread:
            return False
        # The loop may not have looked since the peer closed, so we do.
        return not has_news(self._line.fileno())

    def close(self) -> None:
        """Close it; who waits on it hears so."""
        if not self._closed:
            self._closed = True
            self._line.abort()
            self._line.wake()
