"""Caller and agent: requests and messages."""

from __future__ import annotations

import contextlib

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.errors import InvalidProtocol, InvalidRequest, ParseError, ProtocolError, WireError
from harpcaller.wire.agent import (
    Acknowledged,
    Attach,
    CancelJob,
    Credentials,
    ListProcedures,
    Message,
    Procedure,
    ProcedureCall,
    ProcedureList,
    Said,
    decode_cancelled,
    decode_message,
    decode_procedures,
    decode_request,
    encode_attach,
    encode_cancel,
    encode_cancelled,
    encode_list_request,
    encode_message,
    encode_procedures,
    encode_request,
)
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Cancelled, Failed, Raised, Returned
from harpcaller.wire.lines import LineBuffer, LineTooLong
from harpcaller.wire.values import Raw
from tests.wire.strategies import mangled, pieces, raws, texts, words
from tests.wire.test_ending import endings

job_ids = words.filter(lambda word: 1 <= len(word) <= 64).map(JobId)

calls = st.builds(
    ProcedureCall,
    words,
    raws.filter(lambda raw: raw[:1] in (b"[", b"{")),
    st.builds(Credentials, words, words),
    st.none(),
) | st.builds(
    ProcedureCall,
    words,
    st.just(Raw(b"[]")),
    st.builds(Credentials, words, words),
    job_ids,
    st.none() | st.floats(0.001, 1e9),
)

lists = st.builds(
    ProcedureList,
    st.lists(st.builds(Procedure, words, words, words, st.booleans()), max_size=3).map(tuple),
)

#: Any message that an agent may send.
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Acknowledged, st.booleans(), st.booleans(), st.booleans()),
    st.builds(Said, raws, st.none() | st.integers(0, 2**63 - 1)),
    endings.filter(lambda ending: not isinstance(ending, Cancelled)),
)


class RequestTests(SynchronousTestCase):
    """What is asked of an agent."""

    @given(calls)
    def test_round_trip(self, call: ProcedureCall) -> None:
        """What is asked is understood; arguments come as their bytes."""
        line = encode_request(call)
        self.assertEqual((1, b"\n"), (line.count(b"\n"), line[-1:]))
        self.assertEqual(call, decode_request(line[:-1]))

    def test_what_is_amiss(self) -> None:
        """Three sorts of error; the message names the field and never shows a secret."""
        auth = '"auth":{"user":"u","password":"sesame"}'
        for kind, text, said in [
            (ParseError, "x", "not JSON: Expecting value at character 0"),
            (ParseError, "[]", "expected a JSON object"),
            (InvalidProtocol, "{}", "harp: expected 1, the only version there is"),
            (InvalidProtocol, f'{{"harp":2,"procedure":"p","arguments":[],{auth}}}', "harp: exp"),
            (InvalidRequest, f'{{"harp":1,"arguments":[],{auth}}}', "procedure: missing"),
            (InvalidRequest, f'{{"harp":1,"procedure":"p",{auth}}}', "arguments: missing"),
            (InvalidRequest, '{"harp":1,"procedure":"p","arguments":[]}', "auth: missing"),
            (
                InvalidRequest,
                f'{{"harp":1,"procedure":"p","arguments":[],{auth},"\\u0007":1}}',
                '"\\u0007": unknown field',
            ),
            (
                InvalidRequest,
                f'{{"harp":1,"procedure":7,"arguments":[],{auth}}}',
                "procedure: expected a string, got 7",
            ),
            (
                InvalidRequest,
                f'{{"harp":1,"procedure":"p","arguments":"é",{auth}}}',
                "arguments: expected a list or an object, got a string",
            ),
            (
                InvalidRequest,
                f'{{"harp":1,"procedure":"p","arguments":[],"again":1,{auth}}}',
                "again: there is no job",
            ),
            (
                InvalidRequest,
                f'{{"harp":1,"procedure":"p","arguments":[],"job":"j","again":0,{auth}}}',
                "again: expected a positive number of seconds, got 0",
            ),
        ]:
            error = self.assertRaises(kind, decode_request, text.encode())
            self.assertTrue(error.message.startswith(said), error.message)
            self.assertNotIn("sesame", error.message)

    def test_credentials_are_never_quoted(self) -> None:
        """However they are mistyped, the message doesn't repeat them."""
        for auth, said in [
            ('"sesame"', "auth: expected an object"),
            ('["sesame"]', "auth: expected an object"),
            ('{"user":"sesame"}', "auth.password: missing"),
            ('{"password":"sesame"}', "auth.user: missing"),
            ('{"user":["sesame"],"password":"x"}', "auth.user: expected a string"),
            ('{"user":"u","password":["sesame"]}', "auth.password: expected a string"),
            ('{"user":"u","password":5355}', "auth.password: expected a string"),
            ('{"user":"u","password":"sesame\\ud800"}', "auth.password: half of a surrogate pair"),
        ]:
            line = f'{{"harp":1,"procedure":"p","arguments":[],"auth":{auth}}}'
            error = self.assertRaises(InvalidRequest, decode_request, line.encode())
            self.assertTrue(error.message.startswith(said), error.message)
            self.assertNotIn("sesame", error.message)
            self.assertNotIn("5355", error.message)

    def test_password_is_not_shown(self) -> None:
        """A request in a log or a traceback doesn't tell it."""
        call = ProcedureCall("p", Raw(b"[]"), Credentials("u", "sesame"))
        self.assertNotIn("sesame", repr(call))

    @given(mangled(calls.map(encode_request)), st.lists(st.integers(0)))
    def test_any_bytes(self, data: bytes, places: list[int]) -> None:
        """In any pieces: a request, one of the three errors, or LineTooLong."""
        buffer = LineBuffer(500)
        for piece in pieces(data, places):
            buffer.feed(piece)
            with contextlib.suppress(LineTooLong, ParseError, InvalidProtocol, InvalidRequest):
                while (line := buffer.next_line()) is not None:
                    decode_request(line)


class MessageTests(SynchronousTestCase):
    """What an agent says."""

    @given(messages)
    def test_round_trip(self, message: Message) -> None:
        """What is said is understood; values come as their bytes."""
        line = encode_message(message)
        self.assertEqual((1, b"\n"), (line.count(b"\n"), line[-1:]))
        self.assertEqual(message, decode_message(line[:-1]))

    def test_what_the_protocol_says(self) -> None:
        """Errors and acknowledgements carry the version, the rest doesn't."""
        cases: list[tuple[str, Message]] = [
            ('{"harp":1,"stream_result":true}', Acknowledged(True)),
            ('{"harp":1,"stream_result":false}', Acknowledged(False)),
            ('{"harp":1,"stream_result":true,"resume":true}', Acknowledged(True, True)),
            ('{"harp":1,"stream_result":true,"keep":true}', Acknowledged(True, keeps=True)),
            (
                '{"harp":1,"stream_result":false,"resume":true,"keep":true}',
                Acknowledged(False, True, True),
            ),
            ('{"stream":1e5}', Said(Raw(b"1e5"))),
            ('{"stream":1e5,"n":7}', Said(Raw(b"1e5"), 7)),
            ('{"result":null}', Returned(Raw(b"null"))),
            ('{"exception":{"type":"T","message":"m"}}', Raised("T", "m")),
            ('{"harp":1,"error":{"type":"T","message":"m"}}', Failed("T", "m")),
        ]
        for text, message in cases:
            self.assertEqual(message, decode_message(text.encode()))
            self.assertEqual(text.encode() + b"\n", encode_message(message))

    def test_what_is_passed_over(self) -> None:
        """Unknown fields, of a newer agent."""
        self.assertEqual(
            Acknowledged(False), decode_message(b'{"harp":1,"stream_result":false,"more":true}')
        )
        self.assertEqual(Said(Raw(b"1")), decode_message(b'{"stream":1,"more":0}'))

    def test_what_is_amiss(self) -> None:
        """It is said to be the agent's."""
        for text, said in [
            ("x", ": not JSON: Expecting value at character 0"),
            ("{}", " is of no known kind"),
            ('{"cancelled":true}', " is of no known kind"),
            ('{"cancelled":false}', ": cancelled: expected true"),
            ('{"harp":2,"stream_result":true}', ": harp: expected 1, the only version there is"),
            ('{"stream_result":true}', ": harp: missing from the acknowledgement"),
            ('{"harp":1,"stream_result":1}', ": stream_result: expected true or false, got 1"),
            (
                '{"harp":1,"stream_result":true,"resume":1}',
                ": resume: expected true or false, got 1",
            ),
            (
                '{"harp":1,"stream_result":true,"keep":"yes"}',
                ': keep: expected true or false, got "yes"',
            ),
            ('{"stream":1,"n":-1}', ": n: expected a non-negative integer, got -1"),
            ('{"result":1,"exception":{}}', ": result and exception in one message"),
            ('{"stream":1,"result":2}', ": stream and result in one message"),
            ('{"harp":1,"stream_result":true,"stream":1}', ": stream_result and stream in one"),
            ('{"result":1,"result":2}', ': the key "result" stands twice'),
            ('{"exception":{"type":"T"}}', ": exception.message: missing"),
        ]:
            error = self.assertRaises(ProtocolError, decode_message, text.encode())
            self.assertTrue(error.message.startswith(f"the agent's message{said}"), error.message)

    @given(
        mangled(
            st.builds(
                '{{"stream":{}{}}}'.format,
                texts,
                st.sampled_from(
                    ["", ',"n":0', ',"n":17', ',"n":01', ',"n":-1', ', "n":3', ',"n":1.0']
                )
                | st.integers(0, 2**70).map(',"n":{}'.format)
                | st.builds(
                    ',"{}":{}'.format, st.sampled_from(["n", "m", "stream", "result"]), texts
                ),
            ).map(str.encode)
        )
    )
    @example(b'{"stream":' + b"[" * 499 + b"]" * 499 + b"}")
    @example(b'{"stream":' + b"[" * 500 + b"]" * 500 + b"}")
    @example(b'{"stream":1,"n":1,"n":2}')
    @example(b'{"stream":{"a":1,"n":2}}')
    @example(b'{"stream":"a,\\"n\\":2}')
    def test_records_in_any_spelling(self, line: bytes) -> None:
        """A record is the same, or refused, whether it is written as agents do or otherwise."""
        read: list[object] = []
        for spelling in (line, line.replace(b"{", b"{ ", 1)):
            try:
                read.append(decode_message(spelling))
            except ProtocolError:
                read.append(None)
        self.assertEqual(read[0], read[1])

    @given(mangled(messages.map(encode_message)))
    def test_any_bytes(self, line: bytes) -> None:
        """A message or ProtocolError."""
        try:
            message = decode_message(line)
        except WireError as error:
            self.assertIs(ProtocolError, type(error))
        else:
            self.assertEqual(message, decode_message(encode_message(message)))


class ResumingTests(SynchronousTestCase):
    """Going on with a call, and ending one by name."""

    @given(job_ids, st.integers(0, 2**63 - 1), words, words)
    def test_attach_round_trip(self, job: JobId, since: int, user: str, password: str) -> None:
        """The request to go on is understood."""
        request = Attach(job, since, Credentials(user, password))
        self.assertEqual(request, decode_request(encode_attach(request)[:-1]))

    @given(job_ids, words, words)
    def test_cancel_round_trip(self, job: JobId, user: str, password: str) -> None:
        """The request to end a call is understood."""
        request = CancelJob(job, Credentials(user, password))
        self.assertEqual(request, decode_request(encode_cancel(request)[:-1]))

    def test_requests_that_are_amiss(self) -> None:
        """The message names the field and never shows a secret."""
        auth = '"auth":{"user":"u","password":"sesame"}'
        for text, said in [
            (f'"attach":"j",{auth}', "since: missing"),
            ('"attach":"j","since":0', "auth: missing"),
            (f'"attach":"j","since":-1,{auth}', "since: expected a non-negative integer, got -1"),
            (f'"attach":"j","since":true,{auth}', "since: expected a non-negative integer"),
            (f'"attach":7,"since":0,{auth}', "attach: expected a string, got 7"),
            (f'"attach":"","since":0,{auth}', "attach: expected 1 to 64 characters, got 0"),
            (f'"cancel":"{"j" * 65}",{auth}', "cancel: expected 1 to 64 characters, got 65"),
            (f'"cancel":"j","since":0,{auth}', "since: unknown field"),
            (f'"cancel":"j","attach":"j","since":0,{auth}', "attach and cancel in one request"),
            (f'"procedure":"p","arguments":[],"attach":"j",{auth}', "attach and procedure in one"),
            (f'"procedure":"p","arguments":[],"job":[],{auth}', "job: expected a string"),
        ]:
            line = f'{{"harp":1,{text}}}'.encode()
            error = self.assertRaises(InvalidRequest, decode_request, line)
            self.assertTrue(error.message.startswith(said), error.message)
            self.assertNotIn("sesame", error.message)

    def test_answer_to_a_cancel(self) -> None:
        """Whether there was something to end, or an error."""
        for ended in (True, False):
            self.assertIs(ended, decode_cancelled(encode_cancelled(ended)[:-1]))
        failed = Failed("no_such_job", "no")
        self.assertEqual(failed, decode_cancelled(encode_message(failed)))

    def test_answer_to_a_cancel_that_is_amiss(self) -> None:
        """It is said to be the agent's."""
        for text, said in [
            ("x", ": not JSON: Expecting value at character 0"),
            ('{"cancelled":true}', ": harp: expected 1, the only version there is"),
            ('{"harp":1,"cancelled":1}', ": cancelled: expected true or false, got 1"),
            ('{"harp":1,"result":1}', " is of no known kind"),
            ('{"harp":1}', " is of no known kind"),
        ]:
            error = self.assertRaises(ProtocolError, decode_cancelled, text.encode())
            self.assertEqual(f"the agent's message{said}", error.message)


class ListTests(SynchronousTestCase):
    """The list of procedures: its request and its answer."""

    @given(words, words)
    def test_request_round_trip(self, user: str, password: str) -> None:
        """The request is understood."""
        request = ListProcedures(Credentials(user, password))
        self.assertEqual(request, decode_request(encode_list_request(request)[:-1]))

    def test_request_that_is_amiss(self) -> None:
        """The message names the field and never shows a secret."""
        auth = '"auth":{"user":"u","password":"sesame"}'
        for text, said in [
            (f'{{"harp":1,"list":false,{auth}}}', "list: expected true"),
            (f'{{"harp":1,"list":1,{auth}}}', "list: expected true"),
            ('{"harp":1,"list":true}', "auth: missing"),
            ('{"harp":1,"list":true,"auth":"sesame"}', "auth: expected an object"),
            (f'{{"harp":1,"list":true,"arguments":[],{auth}}}', "arguments: unknown field"),
            (
                f'{{"harp":1,"list":true,"procedure":"p",{auth}}}',
                "list and procedure in one request",
            ),
        ]:
            error = self.assertRaises(InvalidRequest, decode_request, text.encode())
            self.assertEqual(said, error.message)

    @given(lists)
    def test_answer_round_trip(self, listed: ProcedureList) -> None:
        """What is listed is understood, in one line."""
        line = encode_procedures(listed)
        self.assertEqual((1, b"\n"), (line.count(b"\n"), line[-1:]))
        self.assertEqual(listed, decode_procedures(line[:-1]))

    def test_error_instead(self) -> None:
        """An agent of old, or one that doesn't know the user, answers with an error."""
        failed = Failed("invalid_request", "procedure: missing")
        self.assertEqual(failed, decode_procedures(encode_message(failed)))

    def test_unknown_members_are_passed_over(self) -> None:
        """A newer agent may tell more; what is for people needn't be good UTF-8."""
        line = (
            b'{"harp":1,"more":1,"procedures":[{"name":"p","signature":"()","doc":"\\ud800",'
            b'"streaming":true,"lock":"x"}]}'
        )
        self.assertEqual(
            ProcedureList((Procedure("p", "()", "\\ud800", True),)), decode_procedures(line)
        )

    def test_answer_that_is_amiss(self) -> None:
        """It is said to be the agent's."""
        one = '{"name":"p","signature":"()","doc":"","streaming":false}'
        for text, said in [
            ("x", ": not JSON: Expecting value at character 0"),
            (f'{{"procedures":[{one}]}}', ": harp: expected 1, the only version there is"),
            ('{"harp":1}', " is of no known kind"),
            ('{"harp":1,"stream_result":true}', " is of no known kind"),
            ('{"harp":1,"result":1}', " is of no known kind"),
            ('{"harp":1,"procedures":{}}', ": procedures: expected a list"),
            ('{"harp":1,"procedures":[1]}', ": procedures: expected objects in it"),
            (
                '{"harp":1,"procedures":[{"streaming":1}]}',
                ": procedures.streaming: expected true or false",
            ),
            (
                '{"harp":1,"procedures":[{"streaming":true}]}',
                ": procedures.name: expected a string",
            ),
            (
                '{"harp":1,"procedures":[{"name":"p","signature":1,"streaming":true}]}',
                ": procedures.signature: expected a string",
            ),
            ('{"harp":1,"procedures":[],"error":{}}', ": procedures and error in one message"),
        ]:
            error = self.assertRaises(ProtocolError, decode_procedures, text.encode())
            self.assertEqual(f"the agent's message{said}", error.message)

    @given(mangled(lists.map(encode_procedures)))
    def test_any_bytes(self, line: bytes) -> None:
        """A list, an error or ProtocolError."""
        with contextlib.suppress(ProtocolError):
            decode_procedures(line)
