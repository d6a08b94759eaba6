"""``harp hosts`` and ``harp procedures``: what there is to call."""

from __future__ import annotations

from harpcaller.client.exceptions import HarpException
from harpcaller.client.progress import CONTROLS_AND_NEWLINE
from harpcaller.client.selection import select
from harpcaller.client.several import registry_names
from harpcaller.client.terminal import DONE, Terminal
from harpcaller.client.translation import refusal
from harpcaller.wire.procedures import Procedure, ProcedureList
from harpcaller.wire.registry import ListProceduresOf
from harpcaller.wire.values import build, encode

#: The longest name and signature that the others are aligned with, in columns.
_WIDEST = 48


def hosts(terminal: Terminal) -> int:
    """Print the names of the registry's hosts, or of those that fit a pattern.

    Raises:
        HarpException: None fits, or they can't be had.
    """
    names = list(registry_names(terminal))
    if terminal.options.pattern is not None:
        known = set(names)
        names = [name for name in select(terminal.options.pattern, names) if name in known]
        if not names:
            raise HarpException(f"no host in the registry fits {terminal.options.pattern!r}")
    for name in names:
        if terminal.options.json:
            terminal.line(build({"host": encode(name)}).decode("utf-8"))
        else:
            terminal.line(name.translate(CONTROLS_AND_NEWLINE))
    return DONE


def procedures(terminal: Terminal) -> int:
    """Print what a host's agent says that it has.

    Raises:
        HarpException: It can't be had.
    """
    answer = terminal.dispatcher.ask(ListProceduresOf(terminal.options.host))
    if not isinstance(answer, ProcedureList):
        raise refusal(answer)
    found = answer.procedures
    shown = [_one_line(one.name + one.signature) for one in found]
    width = max([len(text) for text in shown if len(text) <= _WIDEST], default=0)
    streams = any(one.streaming for one in found)
    for one, text in zip(found, shown):
        if terminal.options.json:
            terminal.line(_as_json(one))
        elif terminal.options.tabs:
            terminal.line(f"{_one_line(one.name)}\t{_one_line(one.signature)}\t{_headline(one)}")
        else:
            mark = f"{'stream' if one.streaming else '':<8}" if streams else ""
            terminal.line(f"{text:<{width}}  {mark}{_headline(one)}".rstrip())
    return DONE


def _headline(procedure: Procedure) -> str:
    """Give the docstring's first line that isn't empty."""
    return _one_line(procedure.doc.strip().partition("\n")[0].strip())


def _one_line(text: str) -> str:
    return text.translate(CONTROLS_AND_NEWLINE)


def _as_json(procedure: Procedure) -> str:
    fields = {
        "name": encode(procedure.name),
        "signature": encode(procedure.signature),
        "doc": encode(procedure.doc),
        "streaming": encode(procedure.streaming),
    }
    return build(fields).decode("utf-8")
