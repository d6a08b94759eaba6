"""JSON lines on the control socket."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.defer import Deferred, fail

from harpcaller.interfaces import Pruned, StoredJob
from harpcaller.testing.dispatcher import FakeDaemon, FakeDispatcher
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Cancelled
from harpcaller.wire.values import decode
from tests.control.world import NOBODY, Client, World
from tests.house import HouseCase

OK = b'{"result":"ok"}\n'


class Counting(FakeDispatcher):
    """It counts what it was asked, and can take its time to prune."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.pruning: Deferred[Pruned] | None = None
        self.cancelled = False

    def jobs(self, after: int, limit: int) -> Deferred[tuple[Sequence[StoredJob], int]]:
        self.asked += 1
        return super().jobs(after, limit)

    def prune(self, max_age_seconds: float) -> Deferred[Pruned]:
        def cancelled(work: Deferred[Pruned]) -> None:
            self.cancelled = True

        self.pruning = Deferred(cancelled)
        return self.pruning


class JsonCase(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.world = World()

    def jobs_of(self, answer: bytes) -> list[JobId]:
        lines = answer.splitlines(keepends=True)
        self.assertEqual(OK, lines[-1])
        return [decode(line)["job"] for line in lines[:-1]]


class AnswerTests(JsonCase):
    def test_done(self) -> None:
        """A command is answered with one line."""
        self.assertEqual(OK, Client(self.world).say(b'{"command":"reopen_logs"}\n'))

    def test_every_command_is_answered(self) -> None:
        """One of each, on one connection, with what the page on the protocol says."""
        job = self.world.job(b'{"q":1}')
        client = Client(self.world)
        line = (
            b'{"job":"%s","call":{"host":"web01","procedure":"some.procedure","arguments":[]},'
            b'"time":{"submit":1455282411,"start":null,"end":null}}\n' % job.encode()
        )
        for command, answer in (
            (b'"status"', b'{"result":"ok","status":"running","pid":4711}\n'),
            (b'"list_jobs"', line + OK),
            (b'"job_info","job":"%s"' % job.encode(), line + OK),
            (b'"list_queues"', b'{"queue":{"q":1}}\n' + OK),
            (b'"list_queue","queue":{"q":1}', line + OK),
            (b'"cancel_queue","queue":{"q":1}', b'{"result":"ok","cancelled":1}\n'),
            (b'"cancel_job","job":"%s"' % job.encode(), b'{"result":"ok","cancelled":false}\n'),
            (b'"prune_jobs","max_age":0', b'{"result":"ok","removed":0,"failed":0}\n'),
            (b'"reload_config"', OK),
            (b'"refresh_hosts"', OK),
            (
                b'"list_hosts"',
                b'{"hostname":"web01","address":"10.0.0.1","port":4306}\n'
                b'{"hostname":"web02","address":"::1","port":4307}\n' + OK,
            ),
            (b'"stop"', b'{"result":"ok","pid":4711}\n'),
        ):
            self.assertEqual(answer, client.say(b'{"command":%s}\n' % command))
        for command in (b'"dist_start"', b'"dist_stop"'):
            refusal = decode(client.say(b'{"command":%s}\n' % command))
            self.assertEqual(("error", "not_available"), (refusal["result"], refusal["type"]))

    def test_nonsense_leaves_the_connection_usable(self) -> None:
        """A mistake is told, and the next command is done."""
        client = Client(self.world)
        for line, named in (
            (b'{"command":"lsit"}\n', '"lsit"'),
            (b'{"command":"list_jobs","every":true}\n', "every"),
            (b'{"command":"list_jobs","all":"yes"}\n', "all"),
            (b"no JSON\n", "not JSON"),
            (b"\n", "not JSON"),
        ):
            first = b"" if client.protocol._face else b'{"command":"reopen_logs"}\n'
            answer = decode(client.say(first + line).removeprefix(OK if first else b""))
            self.assertEqual(("error", "invalid_request"), (answer["result"], answer["type"]))
            self.assertIn(named, answer["message"])
        self.assertEqual(OK, client.say(b'{"command":"reopen_logs"}\n'))

    def test_commands_are_answered_in_order(self) -> None:
        """A pipelining client knows which answer is whose."""
        self.world.daemon = FakeDaemon(started=False)
        client = Client(self.world)
        lines = b'{"command":"status","wait":true}\n{"command":"list_jobs"}\n'
        self.assertEqual(b"", client.say(lines))
        self.world.daemon.started()
        answer = client.transport.read()
        self.assertEqual(b'{"result":"ok","status":"running","pid":4711}\n' + OK, answer)

    def test_command_in_pieces(self) -> None:
        """However the bytes come."""
        client = Client(self.world)
        for byte in b'{"command":"list_jobs"}':
            self.assertEqual(b"", client.say(bytes([byte])))
        self.assertEqual(OK, client.say(b"\n"))

    def test_broken_list_ends_in_an_error(self) -> None:
        """A list that couldn't be had isn't taken for an empty one."""
        answer = decode(
            Client(self.world).say(b'{"command":"job_info","job":"%s"}\n' % NOBODY.encode())
        )
        self.assertEqual("invalid_jobid", answer["type"])

    def test_bug_is_answered_and_the_next_command_done(self) -> None:
        """Whatever happens inside, a client gets a line for a line."""

        class Buggy(FakeDispatcher):
            def prune(self, max_age_seconds: float) -> Deferred[Pruned]:
                return fail(ZeroDivisionError("oops"))

        self.world.dispatcher = Buggy()
        client = Client(self.world)
        answer = decode(client.say(b'{"command":"prune_jobs","max_age":1}\n'))
        self.assertEqual("internal_error", answer["type"])
        self.assertNotIn("oops", answer["message"])
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual(OK, client.say(b'{"command":"reopen_logs"}\n'))


class LimitTests(JsonCase):
    def test_line_too_long_ends_the_connection(self) -> None:
        """The rest of it isn't read into memory."""
        client = Client(self.world, max_line=100)
        answer = decode(client.say(b'{"command":"' + b"x" * 200))
        self.assertEqual("line longer than 100 bytes", answer["message"])
        self.assertTrue(client.transport.disconnecting)
        self.assertEqual(b"", client.say(b"x" * 200))

    def test_many_commands_behind_a_slow_one_are_not_read(self) -> None:
        """What a client may have waiting is bounded, and it goes on when the daemon can."""
        self.world.daemon = FakeDaemon(started=False)
        client = Client(self.world, max_line=100)
        client.say(b'{"command":"status","wait":true}\n')
        client.say(b'{"command":"list_jobs"}\n' * 3)
        self.assertTrue(client.transport.reading)
        client.say(b'{"command":"list_jobs"}\n' * 3)
        self.assertFalse(client.transport.reading)
        self.world.daemon.started()
        self.assertTrue(client.transport.reading)
        self.assertEqual(7, len(client.transport.read().splitlines()))

    def test_client_that_does_not_read_is_not_listened_to(self) -> None:
        """Asking on and on without reading the answers fills no memory."""
        client = Client(self.world, room=10)
        client.protocol.dataReceived(b'{"command":"list_jobs"}\n' * 2)
        self.assertEqual(OK, client.transport.value())
        self.assertFalse(client.transport.reading)
        self.assertEqual(OK, client.transport.read())
        self.assertEqual(OK, client.transport.read())
        self.assertTrue(client.transport.reading)


class ListTests(JsonCase):
    def setUp(self) -> None:
        super().setUp()
        self.world.dispatcher = self.counting = Counting()

    def test_list_is_pulled_as_the_client_reads(self) -> None:
        """A million jobs never sit in memory: of many, few are asked for ahead."""
        jobs = [self.world.job() for _ in range(500)]
        client = Client(self.world, room=1000)
        client.protocol.dataReceived(b'{"command":"list_jobs","all":true}\n')
        self.assertEqual(1, self.counting.asked)
        self.assertTrue(len(client.transport.value()) < 1300)
        answer = b""
        while piece := client.transport.read():
            self.assertTrue(len(piece) < 1300)
            answer += piece
        self.assertEqual(jobs, self.jobs_of(answer))

    def test_list_stops_when_the_client_goes(self) -> None:
        """Nobody reads a million jobs for a client that took ten."""
        for _ in range(500):
            self.world.job()
        client = Client(self.world, room=1000)
        client.protocol.dataReceived(b'{"command":"list_jobs","all":true}\n')
        client.go()
        self.assertEqual(1, self.counting.asked)
        written = client.transport.value()
        client.transport.read()
        self.assertEqual(1, self.counting.asked)
        self.assertNotIn(b'"result"', written)

    def test_jobs_that_end_meanwhile_are_listed_as_they_are(self) -> None:
        """A list takes time, and the jobs don't wait."""
        jobs = [self.world.job() for _ in range(10)]
        client = Client(self.world, room=300)
        client.protocol.dataReceived(b'{"command":"list_jobs"}\n')
        self.counting.end(jobs[9], Cancelled())
        answer = b""
        while piece := client.transport.read():
            answer += piece
        self.assertEqual(jobs, self.jobs_of(answer))
        self.assertNotIn(b'"end":null', answer.splitlines()[9])


class LeavingTests(JsonCase):
    def test_half_closed_client_gets_every_answer(self) -> None:
        """A shell script pipes its commands in and reads until the end."""
        self.world.daemon = FakeDaemon(started=False)
        client = Client(self.world)
        client.say(b'{"command":"status","wait":true}\n{"command":"reopen_logs"}\n')
        client.protocol.readConnectionLost()
        self.assertFalse(client.transport.disconnecting)
        self.world.daemon.started()
        self.assertTrue(client.transport.read().endswith(OK))
        self.assertTrue(client.transport.disconnecting)

    def test_half_closed_idle_client_is_closed(self) -> None:
        """There is nothing more to say to it."""
        client = Client(self.world)
        client.say(b'{"command":"reopen_logs"}\n{"comm')
        client.protocol.readConnectionLost()
        self.assertTrue(client.transport.disconnecting)
        self.assertEqual(b"", client.say(b'{"command":"reopen_logs"}\n'))

    def test_waiting_for_start_up_ends_with_the_client(self) -> None:
        """Nobody is kept waiting for who is gone."""
        daemon = self.world.daemon = FakeDaemon(started=False)
        client = Client(self.world)
        client.say(b'{"command":"status","wait":true}\n')
        self.assertEqual(1, len(daemon.waiting))
        client.go()
        self.assertEqual(0, len(daemon.waiting))

    def test_work_is_done_to_the_end_without_the_client(self) -> None:
        """An operator's Ctrl-C doesn't leave half of the old jobs, but nothing new is begun."""
        dispatcher = self.world.dispatcher = Counting()
        client = Client(self.world)
        client.say(b'{"command":"prune_jobs","max_age":1}\n{"command":"stop"}\n')
        client.go()
        self.assertFalse(dispatcher.cancelled)
        assert dispatcher.pruning is not None
        dispatcher.pruning.callback(Pruned(3, 0))
        self.assertEqual(b"", client.transport.value())
        self.assertEqual(0, self.world.daemon.stops)

    def test_client_that_goes_while_its_answer_waits_for_room(self) -> None:
        """The next command isn't begun."""
        client = Client(self.world, room=10)
        client.protocol.dataReceived(b'{"command":"list_jobs"}\n{"command":"stop"}\n')
        client.go()
        self.assertEqual(0, self.world.daemon.stops)
