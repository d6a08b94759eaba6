"""A caller, an agent and a network between them, all in memory and with real TLS."""

from __future__ import annotations

from collections import deque

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.call.caller import Caller
from harpcaller.call.connections import Connections
from harpcaller.call.context import AgentContext
from harpcaller.call.pool import PoolSettings
from harpcaller.call.trust import Trust
from harpcaller.interfaces import Host, ICallSink, Limits
from harpcaller.testing.agent import (
    HANG_UP,
    FakeAgent,
    FakeAgentConnection,
    Script,
    acknowledge,
    end,
)
from harpcaller.testing.agent_tls import AgentTLS, over_tls
from harpcaller.testing.certificates import make_self_signed
from harpcaller.wire.agent import Credentials
from harpcaller.wire.client import Call, JobId
from harpcaller.wire.ending import Ending, Failed, Returned
from harpcaller.wire.values import Raw
from tests.call.network import MemoryNetwork, MemoryTransport
from tests.house import HouseCase

CERTIFICATE = make_self_signed()
HOST = Host("web01.example", "192.0.2.1", 4306, Credentials("user", "pa55word"))
CALL = Call("web01.example", "reload", Raw(b'["nginx"]'))
FINE = Returned(Raw(b'{"ok":true}'))
STREAM = acknowledge(streaming=True)


def job_number(number: int) -> JobId:
    """Give the id of the test's first, second, ... job."""
    return JobId(f"{number:08d}-28d1-4ce2-aa23-f3ea7887beda")


@implementer(ICallSink)
@attrs.define
class FakeSink:
    """Where records go; ``hold`` lets them wait to be stored."""

    records: list[bytes] = attrs.Factory(list)
    kept: int = 0
    held: bool = False
    fault: BaseException | None = None
    waiting: deque[Deferred[None]] = attrs.Factory(deque)

    def resumable(self) -> None:
        self.kept += 1

    def record(self, *data: Raw) -> Deferred[None]:
        if self.fault is not None:
            raise self.fault
        self.records += data
        if not self.held:
            return succeed(None)
        stored: Deferred[None] = Deferred()
        self.waiting.append(stored)
        return stored

    def store(self, count: int | None = None) -> None:
        """Store the oldest that wait, or all."""
        for _ in range(len(self.waiting) if count is None else count):
            self.waiting.popleft().callback(None)

    def fail(self, fault: Exception) -> None:
        """Fail to store the oldest that waits."""
        self.waiting.popleft().errback(Failure(fault))


class CallingCase(HouseCase):
    """Calls one agent; its script is :attr:`agent`'s."""

    CONNECT_TIMEOUT = 10.0

    def setUp(self) -> None:
        super().setUp()
        self.sink = FakeSink()
        self.tls = AgentTLS(CERTIFICATE)
        self.agent = FakeAgent([acknowledge(), end(FINE), HANG_UP], self.clock)
        self.network = MemoryNetwork(over_tls(self.agent, self.tls, self.clock), self.clock)
        self.caller = self.make_caller(Trust())
        self.clearance: Deferred[None] = succeed(None)
        self.jobs: list[JobId] = []
        self.results: list[Ending | Failure] = []

    def make_context(self, trust: Trust) -> AgentContext:
        return AgentContext(trust, lambda: 1_700_000_000.0)

    def make_caller(self, trust: Trust) -> Caller:
        self.connections = Connections(
            self.make_context(trust),
            self.CONNECT_TIMEOUT,
            self.network.endpoint,
            self.clock,
            PoolSettings(),
        )
        return Caller(self.connections, self.clock)

    def start(self, script: Script | None = None, limits: Limits | None = None) -> Deferred[Ending]:
        """Begin a call; nothing is connected yet."""
        if script is not None:
            self.agent.script = script
        limits = limits or Limits(30, 600)
        self.jobs.append(job_number(len(self.jobs)))
        call = self.caller.call(HOST, self.jobs[-1], CALL, limits, self.sink, self.clearance)
        _ = call.addBoth(self.results.append)
        return call

    def run_call(self, script: Script | None = None, limits: Limits | None = None) -> None:
        """Begin a call, connect, and let happen what happens without waiting."""
        _ = self.start(script, limits)
        self.network.connect()

    def advance(self, seconds: float) -> None:
        """Let time pass, and everything happen that comes of it."""
        self.clock.advance(seconds)
        self.network.settle()

    # --- What came of it -------------------------------------------------------------------

    @property
    def result(self) -> Ending | Failure:
        (result,) = self.results
        return result

    @property
    def far(self) -> FakeAgentConnection:
        """The agent's end of the last connection."""
        return self.agent.connections[-1]

    @property
    def near(self) -> MemoryTransport:
        """The caller's end of the last connection."""
        return self.network.connections[-1]

    def assertFailed(self, type_: str, message: str) -> None:
        self.assertEqual(Failed(type_, message), self.result)
        self.assertClosed()

    def assertClosed(self) -> None:
        """The connection is closed, and nothing is left to be done."""
        self.network.settle()
        self.assertTrue(all(near.gone for near in self.network.connections), "connection is open")
        self.assertEqual([], self.clock.getDelayedCalls())
