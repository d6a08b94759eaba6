"""A dispatcher and an agent that strangers come to, and what it costs them.

Memory is what the kernel counts as a process's own (RssAnon), so it neither depends on what is
shared nor on how fast the machine is; processor time is the process's.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
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
from tests.system.untraced import untraced

MB = 1024 * 1024

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


def descriptors_for(wanted: int) -> int:
    """Raise how many descriptors this process may have open; gives how many of those wanted there
    may be, with some left for others, here and in a daemon."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(wanted, hard - 500)


class HostileCase(TestCase):
    """A dispatcher and an agent; :attr:`pids` are whose memory counts."""

    timeout = 5 * PATIENCE
    #: The most descriptors that the dispatcher, or the agent, may have open; 0 for the usual.
    descriptors = 0
    agent_descriptors = 0
    #: What else stands in the agent's configuration.
    agent_more = ""

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
        self.world.environ = untraced(self.world.environ)
        self.addCleanup(self.world.stop)
        self.open = ExitStack()
        self.addCleanup(self.open.close)
        conf = self.folder / "harpd.conf"
        conf.write_text(conf.read_text() + self.agent_more)
        world = self.world
        self.agent = self.start(
            "harpd", world.agent_command, self.agent_descriptors, "agent.listening"
        )
        self.dispatcher = self.start(
            "harpcaller", world.dispatcher_command, self.descriptors, "daemon.ready"
        )
        # What is made once, at the first call, is no stranger's doing.
        self.served()
        self.watch(self.dispatcher)

    def start(self, name: str, command: Sequence[str], descriptors: int, ready: str) -> Daemon:
        line = our_command(*command)
        if descriptors:
            limit = f"ulimit -n {descriptors}; exec "
            line = ["/bin/sh", "-c", limit + " ".join(line)]
        daemon = self.world.start_as(name, line)
        daemon.wait_for_log(ready)
        return daemon

    def watch(self, daemon: Daemon, *helpers: int) -> None:
        """Take a daemon, and processes of its, for those whose memory counts.

        The last one is who talks with strangers.
        """
        self.pids = daemon.process.pid, *helpers
        self.before = sum(map(memory, self.pids))

    def served(self) -> None:
        """An honest client's call goes all the way."""
        job = self.world.submit("echo", 1)
        self.assertEqual({"result": 1}, self.world.result(job))

    def connect(self, port: int | None = None) -> socket.socket:
        address = ("127.0.0.1", self.world.port if port is None else port)
        connection = self.open.enter_context(socket.create_connection(address, PATIENCE))
        connection.settimeout(PATIENCE)
        return connection

    def send_as_long_as_it_takes(self, connection: socket.socket, piece: bytes, most: int) -> int:
        """Send until the other side takes no more for a second; gives how many bytes it took."""
        connection.setblocking(False)
        sent = stuck = 0
        while stuck < 20 and sent < most:
            try:
                sent += connection.send(piece)
                stuck = 0
            except BlockingIOError:
                stuck += 1
                time.sleep(0.05)
        return sent

    def grown(self) -> int:
        return sum(map(memory, self.pids)) - self.before

    def rests(self) -> None:
        """The daemon looks now and then at most; a loop that spins uses all that it gets."""
        before = sum(map(processor_seconds, self.pids))
        time.sleep(2)
        self.assertLess(sum(map(processor_seconds, self.pids)) - before, 1.0)

    def open_descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pids[-1]}/fd").iterdir()))

    def until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.02)

    def flood(self, port: int, most: int) -> None:
        """Take all descriptors by connections: the daemon rests, and serves when they are gone."""
        flood = []
        for _ in range(400):
            connection = socket.socket()
            connection.setblocking(False)
            connection.connect_ex(("127.0.0.1", port))
            flood.append(self.open.enter_context(connection))
        self.until(lambda: self.open_descriptors() > most - 18, "it takes no connections")
        self.rests()
        for connection in flood:
            connection.close()
        self.until(lambda: self.open_descriptors() < most // 2, "it keeps dead connections")
        self.served()
        self.assertLess(self.grown(), 16 * MB)
