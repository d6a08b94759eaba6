"""What the tests of this room stand on: clients of a listener, on connections in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IPushProducer,
    ISystemHandle,
    ITCPTransport,
)
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.listener.protocol import ClientFactory, ClientProtocol, ClientSettings
from harpcaller.testing.dispatcher import FakeDispatcher
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Returned
from harpcaller.wire.values import Raw, decode
from tests.house import HouseCase

NOBODY = JobId("00000000-0000-4000-8000-000000000000")
DONE = Returned(Raw(b'"done"'))
CALL = b'{"harpcaller":1,"host":"web01","procedure":"p","arguments":[]}\n'
EPOCH = 1455282411.5


@implementer(ITCPTransport, ISystemHandle, IConsumer, IPushProducer)
class TCPInMemory:
    """A connection as Twisted's reactor gives it: what is written leaves it later, if at all.

    Args:
        room: How many bytes may wait to be sent before the producer is paused.
        handle: What :meth:`getHandle` gives.

    Attributes:
        unsent: What the daemon wrote and the client hasn't taken.
        taken: What the client has taken.
        reading: Whether the daemon wants to hear more.
        lost: Whether the connection is no more.
        aborted: Whether the daemon cut it, throwing away what was unsent.
        end_of_answers: Whether the client has seen the daemon's side shut down.
        kept_alive: Whether the system watches if the client is still there.
    """

    def __init__(self, room: int = 64 * 1024, handle: object = None) -> None:
        self.room = room
        self.handle = handle
        self.unsent = bytearray()
        self.taken = bytearray()
        self.reading = True
        self.lost = False
        self.aborted = False
        self.end_of_answers = False
        self.kept_alive = False
        self.no_delay = False
        self._closing = False
        self._closing_writes = False
        self._producer: IPushProducer | None = None
        self.protocol: ClientProtocol | None = None

    # What the network does.

    def flush(self, size: int | None = None) -> None:
        """Let the client take what there is, or so many bytes of it."""
        size = len(self.unsent) if size is None else size
        self.taken += self.unsent[:size]
        del self.unsent[:size]
        if self.unsent or self.lost:
            return
        if self._producer is not None:
            self._producer.resumeProducing()
        if self._closing and not self.unsent:
            self._lose(ConnectionDone())
        elif self._closing_writes and not self.unsent:
            self.end_of_answers = True

    def break_down(self) -> None:
        """Let the connection be reset."""
        self._lose(ConnectionLost())

    def _lose(self, reason: Exception) -> None:
        if not self.lost:
            self.lost = True
            self.end_of_answers = True
            if self._producer is not None:
                self._producer.stopProducing()
            assert self.protocol is not None
            self.protocol.connectionLost(Failure(reason))

    # What the daemon does.

    def write(self, data: bytes) -> None:
        if self.lost or self._closing_writes:
            return
        self.unsent += data
        if self._producer is not None and len(self.unsent) > self.room:
            self._producer.pauseProducing()

    def writeSequence(self, data: Sequence[bytes]) -> None:  # type: ignore[override]  # Twisted says Iterable
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        self._closing = True
        self.reading = False

    def loseWriteConnection(self) -> None:
        self._closing_writes = True

    def abortConnection(self) -> None:
        self.aborted = True
        self.unsent.clear()
        self._lose(ConnectionAborted())

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming and self._producer is None
        self._producer = producer

    def unregisterProducer(self) -> None:
        self._producer = None

    def pauseProducing(self) -> None:
        self.reading = False

    def resumeProducing(self) -> None:
        if not self._closing:
            self.reading = True

    def stopProducing(self) -> None:
        self.loseConnection()

    def getTcpNoDelay(self) -> bool:
        return self.no_delay

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def getTcpKeepAlive(self) -> bool:
        return self.kept_alive

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.kept_alive = enabled

    def getHandle(self) -> object:
        return self.handle

    def getHost(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.1", 3502)

    def getPeer(self) -> IPv4Address:
        return IPv4Address("TCP", "192.0.2.7", 4711)


class Client:
    """One connection's other end."""

    def __init__(self, factory: ClientFactory, transport: TCPInMemory, reads: bool = True) -> None:
        self.transport = transport
        self.reads = reads
        self.protocol = factory.buildProtocol(transport.getPeer())
        transport.protocol = self.protocol
        self.protocol.makeConnection(cast(Any, transport))

    def send(self, *pieces: bytes) -> None:
        """Send, in pieces, as long as the daemon listens."""
        for piece in pieces:
            if self.transport.reading and not self.transport.lost:
                self.protocol.dataReceived(piece)
            if self.reads:
                self._take()

    def half_close(self) -> None:
        """Shut down the writing side, as nc does at the end of its input."""
        if self.transport.reading and not self.transport.lost:
            self.protocol.readConnectionLost()
        if self.reads:
            self._take()

    def text(self) -> bytes:
        """Take everything that came since the last time."""
        self._take()
        taken = bytes(self.transport.taken)
        self.transport.taken.clear()
        return taken

    def _take(self) -> None:
        self.transport.flush()
        while self.transport.unsent:
            self.transport.flush()

    def lines(self) -> list[Any]:
        """Take everything that came since the last time, read as JSON."""
        text = self.text()
        assert not text or text.endswith(b"\n"), text
        return [decode(line) for line in text.splitlines()]

    @property
    def closed(self) -> bool:
        """Tell whether the connection is no more."""
        return self.transport.lost

    @property
    def told_the_end(self) -> bool:
        """Tell whether the client knows that no more answers will come."""
        return self.transport.end_of_answers


class ListenerCase(HouseCase):
    """A listener in front of a fake dispatcher."""

    def setUp(self) -> None:
        super().setUp()
        self.dispatcher = FakeDispatcher(lambda: EPOCH + self.clock.seconds(), page_size=3)
        self.begin(self.dispatcher)
        self.addCleanup(self._close)

    def begin(self, dispatcher: FakeDispatcher, **settings: Any) -> None:
        """Make a listener with these settings."""
        self.dispatcher = dispatcher
        self.factory = ClientFactory(dispatcher, ClientSettings(**settings), self.clock)
        self.clients: list[Client] = []

    def _close(self) -> None:
        self.factory.close()
        for client in self.clients:
            client.transport.flush()
            if not client.transport.lost:
                client.transport.break_down()

    def client(self, *, room: int = 64 * 1024, reads: bool = True, handle: object = None) -> Client:
        """Connect."""
        client = Client(self.factory, TCPInMemory(room, handle), reads)
        self.clients.append(client)
        return client

    def ask(self, *lines: bytes) -> list[Any]:
        """Connect, send request lines, and give the answers that come at once."""
        client = self.client()
        client.send(b"".join(lines))
        answers = client.lines()
        client.half_close()
        return answers

    def job(self) -> JobId:
        """Submit a job and let it have started."""
        answers = self.ask(CALL)
        job = JobId(answers[0]["job_id"])
        self.dispatcher.start(job)
        return job

    def error(self, answers: Sequence[Any]) -> str:
        """Give the type of the one error that was answered."""
        self.assertEqual(1, len(answers), answers)
        return str(answers[0]["error"]["type"])

    def log(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Gather the kinds and contexts of what is logged from now on."""
        events: list[tuple[str, Mapping[str, Any]]] = []

        @implementer(ILogObserver)
        def observe(event: Mapping[str, Any]) -> None:
            if "kind" in event:
                events.append((event["kind"], event["context"]))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return events


def request(operation: str, job: JobId, more: bytes = b"") -> bytes:
    """Write a request about a job."""
    return b'{"harpcaller":1,"%s":"%s"%s}\n' % (operation.encode(), job.encode(), more)
