"""The machine's clock is set while the daemons run: what waits goes on waiting, neither longer
nor shorter.

The daemons' Python has a wall clock that a file sets, by the module that every Python imports
first; the clock that only goes forward is left as it is.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import struct
import tempfile
from pathlib import Path

from twisted.trial.unittest import TestCase

from harpcaller.testing.installation import HOST, PATIENCE, Installation
from tests.system.untraced import untraced

HOUR = 3600.0
DAY = 24 * HOUR

SITE = """\
import mmap, struct, time

# Mapped, since a process that has another root opens no file of ours any more.
with open({offset!r}, "rb") as file:
    offset = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)

def moved(clock, unit):
    return lambda: clock() + unit(struct.unpack("d", offset)[0])

time.time = moved(time.time, float)
time.time_ns = moved(time.time_ns, lambda seconds: int(seconds * 1e9))
"""

PROCEDURES = """\
import os, time
from harpd.proc import streaming_procedure

@streaming_procedure
def wait(path):
    yield "waits"
    while not os.path.exists(path):
        time.sleep(0.05)
    yield "goes on"
"""


class ClockCase(TestCase):
    def setUp(self) -> None:
        # Not mktemp: the path of a Unix socket is short.
        self.folder = Path(tempfile.mkdtemp(prefix="harpcaller-clock-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "procedures.py").write_text(PROCEDURES)
        self.offset = self.folder / "offset"
        self.set_clock(0.0)
        site = self.folder / "site"
        site.mkdir()
        (site / "sitecustomize.py").write_text(SITE.format(offset=str(self.offset)))
        self.world = Installation(
            self.folder, self.folder / "procedures.py", "client_idle_timeout = 2"
        )
        self.world.environ = {**untraced(self.world.environ), "PYTHONPATH": str(site)}
        self.addCleanup(self.world.stop)
        conf = self.folder / "harpd.conf"
        conf.write_text(conf.read_text() + "limits:\n  request_timeout: 2\n")
        self.world.start_agent()
        self.world.start_dispatcher()

    def set_clock(self, seconds: float) -> None:
        """Set the daemons' clock so far before or after ours."""
        with open(self.offset, "r+b" if self.offset.exists() else "wb") as file:
            file.write(struct.pack("d", seconds))

    def waiting_call(self, flag: Path, **options: object) -> str:
        """Begin a call that waits for a file, and see it wait."""
        job = self.world.submit("wait", str(flag), **options)
        self.assertEqual("waits", self.world.ask({"follow_stream": job, "since": 0})["data"])
        return job

    def dispatcher(self) -> socket.socket:
        """Connect to the dispatcher, and see that it has noticed."""
        connection = socket.create_connection(("127.0.0.1", self.world.port), PATIENCE)
        self.addCleanup(connection.close)
        connection.sendall(b'{"harpcaller":1,"get_result":"none"}\n')
        self.assertIn(b"invalid_jobid", connection.recv(4096))
        return connection

    def agent(self) -> socket.socket:
        """Connect to the agent, and see that it has noticed."""
        plain = socket.create_connection(("127.0.0.1", self.world.agent_port), PATIENCE)
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        connection = context.wrap_socket(plain, server_hostname=HOST)
        self.addCleanup(connection.close)
        return connection

    def closed(self, connection: socket.socket) -> None:
        with contextlib.suppress(ConnectionResetError, ssl.SSLError):
            self.assertEqual(b"", connection.recv(1))


class SetBackTests(ClockCase):
    def test_limits_of_calls(self) -> None:
        """A call that takes too long ends when it should, not an hour later."""
        job = self.waiting_call(self.folder / "never", timeout=2)
        self.set_clock(-HOUR)
        self.assertEqual("timeout", self.world.result(job)["error"]["type"])

    def test_silent_strangers(self) -> None:
        """Who says nothing is let go of in time, by the dispatcher and by an agent."""
        silent = [self.dispatcher(), self.agent()]
        self.set_clock(-HOUR)
        for connection in silent:
            self.closed(connection)


class SetForwardTests(ClockCase):
    def test_running_call(self) -> None:
        """A day that didn't pass counts neither as silence nor as running time."""
        flag = self.folder / "flag"
        job = self.waiting_call(flag)
        self.set_clock(DAY)
        # Whatever the daemons think of the other call's time, they look at it with this one.
        _ = self.world.result(self.waiting_call(self.offset))
        flag.touch()
        self.assertEqual({"result": None}, self.world.result(job))
