"""What the agent is held against: a server that forks itself, or starts a Python, for each call.

``python -m benchmarks.bare_agent CERTIFICATE KEY PROCEDURES fork|interpreter`` prints its port.  It
reads a request over TLS, has a child call the procedure, and sends the two lines that the child
writes.  It checks nothing, limits nothing and ends nothing: that is not what is compared.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Callable
from typing import NoReturn, cast

from twisted.internet import reactor as _reactor
from twisted.internet.abstract import FileDescriptor
from twisted.internet.endpoints import SSL4ServerEndpoint
from twisted.internet.interfaces import IReactorFDSet, ITCPTransport
from twisted.internet.protocol import Factory, ProcessProtocol, connectionDone
from twisted.internet.ssl import PrivateCertificate
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from harpcaller.service.reactor import Reactor

reactor = cast(Reactor, _reactor)

ACKNOWLEDGEMENT = b'{"harp":1,"stream_result":false}\n'
#: What a new interpreter does.
PROGRAM = (
    "import json, runpy, sys\n"
    "found = runpy.run_path(sys.argv[1])[sys.argv[2]](*json.loads(sys.argv[3]))\n"
    "print(json.dumps({'result': found}), flush=True)\n"
)


class Caller(LineOnlyReceiver):
    """One connection, one call."""

    delimiter = b"\n"
    transport: ITCPTransport

    def __init__(self, start: Callable[[Caller, str, list[object]], None]) -> None:
        self._start = start

    def connectionMade(self) -> None:
        """Answer at once."""
        self.transport.setTcpNoDelay(True)

    def lineReceived(self, line: bytes) -> None:
        """Begin."""
        request = json.loads(line)
        self.transport.write(ACKNOWLEDGEMENT)
        self._start(self, request["procedure"], request["arguments"])

    def end(self, said: bytes) -> None:
        """Send what the child wrote."""
        self.transport.write(said)
        self.transport.loseConnection()


class Forked(FileDescriptor):
    """What a child writes that is this process over again."""

    def __init__(self, descriptor: int, pid: int, caller: Caller) -> None:
        super().__init__(cast(IReactorFDSet, reactor))
        self._descriptor = descriptor
        self._pid = pid
        self._caller = caller
        self._said = b""
        self.startReading()

    def fileno(self) -> int:
        """Give the pipe."""
        return self._descriptor

    def doRead(self) -> Failure | None:
        """Read."""
        data = os.read(self._descriptor, 65536)
        self._said += data
        return None if data else connectionDone

    def connectionLost(self, reason: Failure) -> None:
        """Tell what it wrote, at the child's end."""
        super().connectionLost(reason)
        os.close(self._descriptor)
        os.waitpid(self._pid, 0)
        self._caller.end(self._said)


def forking(procedures: dict[str, Callable[..., object]]) -> Callable[..., None]:
    """Give what has a procedure called by a fork of this process."""

    def start(caller: Caller, name: str, arguments: list[object]) -> None:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            child(writing, procedures[name], arguments)
        os.close(writing)
        Forked(reading, pid, caller)

    return start


def child(writing: int, procedure: Callable[..., object], arguments: list[object]) -> NoReturn:
    """Call the procedure, and be gone."""
    code = 1
    try:
        os.write(writing, json.dumps({"result": procedure(*arguments)}).encode() + b"\n")
        code = 0
    finally:
        os._exit(code)


class Started(ProcessProtocol):
    """What a new interpreter writes."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._said = b""

    def outReceived(self, data: bytes) -> None:
        """Keep it."""
        self._said += data

    def processEnded(self, reason: Failure) -> None:
        """Tell it."""
        self._caller.end(self._said)


def starting(file: str) -> Callable[..., None]:
    """Give what has a procedure called by a new interpreter."""

    def start(caller: Caller, name: str, arguments: list[object]) -> None:
        command = [sys.executable, "-c", PROGRAM, file, name, json.dumps(arguments)]
        reactor.spawnProcess(Started(caller), command[0], command, env=None)

    return start


def main() -> None:
    """Listen, say where, serve until killed."""
    certificate, key, file, kind = sys.argv[1:]
    start = forking(runpy.run_path(file)) if kind == "fork" else starting(file)
    with open(certificate, "rb") as one, open(key, "rb") as other:
        pair = PrivateCertificate.loadPEM(one.read() + other.read())
    endpoint = SSL4ServerEndpoint(reactor, 0, pair.options(), backlog=1024, interface="127.0.0.1")
    endpoint.listen(Factory.forProtocol(lambda: Caller(start))).addCallback(
        lambda port: print(port.getHost().port, flush=True)
    )
    reactor.run()


if __name__ == "__main__":
    main()
