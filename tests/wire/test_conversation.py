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
    encode_message,
    encode_procedures,
)
from harpcaller.wire.conversation import Conversation, Listing, State
from harpcaller.wire.ending import Failed, Raised, Returned
from harpcaller.wire.procedures import Procedure, ProcedureList
from harpcaller.wire.values import Raw
from tests.wire.test_agent import messages

STREAMS = Acknowledged(True)
WAITS = Acknowledged(False)
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
