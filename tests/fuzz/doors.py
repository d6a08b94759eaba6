"""The doors that strangers knock at, with a transport in memory: bytes in any pieces, answers, and
never a bug in the log.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from harpcaller.agent.calls import Calls
from harpcaller.agent.kept_calls import KeepSettings, KeptCalls
from harpcaller.agent.library import Library
from harpcaller.agent.orders import Load
from harpcaller.agent.server import Door
from harpcaller.listener.protocol import ClientFactory, ClientSettings
from harpcaller.logs.events import EventLog
from harpcaller.testing.dispatcher import FakeDispatcher
from harpcaller.wire.values import decode
from tests.agent.fakes import PASSWORD, FakeChecker, FakeTemplate, described
from tests.control.world import Client as ControlClient
from tests.control.world import World
from tests.fuzz.target import Target, pieces
from tests.listener.world import Client, TCPInMemory

_JOB = b"00000000-0000-4000-8000-000000000000"
_JSON = (b"{", b"}", b"[", b"]", b'"', b":", b",", b"\n", b"null", b"true", b"1e9", b"\\ud800")


class _Bugs:
    """Listens for what would be a bug of ours."""

    def __init__(self) -> None:
        self.found: list[Mapping[str, Any]] = []

    def __call__(self, event: Mapping[str, Any]) -> None:
        if event.get("log_level") is LogLevel.critical:
            self.found.append(event)

    def __enter__(self) -> _Bugs:
        globalLogPublisher.addObserver(cast(Any, self))
        return self

    def __exit__(self, *error: object) -> None:
        globalLogPublisher.removeObserver(cast(Any, self))
        assert not self.found, [str(event.get("log_failure")) for event in self.found]


def _are_answers(text: bytes) -> None:
    assert not text or text.endswith(b"\n"), text
    for line in text.splitlines():
        assert isinstance(decode(line), dict), line


def clients(data: bytes) -> None:
    """A client of the dispatcher."""
    clock = Clock()
    with _Bugs():
        factory = ClientFactory(FakeDispatcher(lambda: 1.0), ClientSettings(1024), clock)
        client = Client(factory, TCPInMemory())
        client.send(*pieces(data))
        client.half_close()
        clock.advance(0)
        _are_answers(client.text())
        factory.close()
        client.transport.break_down()
        clock.advance(3600)
    assert not clock.getDelayedCalls(), clock.getDelayedCalls()


def operators(data: bytes) -> None:
    """Who has come to the control socket, and speaks either of its protocols."""
    with _Bugs():
        world = World()
        world.job(b'"q"')
        client = ControlClient(world, max_line=1024)
        answers = b"".join(map(client.say, pieces(data)))
        if data[:1] == b"{":
            _are_answers(answers)
        client.go()


class _AgentTransport(StringTransport):
    """A connection to an agent."""

    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        """As it likes."""

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """As it likes."""


def _agent(clock: Clock) -> Door:
    log = EventLog("agent")

    async def start(order: Load, lost: object) -> FakeTemplate:
        return FakeTemplate({"ticks": described("ticks", streaming=True)})

    library = Library(start, clock, log)
    _ = Deferred.fromCoroutine(library.load(Load("x")))
    calls = Calls(library, clock, most=10, grace_seconds=5.0, log=log)
    kept = KeptCalls(KeepSettings(60.0, tempfile.gettempdir()), clock, log)
    return Door(FakeChecker(), calls, kept, clock, request_seconds=10.0, log=log)


def callers(data: bytes) -> None:
    """A caller of an agent, whose TLS stands already."""
    clock = Clock()
    with _Bugs():
        door = _agent(clock)
        connection = door.buildProtocol(None)
        transport = _AgentTransport()
        connection.makeConnection(transport)
        for piece in pieces(data):
            if not (transport.disconnecting or transport.aborted):
                connection.dataReceived(piece)
        _are_answers(transport.value())
        connection.connectionLost(Failure(ConnectionLost()))


_AUTH = b'"auth":{"user":"dispatcher","password":"%s"}}\n' % PASSWORD.encode()

TARGETS = (
    Target(
        "door-clients",
        clients,
        (
            b'{"harpcaller":1,"host":"web01","procedure":"p","arguments":[]}\n'
            b'{"harpcaller":1,"get_result":"%s","wait":false}\n' % _JOB,
            b'{"harpcaller":1,"list_hosts":true}\n{"harpcaller":1,"list_procedures":"web01"}\n',
            b'{"harpcaller":1,"read_stream":"%s","recent":3}\n' % _JOB,
            b'{"harpcaller":1,"auth":{"token":"x"},"cancel":"%s"}\n' % _JOB,
        ),
        (*_JSON, b'{"harpcaller":1,', b'"wait"', b'"info"', b'"queue":{"name":"q"}'),
    ),
    Target(
        "door-operators",
        operators,
        (
            b'{"command":"status"}\n{"command":"list_jobs","all":true}\n',
            b'{"command":"cancel_queue","queue":"q"}\n{"command":"list_queues"}\n',
            b"\0\4_ask\0\1x\0\x08_command\0\x06status\0\0",
            b"\0\4_ask\0\1x\0\x08_command\0\x09list_jobs\0\3all\0\4True\0\0",
            b"\0\4_ask\0\1y\0\x08_command\0\x09list_more\0\6cursor\0\1x\0\0",
        ),
        (
            *_JSON,
            b"\0\0",
            b"\0\4_ask",
            b"\0\x08_command",
            b"\xff\xff",
            b"\0\7_answer",
            b"\0\6_error",
        ),
    ),
    Target(
        "door-callers",
        callers,
        (
            b'{"harp":1,"procedure":"ticks","arguments":[],' + _AUTH,
            b'{"harp":1,"procedure":"ticks","arguments":[],"job":"j",'
            + _AUTH
            + b'{"harp":1,"cancel":"j",'
            + _AUTH,
            b'{"harp":1,"attach":"j","since":0,' + _AUTH,
            b'{"harp":1,"list":true,' + _AUTH,
        ),
        (*_JSON, _AUTH, b'{"harp":1,', b'"procedure"', b'"job":"j",'),
    ),
)
