"""What the library promises, on all of its faces: blocking, asyncio and Twisted."""

from __future__ import annotations

import contextlib
import gc
import socket
import ssl
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Callable

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SkipTest, TestCase

import harp
from harpcaller.testing.certificates import make_authority
from tests.client.faces import AsyncioFace, BlockingFace, EventFace, Face, TwistedFace
from tests.client.fake_dispatcher import Close, FakeDispatcher, Jobs, Reset, Script, Step, line

SUBMITTED = line(harpcaller=1, job_id="j")
TAKEN = line(harp=1, stream_result=False)
STREAMS = line(harp=1, stream_result=True)


class FaceCase(TestCase):
    """A face and a fake that it talks to."""

    make_face: Callable[[], Any]

    def setUp(self) -> None:
        self.face: Face = type(self).make_face()
        self.addCleanup(lambda: Deferred.fromCoroutine(self.face.close()))
        # What this test leaves is collected in it, without a look at all that was there before.
        gc.freeze()
        self.addCleanup(gc.unfreeze)
        self.addCleanup(gc.collect)

    def serve(self, script: Script, family: socket.AddressFamily = socket.AF_INET) -> Any:
        """Start the fake, and make a HarpCaller for it."""
        self.fake = self.stopped(FakeDispatcher(script, family))
        return self.caller()

    def stopped(self, fake: FakeDispatcher) -> FakeDispatcher:
        """Have it stopped at the end, once the face has closed what it meant to close."""
        self.addCleanup(fake.stop)
        self.addCleanup(lambda: Deferred.fromCoroutine(self.face.pause(0.01)))
        return fake

    def caller(self, read_timeout: float | None = 10.0) -> Any:
        """Make another."""
        return self.face.caller(
            self.fake.listens_at, self.fake.port, connect_timeout=5.0, read_timeout=read_timeout
        )

    async def fails(self, kind: type[harp.HarpException], work: Callable[..., Any]) -> Any:
        """Call the library, which must raise this; give the error."""
        try:
            given = await self.face.do(work)
        except kind as error:
            return error
        raise AssertionError(f"no {kind.__name__} but {given!r}")

    async def get(self, work: Callable[..., Any]) -> Any:
        """Make a call and get its result."""
        job = await self.face.do(work)
        return await self.face.do(job.get)


class JobsContract(FaceCase):
    """Calls, their jobs, and what became of them."""

    def setUp(self) -> None:
        super().setUp()
        self.rpc = self.serve(Jobs())

    async def test_call(self) -> None:
        """A host may be named in three ways; options go out in the protocol's form."""
        for host in (self.rpc.web01, self.rpc("web01"), self.rpc.host(host="web01")):
            self.assertEqual([1, "a"], await self.get(lambda host=host: host.echo(1, "a")))
        host = self.rpc.web01(queue={"q": 1}, concurrency=2, timeout=5, info=["x"])(timeout=6)
        await self.face.do(lambda: host["some.procedure"](name="nginx"))
        self.assertEqual(
            {
                "harpcaller": 1,
                "host": "web01",
                "procedure": "some.procedure",
                "arguments": {"name": "nginx"},
                "queue": {"name": {"q": 1}, "concurrency": 2},
                "timeout": 6,
                "info": ["x"],
            },
            self.fake.requests[-1],
        )

    async def test_mistakes_go_nowhere(self) -> None:
        """Nothing is sent of a call that can't be one."""
        await self.fails(harp.HarpException, lambda: self.rpc.web01.echo(1, b=2))
        await self.fails(harp.HarpException, lambda: self.rpc.web01.echo(object()))
        job = self.rpc.job("j")
        await self.fails(harp.HarpException, lambda: job.follow(since=1, recent=1))
        await self.fails(harp.HarpException, lambda: job.stream(since=-1))
        self.assertEqual([], self.fake.requests)

    async def test_errors(self) -> None:
        """``get`` raises them, ``result`` returns them."""
        job = await self.face.do(lambda: self.rpc.web01.fail())
        error = await self.fails(harp.RemoteException, job.get)
        self.assertEqual(("ValueError", "it failed"), (error.type, error.message))
        returned = await self.face.do(job.result)
        self.assertEqual((harp.RemoteException, error.args), (type(returned), returned.args))
        job = await self.face.do(lambda: self.rpc.nowhere.echo())
        self.assertEqual("unknown_host", (await self.fails(harp.RemoteError, job.get)).type)

    async def test_running_and_cancelled(self) -> None:
        """Both have a mark; a wait for a cancelled job raises."""
        job = await self.face.do(lambda: self.rpc.web01.hang())
        self.assertIs(harp.CALL_NOT_FINISHED, await self.face.do(job.result))
        self.assertIs(harp.CALL_NOT_FINISHED, await self.face.do(lambda: job.get(wait=False)))
        self.assertIsNone(await self.face.do(job.end_time))
        self.assertIs(True, await self.face.do(job.cancel))
        self.assertIs(False, await self.face.do(job.cancel))
        self.assertIs(harp.CALL_CANCELLED, await self.face.do(lambda: job.result(wait=True)))
        await self.fails(harp.CancelledException, job.get)
        self.assertEqual(1455282413, await self.face.do(job.end_time))

    async def test_status(self) -> None:
        """What a job is, asked once for what can't change."""
        job = await self.face.do(lambda: self.rpc.host("web01", info={"who": "me"}).echo("x", 2))
        del self.fake.requests[:]
        asked = (job.host, job.procedure, job.args, job.info)
        found = [await self.face.do(ask) for ask in asked]
        self.assertEqual(["web01", "echo", ["x", 2], {"who": "me"}], found)
        times = [await self.face.do(ask) for ask in (job.submit_time, job.start_time, job.end_time)]
        self.assertEqual([1455282411, 1455282412, 1455282413], times)
        self.assertEqual(1, len(self.fake.requests))

    async def test_unknown_job(self) -> None:
        """It is an error of its own for all that asks of it, and nothing to cancel."""
        job = self.rpc.job("no-such-job")
        self.assertFalse(await self.face.do(job.cancel))
        for ask in (
            job.get,
            job.host,
            lambda: job.stream().all(),
            lambda: job.follow().all(),
        ):
            error = await self.fails(harp.RemoteError, ask)
            self.assertEqual("invalid_jobid", error.type)

    async def test_streams(self) -> None:
        """Followed to the end or read as they are, from where it was asked."""
        job = await self.face.do(lambda: self.rpc.web01.count(3))
        for records, expected in [
            (lambda: job.follow(since=0), [{"i": 0}, {"i": 1}, {"i": 2}]),
            (lambda: job.follow(recent=1, numbered=True), [(2, {"i": 2})]),
            (lambda: job.follow(), []),
            (lambda: job.stream(), [{"i": 0}, {"i": 1}, {"i": 2}]),
            (lambda: job.stream(2, numbered=True), [(2, {"i": 2})]),
        ]:
            found = await self.face.do(lambda records=records: records().all())
            self.assertEqual(expected, found)
        job = await self.face.do(lambda: self.rpc.web01.fail())
        self.assertEqual([], await self.face.do(lambda: job.follow(since=0).all()))

    async def test_iterator_at_its_end_stays_there(self) -> None:
        """Asked again it has nothing more, and its connection serves others."""
        job = await self.face.do(lambda: self.rpc.web01.count(1))
        records = await self.face.do(job.stream)
        self.assertEqual({"i": 0}, await self.face.next(records))
        for _ in range(2):
            with self.assertRaises(StopAsyncIteration):
                await self.face.next(records)
        self.assertEqual(1, self.fake.connections)

    async def test_leaving_a_stream_early(self) -> None:
        """It ends there; the job and other requests go on."""
        job = await self.face.do(lambda: self.rpc.web01.hang())
        records = await self.face.do(lambda: job.follow(since=0))
        records.close()
        self.assertEqual([], await self.face.do(records.all))
        counting = await self.face.do(lambda: self.rpc.web01.count(5))
        records = await self.face.do(lambda: counting.follow(since=0))
        self.assertEqual({"i": 0}, await self.face.next(records))
        del records
        self.assertTrue(await self.face.do(job.cancel))

    async def test_refused_requests(self) -> None:
        """A call, a cancel: the dispatcher's error is raised."""
        rpc = self.serve(lambda _: [line(error={"type": "shutdown", "message": "no"})])
        for ask in (lambda: rpc.web01.echo(), lambda: rpc.job("j").cancel()):
            self.assertEqual("shutdown", (await self.fails(harp.RemoteError, ask)).type)

    async def test_how_they_show_themselves(self) -> None:
        """In a log or a console one sees what is what; private names are no hosts."""
        job = self.rpc.job("j")
        self.assertEqual(
            [
                f"<harp.HarpCaller 127.0.0.1:{self.fake.port}>",
                "<harp.RemoteServer web01>",
                "<harp.RemoteProcedure web01:echo>",
                "<harp.RemoteCall j>",
                "j",
            ],
            [*map(repr, (self.rpc, self.rpc.web01, self.rpc.web01.echo, job)), job.id()],
        )
        for owner in (self.rpc, self.rpc.web01):
            self.assertFalse(hasattr(owner, "__deepcopy__"))


class ConnectionsContract(FaceCase):
    """Kept, stale, broken, silent connections."""

    def serve_breaking(self, *breaking: Step) -> Any:
        """Answer well, but let the second request meet this."""

        def script(request: dict[str, Any]) -> Iterable[Step]:
            if len(self.fake.requests) == 2:
                return breaking
            return [line(result=1) if "get_result" in request else SUBMITTED]

        return self.serve(script)

    async def test_connection_is_reused(self) -> None:
        """Many requests, one connection."""
        rpc = self.serve(Jobs())
        for i in range(5):
            self.assertEqual([i], await self.get(lambda i=i: rpc.web01.echo(i)))
        self.assertEqual((10, 1), (len(self.fake.requests), self.fake.connections))

    async def test_closed_while_idle(self) -> None:
        """It is seen before the call goes out, which then goes to a new one, once."""
        rpc = self.serve(lambda _: [SUBMITTED])
        await self.face.do(lambda: rpc.web01.p())
        self.fake.hang_up()
        await self.face.do(lambda: rpc.web01.p())
        self.assertEqual((2, 2), (len(self.fake.requests), self.fake.connections))

    async def test_bytes_that_nobody_asked_for(self) -> None:
        """The connection isn't trusted any more, the next request gets its own answer."""
        rpc = self.serve(lambda _: [SUBMITTED + b'{"harpcaller":1,"job_id":"wrong"}\n'])
        for _ in range(2):
            self.assertEqual("j", (await self.face.do(lambda: rpc.web01.p())).id())
        self.assertEqual(2, self.fake.connections)

    async def test_reading_is_tried_once_more(self) -> None:
        """The dispatcher closed in the very moment of the request: nobody notices."""
        for breaking in (Close(), Reset()):
            rpc = self.serve_breaking(breaking)
            for _ in range(2):
                self.assertEqual(1, await self.face.do(lambda rpc=rpc: rpc.job("j").get()))
            self.assertEqual((3, 2), (len(self.fake.requests), self.fake.connections))

    async def test_call_is_never_sent_twice(self) -> None:
        """It may have become a job; only the caller can know what to do."""
        rpc = self.serve_breaking(Close())
        await self.face.do(lambda: rpc.web01.p())
        await self.fails(harp.CommunicationError, lambda: rpc.web01.p())
        self.assertEqual(2, len(self.fake.requests))
        await self.face.do(lambda: rpc.web01.p())

    async def test_answer_that_had_begun(self) -> None:
        """Part of an answer came, so the request isn't repeated."""
        rpc = self.serve_breaking(b'{"res', Close())
        await self.face.do(lambda: rpc.job("j").get())
        error = await self.fails(harp.CommunicationError, lambda: rpc.job("j").get())
        self.assertIn("closed before the answer was complete", str(error))
        self.assertEqual(2, len(self.fake.requests))

    async def test_new_connection_that_breaks(self) -> None:
        """Nothing is tried again: the dispatcher isn't well."""
        for step in (Close(), Reset()):
            rpc = self.serve(lambda _, step=step: [step])  # type: ignore[misc]  # mypy can't infer it
            error = await self.fails(harp.CommunicationError, lambda rpc=rpc: rpc.job("j").get())
            self.assertTrue(str(error).startswith(f"127.0.0.1:{self.fake.port}: "), str(error))
            self.assertEqual(1, len(self.fake.requests))

    async def test_garbage(self) -> None:
        """What isn't the protocol is said to be so, with the address."""
        for garbage in (b"HTTP/1.0 400 no\n", b"[]\n", b'{"x":1}\n', b'{"result":{"a":1,"a":2}}\n'):
            rpc = self.serve(lambda _, garbage=garbage: [garbage])  # type: ignore[misc]  # likewise
            await self.fails(harp.CommunicationError, lambda rpc=rpc: rpc.job("j").get())

    async def test_silence(self) -> None:
        """``read_timeout`` ends it, and the late answer is nobody's."""
        release = threading.Event()
        self.serve(lambda _: [release, SUBMITTED])
        self.addCleanup(release.set)
        rpc = self.caller(read_timeout=0.1)
        error = await self.fails(harp.CommunicationError, lambda: rpc.job("j").get())
        self.assertIn("no answer within 0.1 s", str(error))
        release.set()
        self.assertEqual("j", (await self.face.do(lambda: self.caller().web01.p())).id())

    async def test_dispatcher_that_reads_nothing(self) -> None:
        """Sending ends too."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        rpc = self.face.caller("127.0.0.1", listener.getsockname()[1], read_timeout=0.2)
        error = await self.fails(harp.CommunicationError, lambda: rpc.web01.echo("x" * 30_000_000))
        self.assertIn("nothing taken within 0.2 s", str(error))

    async def test_large_values(self) -> None:
        """Megabytes go both ways."""
        rpc = self.serve(Jobs())
        value = "ß" * 3_000_000
        self.assertEqual([value], await self.get(lambda: rpc.web01.echo(value)))

    async def test_answer_in_pieces(self) -> None:
        """An answer may come byte by byte."""
        rpc = self.serve(lambda _: [bytes([byte]) for byte in SUBMITTED])
        self.assertEqual("j", (await self.face.do(lambda: rpc.web01.p())).id())

    async def test_unreachable(self) -> None:
        """Each reason is one line with the address in it."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            free = listener.getsockname()[1]
        for host, port, reason in [
            ("127.0.0.1", free, f"127.0.0.1:{free}: Connection refused"),
            ("127.0.0.1", 70000, "127.0.0.1:70000: "),
            ("no-such-host.invalid", 1, "no-such-host.invalid:1: "),
            ("x" * 70, 1, "x:1: "),
            ("a\0b", 1, "a\0b:1: "),
        ]:
            rpc = self.face.caller(host, port, connect_timeout=5)
            error = await self.fails(harp.CommunicationError, lambda rpc=rpc: rpc.web01.p())
            self.assertIn(reason, str(error))
            self.assertNotIn("\n", str(error))

    async def test_connecting_takes_too_long(self) -> None:
        """A listener that never takes us: ``connect_timeout`` ends it."""
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            fillers = [socket.socket() for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
                self.addCleanup(filler.close)
            rpc = self.face.caller("127.0.0.1", full.getsockname()[1], connect_timeout=0.1)
            error = await self.fails(harp.CommunicationError, lambda: rpc.web01.p())
            self.assertIn("no connection within 0.1 s", str(error))

    async def test_addresses(self) -> None:
        """An IPv6 address, and a name with several addresses, work like any other."""
        self.serve(Jobs())
        rpc = self.face.caller("localhost", self.fake.port)
        self.assertEqual([1], await self.get(lambda: rpc.web01.echo(1)))
        try:
            rpc = self.serve(Jobs(), socket.AF_INET6)
        except OSError as error:
            raise SkipTest(f"no IPv6 here: {error}") from None
        self.assertEqual([1], await self.get(lambda: rpc.web01.echo(1)))


class AgentContract(FaceCase):
    """Straight to an agent, over TLS."""

    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = make_authority()
        self.ca_file = str(self.folder / "ca.pem")
        Path(self.ca_file).write_bytes(self.authority.certificate_pem)
        self.certify("127.0.0.1")

    def certify(self, *names: str) -> None:
        """Give the agents that are started from here on a certificate for these names."""
        files = self.authority.issue(names=names).write(self.folder, "agent")
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(files.certificate, files.key)

    def agent(self, *steps: Step, **options: Any) -> Any:
        """Start an agent that says this to every request, and make its client."""
        fake = FakeDispatcher(
            lambda _: steps, wrap=lambda plain: self.tls.wrap_socket(plain, server_side=True)
        )
        self.fake = self.stopped(fake)
        every = {"ca_file": self.ca_file, "read_timeout": 10.0, **options}
        return self.face.agent("127.0.0.1", "user", "secret", self.fake.port, **every)

    async def test_result(self) -> None:
        """The call waits for it and gives it."""
        server = self.agent(TAKEN, line(result={"a": "x" * 2_000_000}))
        given = await self.face.do(lambda: server["some.procedure"]("y" * 2_000_000))
        self.assertEqual({"a": "x" * 2_000_000}, given)
        (request,) = self.fake.requests
        self.assertEqual({"user": "user", "password": "secret"}, request["auth"])
        self.assertEqual("some.procedure", request["procedure"])
        await self.fails(harp.HarpException, lambda: server.p(1, a=2))

    async def test_errors(self) -> None:
        """The procedure's and the agent's own, and breaches of the protocol."""
        told = {"type": "T", "message": "m"}
        cases: list[tuple[tuple[Step, ...], type[harp.HarpException]]] = [
            ((TAKEN, line(exception=told)), harp.RemoteException),
            ((line(harp=1, error=told),), harp.RemoteError),
            ((b"SSH-2.0\n",), harp.CommunicationError),
            ((TAKEN, line(stream=1)), harp.CommunicationError),
            ((Close(),), harp.CommunicationError),
            ((TAKEN, Close()), harp.CommunicationError),
        ]
        for steps, kind in cases:
            server = self.agent(*steps)
            await self.fails(kind, lambda server=server: server.p())

    async def test_silence(self) -> None:
        """``read_timeout`` ends it."""
        release = threading.Event()
        server = self.agent(release, read_timeout=0.1)
        self.addCleanup(release.set)
        error = await self.fails(harp.CommunicationError, lambda: server.p())
        self.assertIn("no answer within 0.1 s", str(error))

    async def test_stream(self) -> None:
        """Records first, the result or the error last, nothing after it."""
        server = self.agent(STREAMS, line(stream=1), line(result=3))
        stream = await self.face.do(lambda: server.p())
        first, last = await self.face.do(stream.all)
        self.assertEqual((1, 3), (first, last.value))
        self.assertIsInstance(last, harp.Result)
        server = self.agent(STREAMS, line(stream=1), line(exception={"type": "T", "message": "m"}))
        stream = await self.face.do(lambda: server.p())
        self.assertEqual(1, await self.face.next(stream))
        with self.assertRaises(harp.RemoteException):
            await self.face.next(stream)
        self.assertEqual([], await self.face.do(stream.all))

    async def test_leaving_early_cancels(self) -> None:
        """The agent sees the connection closed, and that ends the procedure."""
        gone = threading.Event()
        server = self.agent(STREAMS, line(stream=1), gone)
        stream = await self.face.do(lambda: server.p())
        self.assertEqual(1, await self.face.next(stream))
        stream.close()
        gone.set()
        self.assertEqual([], await self.face.do(stream.all))

    async def test_unknown_authority(self) -> None:
        """A certificate of another's isn't accepted, and nothing is sent; without a file any is."""
        other = self.folder / "other.pem"
        other.write_bytes(make_authority("Other").certificate_pem)
        server = self.agent(TAKEN, line(result=1), ca_file=str(other))
        error = await self.fails(harp.CommunicationError, lambda: server.p())
        self.assertIn("TLS: ", str(error))
        self.assertIn("certificate verify failed", str(error))
        self.assertEqual([], self.fake.requests)
        trusting = self.agent(TAKEN, line(result=1), ca_file=None)
        self.assertEqual(1, await self.face.do(lambda: trusting.p()))

    async def test_hostname(self) -> None:
        """It's checked when asked for, by address too; also if there are no names at all."""
        for names, good in ((("127.0.0.1",), True), (("elsewhere",), False), ((), False)):
            self.certify(*names)
            server = self.agent(TAKEN, line(result=1), verify_hostname=True)
            if good:
                self.assertEqual(1, await self.face.do(lambda server=server: server.p()))
            else:
                await self.fails(harp.CommunicationError, lambda server=server: server.p())
                self.assertEqual([], self.fake.requests)

    async def test_no_tls_at_all(self) -> None:
        """A peer that speaks something else is told apart."""

        def greet(peer: socket.socket) -> socket.socket:
            peer.sendall(b"220 mail.example.net\r\n")
            return peer

        plain = self.stopped(FakeDispatcher(lambda _: [], wrap=greet))
        server = self.face.agent("127.0.0.1", "u", "p", plain.port, connect_timeout=5)
        self.assertIn("TLS: ", str(await self.fails(harp.CommunicationError, lambda: server.p())))

    async def test_handshake_takes_too_long(self) -> None:
        """``connect_timeout`` ends it."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        port = listener.getsockname()[1]
        server = self.face.agent("127.0.0.1", "u", "p", port, connect_timeout=0.2)
        await self.fails(harp.CommunicationError, lambda: server.p())

    async def test_mistakes(self) -> None:
        """A CA file that is none is told at once; the password is never shown."""
        missing = str(self.folder / "missing.pem")
        make = self.face.agent
        error = self.assertRaises(harp.HarpException, make, "h", "u", "p", ca_file=missing)
        self.assertTrue(str(error).startswith(f"{missing}: cannot be used as a CA file"))
        server = make("h", "u", "secret")
        self.assertEqual(
            "<harp.HarpServer h:4306> <harp.HarpProcedure h:4306:p>", f"{server!r} {server.p!r}"
        )


class CancellingContract(FaceCase):
    """Waits that are cancelled, on the faces where they can be."""

    face: EventFace

    async def cancel(self, waiting: Any) -> None:
        """Cancel a wait that has begun, and see it end."""
        await self.face.pause(0.05)
        waiting.cancel()
        with self.assertRaises(self.face.cancelled):
            await self.face.do(lambda: waiting)

    async def test_wait_for_a_result(self) -> None:
        """Its connection is closed and not used by another; the job goes on."""
        rpc = self.serve(Jobs())
        job = await self.face.do(lambda: rpc.web01.hang())
        await self.cancel(self.face.begin(job.get))
        self.assertEqual(0, len(rpc._connections.kept))
        self.assertIs(harp.CALL_NOT_FINISHED, await self.face.do(job.result))
        self.assertTrue(await self.face.do(job.cancel))

    async def test_wait_for_a_record(self) -> None:
        """The stream is at its end."""
        rpc = self.serve(Jobs())
        job = await self.face.do(lambda: rpc.web01.hang())
        records = job.follow()
        await self.cancel(self.face.begin(records.__anext__))
        self.assertEqual([], await self.face.do(records.all))
        await self.face.do(job.cancel)

    async def test_answer_and_cancel_at_once(self) -> None:
        """Whichever wins, the next request gets its own answer."""
        for _ in range(20):
            rpc = self.serve(lambda request: [line(result=request["get_result"])])
            waiting = self.face.begin(lambda rpc=rpc: rpc.job("first").get())
            while len(self.fake.requests) == 0:
                await self.face.pause(0)
            waiting.cancel()
            with contextlib.suppress(self.face.cancelled):
                self.assertEqual("first", await self.face.do(lambda waiting=waiting: waiting))
            self.assertEqual("second", await self.face.do(lambda rpc=rpc: rpc.job("second").get()))

    async def test_connecting(self) -> None:
        """Nothing is left of it."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        server = self.face.agent("127.0.0.1", "u", "p", listener.getsockname()[1])
        await self.cancel(self.face.begin(lambda: server.p()))
        await self.face.pause(0.05)
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(60)
            with contextlib.suppress(ConnectionResetError):
                while peer.recv(10_000):
                    pass

    async def test_connecting_cancelled_at_any_moment(self) -> None:
        """However far it came, it ends, and the program goes on."""
        rpc = self.serve(Jobs())
        for turns in range(12):
            waiting = self.face.begin(lambda: self.caller().web01.echo(1))
            for _ in range(turns):
                await self.face.pause(0)
            waiting.cancel()
            with contextlib.suppress(self.face.cancelled):
                await self.face.do(lambda waiting=waiting: waiting)
        self.assertEqual([2], await self.get(lambda: rpc.web01.echo(2)))

    async def test_many_at_once(self) -> None:
        """Every one gets its own answer, and some of their connections are kept."""
        rpc = self.serve(Jobs())
        calls = [self.face.begin(lambda i=i: rpc.web01.echo(i)) for i in range(20)]
        jobs = [await self.face.do(lambda call=call: call) for call in calls]
        results = [self.face.begin(job.get) for job in jobs]
        found = [await self.face.do(lambda result=result: result) for result in results]
        self.assertEqual([[i] for i in range(20)], found)
        self.assertTrue(0 < len(rpc._connections.kept) <= 8)

    async def test_two_waiting_for_one_stream(self) -> None:
        """The second is told that it can't; nothing hangs."""
        rpc = self.serve(Jobs())
        job = await self.face.do(lambda: rpc.web01.hang())
        records = job.follow()
        first = self.face.begin(records.__anext__)
        await self.face.pause(0.05)
        with self.assertRaises(RuntimeError):
            await self.face.next(records)
        with self.assertRaises(harp.CommunicationError):
            await self.face.do(lambda: first)
        await self.face.do(job.cancel)


class BlockingJobsTests(JobsContract):
    """``harp``."""

    make_face = BlockingFace


class BlockingConnectionsTests(ConnectionsContract):
    """``harp``."""

    make_face = BlockingFace


class BlockingAgentTests(AgentContract):
    """``harp``."""

    make_face = BlockingFace


class AsyncioJobsTests(JobsContract):
    """``harp.aio``."""

    make_face = AsyncioFace


class AsyncioConnectionsTests(ConnectionsContract):
    """``harp.aio``."""

    make_face = AsyncioFace


class AsyncioAgentTests(AgentContract):
    """``harp.aio``."""

    make_face = AsyncioFace


class AsyncioCancellingTests(CancellingContract):
    """``harp.aio``."""

    make_face = AsyncioFace


class TwistedJobsTests(JobsContract):
    """``harpcaller.client.deferred``."""

    make_face = TwistedFace


class TwistedConnectionsTests(ConnectionsContract):
    """``harpcaller.client.deferred``."""

    make_face = TwistedFace


class TwistedAgentTests(AgentContract):
    """``harpcaller.client.deferred``."""

    make_face = TwistedFace


class TwistedCancellingTests(CancellingContract):
    """``harpcaller.client.deferred``."""

    make_face = TwistedFace


# What has no face isn't run.
del JobsContract, ConnectionsContract, AgentContract, CancellingContract
