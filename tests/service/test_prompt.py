"""What is written to a client leaves at once, and in order."""

from __future__ import annotations

import socket
from typing import Any, cast

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactor
from twisted.python.failure import Failure

from harpcaller.service.prompt import PromptServer
from tests.house import HouseCase

#: More than a socket takes.
MUCH = b"".join(b"%07d\n" % number for number in range(128 * 1024))


class _Producer:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class _Answering(Protocol):
    """Answers each line."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        for _ in data.splitlines():
            self.transport.write(b"answer\n")


class _Noting(socket.socket):
    """Notes what it is given to send."""

    def __init__(self, other: socket.socket) -> None:
        super().__init__(fileno=other.detach())
        self.sent: list[bytes] = []

    def send(self, data: Any, flags: int = 0, /) -> int:
        self.sent.append(bytes(data))
        return super().send(data, flags)


class PromptTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        here, self.peer = socket.socketpair()
        self.socket = _Noting(here)
        for each in (self.socket, self.peer):
            each.setblocking(False)
            self.addCleanup(each.close)
        self.reactor = MemoryReactor()
        protocol = _Answering()
        self.connection = PromptServer(
            self.socket, protocol, ("", 0), cast(Any, None), 0, self.reactor
        )
        protocol.makeConnection(self.connection)

    def waits(self) -> bool:
        """Tell whether the reactor is asked to say when the socket takes more."""
        return self.connection in self.reactor.getWriters()

    def received(self) -> bytes:
        """Read what has come."""
        found = []
        try:
            while piece := self.peer.recv(1024 * 1024):
                found.append(piece)
        except BlockingIOError:
            pass
        return b"".join(found)

    def take_the_rest(self) -> bytes:
        """Read, and let the reactor write, until nothing waits."""
        found = [self.received()]
        while self.waits():
            self.assertIsNone(self.connection.doWrite())
            found.append(self.received())
        return b"".join(found)

    def test_short(self) -> None:
        """It is there before the reactor's next turn, which isn't asked for anything."""
        self.connection.write(b"answer\n")
        self.assertEqual((b"answer\n", False), (self.received(), self.waits()))

    def test_read_together(self) -> None:
        """Answers to what came together leave together, in order."""
        self.peer.send(b"question\n" * 3)
        self.connection.doRead()
        self.connection.write(b"more\n")
        self.assertEqual([b"answer\n" * 3, b"more\n"], self.socket.sent)

    def test_more_than_the_socket_takes(self) -> None:
        """The rest goes out by and by; what is written meanwhile stands behind it."""
        self.connection.write(MUCH)
        self.assertTrue(self.waits())
        self.connection.write(b"more\n")
        self.assertEqual(MUCH + b"more\n", self.take_the_rest())
        self.connection.write(b"answer\n")
        self.assertEqual((b"answer\n", False), (self.received(), self.waits()))

    def test_producer(self) -> None:
        """It is held back when much waits, and told to go on when nothing does."""
        producer = _Producer()
        self.connection.registerProducer(producer, True)
        self.connection.write(b"answer\n")
        self.assertEqual([], producer.told)
        self.connection.write(MUCH)
        self.assertEqual(["pause"], producer.told)
        self.take_the_rest()
        self.assertEqual(["pause", "resume"], producer.told)

    def test_closing(self) -> None:
        """What was written before is sent first."""
        self.connection.write(MUCH)
        self.connection.loseConnection()
        received = [self.received()]
        while (outcome := self.connection.doWrite()) is None:
            received.append(self.received())
        self.assertIsInstance(outcome, ConnectionDone)
        self.assertEqual(MUCH, b"".join(received) + self.received())

    def test_peer_is_gone(self) -> None:
        """The reactor finds it out as it would have."""
        self.peer.close()
        self.connection.write(b"answer\n")
        self.assertTrue(self.waits())
        self.assertIsInstance(self.connection.doWrite(), ConnectionLost)

    def test_peer_closes(self) -> None:
        """The reactor hears of it, and nothing is sent."""
        self.peer.shutdown(socket.SHUT_WR)
        self.assertIsInstance(self.connection.doRead(), ConnectionDone)
        self.assertEqual((b"", []), (self.received(), self.socket.sent))

    def test_after_the_end(self) -> None:
        """Nothing is written to a connection that is no more."""
        self.connection.connectionLost(Failure(ConnectionDone()))
        self.connection.write(b"answer\n")
        self.assertEqual((b"", False), (self.received(), self.waits()))
