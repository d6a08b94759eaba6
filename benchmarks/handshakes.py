"""What TLS alone costs: connect, handshake, one request and its answer, close.

``python -m benchmarks.handshakes PORT CA CONCURRENCY SECONDS full|resumed`` does this in a loop of
the standard library's ssl module against the same agent stub that the dispatcher calls, and
prints how often it went and what processor time of its own it took.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time

REQUEST = (
    b'{"harp":1,"procedure":"ping","arguments":[],"auth":{"user":"bench","password":"secret"}}\n'
)


class Client:
    """One that connects again and again."""

    def __init__(self, port: int, context: ssl.SSLContext, *, resume: bool) -> None:
        self.count = 0
        self.resumed = 0
        self._port = port
        self._context = context
        self._resume = resume
        self._session: ssl.SSLSession | None = None

    def run(self, seconds: float) -> None:
        """Do it for this long."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            self._once()
            self.count += 1

    def _once(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._context.wrap_socket(connection, session=self._session) as tls:
                tls.sendall(REQUEST)
                answer = b""
                while answer.count(b"\n") < 2:
                    piece = tls.recv(65536)
                    if not piece:
                        raise SystemExit(f"the agent closed the connection after {answer!r}")
                    answer += piece
                self.resumed += bool(tls.session_reused)
                if self._resume:
                    self._session = tls.session
                tls.unwrap()


def main() -> None:
    """Run the clients and print one line of JSON."""
    port, ca, concurrency, seconds, kind = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    clients = [
        Client(int(port), context, resume=kind == "resumed") for _ in range(int(concurrency))
    ]
    threads = [threading.Thread(target=one.run, args=(float(seconds),)) for one in clients]
    started, spent = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed, spent = time.perf_counter() - started, time.process_time() - spent
    count = sum(one.count for one in clients)
    print(
        json.dumps(
            {
                "per_second": count / elapsed,
                "ms_each": 1000 * spent / count,
                "resumed": sum(one.resumed for one in clients) / count,
            }
        )
    )


if __name__ == "__main__":
    main()
