"""Which message of an agent may come when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.errors import NetworkError, ProtocolError
from harpcaller.wire.agent import (
    Acknowledged,
    Message,
    Said,
    encode_cancelled,
    encode_message,
    encode_procedures,
)
from harpcaller.wire.conversation import Cancelling, Conversation, Listing, State
from harpcaller.wire.ending import Failed, Raised, Returned
from harpcaller.wire.procedures import Procedure, ProcedureList
from harpcaller.wire.values import Raw
from tests.wire.test_agent import messages

STREAMS = Acknowledged(True)
WAITS = Acknowledged(False)
KEEPS = Acknowledged(True, True)
SAID = Said(Raw(b"1"))
RETURNED = Returned(Raw(b"2"))
RAISED = Raised("T", "m")
FAILED = Failed("T", "m")

#: How each state is reached.
WAYS: dict[State, list[Message]] = {
    State.ASKED: [],
    State.STREAMING: [STREAMS],
    State.WAITING: [WAITS],
    State.ENDED: [WAITS, RETURNED],
}

#: State and message to the state after it; what isn't here is a breach.
TABLE: dict[tuple[State, Message], State] = {
    (State.ASKED, STREAMS): State.STREAMING,
    (State.ASKED, WAITS): State.WAITING,
    (State.ASKED, FAILED): State.ENDED,
    (State.STREAMING, SAID): State.STREAMING,
    (State.STREAMING, RETURNED): State.ENDED,
    (State.STREAMING, RAISED): State.ENDED,
    (State.STREAMING, FAILED): State.ENDED,
    (State.WAITING, RETURNED): State.ENDED,
    (State.WAITING, RAISED): State.ENDED,
    (State.WAITING, FAILED): State.ENDED,
}


def reached(state: State) -> Conversation:
    """Lead a conversation to a state."""
    conversation = Conversation()
    for message in WAYS[state]:
        conversation.heard(encode_message(message))
    assert conversation.state is state
    return conversation


class TableTests(SynchronousTestCase):
    """Every state with every message."""

    def test_every_state_with_every_message(self) -> None:
        """What may come leads on; what may not is a breach and changes nothing."""
        for state in State:
            for message in (STREAMS, WAITS, SAID, RETURNED, RAISED, FAILED):
                conversation = reached(state)
                after = TABLE.get((state, message))
                if after is None:
                    self.assertRaises(ProtocolError, conversation.heard, encode_message(message))
                    self.assertIs(state, conversation.state)
                else:
                    self.assertEqual(message, conversation.heard(encode_message(message)))
                    self.assertIs(after, conversation.state)

    def test_breaches_are_told_apart(self) -> None:
        """The message says which rule was broken."""
        cases: list[tuple[State, Message, str]] = [
            (State.ASKED, RETURNED, "before it acknowledged"),
            (State.STREAMING, WAITS, "acknowledged the call twice"),
            (State.WAITING, SAID, "a procedure that doesn't stream"),
            (State.ENDED, SAID, "after the end result"),
        ]
        for state, message, said in cases:
            error = self.assertRaises(ProtocolError, reached(state).heard, encode_message(message))
            self.assertIn(said, error.message)

    def test_nonsense(self) -> None:
        """It is a breach in every state, and changes nothing."""
        for state in State:
            conversation = reached(state)
            self.assertRaises(ProtocolError, conversation.heard, b"nonsense")
            self.assertIs(state, conversation.state)

    def test_closing(self) -> None:
        """Told by whether the agent had answered at all."""
        self.assertIn("without an answer", reached(State.ASKED).closed().message)
        for state in (State.STREAMING, State.WAITING):
            error = reached(state).closed()
            self.assertIsInstance(error, NetworkError)
            self.assertIn("before the end result", error.message)

    @given(st.lists(messages))
    def test_any_messages(self, said: list[Message]) -> None:
        """What is let through is an acknowledgement, records if announced, one ending."""
        conversation = Conversation()
        heard: list[Message] = []
        for message in said:
            try:
                heard.append(conversation.heard(encode_message(message)))
            except ProtocolError:
                continue
        if not heard:
            return
        first, *rest = heard
        if isinstance(first, Failed):
            self.assertEqual([], rest)
            return
        assert isinstance(first, Acknowledged)
        records = [message for message in rest if isinstance(message, Said)]
        self.assertTrue(first.streaming or not records)
        if conversation.state is State.ENDED:
            self.assertEqual(rest[:-1], records)
        else:
            self.assertEqual(rest, records)


class ResumableTests(SynchronousTestCase):
    """A call that its agent keeps when the connection breaks."""

    def heard(self, since: int | None, *messages: Message) -> Conversation:
        conversation = Conversation(since)
        for message in messages:
            conversation.heard(encode_message(message))
        return conversation

    def test_offer(self) -> None:
        """Only the acknowledgement makes a call resumable."""
        self.assertFalse(Conversation().resumable)
        self.assertTrue(Conversation(0).resumable, "until the agent says otherwise")
        self.assertFalse(self.heard(None, STREAMS).resumable)
        self.assertTrue(self.heard(None, KEEPS).resumable)

    def test_records_are_counted(self) -> None:
        """From 0, or from where a broken connection left off; whether they have numbers or not."""
        one, two = Said(Raw(b"1"), 0), Said(Raw(b"2"), 1)
        self.assertEqual(2, self.heard(None, KEEPS, one, two, RETURNED).records)
        self.assertEqual(2, self.heard(1, KEEPS, two).records)
        self.assertEqual(2, self.heard(None, STREAMS, SAID, SAID).records)

    def test_gap(self) -> None:
        """A record that is left out, comes again or has no number is a breach."""
        for since, record, said in [
            (None, Said(Raw(b"1"), 1), "record 1 where 0 belongs"),
            (5, Said(Raw(b"1"), 4), "record 4 where 5 belongs"),
            (None, SAID, "without its number"),
        ]:
            conversation = self.heard(since, KEEPS)
            error = self.assertRaises(ProtocolError, conversation.heard, encode_message(record))
            self.assertIn(said, error.message)

    def test_goes_on_without_being_able_to(self) -> None:
        """An agent that goes on with a call says that it can do so again."""
        error = self.assertRaises(ProtocolError, self.heard, 0, STREAMS)
        self.assertIn("can't resume", error.message)


class CancellingTests(SynchronousTestCase):
    """An agent is told to end a call by its name."""

    def test_answer(self) -> None:
        """One line, and that's it."""
        self.assertIs(True, Cancelling().heard(encode_cancelled(True)))
        failed = Failed("no_such_job", "no")
        self.assertEqual(failed, Cancelling().heard(encode_message(failed)))

    def test_no_answer(self) -> None:
        """The agent that closes instead is a network error."""
        self.assertIsInstance(Cancelling().closed(), NetworkError)


class ListingTests(SynchronousTestCase):
    """An agent is asked which procedures it has."""

    def test_list(self) -> None:
        """One line, and that's it."""
        listed = ProcedureList((Procedure("p", "()", "", False),))
        self.assertEqual(listed, Listing().heard(encode_procedures(listed)))

    def test_error(self) -> None:
        """One line, too."""
        failed = Failed("auth_error", "no")
        self.assertEqual(failed, Listing().heard(encode_message(failed)))

    def test_no_answer(self) -> None:
        """The agent that closes instead is a network error."""
        self.assertIsInstance(Listing().closed(), NetworkError)
