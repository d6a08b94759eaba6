"""What the tests of this room stand on: a daemon made of fakes, and jobs in it."""

from __future__ import annotations

from collections.abc import Callable

from harpcaller.control.commands import Seams
from harpcaller.interfaces import Host
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
        _ = self.dispatcher.submit(call, "127.0.0.1").addCallback(submitted.append)
        return submitted[0]
