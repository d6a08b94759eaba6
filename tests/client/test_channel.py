"""A socket that tells of every failure in the library's own words."""

from __future__ import annotations

import socket
import threading

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.client.asking import finished
from harpcaller.client.channel import Channel, shown_address, why
from harpcaller.client.exceptions import CommunicationError


class ChannelTests(SynchronousTestCase):
    """One end of a pair of sockets."""

    def setUp(self) -> None:
        ours, self.peer = socket.socketpair()
        self.addCleanup(self.peer.close)
        self.channel = Channel(ours, "box:1", 0.1)
        self.addCleanup(self.channel.close)

    def send(self, data: bytes) -> None:
        """Send, as a blocking program does."""
        finished(self.channel.send(data))

    def receive(self) -> bytes:
        """Receive likewise."""
        return finished(self.channel.receive())

    def test_bytes_both_ways(self) -> None:
        """They arrive."""
        self.send(b"ask")
        self.assertEqual((b"ask", 3), (self.peer.recv(10), self.channel.sent))
        self.peer.sendall(b"answer")
        self.assertEqual(b"answer", self.receive())
        self.assertTrue(self.channel.received)

    def test_peer_closed(self) -> None:
        """Receiving gives nothing, sending fails, and the connection is known to be lost."""
        self.peer.close()
        self.assertFalse(self.channel.quiet())
        self.assertEqual(b"", self.receive())
        self.assertTrue(self.channel.lost)
        error = self.assertRaises(CommunicationError, self.send, b"ask")
        self.assertEqual("box:1: Broken pipe", str(error))

    def test_reset(self) -> None:
        """The peer closed without reading: told by the system's words."""
        self.send(b"x")
        self.peer.close()
        error = self.assertRaises(CommunicationError, self.receive)
        self.assertEqual("box:1: Connection reset by peer", str(error))
        self.assertTrue(self.channel.lost)

    def test_peer_closed_in_the_middle(self) -> None:
        """What it said before is still heard: it may be the reason."""
        received = threading.Thread(target=self.refuse)
        received.start()
        self.send(b"x" * 10_000_000)
        received.join(60)
        self.assertEqual((True, True), (self.channel.lost, 0 < self.channel.sent < 10_000_000))
        self.assertEqual(b"too large", self.receive())

    def refuse(self) -> None:
        """Take a little, and close with a word."""
        self.peer.recv(1)
        self.peer.sendall(b"too large")
        self.peer.close()

    def test_silence(self) -> None:
        """It is told with the limit, and isn't a loss."""
        error = self.assertRaises(CommunicationError, self.receive)
        self.assertEqual("box:1: no answer within 0.1 s", str(error))
        self.assertFalse(self.channel.lost)

    def test_peer_that_takes_nothing(self) -> None:
        """Likewise."""
        error = self.assertRaises(CommunicationError, self.send, b"x" * 10_000_000)
        self.assertEqual("box:1: nothing taken within 0.1 s", str(error))

    def test_quiet(self) -> None:
        """A connection with something unread on it isn't."""
        self.assertTrue(self.channel.quiet())
        self.peer.sendall(b"x")
        self.assertFalse(self.channel.quiet())

    def test_quiet_on_a_broken_connection(self) -> None:
        """A reset is no silence."""
        self.send(b"x")
        self.peer.close()
        self.assertFalse(self.channel.quiet())

    def test_looking_leaves_the_timeout_as_it_was(self) -> None:
        """After a look the next wait waits again."""
        self.channel.quiet()
        error = self.assertRaises(CommunicationError, self.receive)
        self.assertIn("within 0.1 s", str(error))


class WordsTests(SynchronousTestCase):
    """How things are shown."""

    def test_addresses(self) -> None:
        """An IPv6 address goes in brackets."""
        self.assertEqual(("box:1", "[::1]:1"), (shown_address("box", 1), shown_address("::1", 1)))

    def test_reasons(self) -> None:
        """The system's words, or the error's, or at least its name."""
        self.assertEqual(
            ["No such file", "x", "OSError"],
            [why(OSError(2, "No such file")), why(ValueError("x")), why(OSError())],
        )
