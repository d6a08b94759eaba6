"""Tables of what may happen when, made from the code each time the pages are built.

``.. machine:: MODULE:NAME`` shows a state machine of Automat; ``.. conversation::`` shows the
exchange with an agent, found by feeding every kind of message to every state; ``.. child::`` the
supervised process, from its own table.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from harpcaller.errors import ProtocolError
from harpcaller.supervise.machine.life import TABLE
from harpcaller.supervise.machine.life import State as ChildState
from harpcaller.wire.agent import Acknowledged, Message, Said, encode_message
from harpcaller.wire.conversation import Conversation, State
from harpcaller.wire.ending import Failed, Raised, Returned
from harpcaller.wire.values import NULL

Rows = list[list[str]]

#: What stands where an input changes nothing and nobody is told.
NOTHING = "·"


def machine_rows(machine: Any) -> Rows:
    """Give the table of an Automat machine, its header first.

    A cell has the state that follows, and in italics what is done on the way (the output's
    name in the code); an input that comes too late is accepted and means nothing.
    """
    automaton = machine.__automat_automaton__
    alphabet = automaton.inputAlphabet()
    cells: dict[tuple[str, str], str] = {}
    for before, event, after, outputs in automaton.allTransitions():
        words = [_words(output.method.__name__) for output in outputs]
        done = ", ".join(word for word in words if word)
        if before is after and not done:
            cells[before.name, event] = NOTHING
        else:
            cells[before.name, event] = f"{after.name}, *{done}*" if done else after.name
    inputs = [
        name for name in vars(automaton.initialState.builder.inputProtocol) if name in alphabet
    ]
    return [
        ["state", *(f"``{name}``" for name in inputs)],
        *(
            [f"**{state.name}**", *(cells[state.name, name] for name in inputs)]
            for state in _reached(automaton, inputs)
        ),
    ]


def _words(name: str) -> str:
    """Say an output's name in words; none for one that only accepts what came too late."""
    late = name.startswith(("_late", "returns("))
    return "" if late else name.strip("_").replace("_", " ")


def _reached(automaton: Any, inputs: Iterable[str]) -> list[Any]:
    """Give the states in the order in which they are first reached."""
    after = {(state, event): then for state, event, then, _ in automaton.allTransitions()}
    found = [automaton.initialState]
    for state in found:
        for event in inputs:
            if after[state, event] not in found:
                found.append(after[state, event])
    return found


#: One message of every kind that matters.
MESSAGES: dict[str, Message] = {
    "acknowledged, streams": Acknowledged(True),
    "acknowledged, doesn't": Acknowledged(False),
    "record": Said(NULL),
    "error": Failed("system_error", ""),
    "result": Returned(NULL),
    "exception": Raised("ValueError", ""),
}

#: How to come to each state.
WAYS: dict[State, Sequence[Message]] = {
    State.ASKED: (),
    State.STREAMING: (Acknowledged(True),),
    State.WAITING: (Acknowledged(False),),
    State.ENDED: (Acknowledged(False), Returned(NULL)),
}


def conversation_rows() -> Rows:
    """Give the table of which of an agent's messages may come when, its header first."""
    rows = [["state", *MESSAGES]]
    for state, way in WAYS.items():
        cells = []
        for message in MESSAGES.values():
            conversation = Conversation()
            for earlier in way:
                conversation.heard(encode_message(earlier))
            if conversation.state is not state:
                raise AssertionError(f"{state} is not reached any more by {way}")
            try:
                conversation.heard(encode_message(message))
            except ProtocolError:
                cells.append("*breach*")
            else:
                cells.append(conversation.state.value)
        rows.append([f"**{state.value}**", *cells])
    return rows


def child_rows() -> Rows:
    """Give the table of a supervised process, its header first."""
    events = list(TABLE[ChildState.UP])
    return [
        ["state", *(f"``{event.__name__}``" for event in events)],
        *(
            [f"**{state.value}**", *(_done(TABLE[state][event].__name__) for event in events)]
            for state in ChildState
        ),
    ]


def _done(name: str) -> str:
    return NOTHING if name == "_nothing" else name.strip("_").replace("_", " ")


class _Table(SphinxDirective):
    def rows(self) -> Rows:
        raise AssertionError("each table says what is in it")

    def run(self) -> list[nodes.Node]:
        self.env.note_reread()
        lines = [".. list-table::", "   :header-rows: 1", ""]
        for row in self.rows():
            lines += [f"   {'*' if index == 0 else ' '} - {cell}" for index, cell in enumerate(row)]
        parent = nodes.container()
        self.state.nested_parse(StringList(lines, source="machines"), 0, parent)
        return list(parent.children)


class MachineTable(_Table):
    """``.. machine:: MODULE:NAME``."""

    required_arguments = 1

    def rows(self) -> Rows:
        module, _, name = self.arguments[0].partition(":")
        return machine_rows(getattr(importlib.import_module(module), name))


class ConversationTable(_Table):
    """``.. conversation::``."""

    def rows(self) -> Rows:
        return conversation_rows()


class ChildTable(_Table):
    """``.. child::``."""

    def rows(self) -> Rows:
        return child_rows()


def setup(app: Sphinx) -> dict[str, bool]:
    """Sphinx: take the directives."""
    app.add_directive("machine", MachineTable)
    app.add_directive("conversation", ConversationTable)
    app.add_directive("child", ChildTable)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
