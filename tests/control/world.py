"""What the tests of this room stand on: a daemon made of fakes, and jobs in it."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from harpcaller.control.commands import Seams
from harpcaller.control.server import ControlFactory, ControlProtocol
from harpcaller.interfaces import Host, Requester
from harpcaller.testing.dispatcher import FakeDaemon, FakeDispatcher, FakeHosts
from harpcaller.wire.agent import Credentials
from harpcaller.wire.client import Call, JobId, QueueSpec
from harpcaller.wire.values import Raw

NOBODY = JobId("00000000-0000-4000-8000-000000000000")

WEB01 = Host("web01", "10.0.0.1", 4306, Credentials("rpc", "caixaudakuPus6yo"))
WEB02 = Host("web02", "::1", 4307, Credentials("rpc", "caixaudakuPus6yo"))


class World:
    """A dispatcher, a registry and a daemon, and the seams that lead to them."""

    def __init__(self, now: Callable[[], float] = lambda: 1455282411.5) -> None:
        self.dispatcher = FakeDispatcher(now)
        self.hosts = FakeHosts(WEB01, WEB02)
        self.daemon = FakeDaemon()

    @property
    def seams(self) -> Seams:
        """What the commands are given."""
        return Seams(self.dispatcher, self.hosts, self.daemon)

    def job(self, queue: bytes | None = None, arguments: bytes = b"[]") -> JobId:
        """Submit one more job."""
        place = None if queue is None else QueueSpec(Raw(queue))
        submitted: list[JobId] = []
        call = Call("web01", "some.procedure", Raw(arguments), queue=place)
        _ = self.dispatcher.submit(call, Requester("127.0.0.1")).addCallback(submitted.append)
        return submitted[0]


class NarrowTransport(StringTransport):
    """A connection whose client reads when the test says so.

    Args:
        room: How many bytes it takes before it pauses its producer.
    """

    producer: IPushProducer | None

    def __init__(self, room: int = 1 << 16) -> None:
        super().__init__()
        self.room = room

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.producer is not None and len(self.value()) > self.room:
            self.producer.pauseProducing()

    def read(self) -> bytes:
        """Take what was written, as a client does."""
        data: bytes = self.value()
        self.clear()
        if self.producer is not None:
            self.producer.resumeProducing()
        return data

    @property
    def reading(self) -> bool:
        """Tell whether the daemon listens to what the client says."""
        return bool(self.producerState == "producing")


class Client:
    """One connection to a control socket, in memory."""

    def __init__(self, world: World, room: int = 1 << 16, max_line: int = 1 << 20) -> None:
        self.transport = NarrowTransport(room)
        self.factory = ControlFactory(world.seams, max_line)
        self.protocol: ControlProtocol = self.factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)

    def say(self, data: bytes) -> bytes:
        """Send, and give what is answered at once."""
        self.protocol.dataReceived(data)
        return self.transport.read()

    def go(self) -> None:
        """Be gone."""
        self.protocol.connectionLost(Failure(ConnectionDone()))
