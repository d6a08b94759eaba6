"""A dispatcher for the client's tests: real sockets, threads, and answers as they are told.

It is written from ``doc/protocol`` with plain JSON and shares no code with the client.
"""

from __future__ import annotations

import json
import socket
import threading
import uuid
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Callable, Union

#: How long a test may hang before it fails, in seconds.
PATIENCE = 60.0


class Close:
    """Close the connection here."""


class Reset:
    """Break the connection off here, losing what is under way."""


Step = Union[bytes, Close, Reset, threading.Event]
Script = Callable[[dict[str, Any]], Iterable[Step]]


def line(**fields: Any) -> bytes:
    """Write one answer line."""
    return json.dumps(fields).encode() + b"\n"


class FakeDispatcher:
    """Listens on a free port; answers every request line with what the script says.

    A step of the script is bytes to send, an event to wait for, or a :class:`Close`.

    Attributes:
        listens_at: Its address.
        port: Its port.
        requests: The requests that came, parsed, in the order of their coming.
        connections: How many connections were accepted.
    """

    def __init__(
        self,
        script: Script,
        family: socket.AddressFamily = socket.AF_INET,
        wrap: Callable[[socket.socket], socket.socket] = lambda plain: plain,
    ) -> None:
        self._script = script
        self._wrap = wrap
        self._listener = socket.socket(family, socket.SOCK_STREAM)
        self._listener.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        self._listener.listen()
        self.listens_at: str = self._listener.getsockname()[0]
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[dict[str, Any]] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, work: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(peer)
            self._start(self._serve, peer)

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError, ValueError):
            peer = self._wrap(plain)
            self._open.append(peer)
            with peer, peer.makefile("rb") as lines:
                for request_line in lines:
                    request = json.loads(request_line)
                    self.requests.append(request)
                    for step in self._script(request):
                        if not self._take(step, peer):
                            return

    def _take(self, step: Step, peer: socket.socket) -> bool:
        if isinstance(step, bytes):
            peer.sendall(step)
        elif isinstance(step, threading.Event):
            step.wait(PATIENCE)
        else:
            if isinstance(step, Reset):
                linger = b"\x01\0\0\0\0\0\0\0"
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            else:
                peer.shutdown(socket.SHUT_RDWR)
            return False
        return True

    def hang_up(self) -> None:
        """Close all connections, as a restarted dispatcher does."""
        for peer in self._open:
            with suppress(OSError):
                peer.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Close everything and wait for the threads' end."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        for thread in self._threads:
            thread.join(PATIENCE)


@dataclass
class _Job:
    call: dict[str, Any]
    ending: dict[str, Any] | None = None
    records: list[Any] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def end(self, ending: dict[str, Any]) -> None:
        self.ending = ending
        self.ended.set()


class Jobs:
    """A script that behaves as a dispatcher whose hosts have a few procedures.

    ``echo`` returns its arguments, ``fail`` raises, ``count(n)`` streams and returns "done",
    ``hang`` runs until it is cancelled; host ``nowhere`` isn't known.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, _Job] = {}

    def __call__(self, request: dict[str, Any]) -> Iterable[Step]:
        if "procedure" in request:
            yield self._submit(request)
            return
        operation = next(iter(request.keys() - {"harpcaller", "wait", "since", "recent"}))
        job = self.jobs.get(request[operation])
        if operation == "cancel":
            yield line(cancelled=self._cancel(job))
        elif job is None:
            yield line(error={"type": "invalid_jobid", "message": "no job with this id"})
        elif operation == "get_status":
            yield self._status(job)
        elif operation == "get_result":
            if request.get("wait", True):
                yield job.ended
            yield line(no_result=True) if job.ending is None else line(**job.ending)
        else:
            yield from self._stream(request, operation, job)

    def _submit(self, request: dict[str, Any]) -> bytes:
        job_id = str(uuid.uuid4())
        job = self.jobs[job_id] = _Job(request)
        arguments = request["arguments"]
        if request["host"] == "nowhere":
            job.end({"error": {"type": "unknown_host", "message": "the host is not known"}})
        elif request["procedure"] == "echo":
            job.end({"result": arguments})
        elif request["procedure"] == "fail":
            told = {"type": "ValueError", "message": "it failed", "data": {"class": "ValueError"}}
            job.end({"exception": told})
        elif request["procedure"] == "count":
            job.records.extend({"i": i} for i in range(arguments[0]))
            job.end({"result": "done"})
        return line(harpcaller=1, job_id=job_id)

    @staticmethod
    def _cancel(job: _Job | None) -> bool:
        if job is None or job.ending is not None:
            return False
        job.end({"cancelled": True})
        return True

    @staticmethod
    def _status(job: _Job) -> bytes:
        call = {key: job.call[key] for key in ("host", "procedure", "arguments")}
        end = None if job.ending is None else 1455282413
        times = {"submit": 1455282411, "start": 1455282412, "end": end}
        return line(call=call, time=times, info=job.call.get("info"))

    @staticmethod
    def _stream(request: dict[str, Any], operation: str, job: _Job) -> Iterable[Step]:
        follows = operation == "follow_stream"
        recent = request.get("recent", 0 if follows and "since" not in request else None)
        first = request.get("since", 0)
        if recent is not None:
            first = max(0, len(job.records) - recent)
        for number, data in enumerate(job.records[first:], first):
            yield line(packet=number, data=data)
        if follows:
            yield job.ended
        yield line(**{"continue": True}) if job.ending is None else line(**job.ending)
