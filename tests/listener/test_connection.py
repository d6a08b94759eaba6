"""Connections: in order, bounded in memory and time, and nothing left when they are gone."""

from __future__ import annotations

import socket
import warnings

from OpenSSL.crypto import FILETYPE_PEM, load_certificate
from twisted.internet.defer import Deferred

from harpcaller.interfaces import Requester
from harpcaller.listener.protocol import name_of
from harpcaller.testing.certificates import Certificate, make_authority, of_unknown_version
from harpcaller.testing.dispatcher import FakeDispatcher
from harpcaller.wire.client import Call, JobId
from tests.house import HouseCase
from tests.listener.world import CALL, DONE, NOBODY, ListenerCase, request

LIMIT = 1000
STATUS = request("get_status", NOBODY)


class PipelineTests(ListenerCase):
    def test_one_by_one(self) -> None:
        """A connection serves as many requests as come, and stays open."""
        client = self.client()
        self.assertTrue(client.transport.no_delay)
        for _ in range(3):
            client.send(CALL)
            self.assertEqual(1, len(client.lines()))
        self.assertFalse(client.closed)

    def test_answered_in_order(self) -> None:
        """What comes behind a request that waits is answered after it."""
        job = self.job()
        client = self.client()
        client.send(
            request("get_result", job) + STATUS + request("get_result", job, b',"wait":false')
        )
        client.send(request("cancel", NOBODY))
        self.assertEqual([], client.lines())
        self.dispatcher.end(job, DONE)
        self.assertEqual(
            ["result", "error", "result", "cancelled"], [next(iter(a)) for a in client.lines()]
        )

    def test_in_pieces(self) -> None:
        """However the network cuts them."""
        client = self.client()
        client.send(*[b"%c" % byte for byte in CALL + STATUS + CALL])
        self.assertEqual(3, len(client.lines()))

    def test_many_at_once(self) -> None:
        """Thousands in one go, without recursion, and without keeping others waiting."""
        client = self.client()
        client.send(STATUS * 5000)
        written: list[int] = []
        self.clock.callLater(0, lambda: written.append(len(client.lines())))
        self.clock.advance(0)
        self.assertLess(written[0], 300)
        while answers := len(client.lines()):
            written.append(answers)
            self.clock.advance(0)
        self.assertEqual(5000, sum(written))

    def test_half_close(self) -> None:
        """A client that shuts down its writing side gets every answer; then it is closed."""
        job = self.job()
        client = self.client()
        client.send(CALL + request("get_result", job) + STATUS)
        client.half_close()
        self.assertEqual(1, len(client.lines()))
        self.assertFalse(client.closed)
        self.dispatcher.end(job, DONE)
        self.assertEqual(2, len(client.lines()))
        self.assertTrue(client.closed)
        self.assertFalse(client.transport.aborted)

    def test_half_close_while_idle(self) -> None:
        """Nothing is to come any more: closed, without a word."""
        client = self.client()
        client.half_close()
        self.assertEqual((b"", True), (client.text(), client.closed))

    def test_half_closed_client_is_watched(self) -> None:
        """One that is gone altogether looks the same; its system is asked now and then."""
        with socket.socket() as handle:
            client = self.client(handle=handle)
            client.send(request("get_result", self.job()))
            client.half_close()
            self.assertTrue(client.transport.kept_alive)
            idle = handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
            self.assertEqual(60, idle)
            client.transport.break_down()

    def test_unterminated_last_line(self) -> None:
        """It may be cut short, so it is refused; those before it are answered."""
        client = self.client()
        client.send(CALL + CALL[:-1])
        client.half_close()
        answers = client.lines()
        self.assertEqual(["harpcaller", "error"], [next(iter(answer)) for answer in answers])
        self.assertEqual("invalid_request", answers[1]["error"]["type"])
        self.assertEqual((1, True), (len(self.dispatcher.submitted), client.closed))


class BadRequestTests(ListenerCase):
    def refused(self, line: bytes) -> str:
        """Send a bad request and a good one; give the message of the one answer."""
        log = self.log()
        client = self.client()
        client.send(line + b"\n" + CALL)
        answers = client.lines()
        self.assertEqual("invalid_request", self.error(answers), line)
        self.assertEqual([], self.dispatcher.submitted)
        self.assertTrue(client.told_the_end)
        client.half_close()
        self.assertTrue(client.closed)
        message = str(answers[0]["error"]["message"])
        self.assertEqual(
            [
                (
                    "client.refused",
                    {"peer": "192.0.2.7:4711", "type": "invalid_request", "reason": message},
                )
            ],
            log,
        )
        return message

    def test_each_names_what_is_wrong(self) -> None:
        """One line, then closed; one event with the peer; nothing that follows is done."""
        call = CALL[:-2]
        for line, names in (
            (b"", "JSON"),
            (b"hello", "JSON"),
            (b"[1]", "object"),
            (b'"x"', "object"),
            (b"{}", "harpcaller"),
            (b'{"harpcaller":2,"cancel":"x"}', "harpcaller"),
            (b'{"harpcaller":true,"cancel":"x"}', "harpcaller"),
            (b'{"harpcaller":1.0,"cancel":"x"}', "harpcaller"),
            (b'{"harpcaller":1}', "operation"),
            (b'{"harpcaller":1,"cancel":"x","get_result":"x"}', "operations"),
            (b'{"harpcaller":1,"cancel":5}', "cancel"),
            (b'{"harpcaller":1,"cancel":"x","wait":true}', "wait"),
            (b'{"harpcaller":1,"get_result":"x","wait":1}', "wait"),
            (b'{"harpcaller":1,"get_status":null}', "get_status"),
            (b'{"harpcaller":1,"follow_stream":"x","since":1,"recent":1}', "since and recent"),
            (b'{"harpcaller":1,"read_stream":"x","since":-1}', "since"),
            (b'{"harpcaller":1,"read_stream":"x","recent":true}', "recent"),
            (b'{"harpcaller":1,"procedure":"p","arguments":[]}', "host"),
            (b'{"harpcaller":1,"procedure":"p","host":5,"arguments":[]}', "host"),
            (b'{"harpcaller":1,"procedure":"p","host":"h"}', "arguments"),
            (b'{"harpcaller":1,"procedure":"p","host":"h","arguments":"x"}', "arguments"),
            (b'{"harpcaller":1,"procedure":7,"host":"h","arguments":[]}', "procedure"),
            (call + b',"timeout":0}', "timeout"),
            (call + b',"timeout":"5"}', "timeout"),
            (call + b',"max_exec_time":-1}', "max_exec_time"),
            (call + b',"queue":{}}', "queue.name"),
            (call + b',"queue":{"name":"x"}}', "queue.name"),
            (call + b',"queue":{"name":{},"concurrency":0}}', "queue.concurrency"),
            (call + b',"queue":{"name":{},"concurrency":1.5}}', "queue.concurrency"),
            (call + b',"queue":{"name":{},"size":1}}', "queue.size"),
            (call + b',"color":"red"}', "color"),
            (call + b',"host":"twice"}', "host"),
            (b'{"harpcaller":1,"cancel":"\xff"}', "UTF-8"),
            (b'{"harpcaller":1,"info":NaN}', "NaN"),
            (b"[" * 100_000, "nested"),
        ):
            self.assertIn(names, self.refused(line), line[:80])

    def test_nobody_else_is_affected(self) -> None:
        """Other connections go on."""
        job = self.job()
        other = self.client()
        other.send(request("get_result", job))
        self.client().send(b"rubbish\n")
        self.dispatcher.end(job, DONE)
        self.assertEqual([{"result": "done"}], other.lines())

    def test_half_close_right_behind(self) -> None:
        """``echo rubbish | nc``: the error line isn't thrown away with the connection."""
        client = self.client(reads=False)
        client.send(b"rubbish\n")
        client.half_close()
        self.assertEqual("invalid_request", self.error(client.lines()))
        self.assertEqual((True, False), (client.closed, client.transport.aborted))

    def test_goes_on_sending(self) -> None:
        """What comes after a refusal isn't kept; two seconds later it is cut off."""
        client = self.client()
        client.send(b"rubbish\n", *[b"x" * 65536] * 100)
        self.assertEqual(0, client.protocol._lines.pending())
        self.assertEqual("invalid_request", self.error(client.lines()))
        self.clock.advance(1.9)
        self.assertFalse(client.closed)
        self.clock.advance(0.1)
        self.assertTrue(client.closed)

    def test_pipelined_behind_a_refusal(self) -> None:
        """Requests that came along with the bad one are dropped at once."""
        client = self.client()
        client.send(b"rubbish\n" + CALL * 1000)
        self.assertEqual((0, []), (client.protocol._lines.pending(), self.dispatcher.submitted))


class BoundTests(ListenerCase):
    def setUp(self) -> None:
        super().setUp()
        self.begin(self.dispatcher, max_request_size=LIMIT)

    def test_longest_line(self) -> None:
        """A line of just the limit is served."""
        line = CALL[:-2] + b',"info":"'
        line += b"x" * (LIMIT - len(line) - 2) + b'"}'
        self.assertEqual(LIMIT, len(line))
        self.assertIn("job_id", self.ask(line + b"\n")[0])
        self.assertEqual("request_too_large", self.error(self.ask(b" " + line + b"\n")))

    def test_too_long_without_its_end(self) -> None:
        """It is refused as soon as it is known to be too long; the rest isn't kept."""
        log = self.log()
        client = self.client()
        client.send(b"x" * (LIMIT + 1), *[b"x" * 65536] * 100)
        answers = client.lines()
        self.assertEqual("request_too_large", self.error(answers))
        self.assertIn("1000 bytes", answers[0]["error"]["message"])
        self.assertEqual(0, client.protocol._lines.pending())
        self.assertEqual(["client.refused"], [kind for kind, _ in log])
        client.half_close()
        self.assertTrue(client.closed)

    def test_ahead_of_its_answers(self) -> None:
        """A client that sends without waiting is held back, and loses nothing."""
        job = self.job()
        client = self.client()
        client.send(request("get_result", job), *[STATUS * 10] * 100)
        self.assertFalse(client.transport.reading)
        self.assertLess(client.protocol._lines.pending(), LIMIT + 10 * len(STATUS))
        sent = client.protocol._lines.pending() // len(STATUS)
        self.dispatcher.end(job, DONE)
        self.assertTrue(client.transport.reading)
        self.assertEqual(1 + sent, len(client.lines()))

    def test_far_ahead_and_answered_slowly(self) -> None:
        """Each answer doesn't make room for another 64 KiB while there is more than enough."""
        dispatcher = _SlowDispatcher()
        self.begin(dispatcher, max_request_size=LIMIT)
        client = self.client()
        chunk = CALL * 100
        client.send(chunk)
        for _ in range(50):
            client.send(chunk)  # if it is listened to
            dispatcher.answer_one()
        self.assertLess(client.protocol._lines.pending(), LIMIT + 2 * len(chunk))
        while dispatcher.unanswered:
            dispatcher.answer_one()
            self.clock.advance(0)
        self.assertTrue(client.transport.reading)

    def test_refused_while_held_back(self) -> None:
        """It is listened to again, so that its end is noticed."""
        job = self.job()
        client = self.client()
        client.send(request("get_result", job), b"rubbish\n" + STATUS * 100)
        self.assertFalse(client.transport.reading)
        self.dispatcher.end(job, DONE)
        self.assertEqual(2, len(client.lines()))
        self.assertTrue(client.transport.reading)
        client.half_close()
        self.assertTrue(client.closed)


class FastReaderTests(ListenerCase):
    def test_others_have_their_turn(self) -> None:
        """Who reads a long stream as fast as it is written keeps nobody else waiting."""
        job = self.job()
        for _ in range(2000):
            self.dispatcher.say(job, b'"%s"' % (b"x" * 100))
        self.dispatcher.end(job, DONE)
        client = self.client(room=10**9)
        client.send(request("follow_stream", job, b',"since":0'))
        other = self.client()
        written: list[int] = []

        def ask() -> None:
            other.send(STATUS)
            written.append(len(client.lines()))

        self.clock.callLater(0, ask)
        self.clock.advance(0)
        self.assertEqual(1, len(other.lines()))
        self.assertLessEqual(written[0], 200)
        self.assertEqual(2001 - written[0], len(client.lines()))

    def test_one_question_after_the_other(self) -> None:
        """Others have had their turn when the next request comes: it is answered at once."""
        client = self.client()
        for _ in range(1000):
            client.send(STATUS)
            self.assertEqual(1, len(client.lines()))

    def test_goes_away_between_turns(self) -> None:
        """A client that is gone before its next turn leaves nothing behind."""
        job = self.job()
        for _ in range(2000):
            self.dispatcher.say(job, b'"%s"' % (b"x" * 100))
        client = self.client(room=10**9)
        client.send(request("follow_stream", job, b',"since":0'))
        self.assertTrue(self.clock.getDelayedCalls())
        client.transport.break_down()
        self.assertEqual([], self.clock.getDelayedCalls())


class SlowReaderTests(ListenerCase):
    def test_stream_goes_as_fast_as_it_is_read(self) -> None:
        """What a slow follower hasn't taken stays in the store, not in memory."""
        job = self.job()
        for _ in range(500):
            self.dispatcher.say(job, b'"%s"' % (b"x" * 100))
        client = self.client(room=1000, reads=False)
        client.send(request("follow_stream", job, b',"since":0'))
        self.assertLess(len(client.transport.unsent), 2000)
        self.dispatcher.end(job, DONE)
        most = 0
        while not bytes(client.transport.taken).endswith(b'{"result":"done"}\n'):
            most = max(most, len(client.transport.unsent))
            client.transport.flush()
        self.assertEqual(501, len(client.lines()))
        self.assertLess(most, 2000)

    def test_errors_wait_for_room_too(self) -> None:
        """A client that asks nonsense without reading the answers fills nobody's memory."""
        self.begin(self.dispatcher, max_request_size=LIMIT)
        client = self.client(room=1000, reads=False)
        for _ in range(1000):
            client.send(STATUS * 10)
        self.assertLess(len(client.transport.unsent), 2000)
        self.assertFalse(client.transport.reading)

    def test_reads_nothing(self) -> None:
        """After the idle timeout it is cut off; what it didn't take is thrown away."""
        job = self.job()
        self.dispatcher.say(job, b'"%s"' % (b"x" * 5000))
        client = self.client(room=1000, reads=False)
        client.send(request("read_stream", job))
        self.clock.advance(299)
        self.assertFalse(client.closed)
        self.clock.advance(1)
        self.assertEqual((True, True), (client.closed, client.transport.aborted))

    def test_reads_in_time(self) -> None:
        """Each time it has taken everything, the timeout begins anew."""
        job = self.job()
        for _ in range(10):
            self.dispatcher.say(job, b'"%s"' % (b"x" * 5000))
        client = self.client(room=1000, reads=False)
        client.send(request("read_stream", job))
        for _ in range(4):
            self.clock.advance(200)
            client.transport.flush()
        self.assertEqual(11, len(client.lines()))
        self.assertFalse(client.closed)

    def test_does_not_take_its_last_answer(self) -> None:
        """A little that is never read doesn't keep a connection for ever."""
        client = self.client(reads=False)
        client.send(STATUS)
        client.half_close()
        self.assertFalse(client.closed)
        self.clock.advance(300)
        self.assertTrue(client.closed)

    def test_takes_its_last_answer_slowly(self) -> None:
        """Within the timeout it gets all of it."""
        client = self.client(reads=False)
        client.send(STATUS)
        client.half_close()
        for _ in range(4):
            self.clock.advance(60)
            client.transport.flush(10)
        self.assertFalse(client.closed)
        self.assertEqual("invalid_jobid", self.error(client.lines()))
        self.assertTrue(client.closed)
        self.assertFalse(client.transport.aborted)


class IdleTests(ListenerCase):
    def test_says_nothing(self) -> None:
        """Closed after the timeout, without a word."""
        client = self.client()
        self.clock.advance(299.9)
        self.assertFalse(client.closed)
        self.clock.advance(0.1)
        self.assertEqual((b"", True), (client.text(), client.closed))

    def test_single_bytes_do_not_help(self) -> None:
        """The timeout is for a whole line, however many pieces it comes in."""
        client = self.client()
        for byte in CALL[:5]:
            client.send(bytes([byte]))
            self.clock.advance(59)
        self.assertFalse(client.closed)
        self.clock.advance(5)
        self.assertEqual((b"", True), (client.text(), client.closed))

    def test_each_request_begins_it_anew(self) -> None:
        """A client that asks every four minutes is served all day."""
        client = self.client()
        for _ in range(10):
            self.clock.advance(240)
            client.send(STATUS)
            self.assertEqual(1, len(client.lines()))
        self.assertFalse(client.closed)

    def test_waiting_for_a_job_is_not_idle(self) -> None:
        """Whoever waits for a result or a record may wait for a week."""
        job = self.job()
        waits, follows = self.client(), self.client()
        waits.send(request("get_result", job))
        follows.send(request("follow_stream", job))
        self.clock.advance(7 * 86400)
        self.dispatcher.end(job, DONE)
        self.assertEqual([[{"result": "done"}]] * 2, [waits.lines(), follows.lines()])

    def test_settings(self) -> None:
        """The timeout is configured; open connections keep theirs."""
        old = self.client()
        self.factory.settings = type(self.factory.settings)(idle_timeout_seconds=10)
        new = self.client()
        self.clock.advance(10)
        old.text(), new.text()
        self.assertEqual((False, True), (old.closed, new.closed))


class GoneTests(ListenerCase):
    def test_while_waiting(self) -> None:
        """Whatever it waited for, nobody waits any more; its jobs go on."""
        job = self.job()
        for operation in ("get_result", "follow_stream"):
            client = self.client()
            client.send(request(operation, job) + STATUS * 10)
            self.assertEqual(1, len(self.dispatcher.job(job).changed))
            client.transport.break_down()
            self.assertEqual(0, len(self.dispatcher.job(job).changed))
        self.assertEqual([job], list(self.dispatcher.living()))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_while_idle_or_in_the_middle_of_a_line(self) -> None:
        """Nothing is left on the clock."""
        for sent in (b"", CALL[:10]):
            client = self.client()
            client.send(sent)
            client.transport.break_down()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_while_there_is_no_room(self) -> None:
        """The stream it followed isn't read on."""
        job = self.job()
        self.dispatcher.say(job, b'"%s"' % (b"x" * 5000))
        client = self.client(room=1000, reads=False)
        client.send(request("follow_stream", job, b',"since":0'))
        client.transport.break_down()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_while_it_lingers(self) -> None:
        """A refused client that goes leaves nothing either."""
        client = self.client()
        client.send(b"rubbish\n")
        client.transport.break_down()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_forgotten(self) -> None:
        """The listener keeps no connection that is gone."""
        client = self.client()
        client.transport.break_down()
        self.assertEqual([], list(self.factory._open))
        client.protocol.close()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_bug_that_comes_of_going(self) -> None:
        """Is logged, and leaves nothing on the clock."""
        self.begin(_BuggyDispatcher())
        client = self.client()
        client.send(CALL)
        client.transport.break_down()
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual([], self.clock.getDelayedCalls())


class BugTests(ListenerCase):
    def test_bug_in_the_dispatcher(self) -> None:
        """One os_error line without a traceback, closed, and logged with the peer."""
        self.begin(_BuggyDispatcher())
        log = self.log()
        client, other = self.client(), self.client()
        client.send(STATUS + CALL)
        answers = client.lines()
        self.assertEqual("os_error", self.error(answers))
        self.assertNotIn("Zero", str(answers))
        self.assertTrue(client.told_the_end)
        client.half_close()
        self.assertTrue(client.closed)
        self.assertEqual([("client.bug", {"peer": "192.0.2.7:4711"})], log)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertFalse(other.closed)


class CloseTests(ListenerCase):
    def test_all_connections(self) -> None:
        """Idle, waiting, held back or refused: closed, and nothing is left."""
        job = self.job()
        clients = [self.client() for _ in range(4)]
        clients[1].send(request("get_result", job))
        clients[2].send(request("follow_stream", job), CALL)
        clients[3].send(b"rubbish\n")
        clients[3].text()
        self.factory.close()
        self.assertEqual([b""] * 4, [client.text() for client in clients])
        self.assertEqual([True] * 4, [client.closed for client in clients])
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual([], list(self.factory._open))

    def test_answers_that_are_on_their_way(self) -> None:
        """They still go out."""
        client = self.client(reads=False)
        client.send(STATUS)
        self.factory.close()
        self.assertEqual("invalid_jobid", self.error(client.lines()))
        self.assertTrue(client.closed)


class _SlowDispatcher(FakeDispatcher):
    """Stores a call when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.unanswered: list[Deferred[JobId]] = []

    def submit(self, call: Call, client: Requester) -> Deferred[JobId]:
        self.unanswered.append(Deferred())
        return self.unanswered[-1]

    def answer_one(self) -> None:
        if self.unanswered:
            self.unanswered.pop(0).callback(NOBODY)


class _BuggyDispatcher(FakeDispatcher):
    """Fails at every status, and when a submission is given up."""

    def status(self, job_id: JobId) -> Deferred[object]:  # type: ignore[override]  # it never tells
        raise ZeroDivisionError("secret")

    def submit(self, call: Call, client: Requester) -> Deferred[JobId]:
        return Deferred(lambda asked: asked.errback(ZeroDivisionError()))


class NameTests(HouseCase):
    def name(self, certificate: Certificate) -> str | None:
        return name_of(load_certificate(FILETYPE_PEM, certificate.certificate_pem))

    def test_name_in_a_certificate(self) -> None:
        """It is the only commonName, if that can be a client's name."""
        authority = make_authority()
        self.assertEqual("web", self.name(authority.issue("web", client=True)))
        self.assertIsNone(self.name(authority.issue("a:b", client=True)))

    def test_certificate_that_cannot_be_read(self) -> None:
        """Who shows one that only OpenSSL reads isn't known, and no bug of ours."""
        odd = of_unknown_version(make_authority().issue("web", client=True))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            self.assertIsNone(self.name(odd))
