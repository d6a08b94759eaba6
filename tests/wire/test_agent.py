"""Caller and agent: requests and messages."""

from __future__ import annotations

import contextlib

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.errors import InvalidProtocol, InvalidRequest, ParseError, ProtocolError, WireError
from harpcaller.wire.agent import (
    Acknowledged,
    Credentials,
    Message,
    ProcedureCall,
    Said,
    decode_message,
    decode_request,
    encode_message,
    encode_request,
)
from harpcaller.wire.ending import Cancelled, Failed, Raised, Returned
from harpcaller.wire.lines import LineBuffer, LineTooLong
from harpcaller.wire.values import Raw
from tests.wire.strategies import mangled, pieces, raws, words
from tests.wire.test_ending import endings

calls = st.builds(
    ProcedureCall,
    words,
    raws.filter(lambda raw: raw[:1] in (b"[", b"{")),
    st.builds(Credentials, words, words),
)

#: Any message that an agent may send.
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Acknowledged, st.booleans()),
    st.builds(Said, raws),
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
            ('{"stream":1e5}', Said(Raw(b"1e5"))),
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
            Acknowledged(False), decode_message(b'{"harp":1,"stream_result":false,"keep":true}')
        )
        self.assertEqual(Said(Raw(b"1")), decode_message(b'{"stream":1,"n":0}'))

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
            ('{"result":1,"exception":{}}', ": result and exception in one message"),
            ('{"stream":1,"result":2}', ": stream and result in one message"),
            ('{"harp":1,"stream_result":true,"stream":1}', ": stream_result and stream in one"),
            ('{"result":1,"result":2}', ': the key "result" stands twice'),
            ('{"exception":{"type":"T"}}', ": exception.message: missing"),
        ]:
            error = self.assertRaises(ProtocolError, decode_message, text.encode())
            self.assertTrue(error.message.startswith(f"the agent's message{said}"), error.message)

    @given(mangled(messages.map(encode_message)))
    def test_any_bytes(self, line: bytes) -> None:
        """A message or ProtocolError."""
        try:
            message = decode_message(line)
        except WireError as error:
            self.assertIs(ProtocolError, type(error))
        else:
            self.assertEqual(message, decode_message(encode_message(message)))
