"""Calling a scripted agent through real sockets and real TLS."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Callable
from typing import Any

from cryptography import x509
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, TestCase

from harpcaller.call.caller import Caller
from harpcaller.call.connections import Connections
from harpcaller.call.context import AgentContext
from harpcaller.call.endpoint import endpoint_to
from harpcaller.call.pool import PoolSettings
from harpcaller.call.trust import Trust
from harpcaller.interfaces import Host, Limits
from harpcaller.testing.agent import HANG_UP, FakeAgent, Flood, acknowledge, end, record
from harpcaller.testing.agent_tls import AgentTLS, over_tls
from harpcaller.testing.certificates import make_authority
from harpcaller.wire.agent import Credentials
from harpcaller.wire.ending import Ending, Failed
from tests.call.calling import CALL, FINE, FakeSink, job_number


class CallingCase(TestCase):
    timeout = 120

    def setUp(self) -> None:
        authority = make_authority()
        ca = x509.load_pem_x509_certificate(authority.certificate_pem)
        self.trust = Trust(authorities=(ca,), verify_hostname=True)
        self.tls = AgentTLS(authority.issue(names=["localhost", "127.0.0.1", "::1"]))
        self.agent = FakeAgent([acknowledge(), end(FINE), HANG_UP], reactor)
        self.sink = FakeSink()
        self.calls = 0
        self.caller = self.make_caller()

    def make_caller(self, connect_timeout: float = 10) -> Caller:
        connections = Connections(
            AgentContext(self.trust, time.time),
            connect_timeout,
            lambda host, limit: endpoint_to(reactor, host, limit),
            reactor,
            PoolSettings(),
        )
        return Caller(connections, reactor)

    def listen(self, interface: str = "127.0.0.1") -> int:
        factory: Any = over_tls(self.agent, self.tls, reactor)
        port = reactor.listenTCP(0, factory, interface=interface)
        self.addCleanup(port.stopListening)
        address = port.getHost()
        assert isinstance(address, IPv4Address | IPv6Address)
        return address.port

    def call(self, address: str, port: int) -> Deferred[Ending]:
        host = Host("localhost", address, port, Credentials("user", "secret"))
        self.calls += 1
        limits = Limits(30, 60)
        return self.caller.call(
            host, job_number(self.calls), CALL, limits, self.sink, succeed(None)
        )

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            await deferLater(reactor, 0.01)


class ReachingTests(CallingCase):
    async def test_ipv4(self) -> None:
        """An agent is called at its IPv4 address; the second call resumes the session."""
        port = self.listen()
        self.assertEqual(FINE, await self.call("127.0.0.1", port))
        self.assertEqual(FINE, await self.call("127.0.0.1", port))
        self.assertEqual([False, True], self.tls.resumed)

    async def test_ipv6(self) -> None:
        """An agent is called at its IPv6 address."""
        try:
            port = self.listen("::1")
        except CannotListenError as error:
            raise SkipTest(f"no IPv6 here: {error}") from None
        self.assertEqual(FINE, await self.call("::1", port))

    async def test_name(self) -> None:
        """An agent is called by a name; of its addresses, one where it listens is found."""
        self.assertEqual(FINE, await self.call("localhost", self.listen()))

    async def test_records(self) -> None:
        """A stream of records arrives whole and in order."""
        wanted = [b"%d" % number for number in range(5000)]
        self.agent.script = [
            acknowledge(streaming=True),
            *(record(one) for one in wanted),
            end(FINE),
            HANG_UP,
        ]
        self.assertEqual(FINE, await self.call("127.0.0.1", self.listen()))
        self.assertEqual(wanted, self.sink.records)

    async def test_endless_stream(self) -> None:
        """An agent that streams into a store that hangs is held back by TCP."""
        self.sink.held = True
        self.agent.script = [acknowledge(streaming=True), Flood(record(b'"%0999d"' % 0).data)]
        call = self.call("127.0.0.1", self.listen())
        taken = -1
        while taken != len(self.sink.records) or not taken:
            taken = len(self.sink.records)
            self.assertLess(taken, 1000)
            await deferLater(reactor, 0.3)
        # The rest is what the two sockets hold.
        self.assertLess(self.agent.connections[0].said, 16 * 2**20)
        call.cancel()
        await self.assertFailure(call, CancelledError)
        await self.until(lambda: self.agent.connections[0].lost)

    async def test_cancelled(self) -> None:
        """Cancelling a call closes its connection, which the agent notices."""
        self.agent.script = [acknowledge()]
        call = self.call("127.0.0.1", self.listen())
        await self.until(lambda: self.agent.requests)
        call.cancel()
        await self.assertFailure(call, CancelledError)
        await self.until(lambda: self.agent.connections[0].lost)


class UnreachableTests(CallingCase):
    def deaf(self, backlog: int) -> socket.socket:
        listening = socket.socket()
        self.addCleanup(listening.close)
        listening.bind(("127.0.0.1", 0))
        listening.listen(backlog)
        return listening

    def full(self) -> int:
        """Give a port whose connections are neither accepted nor refused."""
        listening = self.deaf(0)
        for _ in range(4):
            waiting = socket.socket()
            self.addCleanup(waiting.close)
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        return int(listening.getsockname()[1])

    async def test_refused(self) -> None:
        """Nobody listens there."""
        listening = self.deaf(1)
        port = listening.getsockname()[1]
        listening.close()
        self.assertEqual(
            Failed("network_error", f"connection to 127.0.0.1 port {port} refused"),
            await self.call("127.0.0.1", port),
        )

    async def test_unknown_name(self) -> None:
        """The address is a name that isn't known."""
        ending = await self.call("no-such-host.invalid", 4306)
        assert isinstance(ending, Failed)
        self.assertEqual("network_error", ending.type)
        self.assertIn("no-such-host.invalid", ending.message)

    async def test_impossible_names(self) -> None:
        """What can't be a name isn't found either, and quickly."""
        for name in ("x" * 300, "a..b", "a\x00b", "", "caf\u00e9\u200b"):
            ending = await self.call(name, 4306)
            assert isinstance(ending, Failed)
            self.assertEqual("network_error", ending.type, repr(name))

    async def test_nobody_answers(self) -> None:
        """Connecting takes no longer than its limit."""
        self.caller = self.make_caller(0.3)
        port = self.full()
        self.assertEqual(
            Failed("timeout", f"connecting to 127.0.0.1 port {port} took longer than 0.3 s"),
            await self.call("127.0.0.1", port),
        )

    async def test_nobody_answers_at_a_name(self) -> None:
        """So it is with a name's addresses."""
        self.caller = self.make_caller(0.3)
        port = self.full()
        ending = await self.call("localhost", port)
        assert isinstance(ending, Failed)
        self.assertIn(ending.type, ("timeout", "network_error"))

    async def test_nobody_shakes_hands(self) -> None:
        """So it is when the connection stands but the handshake doesn't come."""
        self.caller = self.make_caller(0.3)
        port = self.deaf(5).getsockname()[1]
        self.assertEqual(
            Failed("timeout", f"connecting to 127.0.0.1 port {port} took longer than 0.3 s"),
            await self.call("127.0.0.1", port),
        )

    async def test_cancelled_while_connecting(self) -> None:
        """Cancelling ends the attempt at once."""
        for address in ("127.0.0.1", "localhost"):
            for seconds in (0, 0.05):
                call = self.call(address, self.full())
                await deferLater(reactor, seconds)
                call.cancel()
                await self.assertFailure(call, CancelledError)

    async def test_out_of_descriptors(self) -> None:
        """A dispatcher without descriptors says so, and goes on when there are some again."""
        port = self.listen()
        # The reactor that trial starts at the first wait wants some for itself.
        await deferLater(reactor, 0)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        spare = os.dup(0)
        os.close(spare)
        resource.setrlimit(resource.RLIMIT_NOFILE, (spare, hard))
        try:
            ending = await self.call("127.0.0.1", port)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        words = f"cannot connect to 127.0.0.1 port {port}: Too many open files"
        self.assertEqual(Failed("os_error", words), ending)
        self.assertEqual(FINE, await self.call("127.0.0.1", port))
