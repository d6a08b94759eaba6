"""What bytes, ends and silences mean on a channel that an event loop feeds."""

from __future__ import annotations

import socket
from typing import Any, Coroutine

from harpcaller.client.asking import finished
from harpcaller.client.exceptions import CommunicationError
from harpcaller.client.pushed import PushedChannel
from tests.house import HouseCase


class FakeLine:
    """Does nothing but take notes; what happens during a wait is told beforehand.

    Attributes:
        events: What each wait brings, in this order; none left means that time runs out.
    """

    def __init__(self) -> None:
        self.ours, self.peer = socket.socketpair()
        self.events: list[Any] = []
        self.written = bytearray()
        self.held: list[bool] = []
        self.aborts = 0

    def here(self) -> bool:
        return True

    def write(self, data: bytes) -> None:
        self.written += data

    def hold(self, held: bool) -> None:
        self.held.append(held)

    def fileno(self) -> int:
        return self.ours.fileno()

    def abort(self) -> None:
        self.aborts += 1

    def wake(self) -> None:
        """Nobody waits while something happens here."""

    async def wait(self, seconds: float | None) -> bool:
        if not self.events:
            return False
        self.events.pop(0)()
        return True


class PushedTests(HouseCase):
    """A channel on a line that is none."""

    def setUp(self) -> None:
        super().setUp()
        self.line = FakeLine()
        self.addCleanup(self.line.ours.close)
        self.addCleanup(self.line.peer.close)
        self.channel = PushedChannel(self.line, "box:1", 5.0)

    def fails(self, work: Coroutine[Any, Any, Any]) -> str:
        """Run it; it must raise. Give the message."""
        return str(self.assertRaises(CommunicationError, finished, work))

    def test_bytes_both_ways(self) -> None:
        """They arrive, whenever they come."""
        finished(self.channel.send(b"ask"))
        self.assertEqual((b"ask", 3), (self.line.written, self.channel.sent))
        self.line.events.append(lambda: self.channel.arrived(b"answer"))
        self.assertEqual(b"answer", finished(self.channel.receive()))
        self.assertTrue(self.channel.received)

    def test_long_request_goes_in_pieces(self) -> None:
        """No more is given to a line that is full, and its time counts anew for each piece."""
        self.channel.filled()
        self.line.events.append(self.channel.drained)
        finished(self.channel.send(b"x" * 600_000))
        self.assertEqual(600_000, len(self.line.written))

    def test_line_that_stays_full(self) -> None:
        """What was not taken in time is told as such."""
        self.channel.filled()
        message = self.fails(self.channel.send(b"x" * 600_000))
        self.assertEqual("box:1: nothing taken within 5.0 s", message)
        self.assertEqual(256 * 1024, len(self.line.written))

    def test_peer_that_closes_in_the_middle(self) -> None:
        """What it said before is heard, as it may be the reason."""
        self.channel.filled()
        self.line.events.append(lambda: self.channel.arrived(b"too large"))
        self.line.events.append(lambda: self.channel.ended("reset"))
        finished(self.channel.send(b"x" * 600_000))
        self.assertTrue(self.channel.lost)
        self.assertEqual(b"too large", finished(self.channel.receive()))
        self.assertEqual("box:1: reset", self.fails(self.channel.receive()))

    def test_peer_that_is_gone(self) -> None:
        """Nothing can be sent; receiving gives the end."""
        self.channel.ended()
        self.channel.ended("and this is no news")
        self.assertEqual("box:1: the connection was closed", self.fails(self.channel.send(b"x")))
        self.assertEqual(0, self.channel.sent)
        self.assertEqual(b"", finished(self.channel.receive()))

    def test_silence(self) -> None:
        """It is told with the limit, and isn't a loss."""
        self.assertEqual("box:1: no answer within 5.0 s", self.fails(self.channel.receive()))
        self.assertFalse(self.channel.lost)

    def test_slow_reader_holds_the_peer_back(self) -> None:
        """What lies unread is bounded; taken, the peer may go on."""
        for _ in range(5):
            self.channel.arrived(b"x" * 500_000)
        self.assertEqual([True], self.line.held)
        self.assertEqual(2_500_000, len(finished(self.channel.receive())))
        self.assertEqual([True, False], self.line.held)

    def test_closed_while_somebody_waits(self) -> None:
        """Who waits is told; the line is closed once."""
        self.line.events.append(self.channel.close)
        message = self.fails(self.channel.receive())
        self.assertEqual("box:1: the connection was closed on this side", message)
        self.channel.close()
        self.assertEqual(message, self.fails(self.channel.receive()))
        self.assertEqual((1, False), (self.line.aborts, self.channel.quiet()))

    def test_quiet(self) -> None:
        """Only if nothing came, also not what the loop hasn't seen yet."""
        self.assertTrue(self.channel.quiet())
        self.line.peer.sendall(b"x")
        self.assertFalse(self.channel.quiet())
        self.line.ours.recv(1)
        self.assertTrue(self.channel.quiet())
        self.line.peer.close()
        self.assertFalse(self.channel.quiet())
        self.line.ours.close()
        self.assertFalse(self.channel.quiet())

    def test_quiet_with_something_unread(self) -> None:
        """An answer that nobody asked for isn't quiet."""
        self.channel.arrived(b"x")
        self.assertFalse(self.channel.quiet())
