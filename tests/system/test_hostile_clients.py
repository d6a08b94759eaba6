"""What strangers may do to a dispatcher, and the bounds that it keeps meanwhile.

Memory is what the kernel counts as the process's own (RssAnon), so it neither depends on what
is shared nor on how fast the machine is; processor time is the process's.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from twisted.trial.unittest import TestCase

from harpcaller.testing.certificates import make_authority
from harpcaller.testing.installation import (
    PATIENCE,
    Daemon,
    Installation,
    free_port,
    our_command,
)
from harpcaller.wire.values import decode, encode

MB = 1024 * 1024
#: How many followers one job has here; the nightly run has more.
FOLLOWERS = int(os.environ.get("HOSTILE_FOLLOWERS", "1000"))

PROCEDURES = """\
import time
from harpd.proc import procedure, streaming_procedure

@procedure
def echo(value): return value

@streaming_procedure
def flood(megabytes):
    for number in range(megabytes * 16):
        yield "x" * 65536

@streaming_procedure
def wait(path):
    import os
    yield "waits"
    while not os.path.exists(path):
        time.sleep(0.05)
"""


def memory(pid: int) -> int:
    """Give the memory that is a process's own, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


def processor_seconds(pid: int) -> float:
    """Give the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class HostileCase(TestCase):
    #: The most descriptors that the dispatcher may have open.
    descriptors = 0

    def setUp(self) -> None:
        # Not mktemp: the path of a Unix socket is short.
        self.folder = Path(tempfile.mkdtemp(prefix="harpcaller-hostile-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "procedures.py").write_text(PROCEDURES)
        self.tls_port = free_port()
        make_authority().issue().write(self.folder, "server")
        self.world = Installation(
            self.folder,
            self.folder / "procedures.py",
            f'[[listener]]\naddress = "127.0.0.1:{self.tls_port}"\n'
            'cert_file = "server.pem"\nkey_file = "server.key"\n',
        )
        self.addCleanup(self.world.stop)
        self.open = ExitStack()
        self.addCleanup(self.open.close)
        self.world.start_agent()
        self.dispatcher = self.start()
        # What is made once, at the first call, is no stranger's doing.
        self.served()
        self.pid = self.dispatcher.process.pid
        self.before = memory(self.pid)

    def start(self) -> Daemon:
        if not self.descriptors:
            return self.world.start_dispatcher()
        limit = f"ulimit -n {self.descriptors}; exec "
        line = " ".join(our_command(*self.world.dispatcher_command))
        log = self.folder / "harpcaller.log"
        daemon = self.world.start_as("harpcaller", ["/bin/sh", "-c", limit + line])
        self.assertEqual(log, daemon.log)
        daemon.wait_for_log("daemon.ready")
        return daemon

    def served(self) -> None:
        """An honest client's call goes all the way."""
        job = self.world.submit("echo", 1)
        self.assertEqual({"result": 1}, self.world.result(job))

    def connect(self, port: int | None = None) -> socket.socket:
        address = ("127.0.0.1", self.world.port if port is None else port)
        connection = self.open.enter_context(socket.create_connection(address, PATIENCE))
        connection.settimeout(PATIENCE)
        return connection

    def grown(self) -> int:
        return memory(self.pid) - self.before

    def until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.02)


class MemoryTests(HostileCase):
    def test_endless_line(self) -> None:
        """A line that doesn't end is cut off at the limit, and not kept."""
        for _ in range(4):
            connection = self.connect()
            # It goes on listening for a moment, or its answer would be lost with the connection.
            with contextlib.suppress(OSError):
                for _ in range(64 * 16):
                    connection.sendall(b"x" * 65536)
        self.assertLess(self.grown(), 8 * MB)
        self.served()

    def test_deep_nesting(self) -> None:
        """A million brackets are refused, and cost nothing for long."""
        line = b'{"harpcaller":1,"host":"h","procedure":"p","arguments":%s}\n' % (b"[" * 500_000)
        for _ in range(8):
            connection = self.connect()
            connection.sendall(line)
            answer = connection.makefile("rb").readline()
            self.assertIn(b"invalid_request", answer)
        self.assertLess(self.grown(), 24 * MB)
        self.served()

    def test_unfinished_lines(self) -> None:
        """Those who send half of the longest line and no more hold what they sent, not more."""
        for _ in range(16):
            self.connect().sendall(b"x" * (MB // 2))
        self.served()
        self.assertLess(self.grown(), 16 * MB)

    def test_pipelined_requests_nobody_reads_the_answers_of(self) -> None:
        """A client that asks and never reads is held back by its own connection."""
        connection = self.connect()
        connection.setblocking(False)
        line = b'{"harpcaller":1,"get_status":"none"}\n' * 1000
        sent = stuck = 0
        while stuck < 20 and sent < 256 * MB:
            try:
                sent += connection.send(line)
                stuck = 0
            except BlockingIOError:
                stuck += 1
                time.sleep(0.05)
        self.assertLess(sent, 256 * MB)
        self.assertLess(self.grown(), 8 * MB)
        self.served()

    def test_follower_that_does_not_read(self) -> None:
        """A stream of 64 MB is stored and read by others, while one who follows it doesn't read."""
        job = self.world.submit("flood", 64)
        slow = [self.connect() for _ in range(8)]
        for connection in slow:
            connection.sendall(encode({"harpcaller": 1, "follow_stream": job, "since": 0}) + b"\n")
        self.assertEqual({"result": None}, self.world.result(job))
        self.assertLess(self.grown(), 48 * MB)
        lines = sum(1 for _ in self.lines_of(slow[0]))
        self.assertEqual(64 * 16 + 1, lines)

    def lines_of(self, connection: socket.socket) -> list[bytes]:
        lines = []
        with connection.makefile("rb") as stream:
            for line in stream:
                lines.append(line[:20])
                if not line.startswith(b'{"packet"'):
                    break
        return lines

    def test_followers_of_one_job(self) -> None:
        """Each follower costs some kilobytes, and hears every record and the end."""
        flag = self.folder / "flag"
        job = self.world.submit("wait", str(flag))
        connections = [self.connect() for _ in range(FOLLOWERS)]
        request = encode({"harpcaller": 1, "follow_stream": job, "since": 0}) + b"\n"
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            self.assertIn(b'"data":"waits"', connection.recv(4096))
        self.assertLess(self.grown() / FOLLOWERS, 40 * 1024)
        self.served()
        flag.touch()
        for connection in connections:
            self.assertEqual({"result": None}, decode(connection.makefile("rb").readline()))


class HandshakeTests(HostileCase):
    def test_half_open(self) -> None:
        """Those who begin no handshake are let go of after ten seconds, and disturb nobody."""
        connections = [self.connect(self.tls_port) for _ in range(100)]
        for connection in connections[::2]:
            connection.sendall(b"\x16\x03\x01")
        self.served()
        self.assertLess(self.grown() / len(connections), 200 * 1024)
        for connection in connections:
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(b"", connection.recv(1))
        self.served()

    def test_no_tls(self) -> None:
        """Plain requests and noise on a port with TLS end their connections only."""
        for noise in (b'{"harpcaller":1}\n', b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096)):
            connection = self.connect(self.tls_port)
            connection.sendall(noise)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass
        self.served()


class DescriptorTests(HostileCase):
    descriptors = 128

    def test_flood_of_connections(self) -> None:
        """With no descriptor left, the daemon doesn't spin, and serves again when there are
        some."""
        flood = []
        for _ in range(400):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", self.world.port))
            flood.append(self.open.enter_context(connection))
        folder = Path(f"/proc/{self.pid}/fd")
        self.until(lambda: len(list(folder.iterdir())) > 110, "it takes no connections")
        before = processor_seconds(self.pid)
        time.sleep(2)
        # It may look now and then; a loop that spins uses all that it gets.
        self.assertLess(processor_seconds(self.pid) - before, 1.0)
        for connection in flood:
            connection.close()
        self.until(lambda: len(list(folder.iterdir())) < 60, "it keeps dead connections")
        self.served()
        self.assertLess(self.grown(), 16 * MB)


class TimeTests(HostileCase):
    def test_one_byte_at_a_time(self) -> None:
        """A request that trickles in disturbs nobody."""
        stop = threading.Event()
        connection = self.connect()

        def trickle() -> None:
            while not stop.wait(0.01):
                connection.send(b" ")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            for _ in range(5):
                self.served()
        finally:
            stop.set()
            thread.join(PATIENCE)
        connection.sendall(b'{"harpcaller":1,"get_result":"none"}\n')
        self.assertIn(b"invalid_jobid", connection.recv(4096))
