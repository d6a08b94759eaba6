"""What a dispatcher that isn't one may do to a program that calls by the library.

Each face is tried in a process of its own, which tells the error that came out and how much
memory it took at most, over what it takes to load it.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

from twisted.trial.unittest import TestCase

from harpcaller.testing.installation import PATIENCE, our_command

MB = 1024 * 1024

HEAD = """\
import asyncio, resource, sys
import harp, harp.aio

def grown():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024 - before

def told(error):
    print(type(error).__name__, grown(), str(error)[:200])

port, patience = int(sys.argv[1]), float(sys.argv[2])
before = 0
"""
BLOCKING = """
before = grown()
rpc = harp.HarpCaller("127.0.0.1", port, read_timeout=patience)
try:
    print("given", rpc.job("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda").get())
except harp.HarpException as error:
    told(error)
"""
ASYNCIO = """
async def main():
    rpc = harp.aio.HarpCaller("127.0.0.1", port, read_timeout=patience)
    try:
        print("given", await rpc.job("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda").get())
    except harp.HarpException as error:
        told(error)

before = grown()
asyncio.run(main())
"""
TWISTED = """
from twisted.internet import task
from twisted.internet.defer import Deferred
from harpcaller.client.deferred import HarpCaller

async def main(reactor):
    rpc = HarpCaller(reactor, "127.0.0.1", port, read_timeout=patience)
    try:
        print("given", await rpc.job("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda").get())
    except harp.HarpException as error:
        told(error)

before = grown()
task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""
#: Each reads one record and then no more, while the other side sends without end.
SLOW = """
import time
before = grown()
rpc = harp.HarpCaller("127.0.0.1", port, read_timeout=patience)
for record in rpc.job("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda").follow(since=0):
    time.sleep(2)
    break
print("slow", grown(), "")
"""
SLOW_ASYNCIO = """
async def main():
    rpc = harp.aio.HarpCaller("127.0.0.1", port, read_timeout=patience)
    async for record in rpc.job("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda").follow(since=0):
        await asyncio.sleep(2)
        break
    print("slow", grown(), "")

before = grown()
asyncio.run(main())
"""
SLOW_TWISTED = """
from twisted.internet import task
from twisted.internet.defer import Deferred
from harpcaller.client.deferred import HarpCaller

async def main(reactor):
    rpc = HarpCaller(reactor, "127.0.0.1", port, read_timeout=patience)
    async for record in rpc.job("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda").follow(since=0):
        await task.deferLater(reactor, 2)
        break
    print("slow", grown(), "")

before = grown()
task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
"""


class HostileDispatcherCase(TestCase):
    def setUp(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.listening.close)
        self.listening.settimeout(0.1)
        self.port = self.listening.getsockname()[1]

    def behave(self, deed: Callable[[socket.socket], None]) -> None:
        """Do this with each connection, once its request is there, until the test is over."""
        over = threading.Event()

        def listen() -> None:
            while not over.is_set():
                with contextlib.suppress(OSError):
                    connection, _ = self.listening.accept()
                    with connection:
                        connection.settimeout(PATIENCE)
                        _ = connection.recv(65536)
                        deed(connection)

        thread = threading.Thread(target=listen)
        thread.start()

        def end() -> None:
            over.set()
            thread.join(PATIENCE)

        self.addCleanup(end)

    def run_one(self, *command: str) -> str:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            text=True,
            check=False,
        )
        self.assertNotIn("Traceback", done.stdout)
        return done.stdout

    def tried(self, most: int, words: str = "", patience: float = PATIENCE) -> None:
        """Every face says that there is no talking with this, with these words, and takes no more
        memory than so many MB."""
        for face in (BLOCKING, ASYNCIO, TWISTED):
            said = self.run_one(sys.executable, "-c", HEAD + face, str(self.port), str(patience))
            name, grown, text = said.split(" ", 2)
            self.assertEqual("CommunicationError", name, said)
            self.assertIn(words, text)
            self.assertLess(int(grown), most)


class AnswerTests(HostileDispatcherCase):
    def test_endless_line(self) -> None:
        """An answer without an end is refused when it is longer than any can be."""

        def deed(connection: socket.socket) -> None:
            connection.sendall(b'{"result":"')
            for _ in range(128):
                connection.sendall(b"x" * MB)

        self.behave(deed)
        self.tried(256, "longer than")

    def test_deep_nesting(self) -> None:
        """Hundreds of thousands of brackets are refused."""
        self.behave(lambda connection: connection.sendall(b'{"result":%s}\n' % (b"[" * 500_000)))
        self.tried(32)

    def test_drip(self) -> None:
        """One who says nothing is given up after the time for reading."""
        waiting = threading.Event()

        def deed(_connection: socket.socket) -> None:
            waiting.wait(2)

        self.behave(deed)
        self.tried(32, "within 1", 1.0)

    def test_noise(self) -> None:
        """What is no answer is told as such."""
        noises = [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(range(256)) + b"\n", b"{}\n"]
        self.behave(lambda connection: connection.sendall(noises.pop()))
        self.tried(32)
        self.assertEqual([], noises)

    def test_command(self) -> None:
        """``harp`` tells it in a line, without a traceback."""
        self.behave(lambda connection: connection.sendall(b"[" * 100_000 + b"\n"))
        job = "8ec71d6b-28d1-4ce2-aa23-f3ea7887beda"
        said = self.run_one(
            *our_command("harp", "result", job, f"--dispatcher=127.0.0.1:{self.port}")
        )
        self.assertEqual(1, said.count("\n"), said)

    def test_endless_stream_that_is_read_slowly(self) -> None:
        """Records that nobody has asked for yet wait in the network, and not in memory."""
        record = b'{"packet":%d,"data":"%s"}\n'

        def deed(connection: socket.socket) -> None:
            for number in range(4096):
                connection.sendall(record % (number, b"x" * 65536))

        self.behave(deed)
        for face in (SLOW, SLOW_ASYNCIO, SLOW_TWISTED):
            said = self.run_one(sys.executable, "-c", HEAD + face, str(self.port), "60")
            self.assertTrue(said.startswith("slow "), said)
            self.assertLess(int(said.split()[1]), 32)
