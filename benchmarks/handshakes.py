"""What TLS alone costs: connect, handshake, one request and its answer, close.

``python -m benchmarks.handshakes PORT CA CONCURRENCY SECONDS full|resumed|kept`` does this in a
loop of the standard library's ssl module against the same agent that the dispatcher calls, and
prints how often it went and what processor time of its own it took.  ``kept`` connects once, and
makes calls as the dispatcher does, each confirmed if the agent would keep its end.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
import time
from uuid import uuid4

REQUEST = (
    b'{"harp":1,"procedure":"ping","arguments":[],"auth":{"user":"bench","password":"secret"}}\n'
)
CONFIRMED = b'{"harp":1,"cancel":%s,"auth":{"user":"bench","password":"secret"}}\n'


class Client:
    """One that connects again and again."""

    def __init__(self, port: int, context: ssl.SSLContext, kind: str) -> None:
        self.count = 0
        self.resumed = 0
        self._port = port
        self._context = context
        self._kind = kind
        self._session: ssl.SSLSession | None = None

    def run(self, seconds: float) -> None:
        """Do it for this long."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            if self._kind == "kept":
                self._keep(end)
            else:
                self._once()
                self.count += 1

    def _connected(self) -> ssl.SSLSocket:
        connection = socket.create_connection(("127.0.0.1", self._port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self._context.wrap_socket(connection, session=self._session)

    def _keep(self, end: float) -> None:
        with self._connected() as tls:
            while time.perf_counter() < end:
                job = b'"%s"' % str(uuid4()).encode()
                tls.sendall(REQUEST.replace(b'"auth"', b'"job":%s,"auth"' % job))
                answer = answered(tls)
                self.count += 1
                if b'"keep":true' not in answer:
                    return
                if b'"resume":true' in answer:
                    tls.sendall(CONFIRMED % job)

    def _once(self) -> None:
        with self._connected() as tls:
            tls.sendall(REQUEST)
            answered(tls)
            self.resumed += bool(tls.session_reused)
            if self._kind == "resumed":
                self._session = tls.session
            tls.unwrap()


def answered(tls: ssl.SSLSocket) -> bytes:
    """Read the acknowledgement and the end."""
    answer = b""
    while answer.count(b"\n") < 2:
        piece = tls.recv(65536)
        if not piece:
            raise SystemExit(f"the agent closed the connection after {answer!r}")
        answer += piece
    return answer


def main() -> None:
    """Run the clients and print one line of JSON."""
    port, ca, concurrency, seconds, kind = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    clients = [Client(int(port), context, kind) for _ in range(int(concurrency))]
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
                "count": count,
                "per_second": count / elapsed,
                "ms_each": 1000 * spent / count,
                "resumed": sum(one.resumed for one in clients) / count,
            }
        )
    )


if __name__ == "__main__":
    main()
