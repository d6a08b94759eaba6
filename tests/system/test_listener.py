"""The clients' door on real sockets: what only a system's TCP shows."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Any, TypeVar, cast

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from harpcaller.interfaces import Requester
from harpcaller.listener.protocol import ClientFactory, ClientSettings
from harpcaller.testing.dispatcher import FakeDispatcher
from harpcaller.wire.client import Call, JobId
from harpcaller.wire.ending import Returned
from harpcaller.wire.values import Raw

_T = TypeVar("_T")

CALL = b'{"harpcaller":1,"host":"web01","procedure":"p","arguments":[]}\n'


class ListenerTests(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.clock = IReactorTime(reactor)
        self.dispatcher = FakeDispatcher()
        self.factory = ClientFactory(self.dispatcher, ClientSettings(), self.clock)
        port = cast(Any, reactor).listenTCP(0, self.factory, interface="127.0.0.1")
        self.port: int = port.getHost().port
        self.addCleanup(self._all_gone)
        self.addCleanup(self.factory.close)
        self.addCleanup(port.stopListening)

    async def _all_gone(self) -> None:
        while self.factory._open:
            await deferLater(self.clock, 0.01)

    def client(self, does: Callable[[socket.socket], _T]) -> Deferred[_T]:
        """Connect, and do this in a thread; gives what it returns."""

        def run() -> _T:
            with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
                return does(connection)

        return deferToThread(run)

    def job(self) -> JobId:
        call = Call("web01", "p", Raw(b"[]"))
        return self.successResultOf(self.dispatcher.submit(call, Requester("test")))

    async def test_rubbish_from_netcat(self) -> None:
        """``echo rubbish | nc``: data and half-close come together; the error line still comes."""

        def netcat(connection: socket.socket) -> bytes:
            connection.sendall(b"rubbish\n")
            connection.shutdown(socket.SHUT_WR)
            return _read_all(connection)

        for _ in range(30):
            self.assertIn(b"invalid_request", await self.client(netcat))

    async def test_far_too_long_a_line(self) -> None:
        """A client that sends it all before it reads still learns why it was refused."""

        def send_it_all(connection: socket.socket) -> bytes:
            try:
                for _ in range(64):
                    connection.sendall(b"x" * 65536)
                connection.shutdown(socket.SHUT_WR)
            except (BrokenPipeError, ConnectionResetError):
                return b"cut off while sending"
            return _read_all(connection)

        self.assertIn(b"request_too_large", await self.client(send_it_all))

    async def test_pipelined_and_half_closed(self) -> None:
        """Every request of one write is answered before the connection is closed."""

        def send_many(connection: socket.socket) -> bytes:
            connection.sendall(CALL * 2000)
            connection.shutdown(socket.SHUT_WR)
            return _read_all(connection)

        answers = await self.client(send_many)
        self.assertEqual(2000, answers.count(b"job_id"))
        self.assertEqual(2000, len(self.dispatcher.submitted))

    async def test_reset_while_waiting(self) -> None:
        """A client whose connection is reset isn't waited for any more."""
        job = self.job()

        def ask_and_reset(connection: socket.socket) -> None:
            connection.sendall(b'{"harpcaller":1,"get_result":"%s"}\n' % job.encode())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        await self.client(ask_and_reset)
        await self._all_gone()
        self.assertEqual(0, len(self.dispatcher.job(job).changed))

    async def test_big_result_to_a_slow_reader(self) -> None:
        """16 MiB come whole, however small the pieces they are taken in."""
        job = self.job()
        big = b'"' + b"x" * (16 << 20) + b'"'
        self.dispatcher.end(job, Returned(Raw(big)))

        def read_slowly(connection: socket.socket) -> bytes:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
            connection.sendall(b'{"harpcaller":1,"get_result":"%s"}\n' % job.encode())
            connection.shutdown(socket.SHUT_WR)
            return _read_all(connection)

        self.assertEqual(b'{"result":' + big + b"}\n", await self.client(read_slowly))


def _read_all(connection: socket.socket) -> bytes:
    pieces = []
    try:
        while piece := connection.recv(65536):
            pieces.append(piece)
    except ConnectionResetError:
        pieces.append(b"<reset>")
    return b"".join(pieces)
