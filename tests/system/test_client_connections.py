"""The library's connections: kept, stale, broken, silent, shared."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterable
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

import harp
from harpcaller.client.channel import Channel
from harpcaller.client.dispatcher import Dispatcher
from harpcaller.wire.client import Call, GetResult, JobId, ReadStream
from harpcaller.wire.client_answers import Record
from harpcaller.wire.ending import Returned
from harpcaller.wire.values import EMPTY_LIST, Raw
from tests.client.fake_dispatcher import Close, FakeDispatcher, Jobs, Reset, Script, Step, line

CALL = Call("web01", "restart", EMPTY_LIST)
READ = GetResult(JobId("j"))
SUBMITTED = line(harpcaller=1, job_id="j")


class ConnectionCase(SynchronousTestCase):
    """Serves a script."""

    def serve(self, script: Script, family: socket.AddressFamily = socket.AF_INET) -> None:
        """Start the fake as ``self.fake`` and its client as ``self.dispatcher``."""
        self.fake = FakeDispatcher(script, family)
        self.addCleanup(self.fake.stop)
        self.dispatcher = self.client()

    def client(self, read_timeout: float | None = 10.0) -> Dispatcher:
        """Make a client of the fake."""
        client = Dispatcher(self.fake.listens_at, self.fake.port, 5.0, read_timeout)
        self.addCleanup(client.close)
        return client


class KeptTests(ConnectionCase):
    """One connection serves request after request."""

    def test_connection_is_reused(self) -> None:
        """Many requests, one connection."""
        self.serve(Jobs())
        with harp.HarpCaller("127.0.0.1", self.fake.port) as rpc:
            for i in range(5):
                self.assertEqual([i], rpc.web01.echo(i).get())
            self.assertEqual([{"i": 0}], rpc.web01.count(1).follow(since=0).all())
        self.assertEqual((13 - 1, 2), (len(self.fake.requests), self.fake.connections))

    def test_closed_while_idle(self) -> None:
        """It is seen before the call goes out, which then goes to a new one, once."""
        self.serve(lambda _: [SUBMITTED])
        self.dispatcher.ask(CALL)
        self.fake.hang_up()
        self.dispatcher.ask(CALL)
        self.assertEqual((2, 2), (len(self.fake.requests), self.fake.connections))

    def test_bytes_that_nobody_asked_for(self) -> None:
        """The connection isn't trusted any more, the next request gets its own answer."""
        self.serve(lambda _: [SUBMITTED + b'{"harpcaller":1,"job_id":"wrong"}\n'])
        for _ in range(2):
            self.assertEqual("j", getattr(self.dispatcher.ask(CALL), "job_id", None))
        self.assertEqual(2, self.fake.connections)

    def test_closed_by_us(self) -> None:
        """After ``with`` the object still works, on a new connection."""
        self.serve(lambda _: [SUBMITTED])
        for _ in range(2):
            self.dispatcher.ask(CALL)
            self.dispatcher.close()
        self.assertEqual(2, self.fake.connections)

    def test_not_more_than_some_are_kept(self) -> None:
        """A burst of threads doesn't leave its connections for ever."""
        self.serve(lambda _: [SUBMITTED])
        asked = [self.dispatcher.begin(CALL) for _ in range(12)]
        for one in asked:
            one.next_answer()
        self.assertEqual(8, len(self.dispatcher.connections.kept))

    def test_old_connection_is_not_trusted(self) -> None:
        """One that lay idle for long may be dead without anyone telling."""
        self.serve(lambda _: [SUBMITTED])
        self.dispatcher.ask(CALL)
        self.dispatcher.connections.kept[0].idle_since -= 31
        self.dispatcher.ask(CALL)
        self.assertEqual(2, self.fake.connections)


class BrokenTests(ConnectionCase):
    """A connection that breaks under a request."""

    def serve_breaking(self, *breaking: Step) -> None:
        """Answer well, but let the second request on the first connection meet this."""

        def script(request: dict[str, Any]) -> Iterable[Step]:
            second = len(self.fake.requests) == 2
            if second:
                return breaking
            return [line(result=1) if "get_result" in request else SUBMITTED]

        self.serve(script)
        self.dispatcher.ask(READ)

    def test_reading_is_tried_once_more(self) -> None:
        """The dispatcher closed in the very moment of the request: nobody notices."""
        for breaking in (Close(), Reset()):
            self.serve_breaking(breaking)
            self.assertEqual(Returned(Raw(b"1")), self.dispatcher.ask(READ))
            self.assertEqual((3, 2), (len(self.fake.requests), self.fake.connections))

    def test_call_is_never_sent_twice(self) -> None:
        """It may have become a job; only the caller can know what to do."""
        self.serve_breaking(Close())
        self.assertRaises(harp.CommunicationError, self.dispatcher.ask, CALL)
        self.assertEqual(2, len(self.fake.requests))
        self.dispatcher.ask(CALL)

    def test_call_of_which_nothing_went_out(self) -> None:
        """It is sent on a new connection."""
        release = threading.Event()
        self.serve(lambda _: [SUBMITTED, release])
        self.addCleanup(release.set)
        self.dispatcher.ask(CALL)
        channel = self.dispatcher.connections.kept[0].channel
        assert isinstance(channel, Channel)
        channel._socket.shutdown(socket.SHUT_WR)
        self.dispatcher.ask(CALL)
        self.assertEqual((2, 2), (len(self.fake.requests), self.fake.connections))

    def test_answer_that_had_begun(self) -> None:
        """Part of an answer came, so the request isn't repeated."""
        self.serve_breaking(b'{"res', Close())
        error = self.assertRaises(harp.CommunicationError, self.dispatcher.ask, READ)
        self.assertIn("closed before the answer was complete", str(error))
        self.assertEqual(2, len(self.fake.requests))

    def test_stream_that_had_begun(self) -> None:
        """Records were handed out, so they aren't asked for again."""
        self.serve_breaking(line(packet=0, data=1), Close())
        with self.dispatcher.begin(ReadStream(JobId("j"))) as asked:
            self.assertIsInstance(asked.next_answer(), Record)
            self.assertRaises(harp.CommunicationError, asked.next_answer)
            self.assertIsNone(asked.next_answer())

    def test_new_connection_that_breaks(self) -> None:
        """Nothing is tried again: the dispatcher isn't well."""
        for step in (Close(), Reset()):
            self.serve(lambda _, step=step: [step])  # type: ignore[misc]  # mypy can't infer it
            error = self.assertRaises(harp.CommunicationError, self.dispatcher.ask, READ)
            self.assertTrue(str(error).startswith(f"127.0.0.1:{self.fake.port}: "), str(error))
            self.assertEqual(1, len(self.fake.requests))

    def test_dispatcher_gone_for_good(self) -> None:
        """A read that is tried once more tells that it can't connect."""
        self.serve(lambda _: [line(result=1)])
        self.dispatcher.ask(READ)
        self.fake.stop()
        error = self.assertRaises(harp.CommunicationError, self.dispatcher.ask, READ)
        self.assertIn("Connection refused", str(error))

    def test_garbage(self) -> None:
        """What isn't the protocol is said to be so, with the address."""
        for garbage in (b"HTTP/1.0 400 no\n", b"\xff\n", b"[]\n", b'{"x":1}\n', b"\n"):
            self.serve(lambda _, garbage=garbage: [garbage])  # type: ignore[misc]  # likewise
            error = self.assertRaises(harp.CommunicationError, self.dispatcher.ask, READ)
            self.assertTrue(str(error).startswith(f"127.0.0.1:{self.fake.port}: the dispatcher's"))

    def test_why_it_was_refused_is_heard(self) -> None:
        """A dispatcher that closes in the middle of a long request has told the reason."""
        told = line(error={"type": "request_too_large", "message": "too large"})
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def refuse() -> None:
            peer, _ = listener.accept()
            peer.recv(10)
            peer.sendall(told)
            peer.close()

        thread = threading.Thread(target=refuse)
        thread.start()
        self.addCleanup(thread.join, 10)
        rpc = harp.HarpCaller("127.0.0.1", listener.getsockname()[1])
        try:
            error = self.assertRaises(harp.HarpException, rpc.web01.echo, "x" * 30_000_000)
        finally:
            thread.join(60)
        # The kernel may throw away what was told when it resets the connection.
        self.assertIsInstance(error, (harp.RemoteError, harp.CommunicationError))


class SlowTests(ConnectionCase):
    """Pieces and silence."""

    def test_answer_in_pieces(self) -> None:
        """An answer may come byte by byte, several at once."""
        self.serve(lambda _: [bytes([byte]) for byte in SUBMITTED])
        self.assertEqual("j", getattr(self.dispatcher.ask(CALL), "job_id", None))

    def test_large_answer(self) -> None:
        """Megabytes come through."""
        self.serve(lambda _: [line(result="x" * 3_000_000)])
        answer = self.dispatcher.ask(READ)
        assert isinstance(answer, Returned)
        self.assertEqual(3_000_002, len(answer.value))

    def test_silence(self) -> None:
        """``read_timeout`` ends it, and the late answer is nobody's."""
        release = threading.Event()
        self.serve(lambda _: [release, SUBMITTED])
        self.addCleanup(release.set)
        client = self.client(read_timeout=0.1)
        error = self.assertRaises(harp.CommunicationError, client.ask, READ)
        self.assertIn("no answer within 0.1 s", str(error))
        self.assertEqual(0, len(client.connections.kept))

    def test_dispatcher_that_reads_nothing(self) -> None:
        """Sending ends too."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        rpc = harp.HarpCaller("127.0.0.1", listener.getsockname()[1], read_timeout=0.1)
        error = self.assertRaises(harp.CommunicationError, rpc.web01.echo, "x" * 30_000_000)
        self.assertIn("nothing taken within 0.1 s", str(error))

    def test_follower_that_leaves_early(self) -> None:
        """Leaving closes its connection, and others go on."""
        self.serve(Jobs())
        with harp.HarpCaller("127.0.0.1", self.fake.port) as rpc:
            job = rpc.web01.hang()
            with job.follow() as records:
                pass
            self.assertEqual([], list(records))
            records = rpc.web01.count(5).follow(since=0)
            self.assertEqual({"i": 0}, next(records))
            del records
            self.assertTrue(job.cancel())


class UnreachableTests(SynchronousTestCase):
    """Nobody there."""

    def test_reasons(self) -> None:
        """Each is one line with the address in it."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            free = listener.getsockname()[1]
        for host, port, reason in [
            ("127.0.0.1", free, f"127.0.0.1:{free}: Connection refused"),
            ("::1", 70000, "[::1]:70000: "),
            ("no-such-host.invalid", 1, "no-such-host.invalid:1: "),
            ("x" * 70, 1, "x:1: "),
            ("a\0b", 1, "a\0b:1: "),
        ]:
            rpc = harp.HarpCaller(host, port, connect_timeout=5)
            error = self.assertRaises(harp.CommunicationError, rpc.web01.echo)
            self.assertIn(reason, str(error))

    def test_connecting_takes_too_long(self) -> None:
        """A listener that never takes us: ``connect_timeout`` ends it."""
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            fillers = [socket.socket() for _ in range(3)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(full.getsockname())
                self.addCleanup(filler.close)
            rpc = harp.HarpCaller("127.0.0.1", full.getsockname()[1], connect_timeout=0.1)
            error = self.assertRaises(harp.CommunicationError, rpc.web01.echo)
            self.assertIn("no connection within 0.1 s", str(error))


class AddressTests(ConnectionCase):
    """Where a dispatcher can be."""

    def test_ipv6(self) -> None:
        """An IPv6 address works like any other."""
        try:
            self.serve(Jobs(), socket.AF_INET6)
        except OSError as error:
            raise SkipTest(f"no IPv6 here: {error}") from None
        with harp.HarpCaller("::1", self.fake.port) as rpc:
            self.assertEqual([1], rpc.web01.echo(1).get())

    def test_name_with_several_addresses(self) -> None:
        """``localhost`` is found, whichever of its addresses answers."""
        self.serve(Jobs())
        with harp.HarpCaller("localhost", self.fake.port) as rpc:
            self.assertEqual([1], rpc.web01.echo(1).get())


_FORKING = """
import os, sys, harp
rpc = harp.HarpCaller("127.0.0.1", int(sys.argv[1]), read_timeout=10)
assert rpc.web01.echo(0).get() == [0]
records = rpc.web01.count(2).follow(since=0)
assert next(records) == {"i": 0}
children = []
for i in range(1, 4):
    child = os.fork()
    if not child:
        good = all(rpc.web01.echo(i, n).get() == [i, n] for n in range(20))
        try:
            next(records)
        except harp.CommunicationError:
            pass
        else:
            good = False
        os._exit(0 if good else 1)
    children.append(child)
for n in range(20):
    assert rpc.web01.echo(n).get() == [n]
assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
assert next(records) == {"i": 1}
"""


class SharedTests(ConnectionCase):
    """One object in many hands."""

    def test_threads(self) -> None:
        """Every thread gets its own answers."""
        self.serve(Jobs())
        found: list[bool] = []
        with harp.HarpCaller("127.0.0.1", self.fake.port, read_timeout=10) as rpc:

            def work(i: int) -> None:
                found.append(all(rpc.web01.echo(i, n).get() == [i, n] for n in range(25)))

            threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        self.assertEqual([True] * 8, found)

    def test_fork(self) -> None:
        """Children use connections of their own, and leave their parent's alone."""
        self.serve(Jobs())
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", _FORKING, str(self.fake.port)],
            capture_output=True,
            timeout=100,
            check=False,
        )
        self.assertEqual((0, b""), (done.returncode, done.stderr))
