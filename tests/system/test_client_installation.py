"""The library and the command with real daemons: dispatcher, agent, procedures."""

from __future__ import annotations

import atexit
import io
import select
import signal
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase, TestCase

import harp
from harpcaller.client.command import main
from harpcaller.testing.installation import HOST, PATIENCE, Installation, our_command
from tests.client.faces import AsyncioFace, Face, TwistedFace

PROCEDURES = Path(__file__).parent / "procedures.py"


def installation() -> Installation:
    """Start an agent and a dispatcher; they end with this process at the latest."""
    folder = tempfile.TemporaryDirectory(prefix="harpcaller-test-")
    atexit.register(folder.cleanup)
    world = Installation(Path(folder.name), PROCEDURES)
    atexit.register(world.stop)
    world.start_agent()
    world.start_dispatcher()
    return world


_shared = cache(installation)


class LibraryTests(SynchronousTestCase):
    """What programs do, with nothing in it that is made up."""

    def setUp(self) -> None:
        self.world = _shared()
        self.rpc = harp.HarpCaller("127.0.0.1", self.world.port, read_timeout=PATIENCE)
        self.addCleanup(self.rpc.__exit__, None, None, None)

    def test_call(self) -> None:
        """Submit, look, get."""
        value = {"a": [1, 2.5, None, "ß🎉"]}
        job = self.rpc.host(HOST, queue={"q": 1}, info={"who": "me"}, timeout=20).echo(value)
        self.assertEqual(value, job.get())
        self.assertEqual(value, job.result())
        self.assertEqual(
            (HOST, "echo", [value], {"who": "me"}),
            (job.host(), job.procedure(), job.args(), job.info()),
        )
        start, end = job.start_time(), job.end_time()
        assert start is not None and end is not None
        self.assertTrue(job.submit_time() <= start <= end)

    def test_named_arguments(self) -> None:
        """They reach the procedure's parameters."""
        self.assertEqual(7, self.rpc(HOST).echo(value=7).get())

    def test_errors(self) -> None:
        """The procedure's, the agent's, the dispatcher's; and a job that nobody knows."""
        error = self.assertRaises(harp.RemoteException, self.rpc(HOST).fail("no disk").get)
        self.assertEqual(("ValueError", "no disk"), (error.type, error.message))
        self.assertEqual("ValueError", error.data["class"])
        for job, kind in [
            (self.rpc(HOST).nothing(), "no_such_procedure"),
            (self.rpc(HOST).echo(1, 2), "invalid_argument_list"),
            (self.rpc("web99").echo(1), "unknown_host"),
            (self.rpc.job("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda"), "invalid_jobid"),
        ]:
            self.assertEqual(kind, self.assertRaises(harp.RemoteError, job.get).type)

    def test_stream(self) -> None:
        """Live, and again afterwards."""
        job = self.rpc(HOST).count(4, 0.05)
        self.assertEqual([{"i": i} for i in range(4)], job.follow(since=0).all())
        self.assertEqual([(3, {"i": 3})], job.stream(recent=1, numbered=True).all())
        self.assertEqual(4, job.get())

    def test_cancel(self) -> None:
        """It ends the job, and whoever follows it."""
        job = self.rpc(HOST).count(1000, 0.05)
        with job.follow(since=0) as records:
            self.assertEqual({"i": 0}, next(records))
            self.assertTrue(job.cancel())
            list(records)
        self.assertIs(harp.CALL_CANCELLED, job.result(wait=True))

    def test_request_that_is_too_large(self) -> None:
        """The dispatcher's reason is heard, and the next request goes well."""
        error = self.assertRaises(harp.RemoteError, self.rpc(HOST).echo, "x" * 2_000_000)
        self.assertEqual("request_too_large", error.type)
        self.assertEqual(1, self.rpc(HOST).echo(1).get())

    def test_agent_directly(self) -> None:
        """The same procedures without a dispatcher, the agent's name checked or not."""
        agent = harp.HarpServer(
            "127.0.0.1",
            "dispatcher",
            "not a secret",
            self.world.agent_port,
            str(self.world.folder / "ca.pem"),
            read_timeout=PATIENCE,
        )
        self.assertEqual([1], agent.echo([1]))
        self.assertRaises(harp.RemoteException, agent.fail, "m")
        *records, last = agent.count(2)
        self.assertEqual(([{"i": 0}, {"i": 1}], 2), (records, last.value))

    def test_wrong_password(self) -> None:
        """The agent refuses."""
        agent = harp.HarpServer("127.0.0.1", "dispatcher", "wrong", self.world.agent_port)
        error = self.assertRaises(harp.RemoteError, agent.echo, 1)
        self.assertEqual("auth_error", error.type)


class FacesContract(TestCase):
    """The same by the faces that don't block."""

    make_face: Callable[[], Any]

    def setUp(self) -> None:
        self.world = _shared()
        self.face: Face = type(self).make_face()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.face.close()))
        self.rpc = self.face.caller("127.0.0.1", self.world.port, read_timeout=PATIENCE)

    async def get(self, work: Callable[[], Any]) -> Any:
        """Make a call and wait for its end."""
        job = await self.face.do(work)
        return await self.face.do(job.get)

    async def test_call(self) -> None:
        """Submit, look, get."""
        value = {"a": [1, 2.5, None, "ß🎉"]}
        host = self.rpc.host(HOST, queue={"q": 2}, info={"who": "me"}, timeout=20)
        job = await self.face.do(lambda: host.echo(value))
        self.assertEqual(value, await self.face.do(job.get))
        self.assertEqual({"who": "me"}, await self.face.do(job.info))
        with self.assertRaises(harp.RemoteException):
            await self.get(lambda: self.rpc(HOST).fail("no disk"))
        with self.assertRaises(harp.RemoteError):
            await self.get(lambda: self.rpc(HOST).nothing())

    async def test_stream_and_cancel(self) -> None:
        """Live, again afterwards, and ended in the middle."""
        job = await self.face.do(lambda: self.rpc(HOST).count(4, 0.05))
        expected = [{"i": i} for i in range(4)]
        self.assertEqual(expected, await self.face.do(lambda: job.follow(since=0).all()))
        self.assertEqual(expected, await self.face.do(lambda: job.stream().all()))
        job = await self.face.do(lambda: self.rpc(HOST).count(1000, 0.05))
        records = await self.face.do(lambda: job.follow(since=0))
        self.assertEqual({"i": 0}, await self.face.next(records))
        self.assertTrue(await self.face.do(job.cancel))
        await self.face.do(records.all)
        self.assertIs(harp.CALL_CANCELLED, await self.face.do(lambda: job.result(wait=True)))

    async def test_agent_directly(self) -> None:
        """The agent is known by its certificate; a wrong password is refused."""
        where = "127.0.0.1", "dispatcher"
        ca_file = str(self.world.folder / "ca.pem")
        port = self.world.agent_port
        agent = self.face.agent(*where, "not a secret", port, ca_file, read_timeout=PATIENCE)
        self.assertEqual(["x" * 500_000], await self.face.do(lambda: agent.echo(["x" * 500_000])))
        stream = await self.face.do(lambda: agent.count(2))
        *records, last = await self.face.do(stream.all)
        self.assertEqual(([{"i": 0}, {"i": 1}], 2), (records, last.value))
        stranger = self.face.agent(*where, "wrong", port)
        with self.assertRaises(harp.RemoteError):
            await self.face.do(lambda: stranger.echo(1))


class AsyncioInstallationTests(FacesContract):
    """``harp.aio``."""

    make_face = AsyncioFace


class TwistedInstallationTests(FacesContract):
    """``harpcaller.client.deferred``."""

    make_face = TwistedFace


# It has no face.
del FacesContract


class CommandTests(SynchronousTestCase):
    """What people do."""

    def setUp(self) -> None:
        self.world = _shared()

    def harp(self, *words: str) -> tuple[int, str, str]:
        """Run ``harp``."""
        out, err = io.StringIO(), io.StringIO()
        code = main(words, out, err, self.world.environ)
        return code, out.getvalue(), err.getvalue()

    def test_from_call_to_status(self) -> None:
        """A call, its stream, its status."""
        code, job, _ = self.harp("call", "--no-wait", HOST, "count", "2")
        job = job.strip()
        self.assertEqual((0, '{"i":0}\n{"i":1}\n2\n', ""), self.harp("follow", job))
        self.assertEqual((0, "2\n", ""), self.harp("result", "--wait", job))
        self.assertIn("state      ended", self.harp("status", job)[1])
        self.assertEqual(1, self.harp("cancel", job)[0])
        self.assertEqual(0, code)

    def test_numbers_are_not_changed(self) -> None:
        """What is shown is what was sent."""
        code, out, _ = self.harp("call", HOST, "echo", "1e5", "--json")
        self.assertEqual(0, code)
        job = out.partition('"job":"')[2][:36]
        self.assertIn("arguments  [1e5]", self.harp("status", job)[1])

    def press(self, running: subprocess.Popen[str]) -> None:
        """Press ^C; again if Python was about to wait and hasn't looked since."""
        assert running.stderr is not None
        running.send_signal(signal.SIGINT)
        for _ in range(3):
            if select.select([running.stderr], [], [], 15)[0]:
                return
            running.send_signal(signal.SIGINT)

    def test_interrupts(self) -> None:
        """One ^C leaves the job running, two cancel it."""
        running = subprocess.Popen(
            our_command("harp", "call", HOST, "sleep", "60"),
            env=self.world.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert running.stderr is not None and running.stdout is not None
        with running.stderr, running.stdout:
            job = running.stderr.readline().split()[-1]
            self.press(running)
            self.assertIn(f"job {job} goes on", running.stderr.readline())
            self.assertEqual(3, self.harp("result", job)[0])
            self.press(running)
            self.assertEqual(f"harp: job {job} cancelled\n", running.stderr.readline())
            self.assertEqual((130, ""), (running.wait(PATIENCE), running.stdout.read()))
        self.assertEqual((1, "", f"harp: job {job} was cancelled\n"), self.harp("result", job))


class RestartTests(SynchronousTestCase):
    """A dispatcher that goes away and comes again."""

    def test_restart_between_requests(self) -> None:
        """The kept connection is replaced, and the result is still there."""
        world = installation()
        self.addCleanup(world.stop)
        rpc = harp.HarpCaller("127.0.0.1", world.port, read_timeout=PATIENCE)
        with rpc:
            job = rpc(HOST).echo("x")
            self.assertEqual("x", job.get())
            long = rpc(HOST).count(30, 0.05)
            records = long.follow(since=0)
            self.assertEqual({"i": 0}, next(records))
            world._daemons[-1].kill()
            self.assertRaises(harp.CommunicationError, records.all)
            self.assertRaises(harp.CommunicationError, job.get)
            world.start_dispatcher()
            self.assertEqual("x", job.get())
            self.assertEqual(30, long.get())
            self.assertEqual(30, len(long.follow(since=0).all()))
            self.assertEqual("y", rpc(HOST).echo("y").get())
