"""Client and dispatcher: requests and answers."""

from __future__ import annotations

import contextlib
import math

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.errors import InvalidRequest, ProtocolError
from harpcaller.wire.client import (
    Call,
    Cancel,
    FollowStream,
    GetResult,
    GetStatus,
    JobId,
    QueueSpec,
    ReadStream,
    Request,
    as_queue_name,
    call_members,
    decode_request,
    encode_request,
    queue_member,
)
from harpcaller.wire.client_answers import (
    CONTINUE,
    NO_RESULT,
    Answer,
    CancelOutcome,
    JobStatus,
    NotEnded,
    Record,
    Submitted,
    ToBeContinued,
    decode_answer,
    encode_cancelled,
    encode_ending,
    encode_error,
    encode_record,
    encode_submitted,
)
from harpcaller.wire.ending import Ending, Failed
from harpcaller.wire.fields import BadField
from harpcaller.wire.lines import LineBuffer, LineTooLong
from harpcaller.wire.procedures import Procedure, ProcedureList
from harpcaller.wire.registry import (
    HostList,
    ListHosts,
    ListProceduresOf,
    encode_hosts,
    encode_procedures,
)
from harpcaller.wire.values import EMPTY_LIST, NotJSON, Raw, canonical, members
from tests.wire.strategies import mangled, pieces, raws, strings, texts, words
from tests.wire.test_ending import endings

LISTED = ProcedureList((Procedure("p", "(a)", "Say ß.", True),))
JOB = JobId("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda")
KEYS = [
    "harpcaller", "host", "procedure", "arguments", "timeout", "max_exec_time", "queue", "info",
    "get_result", "wait", "get_status", "cancel", "follow_stream", "read_stream", "since", "recent",
    "list_hosts", "list_procedures", "x",
]  # fmt: skip
GOOD = '"harpcaller":1,"host":"h","procedure":"p","arguments":[]'


def _comparable(raw: Raw) -> bool:
    with contextlib.suppress(NotJSON):
        return bool(canonical(raw))
    return False


job_ids = st.uuids(version=4).map(lambda it: JobId(str(it)))
seconds = st.floats(0, exclude_min=True, allow_infinity=False)
arguments = raws.filter(lambda raw: raw[:1] in (b"[", b"{"))
queues = st.builds(
    QueueSpec,
    raws.filter(lambda raw: raw[:1] == b"{").filter(_comparable),
    st.integers(1, 2**63 - 1),
)
numbers = st.none() | st.integers(0, 2**63 - 1)
positions = st.tuples(numbers, st.none()) | st.tuples(st.none(), numbers)

calls: st.SearchStrategy[Request] = st.builds(
    Call, words, words, arguments, st.none() | seconds, st.none() | seconds,
    st.none() | queues, raws,
)  # fmt: skip

#: Any request.
requests: st.SearchStrategy[Request] = st.one_of(
    calls,
    st.builds(GetResult, job_ids, st.booleans()),
    st.builds(GetStatus, job_ids),
    st.builds(Cancel, job_ids),
    st.builds(lambda job, where: FollowStream(job, *where), job_ids, positions),
    st.builds(lambda job, where: ReadStream(job, *where), job_ids, positions),
    st.just(ListHosts()),
    st.builds(ListProceduresOf, words),
)

#: Requests as most are written, and some that look like them.
questions: st.SearchStrategy[bytes] = st.builds(
    lambda text, job: text.encode() % job.encode(),
    st.sampled_from(
        [
            '{"harpcaller":1,"get_result":"%s"}',
            '{"harpcaller":1,"get_result":"%s","wait":true}',
            '{"harpcaller":1,"get_result":"%s","wait":false}',
            '{"harpcaller":1,"get_status":"%s"}',
            '{"harpcaller":1,"get_status":"%s","wait":true}',
            '{"harpcaller":1,"cancel":"%s"}',
        ]
    ),
    job_ids,
)


def _understood(line: bytes) -> Request | None:
    with contextlib.suppress(InvalidRequest):
        return decode_request(line)
    return None


class RequestTests(SynchronousTestCase):
    """What clients ask."""

    @given(requests)
    def test_round_trip(self, request: Request) -> None:
        """What is asked is understood; carried values come as their bytes."""
        line = encode_request(request)
        self.assertEqual((1, b"\n"), (line.count(b"\n"), line[-1:]))
        self.assertEqual(request, decode_request(line[:-1]))

    @given(questions | mangled(questions))
    def test_questions_for_a_job(self, line: bytes) -> None:
        """Those that are known at a look are understood like the same with a space before it."""
        self.assertEqual(_understood(b" " + line), _understood(line))

    def test_what_the_protocol_says(self) -> None:
        """Each operation, with all that may stand in it."""
        cases: list[tuple[str, Request]] = [
            (GOOD, Call("h", "p", EMPTY_LIST)),
            (
                '"harpcaller":1,"procedure":"p","arguments":{"a":1e0},"host":"h","timeout":60,'
                '"max_exec_time":0.5,"queue":{"name":{"b": 1},"concurrency":3},"info":[1.0]',
                Call(
                    "h", "p", Raw(b'{"a":1e0}'), 60.0, 0.5, QueueSpec(Raw(b'{"b": 1}'), 3),
                    Raw(b"[1.0]"),
                ),
            ),
            (
                GOOD + ',"queue":{"name":{}}',
                Call("h", "p", EMPTY_LIST, queue=QueueSpec(Raw(b"{}"))),
            ),
            ('"harpcaller":1,"get_result":"j"', GetResult(JobId("j"), True)),
            ('"harpcaller":1,"get_result":"j","wait":false', GetResult(JobId("j"), False)),
            ('"harpcaller":1,"get_status":"j"', GetStatus(JobId("j"))),
            ('"harpcaller":1,"cancel":"j"', Cancel(JobId("j"))),
            ('"harpcaller":1,"follow_stream":"j"', FollowStream(JobId("j"))),
            ('"harpcaller":1,"follow_stream":"j","recent":3', FollowStream(JobId("j"), recent=3)),
            ('"harpcaller":1,"read_stream":"j","since":0', ReadStream(JobId("j"), since=0)),
            ('"harpcaller":1,"list_hosts":true', ListHosts()),
            ('"harpcaller":1,"list_procedures":"h"', ListProceduresOf("h")),
        ]  # fmt: skip
        for text, request in cases:
            self.assertEqual(request, decode_request(b"{%s}" % text.encode()))

    def test_what_is_amiss(self) -> None:
        """The message names the field, and no secret or long value."""
        for text, said in [
            ("nonsense", "not JSON: Expecting value at character 0"),
            ("[]", "expected a JSON object"),
            ('{"harpcaller":1,"list_hosts":false}', "list_hosts: expected true"),
            ('{"harpcaller":1,"list_procedures":1}', "list_procedures: expected a string, got 1"),
            ("{}", "harpcaller: missing; a request says its version, 1"),
            ('{"harpcaller":2,"cancel":"j"}', "harpcaller: expected 1, the only version there is"),
            ('{"harpcaller":true,"cancel":"j"}', "harpcaller: expected 1"),
            ('{"harpcaller":1}', "no operation; expected one of procedure, get_result, get_status"),
            ('{"harpcaller":1,"host":"h"}', "no operation"),
            (
                '{"harpcaller":1,"cancel":"j","get_status":"j"}',
                "two operations in one request: cancel, get_status",
            ),
            ('{"harpcaller":1,"cancel":"j","wait":true}', "wait: unknown field"),
            ('{"harpcaller":1,"cancel":"j","x\\u001b[2J\\n":1}', '"x\\u001b[2J\\n": unknown field'),
            ('{"harpcaller":1,"cancel":"j","\\ud800":1}', '"\\ud800": unknown field'),
            ('{"harpcaller":1,"cancel":7}', "cancel: expected a string, got 7"),
            ('{"harpcaller":1,"cancel":"j","cancel":"k"}', 'the key "cancel" stands twice'),
            ('{"harpcaller":1,"procedure":"p","arguments":[]}', "host: missing"),
            ('{"harpcaller":1,"procedure":"p","host":"h"}', "arguments: missing"),
            ('{"harpcaller":1,"procedure":"p","host":7,"arguments":[]}', "host: expected a string"),
            (
                '{"harpcaller":1,"procedure":"p","host":"h","arguments":"é"}',
                "arguments: expected a list or an object, got a string",
            ),
            (
                '{"harpcaller":1,"procedure":"p","host":"h","arguments":null}',
                "arguments: expected a list or an object, got null",
            ),
            (f'{{{GOOD},"timeout":0}}', "timeout: expected a positive number of seconds, got 0"),
            (f'{{{GOOD},"max_exec_time":"é"}}', "max_exec_time: expected a positive number"),
            (f'{{{GOOD},"queue":[]}}', "queue: expected an object, got a list"),
            (f'{{{GOOD},"queue":{{}}}}', "queue.name: missing"),
            (f'{{{GOOD},"queue":{{"name":"é"}}}}', "queue.name: expected an object, got a string"),
            (f'{{{GOOD},"queue":{{"name":{{}},"x":1}}}}', "queue.x: unknown field"),
            (
                f'{{{GOOD},"queue":{{"name":{{}},"concurrency":0}}}}',
                "queue.concurrency: expected a positive integer, got 0",
            ),
            (
                f'{{{GOOD},"queue":{{"name":{{"a":[{{"b":1,"b":2}}]}}}}}}',
                'queue.name: the key "b" stands twice',
            ),
            (f'{{{GOOD},"queue":{{"name":{{}},"name":{{}}}}}}', 'the key "name" stands twice'),
            ('{"harpcaller":1,"get_result":"j","wait":1}', "wait: expected true or false, got 1"),
            (
                '{"harpcaller":1,"read_stream":"j","since":1,"recent":1}',
                "since and recent in one request",
            ),
            (
                '{"harpcaller":1,"follow_stream":"j","since":-1}',
                "since: expected a non-negative integer, got -1",
            ),
        ]:
            error = self.assertRaises(InvalidRequest, decode_request, text.encode())
            self.assertTrue(error.message.startswith(said), f"{error.message!r}, not {said!r}")

    def test_queue_name_of_any_depth(self) -> None:
        """The deepest that fits into a request can be compared like any other."""
        name = b'{"a":' * 498 + b"1" + b"}" * 498
        request = decode_request(b'{%s,"queue":{"name":%s}}' % (GOOD.encode(), name))
        assert isinstance(request, Call) and request.queue is not None
        self.assertEqual(request.queue.key(), QueueSpec(Raw(b" " + name)).key())

    def test_equal_queue_names(self) -> None:
        """Order and spelling make no other queue, values do."""
        one = QueueSpec(Raw(b'{"a":1,"b":"x"}'))
        self.assertEqual(one.key(), QueueSpec(Raw(b'{"b":"\\u0078", "a":1.0}'), 7).key())
        self.assertNotEqual(one.key(), QueueSpec(Raw(b'{"a":true,"b":"x"}')).key())

    def test_queue_names(self) -> None:
        """Only an object can be one."""
        self.assertEqual(b"{}", as_queue_name(Raw(b"{}"), "f"))
        self.assertRaises(BadField, as_queue_name, Raw(b"1"), "f")

    @given(mangled(requests.map(encode_request)), st.lists(st.integers(0)))
    def test_any_bytes(self, data: bytes, places: list[int]) -> None:
        """In any pieces: requests, InvalidRequest or LineTooLong."""
        buffer = LineBuffer(500)
        for piece in pieces(data, places):
            buffer.feed(piece)
            with contextlib.suppress(LineTooLong):
                while (line := buffer.next_line()) is not None:
                    self.read(line)

    @given(
        st.dictionaries(
            st.sampled_from(KEYS),
            st.sampled_from(["1", '"a"', "[]", "{}", '{"name":{}}', "true"]) | texts,
        )
    )
    def test_any_fields(self, fields: dict[str, str]) -> None:
        """Any values in any combination: a request or InvalidRequest, and both can be told."""
        inside = ",".join(f'"{key}":{text}' for key, text in fields.items())
        self.read(b"{%s}" % inside.encode())

    def read(self, line: bytes) -> None:
        """Read a line that may be anything."""
        try:
            request = decode_request(line)
        except InvalidRequest as error:
            told = encode_error(error.wire_type, error.message)
            self.assertEqual(
                Failed("invalid_request", error.message), decode_answer(told, GetStatus(JOB))
            )
        else:
            self.assertEqual(request, decode_request(encode_request(request)))

    def test_parts_that_stores_write(self) -> None:
        """A call's members and a queue's, the absent left out."""
        call = Call("h", "p", Raw(b"[1.0]"), max_exec_time=2.5)
        self.assertEqual(
            {"host": b'"h"', "procedure": b'"p"', "arguments": b"[1.0]", "max_exec_time": b"2.5"},
            call_members(call),
        )
        self.assertEqual(
            b'{"name":{"a": 1},"concurrency":2}', queue_member(QueueSpec(Raw(b'{"a": 1}'), 2))
        )


records = st.builds(
    Record,
    st.integers(0, 2**63 - 1),
    raws,
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
)

#: Times as daemons know them: Unix seconds, to the millisecond.
times = st.integers(0, 2**42).map(lambda ms: ms / 1000)
statuses = st.builds(
    JobStatus, words, words, arguments, times, st.none() | times, st.none() | times, raws,
    st.none() | raws.filter(lambda raw: raw[:1] == b"{"),
)  # fmt: skip


class AnswerTests(SynchronousTestCase):
    """What the dispatcher answers."""

    def answer(self, text: str, request: Request) -> Answer:
        """Read an answer."""
        return decode_answer(text.encode(), request)

    @given(endings)
    def test_endings(self, ending: Ending) -> None:
        """They come out of every request that can be answered with one."""
        line = encode_ending(ending)
        for request in (GetResult(JOB), FollowStream(JOB), ReadStream(JOB)):
            self.assertEqual(ending, decode_answer(line, request))

    @given(records)
    def test_records(self, record: Record) -> None:
        """Number, bytes and time come back."""
        for request in (FollowStream(JOB), ReadStream(JOB)):
            self.assertEqual(record, decode_answer(encode_record(record), request))

    @given(statuses)
    def test_statuses(self, status: JobStatus) -> None:
        """They come back to the millisecond."""
        self.assertEqual(status, decode_answer(status.answer, GetStatus(JOB)))

    def test_short_answers(self) -> None:
        """The rest."""
        cases: list[tuple[bytes, Request, Answer]] = [
            (encode_submitted(JOB), Call("h", "p", EMPTY_LIST), Submitted(JOB)),
            (encode_cancelled(True), Cancel(JOB), CancelOutcome(True)),
            (encode_cancelled(False), Cancel(JOB), CancelOutcome(False)),
            (NO_RESULT, GetResult(JOB, wait=False), NotEnded()),
            (CONTINUE, ReadStream(JOB), ToBeContinued()),
            (encode_hosts(["a", "ß"]), ListHosts(), HostList(("a", "ß"))),
            (encode_procedures(LISTED), ListProceduresOf("h"), LISTED),
        ]
        for line, request, answer in cases:
            self.assertEqual(answer, decode_answer(line, request))

    def test_errors_answer_everything(self) -> None:
        """Whatever was asked."""
        told = encode_error("storage_error", "disk full")
        for request in (
            Call("h", "p", EMPTY_LIST), GetResult(JOB), GetStatus(JOB), Cancel(JOB),
            FollowStream(JOB), ReadStream(JOB), ListHosts(), ListProceduresOf("h"),
        ):  # fmt: skip
            self.assertEqual(Failed("storage_error", "disk full"), decode_answer(told, request))

    def test_what_is_passed_over(self) -> None:
        """Unknown fields, of a newer dispatcher."""
        self.assertEqual(
            Record(0, Raw(b"1")), self.answer('{"packet":0,"data":1,"x":2}', FollowStream(JOB))
        )
        self.assertEqual(
            Submitted(JobId("j")), self.answer('{"job_id":"j"}', Call("h", "p", EMPTY_LIST))
        )

    def test_host_that_has_no_utf8_form(self) -> None:
        """It is shown with an escape."""
        answer = self.answer('{"hosts":["\\ud800"]}', ListHosts())
        self.assertEqual(HostList(("\\ud800",)), answer)

    def test_status_of_the_original(self) -> None:
        """Whole seconds, no queue, no state."""
        text = (
            '{"call":{"host":"h","procedure":"p","arguments":[]},'
            '"time":{"submit":1455282411,"start":1455282412,"end":null},"info":null}'
        )
        self.assertEqual(
            JobStatus("h", "p", EMPTY_LIST, 1455282411.0, 1455282412.0, None, Raw(b"null")),
            self.answer(text, GetStatus(JOB)),
        )

    def test_status_on_the_wire(self) -> None:
        """Whole seconds go down, milliseconds are exact, and the state is told."""
        status = JobStatus("h", "p", EMPTY_LIST, 1455282411.001, 1455282411.999, None, Raw(b"1.0"))
        self.assertEqual(
            {
                "call": b'{"host":"h","procedure":"p","arguments":[]}',
                "time": b'{"submit":1455282411,"start":1455282411,"end":null}',
                "info": b"1.0",
                "queue": b"null",
                "state": b'"running"',
                "time_ms": b'{"submit":1455282411001,"start":1455282411999,"end":null}',
            },
            members(status.answer),
        )

    def test_both_times_tell_the_same_second(self) -> None:
        """A moment before the next second isn't in it, whichever of the two is read."""
        status = JobStatus("h", "p", EMPTY_LIST, 1700000031.9998, None, None, Raw(b"1"))
        found = members(status.answer)
        self.assertEqual(b'{"submit":1700000031,"start":null,"end":null}', found["time"])
        self.assertEqual(b'{"submit":1700000031999,"start":null,"end":null}', found["time_ms"])

    @given(st.floats(0, 2**40))
    def test_milliseconds_are_never_more_than_one_off(self, seconds: float) -> None:
        """Any time a clock gives is written as a millisecond at or next to it."""
        status = JobStatus("h", "p", EMPTY_LIST, seconds, None, None, Raw(b"null"))
        again = decode_answer(status.answer, GetStatus(JOB))
        assert isinstance(again, JobStatus)
        self.assertTrue(math.isclose(seconds, again.submitted_at, rel_tol=1e-12, abs_tol=0.001))

    def test_states(self) -> None:
        """Told by the times."""
        cases: list[tuple[float | None, float | None, str]] = [
            (None, None, "queued"),
            (2.0, None, "running"),
            (2.0, 3.0, "ended"),
            (None, 3.0, "ended"),
        ]
        for start, end, state in cases:
            status = JobStatus("h", "p", EMPTY_LIST, 1.0, start, end, Raw(b"null"))
            self.assertEqual(state, status.state)

    def test_what_is_amiss(self) -> None:
        """It is said to be the dispatcher's."""
        call = Call("h", "p", EMPTY_LIST)
        cases: list[tuple[Request, str, str]] = [
            (call, "x", ": not JSON: Expecting value at character 0"),
            (call, "{}", " is of no known kind"),
            (call, '{"job_id":1}', ": job_id: expected a string, got 1"),
            (call, '{"error":1}', ": error: expected an object, got 1"),
            (Cancel(JOB), "{}", " is of no known kind"),
            (Cancel(JOB), '{"cancelled":1}', ": cancelled: expected true or false, got 1"),
            (GetResult(JOB), '{"result":1,"cancelled":true}', ": result and cancelled in one"),
            (GetResult(JOB), '{"no_result":false}', " is of no known kind"),
            (GetResult(JOB), '{"cancelled":false}', ": cancelled: expected true"),
            (ReadStream(JOB), '{"packet":0}', " is of no known kind"),
            (ReadStream(JOB), '{"packet":-1,"data":1}', ": packet: expected a non-negative"),
            (ReadStream(JOB), '{"packet":0,"data":1,"time":"x"}', ": time: expected a Unix time"),
            (ReadStream(JOB), '{"continue":1}', " is of no known kind"),
            (GetStatus(JOB), '{"time":{}}', " is of no known kind"),
            (ListHosts(), '{"result":1}', " is of no known kind"),
            (ListHosts(), '{"hosts":{}}', ": hosts: expected a list of strings"),
            (ListHosts(), '{"hosts":["a",1]}', ": hosts: expected a list of strings"),
            (ListProceduresOf("h"), '{"result":1}', " is of no known kind"),
            (ListProceduresOf("h"), '{"procedures":{}}', ": procedures: expected a list"),
            (GetStatus(JOB), '{"call":{},"time":{}}', ": call.host: missing"),
            (GetStatus(JOB), '{"call":1,"time":{}}', ": call: expected an object, got 1"),
            (
                GetStatus(JOB),
                '{"call":{"host":"h","procedure":"p","arguments":[]}}',
                ": time: expected an object, got null",
            ),
            (
                GetStatus(JOB),
                '{"call":{"host":"h","procedure":"p","arguments":[]},"time":{"submit":"x"}}',
                ": time.submit: expected a Unix time",
            ),
        ]
        for request, text, said in cases:
            error = self.assertRaises(ProtocolError, self.answer, text, request)
            self.assertTrue(
                error.message.startswith(f"the dispatcher's answer{said}"), error.message
            )

    @given(
        mangled(
            endings.map(encode_ending)
            | records.map(encode_record)
            | statuses.map(lambda status: status.answer)
        ),
        requests,
    )
    def test_any_bytes(self, line: bytes, request: Request) -> None:
        """An answer or ProtocolError."""
        with contextlib.suppress(ProtocolError):
            decode_answer(line, request)

    @given(strings, requests)
    def test_any_string_in_any_place(self, text: str, request: Request) -> None:
        """Odd strings don't make other errors."""
        fields = ",".join(f'"{key}":{text}' for key in ("job_id", "cancelled", "packet", "data"))
        with contextlib.suppress(ProtocolError):
            self.answer(f"{{{fields}}}", request)
