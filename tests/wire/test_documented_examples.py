"""The examples of doc/protocol.rst, run through the codecs: what the page shows is what is spoken.

A block of examples stands after a comment ``.. example: KIND``.  In it ``->`` begins what the
asking side sends, and ``<-`` what it gets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from harpcaller import errors
from harpcaller.wire import agent, client, client_answers, registry
from harpcaller.wire.conversation import Conversation, State
from harpcaller.wire.ending import Ending, Failed
from harpcaller.wire.procedures import ProcedureList

PAGE = Path(__file__).parents[2] / "doc" / "protocol.rst"

AGENT_KINDS = [
    "agent",
    "agent-resume",
    "agent-keep",
    "agent-again",
    "agent-cancel",
    "agent-list",
    "agent-refused",
]

#: What stands before and between the lines of a block of examples.
_block = re.compile(
    r"^\.\. example: (?P<kind>\S+)\n\.\. code-block:: text\n\n(?P<lines>(?:   .*\n)+)", re.MULTILINE
)


def examples(kind: str) -> Iterator[list[tuple[str, bytes]]]:
    """Give the blocks of a kind, each as its lines: the direction, and what goes there."""
    for block in _block.finditer(PAGE.read_text("utf-8")):
        if block["kind"] == kind:
            lines = [line.strip() for line in block["lines"].splitlines()]
            yield [(line[:2], line[3:].encode()) for line in lines]


def encoded_answer(answer: client_answers.Answer) -> bytes:
    """Write an answer as the dispatcher does."""
    match answer:
        case client_answers.Submitted():
            return client_answers.encode_submitted(answer.job_id)
        case client_answers.NotEnded():
            return client_answers.NO_RESULT
        case client_answers.ToBeContinued():
            return client_answers.CONTINUE
        case client_answers.CancelOutcome():
            return client_answers.encode_cancelled(answer.cancelled)
        case client_answers.Record():
            return client_answers.encode_record(answer)
        case client_answers.JobStatus():
            return answer.answer
        case registry.HostList():
            return registry.encode_hosts(answer.names)
        case ProcedureList():
            return registry.encode_procedures(answer)
        case _:
            return client_answers.encode_ending(answer)


class DocumentedExamplesTests(SynchronousTestCase):
    def test_every_example_is_looked_at(self) -> None:
        """No example on the page stands outside the blocks that are tested here."""
        shown = re.findall(r"^ +(?:->|<-) ", PAGE.read_text("utf-8"), re.MULTILINE)
        kinds = ["client", "client-refused", *AGENT_KINDS]
        found = [line for kind in kinds for block in examples(kind) for line in block]
        self.assertEqual(len(shown), len(found))
        for kind in kinds:
            self.assertTrue(list(examples(kind)), kind)

    def test_client_and_dispatcher(self) -> None:
        """Requests are understood, and answers are byte for byte what a dispatcher sends."""
        for block in examples("client"):
            request: client.Request | None = None
            for direction, line in block:
                if direction == "->":
                    request = client.decode_request(line)
                    self.assertEqual(request, client.decode_request(client.encode_request(request)))
                else:
                    assert request is not None
                    answer = client_answers.decode_answer(line, request)
                    self.assertEqual(line + b"\n", encoded_answer(answer))

    def test_client_refused(self) -> None:
        """Bad requests are refused, in these words."""
        for block in examples("client-refused"):
            for (_, request), (_, answer) in zip(block[::2], block[1::2], strict=True):
                error = self.assertRaises(errors.InvalidRequest, client.decode_request, request)
                self.assertEqual(
                    answer + b"\n", client_answers.encode_error(error.wire_type, error.message)
                )

    def test_dispatcher_and_agent(self) -> None:
        """What an agent says in an example may be said then, and the example ends with the end."""
        for block in [*examples("agent"), *examples("agent-again")]:
            (_, request), *messages = block
            call = agent.decode_request(request)
            assert isinstance(call, agent.ProcedureCall)
            self.assertEqual(request + b"\n", agent.encode_request(call))
            conversation = Conversation()
            for direction, line in messages:
                self.assertEqual("<-", direction)
                message = conversation.heard(line)
                self.assertEqual(line + b"\n", agent.encode_message(message))
            self.assertIs(State.ENDED, conversation.state)

    def test_resuming(self) -> None:
        """A connection that breaks before the end, and one that goes on with the call."""
        for block in examples("agent-resume"):
            (_, request), *messages = block
            asked = agent.decode_request(request)
            if isinstance(asked, agent.Attach):
                self.assertEqual(request + b"\n", agent.encode_attach(asked))
                conversation = Conversation(asked.since)
            else:
                assert isinstance(asked, agent.ProcedureCall)
                self.assertEqual(request + b"\n", agent.encode_request(asked))
                conversation = Conversation()
            for _, line in messages:
                message = conversation.heard(line)
                self.assertEqual(line + b"\n", agent.encode_message(message))
            self.assertTrue(conversation.resumable or conversation.state is State.ENDED)

    def test_kept_connections(self) -> None:
        """Each call is over, and its end confirmed if it can be resumed, before the next."""
        for block in examples("agent-keep"):
            conversation = None
            owed = None
            for direction, line in block:
                if direction == "<-":
                    assert conversation is not None
                    message = conversation.heard(line)
                    self.assertEqual(line + b"\n", agent.encode_message(message))
                    owed = owed if conversation.resumable else None
                    continue
                asked = agent.decode_request(line)
                if isinstance(asked, agent.CancelJob):
                    self.assertEqual(line + b"\n", agent.encode_cancel(asked))
                    self.assertEqual(owed, asked.job)
                    owed = None
                    continue
                assert isinstance(asked, agent.ProcedureCall)
                self.assertEqual(line + b"\n", agent.encode_request(asked))
                self.assertIsNone(owed)
                if conversation is not None:
                    self.assertTrue(conversation.keeps)
                    self.assertIs(State.ENDED, conversation.state)
                conversation, owed = Conversation(), asked.job

    def test_cancelling_by_name(self) -> None:
        """The request is understood, and the answers are byte for byte what an agent sends."""
        for block in examples("agent-cancel"):
            (_, request), (_, answer) = block
            asked = agent.decode_request(request)
            assert isinstance(asked, agent.CancelJob)
            self.assertEqual(request + b"\n", agent.encode_cancel(asked))
            said = agent.decode_cancelled(answer)
            assert isinstance(said, bool)
            self.assertEqual(answer + b"\n", agent.encode_cancelled(said))

    def test_list_of_procedures(self) -> None:
        """The request is understood, and the answers are byte for byte what an agent sends."""
        for block in examples("agent-list"):
            (_, request), (_, answer) = block
            asked = agent.decode_request(request)
            assert isinstance(asked, agent.ListProcedures)
            self.assertEqual(request + b"\n", agent.encode_list_request(asked))
            said = agent.decode_procedures(answer)
            if isinstance(said, Failed):
                self.assertEqual(answer + b"\n", agent.encode_message(said))
            else:
                self.assertEqual(answer + b"\n", agent.encode_procedures(said))

    def test_agent_refused(self) -> None:
        """Bad requests are refused, in these words."""
        for block in examples("agent-refused"):
            for (_, request), (_, answer) in zip(block[::2], block[1::2], strict=True):
                error = self.assertRaises(errors.WireError, agent.decode_request, request)
                ending: Ending = Failed.because(error)
                self.assertEqual(answer + b"\n", agent.encode_message(ending))

    def test_error_types(self) -> None:
        """Every error that has a type on these wires is explained, and no other."""
        table = set(re.findall(r"^``([a-z_]+)``  +", PAGE.read_text("utf-8"), re.MULTILINE))
        elsewhere = {"request_too_large", "invalid_request"}
        self.assertEqual(set(errors.BY_WIRE_TYPE) | elsewhere, table | elsewhere)
