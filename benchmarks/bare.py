"""What the dispatcher is held against: the same traffic through Twisted, and nothing else.

``python -m benchmarks.bare WHAT ...`` prints its port, if it has one, and is one of

- ``lines BYTES``: a server that answers every line with one of so many bytes;
- ``journal FILE``: a server that answers a line when it is durable at the end of a file, many
  lines with one sync;
- ``submissions FILE``: the dispatcher's own listener, and behind it nothing but such a file;
- ``relay AGENT_PORT CA COUNT TOGETHER``: for each connection it has an agent stream so many
  records over TLS, and passes on the lines;
- ``calls AGENT_PORT CA CONCURRENCY SECONDS``: a client that makes calls on TLS connections which
  it keeps if the agent does: it writes a request, reads the answer, and stores neither.  It
  prints one line of JSON.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast
from uuid import uuid4

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import (
    IConsumer,
    IListeningPort,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate, CertificateOptions, trustRootFromCertificates
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from harpcaller.facts import Submitted
from harpcaller.interfaces import IDispatcher, Requester
from harpcaller.listener.protocol import ClientFactory, ClientSettings
from harpcaller.service.prompt import be_prompt
from harpcaller.service.reactor import Reactor
from harpcaller.store.heads import head_line
from harpcaller.wire.client import Call, JobId

reactor = cast(Reactor, _reactor)

REQUEST = (
    b'{"harp":1,"procedure":"%s","arguments":[%s],"auth":{"user":"bench","password":"secret"}}'
)
JOB = b'{"harpcaller":1,"job_id":"00000000-0000-4000-8000-000000000000"}'


class _Transport(ITCPTransport, IPushProducer, IConsumer):
    """What a connection gives its protocol."""


class Lines(LineOnlyReceiver):
    """Answers each line."""

    delimiter = b"\n"
    transport: _Transport

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def connectionMade(self) -> None:
        """Answer at once."""
        self.transport.setTcpNoDelay(True)

    def lineReceived(self, line: bytes) -> None:
        """Answer."""
        self.sendLine(self._answer)


class Appending:
    """The end of a file, written and synced by a thread: all that has gathered at once."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._lines: queue.SimpleQueue[tuple[bytes, Callable[[], None]]] = queue.SimpleQueue()
        threading.Thread(target=self._work, daemon=True).start()

    def append(self, line: bytes, then: Callable[[], None]) -> None:
        """Have a line written, and something called in the reactor when it is durable."""
        self._lines.put((line, then))

    def _work(self) -> None:
        while True:
            batch = [self._lines.get()]
            while not self._lines.empty():
                batch.append(self._lines.get())
            os.write(self._file, b"".join(line for line, _ in batch))
            os.fdatasync(self._file)
            reactor.callFromThread(self._tell, batch)

    @staticmethod
    def _tell(batch: list[tuple[bytes, Callable[[], None]]]) -> None:
        for _, then in batch:
            then()


class Keeping(LineOnlyReceiver):
    """Answers each line when it is durable."""

    delimiter = b"\n"
    transport: _Transport

    def __init__(self, appending: Appending) -> None:
        self._appending = appending

    def connectionMade(self) -> None:
        """Answer at once."""
        self.transport.setTcpNoDelay(True)

    def lineReceived(self, line: bytes) -> None:
        """Write it down."""
        self._appending.append(line + b"\n", self._answer)

    def _answer(self) -> None:
        self.sendLine(JOB)


class AppendingDispatcher:
    """What the dispatcher's listener needs to have calls submitted, and no more."""

    def __init__(self, appending: Appending) -> None:
        self._appending = appending
        self._serial = 0

    def submit(self, call: Call, client: Requester) -> Deferred[JobId]:
        """Write a call down as the store does; fires when it is durable."""
        self._serial += 1
        job = JobId(str(uuid4()))
        line = head_line(job, self._serial, Submitted(call, time.time()))
        stored: Deferred[JobId] = Deferred()
        self._appending.append(line, lambda: stored.callback(job))
        return stored


class Follower(Protocol):
    """A connection to which an agent's lines are passed on."""

    transport: _Transport

    def __init__(self, endpoint: SSL4ClientEndpoint, arguments: str) -> None:
        self._endpoint = endpoint
        self._arguments = arguments.encode()

    def connectionMade(self) -> None:
        """Have the agent stream."""
        source = Source(self, REQUEST % (b"stream", self._arguments))
        self._endpoint.connect(Factory.forProtocol(lambda: source))


class Source(LineOnlyReceiver):
    """A connection to the agent, whose lines go to a follower."""

    delimiter = b"\n"
    transport: _Transport

    def __init__(self, follower: Follower, request: bytes) -> None:
        self._follower = follower
        self._request = request

    def connectionMade(self) -> None:
        """Ask; and read no faster than the follower does."""
        self._follower.transport.registerProducer(self.transport, True)
        self.sendLine(self._request)

    def lineReceived(self, line: bytes) -> None:
        """Pass it on."""
        self._follower.transport.write(line + b"\n")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the follower's connection, too."""
        self._follower.transport.unregisterProducer()
        self._follower.transport.loseConnection()


class Calling(LineOnlyReceiver):
    """A connection on which one call follows the other."""

    delimiter = b"\n"
    transport: _Transport

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def connectionMade(self) -> None:
        """Make the first call."""
        self.transport.setTcpNoDelay(True)
        self._call()

    def _call(self) -> None:
        request = {
            "harp": 1,
            "procedure": "ping",
            "arguments": [],
            "job": str(uuid4()),
            "auth": {"user": "bench", "password": "secret"},
        }
        self.sendLine(json.dumps(request).encode())

    def lineReceived(self, line: bytes) -> None:
        """Make the next call after a result."""
        if "result" in json.loads(line):
            if self._clients.is_over():
                self.transport.loseConnection()
            else:
                self._call()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Connect again, if the agent closes after each call."""
        self._clients.lost()


class Clients:
    """Some connections, for some time."""

    def __init__(self, endpoint: SSL4ClientEndpoint, concurrency: int, seconds: float) -> None:
        self._endpoint = endpoint
        self._seconds = seconds
        self._running = concurrency
        self._calls = 0
        self._connections = 0
        self._began = 0.0
        self._spent = 0.0

    def start(self) -> None:
        """Connect."""
        self._began = time.perf_counter()
        self._spent = time.process_time()
        for _ in range(self._running):
            self._connect()

    def _connect(self) -> None:
        self._connections += 1
        self._endpoint.connect(Factory.forProtocol(lambda: Calling(self)))

    def is_over(self) -> bool:
        """Count a call; tell whether it was the last."""
        self._calls += 1
        return time.perf_counter() > self._began + self._seconds

    def lost(self) -> None:
        """Go on, or tell what came of it."""
        if time.perf_counter() < self._began + self._seconds:
            self._connect()
            return
        self._running -= 1
        if not self._running:
            seconds = time.perf_counter() - self._began
            found = {
                "total": self._calls,
                "connections": self._connections,
                "seconds": seconds,
                "per_second": self._calls / seconds,
                "processor_seconds": time.process_time() - self._spent,
            }
            print(json.dumps(found), flush=True)
            reactor.stop()


def agent(port: str, ca: str) -> SSL4ClientEndpoint:
    """Give the way to an agent, whose certificate is checked."""
    root = trustRootFromCertificates([Certificate.loadPEM(Path(ca).read_bytes())])
    options = CertificateOptions(trustRoot=root)
    return SSL4ClientEndpoint(reactor, "127.0.0.1", int(port), options)


def serve(protocol: Callable[[], Protocol]) -> None:
    """Listen, and say where."""
    serve_by(Factory.forProtocol(protocol))


def serve_by(factory: Factory, *prepare: Callable[[IListeningPort], IListeningPort]) -> None:
    """Listen, and say where."""
    opened = TCP4ServerEndpoint(reactor, 0, backlog=1024, interface="127.0.0.1").listen(factory)
    for step in prepare:
        opened.addCallback(step)
    opened.addCallback(lambda port: print(port.getHost().port, flush=True))


def main() -> None:
    """Do what the arguments say."""
    what, *rest = sys.argv[1:]
    if what == "lines":
        answer = b"x" * (int(rest[0]) - 1)
        serve(lambda: Lines(answer))
    elif what == "journal":
        appending = Appending(Path(rest[0]))
        serve(lambda: Keeping(appending))
    elif what == "submissions":
        dispatcher = cast(IDispatcher, AppendingDispatcher(Appending(Path(rest[0]))))
        serve_by(ClientFactory(dispatcher, ClientSettings(), reactor), be_prompt)
    elif what == "relay":
        endpoint = agent(rest[0], rest[1])
        serve(lambda: Follower(endpoint, ",".join(rest[2:])))
    else:
        clients = Clients(agent(rest[0], rest[1]), int(rest[2]), float(rest[3]))
        reactor.callWhenRunning(clients.start)
    reactor.run()


if __name__ == "__main__":
    main()
