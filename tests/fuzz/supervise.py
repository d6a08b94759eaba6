"""What supervision reads: multilog's scripts and lines, labels, environments, service folders."""

from __future__ import annotations

import math
import time
from contextlib import suppress
from typing import Any

from harpcaller.agent.orders import NotAnOrder, decode_order, decode_report, encode_line
from harpcaller.agent.separation.frames import NotInTable, Reader, Table
from harpcaller.agent.separation.table import (
    ANSWERED,
    ASKED,
    TO_MONITOR,
    TO_NETWORK,
    Authenticate,
    Call,
    GiveUp,
    Known,
    Noted,
    Ready,
    Refused,
    Said,
    Terms,
)
from harpcaller.supervise.chain.envdir import assignment
from harpcaller.supervise.multilog.lines import Begun, Cutter, More, Whole
from harpcaller.supervise.multilog.script import Deselect, Script, Select, parse, parse_file
from harpcaller.supervise.multilog.selector import COMPARED, Selection
from harpcaller.supervise.servicedir.detail import decode_detail, encode_detail, in_words
from harpcaller.supervise.servicedir.settings import NAMES, read_settings
from harpcaller.supervise.servicedir.status import NotStatus, decode_status, encode_status
from harpcaller.supervise.tai64n.labels import (
    Stamper,
    from_label,
    from_packed,
    label,
    packed,
)
from harpcaller.supervise.tai64n.local import Translator
from harpcaller.wire.client import JobId
from harpcaller.wire.values import Raw
from tests.fuzz.target import Target, pieces, same

_LABEL = b"@400000005c8f3ab31d8f0a2c"


def _matches(pattern: bytes, line: bytes) -> bool:
    """The naive model of multilog's patterns, which go from left to right."""
    at = 0
    for place, byte in enumerate(pattern):
        if byte != ord("*"):
            if line[at : at + 1] != bytes([byte]):
                return False
            at += 1
        elif place + 1 == len(pattern):
            return True
        else:
            at = line.find(pattern[place + 1 : place + 2], at)
            if at < 0:
                return False
    return at == len(line)


def scripts(data: bytes) -> None:
    """A script in a file: read or refused, and its words as arguments are never refused."""
    with suppress(ValueError):
        _ = parse_file(data)
    script: Script = parse(data.split(b"\0"))
    for action in script.actions:
        _ = repr(action)


def selections(data: bytes) -> None:
    """Patterns, a line each, and after an empty line what they are to select."""
    head, _, body = data.partition(b"\n\n")
    patterns: list[Select | Deselect] = []
    for one in head.split(b"\n"):
        if one[:1] == b"+":
            patterns.append(Select(one[1:]))
        elif one[:1] == b"-":
            patterns.append(Deselect(one[1:]))
    selection = Selection(patterns)
    lines = body.split(b"\n")
    expected = []
    for line in lines:
        verdict = True
        for pattern in patterns:
            if _matches(pattern.pattern, line[:COMPARED]):
                verdict = isinstance(pattern, Select)
        if verdict:
            expected.append(line)
    same(selection.chosen(lines), expected)
    same([line for line in lines if selection.selects(line)], expected)


def cutting(data: bytes) -> None:
    """Lines in pieces: nothing is lost, and what is called whole is."""
    cutter = Cutter()
    found = [one for piece in pieces(data) for one in cutter.cut(piece)]
    found += cutter.end()
    ended = data if not data or data.endswith(b"\n") else data + b"\n"
    same(b"".join(one.data for one in found), ended)
    for one in found:
        if isinstance(one, Whole):
            same(one.data.endswith(b"\n"), True)
        elif isinstance(one, Begun):
            same(b"\n" in one.data or len(one.data) < COMPARED, False)
        else:
            same(isinstance(one, More), True)


def labels(data: bytes) -> None:
    """Labels as text and packed, and streams with labels, in whatever pieces they come."""
    with suppress(ValueError):
        moment = from_label(data)
        if data[17:] < b"3b9aca00":  # more nanoseconds than a second has go over into the next
            same(label(moment), data)
    with suppress(ValueError):
        _ = packed(from_packed(data))
    whole, cut = Translator(time.gmtime), Translator(time.gmtime)
    expected = whole.translated(data) + whole.end()
    same(b"".join([*map(cut.translated, pieces(data)), cut.end()]), expected)
    stamper, number = Stamper(), 0
    for piece in pieces(data):
        number += len(stamper.stamped(piece, 0)) - len(piece)
    lines = data.count(b"\n") + (not data.endswith(b"\n")) if data else 0
    same(number, lines * len(label(0) + b" "))


def environments(data: bytes) -> None:
    """A file of an environment folder, its name on the first line."""
    name, _, content = data.partition(b"\n")
    variable, value = assignment(name, content)
    same(b"=" in variable, False)
    if value is not None and b"=" not in name:
        same(value.count(b"\0"), 0)


def services(data: bytes) -> None:
    """What is in a service's folder: its status, more of it, and its settings."""
    with suppress(NotStatus):
        status = decode_status(data)
        again = decode_status(encode_status(status))
        same((again.pid, again.want), (status.pid, status.want))
    detail = decode_detail(data)
    if detail is not None:
        _ = in_words(detail, 0.0)
        if math.isfinite(detail.uptime) and math.isfinite(detail.retry or 0.0):
            written = decode_detail(encode_detail(detail))
            assert written is not None
            same(encode_detail(written), encode_detail(detail))
    names = sorted(NAMES)
    contents = data.split(b"\0")
    found = read_settings(dict(zip(names, contents, strict=False)))
    same(all("\n" not in problem for problem in found.problems), True)


def separation(data: bytes) -> None:
    """What an agent's network process and its monitor tell each other, in any pieces."""
    tables: tuple[Table[Any], ...] = (TO_MONITOR, TO_NETWORK, ASKED, ANSWERED)
    for table in tables:
        whole, cut = table.reader(), table.reader()
        said = [_messages(whole, [data]), _messages(cut, pieces(data))]
        same(said[1], said[0])
        for message in said[0]:
            again = table.reader()
            same(_messages(again, [table.encode(message)]), [message])


def _messages(reader: Reader[Any], cut: list[bytes]) -> list[object]:
    """Give what is said until something isn't in the table."""
    found: list[object] = []
    with suppress(NotInTable):
        for piece in cut:
            reader.feed(piece)
            while (message := reader.next()) is not None:
                found.append(message)
    return found


def orders(data: bytes) -> None:
    """What an agent and its template process tell each other."""
    for decoded in (decode_order, decode_report):
        with suppress(NotAnOrder):
            said = decoded(data)
            same(decoded(encode_line(said)), said)


_SAID = (
    TO_MONITOR.encode(Ready("x")) + TO_MONITOR.encode(Noted("warn", "agent.x", Raw(b"{}"))),
    TO_NETWORK.encode(Terms(b"c", b"k", b"", 3, True, 5, 10)),
    ASKED.encode(Authenticate("u", "p", "192.0.2.1"))
    + ASKED.encode(Call("p", Raw(b"[1]"), JobId("j"), 1.5))
    + ASKED.encode(GiveUp()),
    ANSWERED.encode(Known()) + ANSWERED.encode(Said(b"x")) + ANSWERED.encode(Refused("m")),
)

TARGETS = (
    Target(
        "multilog-scripts",
        scripts,
        (b"t s9999 n3 '-*' '+* fatal: *' ./main # all\n=status", b"t\0s99\0n5\0!gzip\0./main\0e"),
        (b"'", b'"', b"\\", b"#", b" ", b"\0", b"s", b"n", b"999999999999999999999", b"./", b"!"),
    ),
    Target(
        "multilog-patterns",
        selections,
        (b"-*\n+*fatal*\n+a**b\n\na fatal one\na*b\nother",),
        (b"*", b"**", b"\n", b"+", b"-", b"\n\n", b"a" * 50),
    ),
    Target("multilog-lines", cutting, (b"one\ntwo\n", b"x" * 1200 + b"\ny"), (b"\n", b"x" * 999)),
    Target(
        "tai64n",
        labels,
        (_LABEL, _LABEL + b" one\n" + _LABEL + b"f two\nthree " + _LABEL, b"@4000"),
        (b"@", b"\n", b"f" * 16, b"0" * 8, _LABEL),
    ),
    Target(
        "envdir",
        environments,
        (b"NAME\nvalue \t\nmore", b"A=B\nC\0D", b"N\n"),
        (b"=", b"\0", b"\n"),
    ),
    Target(
        "services",
        services,
        (
            bytes.fromhex("400000005c8f3ab31d8f0a2c") + b"\x05\0\0\0\0u",
            b"stamp 00\npid 5\nstate up\nuptime 5.000000\nexit 1\ndeaths 2\nretry 9.5\n"
            b"waits a\ntrouble t\nsaid s\nend\n",
            b"1 60\0TERM\0005 60\0003\0main\0always\0001000\0002000",
        ),
        (b"\n", b"\0", b"signal ", b"exit ", b"nan", b"inf", b"end\n", b"SIGTERM", b"9" * 20),
    ),
    Target(
        "separation",
        separation,
        _SAID,
        (b"\0\0\0\x01", b"\0\0\0\0", b"\xff\xff\xff\xff", *_SAID, b"[1]", b"A", b"T", b"R", b"E"),
    ),
    Target(
        "orders",
        orders,
        (
            b'{"load":{"file":"f","prepend":[],"append":[],"uid":null,"gid":null}}',
            b'{"start":1}',
            b'{"end":1,"signal":15,"grace":5.0}',
            b'{"loaded":{},"threads":1,"cgroups":true}',
            b'{"exited":1,"code":null,"signal":9,"why":""}',
        ),
        (b"{", b"}", b'"', b",", b"null", b"[]", b'"end"', b'"unable"'),
    ),
)
