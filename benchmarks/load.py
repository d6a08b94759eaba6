"""Clients of the dispatcher, in a process of their own; as cheap as Python gets.

``python -m benchmarks.load WHAT PORT ...`` does one of

- ``calls PORT CONCURRENCY SECONDS kept|new``: submit calls and wait for their results, on
  connections that are kept or on a new one for each request, as old clients do;
- ``submit PORT CONCURRENCY COUNT``: submit jobs to a queue whose first job never ends;
- ``polls PORT CONCURRENCY SECONDS OPERATION IDS``: ask about the jobs in a file, over and over;
- ``cancel PORT CONCURRENCY IDS``: cancel the jobs in a file;
- ``rate PORT PER_SECOND SECONDS``: begin so many calls a second, whatever the answers do;
- ``stream PORT COUNT TOGETHER``: submit a call that streams so many records, and follow it;
- ``relayed PORT``: read what a bare relay passes on.

It prints one line of JSON.  None of it is the library ``harp``: what clients cost shall be in no
figure.
"""

from __future__ import annotations

import itertools
import json
import select
import socket
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import attrs

#: What a client says: it yields requests, and is sent their answers.
Talk = Generator[bytes, bytes, None]

CALL = b'{"harpcaller":1,"host":"agent","procedure":"ping","arguments":[]}\n'
STREAM = b'{"harpcaller":1,"host":"agent","procedure":"stream","arguments":[%d,%d]}\n'
WAITING = (
    b'{"harpcaller":1,"host":"agent","procedure":"hold","arguments":["web01",{"deep":[1,2,3]}],'
    b'"timeout":3600,"queue":{"name":{"for":"benchmark"},"concurrency":1}}\n'
)
#: Seconds of calls that aren't measured, at first, and at most this part of those that are.
WARM_UP, WARM_UP_PART = 0.5, 0.5
#: How many calls may be under way at a fixed rate before the dispatcher is called too slow.
MOST_AT_ONCE = 400


def call() -> Talk:
    """Submit a call and wait for its result."""
    answer = yield CALL
    job = answer[answer.index(b'"job_id":"') + 10 :].partition(b'"')[0]
    yield b'{"harpcaller":1,"get_result":"%s"}\n' % job


def one(requests: Iterator[bytes]) -> Talk:
    """Ask the next thing."""
    yield next(requests)


@attrs.define
class Took:
    """How long conversations took, in seconds, and how many there were with those at first."""

    first: list[float] = attrs.Factory(list)
    whole: list[float] = attrs.Factory(list)
    at: list[float] = attrs.Factory(list)
    total: int = 0

    def as_fields(self, seconds: float) -> dict[str, float]:
        """Give what is printed."""
        fields = {"total": self.total, "seconds": seconds, "per_second": len(self.whole) / seconds}
        for name, some in (("first", self.first), ("whole", self.whole)):
            some.sort()
            fields[f"{name}_p50_ms"] = 1000 * some[len(some) // 2]
            fields[f"{name}_p99_ms"] = 1000 * some[len(some) * 99 // 100]
        fields["processor_seconds"] = time.process_time()
        return fields


class Connection:
    """A connection that leads one conversation after the other."""

    def __init__(self, port: int, is_kept: bool) -> None:
        self._port = port
        self._is_kept = is_kept
        self._socket: socket.socket | None = None
        self._buffer = b""
        self._talk: Talk | None = None
        self._asked = 0
        self.began = 0.0
        self.answered = 0.0

    def begin(self, talk: Talk, epoll: select.epoll, here: dict[int, Connection]) -> None:
        """Begin a conversation."""
        self._talk = talk
        self._asked = 0
        self.began = time.perf_counter()
        self._say(next(talk), epoll, here)

    def _say(self, request: bytes, epoll: select.epoll, here: dict[int, Connection]) -> None:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self._port), 60)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            here[self._socket.fileno()] = self
            epoll.register(self._socket, select.EPOLLIN)
        self._socket.sendall(request)

    def hear(self, epoll: select.epoll, here: dict[int, Connection]) -> bool:
        """Take what has come; tell whether that ends the conversation."""
        assert self._socket is not None
        assert self._talk is not None
        self._buffer += self._socket.recv(65536)
        if not self._buffer.endswith(b"\n"):
            if not self._buffer:
                raise SystemExit("the dispatcher closed the connection")
            return False
        answer, self._buffer = self._buffer, b""
        if b'"error"' in answer:
            raise SystemExit(f"the dispatcher said {answer!r}")
        if self._asked == 0:
            self.answered = time.perf_counter()
        self._asked += 1
        if not self._is_kept:
            self.close(here)
        try:
            request = self._talk.send(answer)
        except StopIteration:
            return True
        self._say(request, epoll, here)
        return False

    def close(self, here: dict[int, Connection]) -> None:
        """Close it; the next conversation has another."""
        if self._socket is not None:
            del here[self._socket.fileno()]
            self._socket.close()
            self._socket = None


class Crowd:
    """Some clients.

    Args:
        port: Where to.
        talk: Gives a new conversation.
        is_kept: Whether they keep their connections.
    """

    def __init__(self, port: int, talk: Callable[[], Talk], is_kept: bool = True) -> None:
        self._port = port
        self._talk = talk
        self._is_kept = is_kept
        self._epoll = select.epoll()
        self._here: dict[int, Connection] = {}
        self._took = Took()
        self._running = 0
        self._idle: list[Connection] = []

    def closed(self, concurrency: int, seconds: float) -> dict[str, float]:
        """Have each begin the next conversation when one has ended, for some time."""
        measured = time.perf_counter() + min(WARM_UP, WARM_UP_PART * seconds)
        until = measured + seconds
        for _ in range(concurrency):
            self._begin(Connection(self._port, self._is_kept))
        while self._running:
            for connection in self._ended(-1):
                self._note(connection, measured)
                # On a busy machine one may take longer than all should.
                if time.perf_counter() < until or not self._took.whole:
                    self._begin(connection)
        return self._took.as_fields(time.perf_counter() - measured)

    def counted(self, concurrency: int, count: int) -> list[float]:
        """Have so many conversations; give when each ended, in seconds from the first on."""
        started = time.perf_counter()
        left = count - concurrency
        for _ in range(concurrency):
            self._begin(Connection(self._port, self._is_kept))
        ended = []
        while self._running:
            for connection in self._ended(-1):
                ended.append(time.perf_counter() - started)
                if left > 0:
                    left -= 1
                    self._begin(connection)
        return ended

    def at_rate(self, per_second: float, seconds: float) -> dict[str, float]:
        """Begin conversations at fixed times, whether earlier ones have ended or not."""
        started = time.perf_counter()
        count = int(per_second * seconds)
        begun = 0
        late = 0.0
        while begun < count or self._running:
            now = time.perf_counter()
            while begun < count and started + begun / per_second <= now:
                late = max(late, now - started - begun / per_second)
                if self._running >= MOST_AT_ONCE:
                    raise SystemExit(f"{per_second:.0f} calls a second are too many")
                begun += 1
                self._begin(self._idle.pop() if self._idle else Connection(self._port, True))
            pause = max(0.0, started + begun / per_second - time.perf_counter())
            for connection in self._ended(pause if begun < count else -1):
                self._note(connection, started)
                self._idle.append(connection)
        found = self._took.as_fields(time.perf_counter() - started)
        return {**found, "late_ms": 1000 * late, "connections": len(self._here)}

    def _begin(self, connection: Connection) -> None:
        self._running += 1
        self._took.total += 1
        connection.begin(self._talk(), self._epoll, self._here)

    def _ended(self, pause: float) -> Iterator[Connection]:
        for descriptor, _ in self._epoll.poll(pause):
            connection = self._here[descriptor]
            if connection.hear(self._epoll, self._here):
                self._running -= 1
                yield connection

    def _note(self, connection: Connection, measured: float) -> None:
        if connection.began >= measured:
            now = time.perf_counter()
            self._took.first.append(connection.answered - connection.began)
            self._took.whole.append(now - connection.began)


def calls(port: int, concurrency: int, seconds: float, kind: str) -> dict[str, float]:
    """Measure calls from submission to result."""
    return Crowd(port, call, kind == "kept").closed(concurrency, seconds)


def submit(port: int, concurrency: int, count: int) -> dict[str, float]:
    """Measure submissions, early and late ones apart."""
    requests = itertools.repeat(WAITING)
    done = [0.0, *Crowd(port, lambda: one(requests)).counted(min(concurrency, count), count)]
    tenth = max(1, count // 10)
    return {
        "count": count,
        "per_second": count / done[-1],
        "early": tenth / done[tenth],
        "late": tenth / (done[-1] - done[-tenth - 1]),
        "processor_seconds": time.process_time(),
    }


def polls(
    port: int, concurrency: int, seconds: float, operation: str, ids: str
) -> dict[str, float]:
    """Measure questions about jobs."""
    lines = Path(ids).read_text().split()
    asked = itertools.cycle(
        [b'{"harpcaller":1,"%s":"%s"}\n' % (operation.encode(), job.encode()) for job in lines]
    )
    return Crowd(port, lambda: one(asked)).closed(concurrency, seconds)


def cancel(port: int, concurrency: int, ids: str) -> dict[str, float]:
    """Cancel jobs."""
    jobs = Path(ids).read_text().split()
    asked = iter([b'{"harpcaller":1,"cancel":"%s"}\n' % job.encode() for job in jobs])
    ended = Crowd(port, lambda: one(asked)).counted(min(concurrency, len(jobs)), len(jobs))
    return {"count": len(jobs), "per_second": len(jobs) / ended[-1]}


def rate(port: int, per_second: float, seconds: float) -> dict[str, float]:
    """Measure calls that begin at a fixed rate."""
    return Crowd(port, call).at_rate(per_second, seconds)


def stream(port: int, count: int, together: int) -> dict[str, float]:
    """Submit a call that streams, and follow it to its end."""
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(STREAM % (count, together))
        job = json.loads(connection.recv(65536))["job_id"]
        connection.sendall(b'{"harpcaller":1,"follow_stream":"%s","since":0}\n' % job.encode())
        return read(connection, started)


def relayed(port: int) -> dict[str, float]:
    """Read what a bare relay passes on."""
    started = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        return read(connection, started)


def read(connection: socket.socket, started: float) -> dict[str, float]:
    """Read up to a result; give the number of lines before it and the seconds from the start."""
    count = 0
    last = b""
    while True:
        data = connection.recv(1 << 18)
        if not data:
            raise SystemExit(f"the connection was closed after {count} lines")
        count += data.count(b"\n")
        last = (last + data)[-4096:]
        if last.endswith(b"\n") and last.rstrip().rpartition(b"\n")[2].startswith(b'{"result"'):
            seconds = time.perf_counter() - started
            return {
                "count": count - 1,
                "seconds": seconds,
                "per_second": (count - 1) / seconds,
                "processor_seconds": time.process_time(),
            }


def main() -> None:
    """Do what the arguments say."""
    what, port, *rest = sys.argv[1:]
    if what == "calls":
        found = calls(int(port), int(rest[0]), float(rest[1]), rest[2])
    elif what == "submit":
        found = submit(int(port), int(rest[0]), int(rest[1]))
    elif what == "polls":
        found = polls(int(port), int(rest[0]), float(rest[1]), rest[2], rest[3])
    elif what == "cancel":
        found = cancel(int(port), int(rest[0]), rest[1])
    elif what == "rate":
        found = rate(int(port), float(rest[0]), float(rest[1]))
    elif what == "stream":
        found = stream(int(port), int(rest[0]), int(rest[1]))
    else:
        found = relayed(int(port))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
