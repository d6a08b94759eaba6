"""The least that can stand between clients and an agent on Twisted, and yet keep what it is given.

``python -m benchmarks.bare_dispatcher AGENT_PORT CA FOLDER`` prints its port.  A call is
appended to a file and synced, many with one sync, before its client has the job id; it is made on a
TLS connection that was kept; the result is appended and synced likewise, then written to a file
of the job's own; then ``get_result`` is answered.  It checks nothing, logs nothing, has no queues,
no time limits and no index, forgets all when it is stopped, and a job's start isn't written
down: what a crash leaves may run twice.  So this is not what could be used, but what any dispatcher
on Twisted has to pay for.
"""

from __future__ import annotations

import json
import os
import sys
from collections import deque
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import attrs
from twisted.internet import reactor as _reactor
from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineOnlyReceiver

from benchmarks.bare import Appending, agent, serve
from harpcaller.service.reactor import Reactor

reactor = cast(Reactor, _reactor)


@attrs.define
class Job:
    """A call, who waits for its result, and the result."""

    call: dict[str, Any]
    name: str = attrs.Factory(lambda: str(uuid4()))
    waiting: list[Client] = attrs.Factory(list)
    result: bytes | None = None


class Agent(LineOnlyReceiver):
    """A connection to the agent: one call after the other."""

    delimiter = b"\n"
    transport: ITCPTransport

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._job: Job | None = None

    def connectionMade(self) -> None:
        """Be ready."""
        self.transport.setTcpNoDelay(True)
        self._dispatcher.ready(self)

    def call(self, job: Job) -> None:
        """Make a call."""
        self._job = job
        request = {
            "harp": 1,
            "procedure": job.call["procedure"],
            "arguments": job.call["arguments"],
            "job": job.name,
            "auth": {"user": "bench", "password": "secret"},
        }
        self.sendLine(json.dumps(request).encode())

    def lineReceived(self, line: bytes) -> None:
        """Hand the result on, be ready for the next."""
        if "result" in json.loads(line):
            job, self._job = self._job, None
            assert job is not None
            self._dispatcher.ended(job, line)
            self._dispatcher.ready(self)


class Dispatcher:
    """Jobs, and the connections on which they are carried out."""

    def __init__(self, connect: Any, folder: Path) -> None:
        self._connect = connect
        self._folder = folder
        self._appending = Appending(folder / "journal")
        self._idle: deque[Agent] = deque()
        self._turns: deque[Job] = deque()
        self.jobs: dict[str, Job] = {}

    def submit(self, call: dict[str, Any], client: Client) -> None:
        """Make a job of a call."""
        job = Job(call)
        self.jobs[job.name] = job
        line = json.dumps({"job": job.name, "call": call}).encode() + b"\n"

        def stored() -> None:
            client.sendLine(b'{"harpcaller":1,"job_id":"%s"}' % job.name.encode())
            self._turns.append(job)
            if self._idle:
                self.ready(self._idle.popleft())
            else:
                self._connect.connect(Factory.forProtocol(lambda: Agent(self)))

        self._appending.append(line, stored)

    def ready(self, connection: Agent) -> None:
        """Have a connection that can make a call."""
        if self._turns:
            connection.call(self._turns.popleft())
        else:
            self._idle.append(connection)

    def ended(self, job: Job, result: bytes) -> None:
        """Store a result, and tell it."""

        def stored() -> None:
            self._write(job, result)
            job.result = result
            for client in job.waiting:
                client.sendLine(result)

        self._appending.append(b"%s %s\n" % (job.name.encode(), result), stored)

    def _write(self, job: Job, result: bytes) -> None:
        name = job.name
        folder = f"{self._folder}/{name[:2]}/{name[2:4]}"
        try:
            os.mkdir(folder)
        except FileNotFoundError:
            os.makedirs(folder)
        except FileExistsError:
            pass
        handle = os.open(f"{folder}/{name[4:]}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.write(handle, json.dumps(job.call).encode() + b"\n" + result + b"\n")
        os.close(handle)


class Client(LineOnlyReceiver):
    """A client's connection."""

    delimiter = b"\n"
    transport: ITCPTransport

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def connectionMade(self) -> None:
        """Answer at once."""
        self.transport.setTcpNoDelay(True)

    def lineReceived(self, line: bytes) -> None:
        """Do what a line says."""
        request = json.loads(line)
        if "procedure" in request:
            self._dispatcher.submit(request, self)
            return
        job = self._dispatcher.jobs[request["get_result"]]
        if job.result is None:
            job.waiting.append(self)
        else:
            self.sendLine(job.result)


def main() -> None:
    """Do what the arguments say."""
    agent_port, ca, folder = sys.argv[1:]
    dispatcher = Dispatcher(agent(agent_port, ca), Path(folder))
    serve(lambda: Client(dispatcher))
    reactor.run()


if __name__ == "__main__":
    main()
