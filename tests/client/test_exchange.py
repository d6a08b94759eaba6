"""The client's core: bytes to answers, in any pieces."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.client.exceptions import CommunicationError, HarpException
from harpcaller.client.exchange import AgentExchange, Exchange, may_ask_again
from harpcaller.wire.agent import Acknowledged, Credentials, Message, ProcedureCall, Said
from harpcaller.wire.client import (
    Call,
    Cancel,
    FollowStream,
    GetResult,
    GetStatus,
    JobId,
    ReadStream,
    Request,
)
from harpcaller.wire.client_answers import (
    Answer,
    CancelOutcome,
    JobStatus,
    NotEnded,
    Record,
    Submitted,
    ToBeContinued,
)
from harpcaller.wire.ending import Cancelled, Failed, Raised, Returned
from harpcaller.wire.values import EMPTY_LIST, Raw

JOB = JobId("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda")
CALL = Call("web01", "restart", EMPTY_LIST)
REQUESTS: list[Request] = [
    CALL,
    GetResult(JOB),
    GetResult(JOB, wait=False),
    GetStatus(JOB),
    Cancel(JOB),
    FollowStream(JOB),
    ReadStream(JOB),
]


def answers(exchange: Exchange, data: bytes) -> list[Answer]:
    """Feed bytes and take all answers that they complete."""
    exchange.feed(data)
    found = []
    while (answer := exchange.next_answer()) is not None:
        found.append(answer)
    return found


class ExchangeTests(SynchronousTestCase):
    """One connection's requests and answers."""

    def setUp(self) -> None:
        self.exchange = Exchange()

    def test_request_becomes_one_line(self) -> None:
        """What is to be sent is the request's line."""
        self.assertEqual(
            b'{"harpcaller":1,"get_result":"%s","wait":true}\n' % JOB.encode(),
            self.exchange.ask(GetResult(JOB)),
        )

    def test_new_connection_can_be_used(self) -> None:
        """Before anything is asked, nothing is awaited."""
        self.assertIsNone(self.exchange.awaits)
        self.assertTrue(self.exchange.reusable)
        self.assertIsNone(self.exchange.next_answer())

    def test_one_line_answers_a_request(self) -> None:
        """A request that isn't for a stream is done after one answer."""
        cases: list[tuple[Request, bytes, Answer]] = [
            (CALL, b'{"harpcaller":1,"job_id":"j"}\n', Submitted(JobId("j"))),
            (GetResult(JOB), b'{"result":[1.0]}\n', Returned(Raw(b"[1.0]"))),
            (GetResult(JOB), b'{"cancelled":true}\n', Cancelled()),
            (GetResult(JOB, wait=False), b'{"no_result":true}\n', NotEnded()),
            (Cancel(JOB), b'{"cancelled":false}\n', CancelOutcome(False)),
            (
                GetStatus(JOB),
                b'{"call":{"host":"h","procedure":"p","arguments":[]},"time":{"submit":1}}\n',
                JobStatus("h", "p", EMPTY_LIST, 1.0, None, None, Raw(b"null")),
            ),
        ]
        for request, data, expected in cases:
            self.exchange.ask(request)
            self.assertIs(request, self.exchange.awaits)
            self.assertFalse(self.exchange.reusable)
            self.assertEqual([expected], answers(self.exchange, data))
            self.assertIsNone(self.exchange.awaits)
            self.assertTrue(self.exchange.reusable)

    def test_stream_goes_on_until_its_last_line(self) -> None:
        """Records don't complete the answer, an ending does."""
        self.exchange.ask(FollowStream(JOB))
        found = answers(self.exchange, b'{"packet":0,"data":1}\n{"packet":1,"data":2}\n')
        self.assertEqual([Record(0, Raw(b"1")), Record(1, Raw(b"2"))], found)
        self.assertIsNotNone(self.exchange.awaits)
        self.assertEqual([Cancelled()], answers(self.exchange, b'{"cancelled":true}\n'))
        self.assertIsNone(self.exchange.awaits)

    def test_reading_a_running_jobs_stream_ends_with_continue(self) -> None:
        """``continue`` is the last line of a read that came to what there is now."""
        self.exchange.ask(ReadStream(JOB))
        self.assertEqual([ToBeContinued()], answers(self.exchange, b'{"continue":true}\n'))
        self.assertTrue(self.exchange.reusable)

    def test_pipelined_requests_are_answered_in_order(self) -> None:
        """Each answer is read as one to the oldest open request."""
        for request in (CALL, Cancel(JOB), GetResult(JOB)):
            self.exchange.ask(request)
        found = answers(self.exchange, b'{"job_id":"j"}\n{"cancelled":true}\n{"cancelled":true}\n')
        self.assertEqual([Submitted(JobId("j")), CancelOutcome(True), Cancelled()], found)

    def test_answer_in_pieces(self) -> None:
        """A line may come byte by byte."""
        self.exchange.ask(CALL)
        data = b'{"harpcaller":1,"job_id":"j"}\n'
        for i in range(len(data) - 1):
            self.assertEqual([], answers(self.exchange, data[i : i + 1]))
        self.assertEqual([Submitted(JobId("j"))], answers(self.exchange, data[-1:]))

    def test_garbage_breaks_the_connection_for_good(self) -> None:
        """After what isn't an answer nothing more can be had."""
        self.exchange.ask(CALL)
        self.exchange.feed(b"HTTP/1.1 400 Bad Request\n" + b'{"job_id":"j"}\n')
        for _ in range(2):
            error = self.assertRaises(CommunicationError, self.exchange.next_answer)
            self.assertIn("not JSON", str(error))
        self.assertFalse(self.exchange.reusable)

    def test_line_without_end_is_refused(self) -> None:
        """A peer can't make the client keep more than the longest answer."""
        exchange = Exchange(max_answer_size=100)
        exchange.ask(CALL)
        exchange.feed(b"x" * 101)
        error = self.assertRaises(CommunicationError, exchange.next_answer)
        self.assertEqual("line longer than 100 bytes", str(error))

    def test_bytes_that_nobody_asked_for(self) -> None:
        """They make the connection unfit for another request."""
        self.exchange.feed(b"{}")
        self.assertFalse(self.exchange.reusable)

    def test_refused_request_ends_the_connection(self) -> None:
        """The dispatcher closes after it, so the connection isn't kept."""
        for kind in ("invalid_request", "request_too_large"):
            exchange = Exchange()
            exchange.ask(CALL)
            told = b'{"error":{"type":"%s","message":"no"}}\n' % kind.encode()
            self.assertEqual([Failed(kind, "no")], answers(exchange, told))
            self.assertFalse(exchange.reusable)

    def test_unknown_job_leaves_the_connection_good(self) -> None:
        """An error that is only an answer doesn't end anything."""
        self.exchange.ask(GetStatus(JOB))
        told = b'{"error":{"type":"invalid_jobid","message":"no"}}\n'
        self.assertEqual([Failed("invalid_jobid", "no")], answers(self.exchange, told))
        self.assertTrue(self.exchange.reusable)

    def test_answers_that_cannot_be(self) -> None:
        """No "not yet" where it was to wait, no "to be continued" of what goes to the end."""
        cases: list[tuple[Request, bytes]] = [
            (GetResult(JOB), b'{"no_result":true}\n'),
            (FollowStream(JOB), b'{"continue":true}\n'),
            (CALL, b'{"result":1}\n'),
            (GetStatus(JOB), b'{"result":1}\n'),
        ]
        for request, data in cases:
            exchange = Exchange()
            exchange.ask(request)
            exchange.feed(data)
            self.assertRaises(CommunicationError, exchange.next_answer)

    def test_closing_too_early_is_told(self) -> None:
        """The error says that the answer wasn't complete."""
        self.assertIn("before the answer was complete", str(self.exchange.closed()))

    def test_only_what_reads_is_asked_again(self) -> None:
        """A call sent twice could run twice; a cancel's second answer would be wrong."""
        self.assertEqual(
            [False, True, True, True, False, True, True], [may_ask_again(r) for r in REQUESTS]
        )


class AgentExchangeTests(SynchronousTestCase):
    """One call straight to an agent."""

    def setUp(self) -> None:
        self.exchange = AgentExchange()

    def heard(self, data: bytes) -> list[Message]:
        """Feed bytes and take all messages that they complete."""
        self.exchange.feed(data)
        found = []
        while (message := self.exchange.next_answer()) is not None:
            found.append(message)
        return found

    def test_request_becomes_one_line(self) -> None:
        """What is to be sent is the request's line, with the credentials."""
        call = ProcedureCall("p", EMPTY_LIST, Credentials("u", "secret"))
        self.assertEqual(
            b'{"harp":1,"procedure":"p","arguments":[],"auth":{"user":"u","password":"secret"}}\n',
            self.exchange.ask(call),
        )

    def test_stream_to_its_end(self) -> None:
        """An acknowledgement, records, an ending; what follows isn't looked at."""
        found = self.heard(
            b'{"harp":1,"stream_result":true}\n{"stream":1}\n{"result":2}\n{"stream":3}\n'
        )
        self.assertEqual([Acknowledged(True), Said(Raw(b"1")), Returned(Raw(b"2"))], found)
        self.assertTrue(self.exchange.ended)

    def test_errors_of_all_kinds(self) -> None:
        """Nonsense, a line without end, a message out of turn: all the same sort of error."""
        for data in (b"x\n", b'{"stream":1}\n', b"[]\n", b"y" * 200):
            exchange = AgentExchange(max_message_size=100)
            exchange.feed(data)
            self.assertRaises(CommunicationError, exchange.next_answer)

    def test_closing_too_early_is_told(self) -> None:
        """The error says how far the call had come."""
        self.assertIn("without an answer", str(self.exchange.closed()))
        self.heard(b'{"harp":1,"stream_result":false}\n')
        self.assertIn("before the end result", str(self.exchange.closed()))
        self.assertEqual(
            [Raised("E", "m")], self.heard(b'{"exception":{"type":"E","message":"m"}}\n')
        )


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes into pieces at the given places."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[edges[i] : edges[i + 1]] for i in range(len(edges) - 1)]


# Bytes that are nearly the protocol get further than bytes at random.
_almost = st.lists(
    st.sampled_from(
        [
            b'{"harpcaller":1,"job_id":"j"}',
            b'{"harp":1,"stream_result":true}',
            b'{"packet":0,"data":',
            b'{"result":',
            b'{"error":{"type":"t","message":"\xff"}}',
            b'{"stream":NaN}',
            b'{"cancelled":true}',
            b"[" * 600,
            b"9" * 5000,
            b"}",
            b"\n",
        ]
    )
    | st.binary(max_size=20)
).map(b"".join)


class AnyBytesTests(SynchronousTestCase):
    """Whatever a peer sends, the client's own exceptions are all that can come of it."""

    @given(data=_almost, places=st.lists(st.integers(0)), request=st.sampled_from(REQUESTS))
    def test_dispatcher(self, data: bytes, places: list[int], request: Request) -> None:
        """Any bytes in any pieces are answers, or a HarpException."""
        exchange = Exchange(max_answer_size=1000)
        exchange.ask(request)
        try:
            for piece in cut(data, places):
                answers(exchange, piece)
        except HarpException:
            self.assertFalse(exchange.reusable)

    @given(data=_almost, places=st.lists(st.integers(0)))
    def test_agent(self, data: bytes, places: list[int]) -> None:
        """Any bytes in any pieces are messages, or a HarpException."""
        exchange = AgentExchange(max_message_size=1000)
        try:
            for piece in cut(data, places):
                exchange.feed(piece)
                while exchange.next_answer() is not None:
                    pass
        except HarpException:
            self.assertFalse(exchange.ended)

    @given(
        places=st.lists(st.integers(0)),
        lines=st.lists(st.integers(0, 10**6).map(lambda i: b'{"packet":%d,"data":%d}\n' % (i, i))),
    )
    def test_pieces_make_no_difference(self, places: list[int], lines: list[bytes]) -> None:
        """The same answers come however the bytes were cut."""
        data = b"".join(lines) + b'{"result":1}\n'
        whole, pieces = Exchange(), Exchange()
        for exchange in (whole, pieces):
            exchange.ask(FollowStream(JOB))
        found = [answer for piece in cut(data, places) for answer in answers(pieces, piece)]
        self.assertEqual(answers(whole, data), found)
