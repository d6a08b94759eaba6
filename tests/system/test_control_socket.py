"""The control socket itself, on a real reactor, and the command line tool on it."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.protocols import amp
from twisted.trial.unittest import TestCase

from harpcaller.control.amp_face import AMP_COMMANDS, ListMore
from harpcaller.control.cli import main
from harpcaller.control.server import ControlSocket, ControlSocketError
from harpcaller.testing.dispatcher import FakeDaemon, FakeDispatcher
from harpcaller.wire import control
from harpcaller.wire.client import JobId
from harpcaller.wire.client_answers import JobStatus
from harpcaller.wire.ending import Cancelled
from harpcaller.wire.values import decode
from tests.control.world import World


class Counting(FakeDispatcher):
    """It counts the jobs that were looked up."""

    looked_up = 0

    def status(self, job_id: JobId) -> Deferred[JobStatus]:
        self.looked_up += 1
        return super().status(job_id)


class SocketCase(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp()  # trial's own is too long for a socket's path
        self.addCleanup(shutil.rmtree, self.directory)
        self.path = os.path.join(self.directory, "control")
        self.world = World()

    def serve(self) -> ControlSocket:
        server = ControlSocket(self.path, self.world.seams, reactor)
        server.start()
        self.addCleanup(lambda: Deferred.fromCoroutine(server.stop()))
        return server

    def client(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        self.addCleanup(client.close)
        client.settimeout(60)
        client.connect(self.path)
        return client

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            await deferLater(reactor, 0.01)


class ListeningTests(SocketCase):
    async def test_only_the_owner_may_connect(self) -> None:
        """The socket's mode keeps everybody else out."""
        self.serve()
        self.assertEqual(0o600, stat.S_IMODE(os.stat(self.path).st_mode))

    async def test_stop_removes_the_socket(self) -> None:
        """After a stop, "not running" can be seen at a glance, and a start finds the place free."""
        server = self.serve()
        await server.stop()
        self.assertFalse(os.path.exists(self.path))
        await server.stop()
        self.serve()

    async def test_stale_socket_is_replaced(self) -> None:
        """A daemon that was killed leaves its socket; the next one takes the place."""
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(self.path)
            dead.listen()
        self.serve()
        answer = await deferToThread(self.run_tool, "status")
        self.assertEqual((0, "running\n", ""), answer)

    async def test_living_daemon_keeps_its_socket(self) -> None:
        """The second one is told clearly, and the first goes on."""
        self.serve()
        second = ControlSocket(self.path, self.world.seams, reactor)
        error = self.assertRaises(ControlSocketError, second.start)
        self.assertEqual(
            f"control socket {self.path}: another daemon is listening on it", str(error)
        )
        await second.stop()
        self.assertEqual((0, "running\n", ""), await deferToThread(self.run_tool, "status"))

    async def test_busy_daemon_keeps_its_socket(self) -> None:
        """A daemon that is too busy to accept isn't taken for a dead one."""
        busy = socket.socket(socket.AF_UNIX)
        self.addCleanup(busy.close)
        busy.bind(self.path)
        busy.listen(0)
        waiting = [socket.socket(socket.AF_UNIX) for _ in range(3)]
        for client in waiting:
            self.addCleanup(client.close)
            client.setblocking(False)
            client.connect_ex(self.path)
        server = ControlSocket(self.path, self.world.seams, reactor)
        self.assertIn("another daemon", str(self.assertRaises(ControlSocketError, server.start)))

    async def test_places_that_cannot_be_had(self) -> None:
        """Each is named with what is wrong about it."""
        with open(self.path, "w") as file:
            file.write("precious")
        for path, reason in (
            (self.path, "it exists, and isn't a socket"),
            (os.path.join(self.directory, "nowhere", "control"), "No such file or directory"),
            (os.path.join(self.directory, "x" * 200), "AF_UNIX path too long"),
        ):
            server = ControlSocket(path, self.world.seams, reactor)
            error = self.assertRaises(ControlSocketError, server.start)
            self.assertEqual(f"control socket {path}: {reason}", str(error))
        with open(self.path) as file:
            self.assertEqual("precious", file.read())

    async def test_two_daemons_that_start_at_once(self) -> None:
        """While one looks whether the socket is stale, no other does."""
        descriptor = os.open(self.directory, os.O_RDONLY)
        self.addCleanup(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        server = ControlSocket(self.path, self.world.seams, reactor)
        self.assertIn("just starting", str(self.assertRaises(ControlSocketError, server.start)))

    async def test_stop_without_the_socket_file(self) -> None:
        """Somebody removed it; that keeps no daemon from stopping."""
        server = self.serve()
        os.unlink(self.path)
        await server.stop()

    async def test_stop_leaves_another_daemons_socket(self) -> None:
        """Somebody moved ours away and put his own there."""
        server = self.serve()
        os.unlink(self.path)
        other = ControlSocket(self.path, self.world.seams, reactor)
        other.start()
        await server.stop()
        self.assertTrue(os.path.exists(self.path))
        await other.stop()

    def run_tool(self, *argv: str) -> tuple[int, str, str]:
        out, err = io.BytesIO(), io.StringIO()
        code = main([f"--socket={self.path}", *argv], out, err)
        return code, out.getvalue().decode(), err.getvalue()


class ConversationTests(SocketCase):
    async def test_first_byte_decides(self) -> None:
        """JSON lines and AMP on the same socket, anything else is refused in JSON."""
        self.serve()
        for sent, start in (
            (b'{"command":"list_jobs"}\n', b'{"result":"ok"}\n'),
            (b"GET / HTTP/1.1\r\n", b'{"result":"error"'),
        ):
            client = self.client()
            client.sendall(sent)
            self.assertTrue((await deferToThread(client.recv, 1000)).startswith(start))
        endpoint = UNIXClientEndpoint(reactor, self.path)
        program = await connectProtocol(endpoint, amp.AMP())
        status = await program.callRemote(AMP_COMMANDS[control.Status], wait=True)
        self.assertEqual({"status": "running", "pid": 4711}, status)
        jobs = [self.world.job() for _ in range(150)]
        page = await program.callRemote(AMP_COMMANDS[control.ListJobs])
        rest = await program.callRemote(ListMore, cursor=page["cursor"])
        items = page["items"] + rest["items"]
        self.assertEqual(jobs, [decode(item)["job"] for item in items])
        program.transport.loseConnection()

    async def test_shell_script_that_shuts_its_side(self) -> None:
        """``printf ... | socat - UNIX:control`` gets its answers, and then the end."""
        self.serve()
        client = self.client()
        client.sendall(b'{"command":"list_hosts"}\n{"command":"status"}\n')
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as answers:
            lines = await deferToThread(answers.readlines)
        self.assertEqual(4, len(lines))

    async def test_half_closing_before_saying_anything(self) -> None:
        """A port scanner of sorts is closed."""
        self.serve()
        client = self.client()
        client.shutdown(socket.SHUT_WR)
        self.assertEqual(b"", await deferToThread(client.recv, 100))

    async def test_client_that_hangs_up_while_it_waits(self) -> None:
        """Ctrl-C on ``status --wait`` leaves nothing behind in the daemon."""
        daemon = self.world.daemon = FakeDaemon(started=False)
        self.serve()
        client = self.client()
        client.sendall(b'{"command":"status","wait":true}\n')
        await self.until(lambda: len(daemon.waiting) > 0)
        client.close()
        await self.until(lambda: len(daemon.waiting) == 0)

    async def test_list_stays_with_a_client_that_does_not_read(self) -> None:
        """Only so much is made as a socket holds, and the rest comes when it is wanted."""
        self.world.dispatcher = counting = Counting()
        jobs = [self.world.job(arguments=b'["%s"]' % (b"x" * 1000)) for _ in range(2000)]
        self.serve()
        client = self.client()
        client.sendall(b'{"command":"list_jobs"}\n')
        await self.until(lambda: counting.looked_up > 0)
        await deferLater(reactor, 0.2)
        self.assertTrue(counting.looked_up < 1000, counting.looked_up)
        with client.makefile("rb") as answer:
            lines = await deferToThread(lambda: [answer.readline() for _ in range(2001)])
        self.assertEqual(jobs, [decode(line)["job"] for line in lines[:-1]])
        self.assertEqual(b'{"result":"ok"}\n', lines[-1])

    async def test_stop_closes_what_is_connected(self) -> None:
        """The one who asked is answered first; one that doesn't read is cut off."""
        for _ in range(2000):
            self.world.job(arguments=b'["%s"]' % (b"x" * 1000))
        server = self.serve()
        idle, deaf = self.client(), self.client()
        deaf.sendall(b'{"command":"list_jobs"}\n')
        idle.sendall(b'{"command":"stop"}\n')
        await self.until(lambda: self.world.daemon.stops > 0)
        await server.stop()
        with idle.makefile("rb") as answer:
            self.assertEqual([b'{"result":"ok","pid":4711}\n'], answer.readlines())


class ToolTests(SocketCase):
    async def run_tool(self, *argv: str) -> tuple[int, str, str]:
        out, err = io.BytesIO(), io.StringIO()
        code = await deferToThread(main, [f"--socket={self.path}", *argv], out, err)
        return code, out.getvalue().decode(), err.getvalue()

    async def test_a_morning_at_work(self) -> None:
        """What an operator does, one command after the other, with the real tool."""
        self.assertEqual((1, "not running\n", ""), await self.run_tool("status"))
        self.assertEqual((0, "", ""), await self.run_tool("stop"))
        code, out, err = await self.run_tool("list")
        self.assertEqual((2, ""), (code, out))
        self.assertEqual(
            f"harpcallerd: cannot reach the daemon at {self.path}: No such file or directory\n", err
        )

        self.serve()
        self.assertEqual((0, "running\n", ""), await self.run_tool("status", "--wait"))
        job = self.world.job(b'{"q":1}')
        code, out, err = await self.run_tool("list", "--queue")
        self.assertEqual((0, ""), (code, err))
        shown = decode(out.encode())
        self.assertEqual((job, {"q": 1}), (shown["job"], shown["queue"]))
        self.assertIsNone(shown["time"]["end"])
        self.assertEqual((0, '{"q":1}\n', ""), await self.run_tool("queue-list"))
        code, out, _ = await self.run_tool("queue-list", '{"q": 1}')
        self.assertEqual(job, decode(out.encode())["job"])
        self.assertEqual((0, "", ""), await self.run_tool("cancel", job))
        self.assertEqual(
            (1, "", "harpcallerd: the job has ended already\n"), await self.run_tool("cancel", job)
        )
        for command in ("info", "cancel"):
            self.assertEqual(
                (1, "", "harpcallerd: no such job\n"), await self.run_tool(command, "nonesuch")
            )
        self.assertEqual((0, "", ""), await self.run_tool("list"))
        code, out, _ = await self.run_tool("list", "--all")
        self.assertEqual(job, decode(out.encode())["job"])
        for command in ("reload", "hosts-refresh", "reopen-logs", "prune-jobs"):
            self.assertEqual((0, "", ""), await self.run_tool(command))
        code, out, _ = await self.run_tool("hosts-list")
        self.assertEqual(2, len(out.splitlines()))
        code, _, err = await self.run_tool("dist-erl-start")
        self.assertEqual(2, code)
        self.assertIn("Erlang networking is not part of this dispatcher yet", err)

    async def test_status_waits_for_start_up(self) -> None:
        """From no socket at all to the end of the start-up."""
        self.world.daemon = FakeDaemon(started=False)
        waiting = self.run_tool("status", "--wait", "--timeout=60")
        answer = Deferred.fromCoroutine(waiting)
        await deferLater(reactor, 0.1)
        self.serve()
        await self.until(lambda: len(self.world.daemon.waiting) > 0)
        self.assertEqual(
            (1, "not running\n", "harpcallerd: the daemon is starting\n"),
            await self.run_tool("status"),
        )
        self.world.daemon.started()
        self.assertEqual((0, "running\n", ""), await answer)

    async def test_list_of_many_jobs(self) -> None:
        """Twenty thousand jobs, ended ones too, come out in order while the daemon serves on."""
        jobs = [self.world.job() for _ in range(20_000)]
        for job in jobs[::2]:
            self.world.dispatcher.end(job, Cancelled())
        self.serve()
        listing = Deferred.fromCoroutine(self.run_tool("list", "--all"))
        self.assertEqual((0, "running\n", ""), await self.run_tool("status"))
        code, out, err = await listing
        self.assertEqual((0, ""), (code, err))
        self.assertEqual(jobs, [decode(line.encode())["job"] for line in out.splitlines()])


class ProcessTests(SocketCase):
    """The tool as a process of its own."""

    async def run_python(self, code: str, *argv: str) -> tuple[int, str]:
        done = await deferToThread(
            subprocess.run,
            [sys.executable, "-c", code, f"--socket={self.path}", *argv],
            capture_output=True,
            timeout=100,
        )
        return done.returncode, (done.stdout + done.stderr).decode()

    async def test_no_twisted_on_the_way(self) -> None:
        """Importing the reactor takes longer than everything the tool does."""
        self.serve()
        code = (
            "import sys; from harpcaller.control.cli import main\n"
            "code = main()\n"
            "heavy = {'twisted', 'zope', 'attr', 'attrs', 'OpenSSL'} & set(sys.modules)\n"
            "sys.exit(f'{code} {heavy}')"
        )
        for argv in (["status", "--wait"], ["list", "--table"], ["stop", "--timeout=0.01"]):
            code_, said = await self.run_python(code, *argv)
            self.assertIn(" set()", said)
            self.assertEqual(1, code_)

    async def test_head_ends_it_quietly(self) -> None:
        """``harpcallerd list | head -1`` prints a line and nothing else."""
        for _ in range(5000):
            self.world.job()
        self.serve()
        done = await deferToThread(
            subprocess.run,
            [
                "bash",
                "-c",
                f"{sys.executable} -m harpcaller.control.cli --socket={self.path} list | head -1;"
                ' echo "${PIPESTATUS[0]}"',
            ],
            capture_output=True,
            timeout=100,
        )
        lines = done.stdout.splitlines()
        self.assertEqual((b"", 2, b"0"), (done.stderr, len(lines), lines[-1]))

    async def test_start_is_twistd(self) -> None:
        """The process that ``start`` becomes is twistd, with our plugin's name to run."""
        done = await deferToThread(
            subprocess.run,
            [sys.executable, "-m", "harpcaller.control.cli", "start", "--config=/nonesuch"],
            capture_output=True,
            timeout=100,
            cwd=self.directory,
        )
        # Without a configuration it can't start, but it is the one that says so.
        self.assertNotEqual(0, done.returncode)
        self.assertIn(b"/nonesuch", done.stdout + done.stderr)
        self.assertNotIn(b"harpcallerd:", done.stderr)
        self.assertEqual([], os.listdir(self.directory))
