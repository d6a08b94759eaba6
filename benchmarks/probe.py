"""An honest client: asks something cheap again and again, and notes how long it waits."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

#: How long it rests between two questions, in seconds.
REST = 0.005


@attrs.define
class Waits:
    """How long the answers took, in seconds."""

    seconds: list[float] = attrs.Factory(list)

    def at(self, share: float) -> float:
        """Give the wait that so many weren't longer than, in milliseconds."""
        ordered = sorted(self.seconds) or [0.0]
        return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def as_fields(self, name: str) -> dict[str, float]:
        """Give what a table shows of them."""
        return {
            f"{name}_p50_ms": round(self.at(0.5), 2),
            f"{name}_p99_ms": round(self.at(0.99), 1),
            f"{name}_max_ms": round(self.at(1.0), 1),
        }


class Asking:
    """A kept connection to the dispatcher."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._lines = self._socket.makefile("rb")

    def ask(self, **members: object) -> dict[str, object]:
        """Ask, and give the first line of the answer."""
        self.send(**members)
        return self.line()

    def send(self, **members: object) -> None:
        """Ask."""
        self._socket.sendall(json.dumps({"harpcaller": 1, **members}).encode() + b"\n")

    def skip(self, last: bytes) -> int:
        """Pass over lines up to one that begins so; tell how many there were before it."""
        for count, line in enumerate(self._lines):
            if line.startswith(last):
                return count
        raise SystemExit("the dispatcher closed the connection")

    def line(self) -> dict[str, object]:
        """Give the next line."""
        found = json.loads(self.raw_line() or b"{}")
        assert isinstance(found, dict)
        return found

    def raw_line(self) -> bytes:
        """Give the next line as it came."""
        return self._lines.readline()

    def close(self) -> None:
        """Close it."""
        self._lines.close()
        self._socket.close()


@contextmanager
def probing(port: int) -> Iterator[Waits]:
    """Ask for the status of a job that there isn't while something else goes on."""
    waits = Waits()
    done = threading.Event()

    def work() -> None:
        asking = Asking(port)
        while not done.wait(REST):
            started = time.perf_counter()
            asking.ask(get_status="00000000-0000-4000-8000-000000000000")
            waits.seconds.append(time.perf_counter() - started)
        asking.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield waits
    finally:
        done.set()
        thread.join()
