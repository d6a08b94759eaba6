"""The lines of a job's file: facts to bytes and back, without touching the disk.

The first of them, the head, is read and written by :mod:`harpcaller.store.heads`.

A job's file is JSON lines, append only, to be read with ``jq``::

    {"harpcaller_job":1,"job":"8ec7…","serial":7,"submit":1455282411.5,"call":{"host":…,
        "procedure":…,"arguments":…,"timeout":…,"max_exec_time":…},"queue":null,"info":null}
    {"start":1455282411.6}
    {"resumable":1455282411.7}
    {"packet":0,"time":1455282412.0,"data":…}
    {"packet":1,"time":1455282412.1,"data":…}
    {"end":1455282413.0,"result":…}

The head is one line (folded here); ``timeout`` and ``max_exec_time`` are left out when the
request had none; ``queue`` is null or ``{"name":…,"concurrency":…}``. A job cancelled while it
waited has no start, and one whose agent doesn't keep calls has no ``resumable``. The end
carries ``result``, ``exception``, ``error`` or ``cancelled`` as on the client's wire.
``serial`` counts submissions: it orders jobs for ever, whatever clocks do.

The keys stand in this order, without spaces between them, so that a line can be placed by
its first bytes (:func:`place`) without being read.  Carried values (arguments, info,
records, results) are the bytes that came.  A last line without a newline is torn: it was
never acknowledged, and is cut off on recovery.
"""

from __future__ import annotations

import re
from math import inf, isfinite

from harpcaller.facts import Ended, Recorded, Resumable, Started
from harpcaller.wire.client_answers import Record
from harpcaller.wire.ending import Ending, Failed, Raised, from_members, members_of
from harpcaller.wire.fields import BadField, as_time
from harpcaller.wire.values import MAX_DEPTH, NotJSON, Raw, check, members

#: The version in a head.
FORMAT = 1

#: Where a line stands in a file, as :func:`place` tells it, if it isn't a record's number.
HEAD = -3
START = -2
RESUMABLE = -1
END = 2**63

#: How deep a line may be: what was accepted at the door is as deep as that allows, and our lines
#: wrap a level or two around it.
DEPTH = MAX_DEPTH + 16

_place = re.compile(
    rb'\{"(?:packet":([0-9]{1,19}),"t|(start":)|(resumable":)|(end":)|(harpcaller_job":))'
).match
#: How a record's line begins.
RECORD = b'{"packet":'
_record = re.compile(
    RECORD + rb'([0-9]{1,19}),"time":(-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?),"data":'
).match

#: How many bytes of a line :func:`place` and :func:`parse_time` need to see.
PLACE_BYTES = 64


class BadLine(ValueError):
    """A line isn't what stands in a job's file; the message tells what it is."""


def time_text(time: float) -> bytes:
    """Write a time.

    Raises:
        ValueError: It is none.
    """
    if not isfinite(time):
        raise ValueError(f"{time} is no time")
    return b"%a" % (time,)


def as_line(text: bytes) -> bytes:
    """End a line.

    Raises:
        ValueError: It would be two.
    """
    if b"\n" in text:
        # JSON allows a newline between tokens, our line protocols can't carry one.
        raise ValueError("a value with a raw newline in it can't be stored")
    return text + b"\n"


def fact_line(fact: Started | Resumable | Recorded | Ended) -> bytes:
    """Write a line that follows the first, its newline included.

    Raises:
        ValueError: The fact can't be written: a time that is none, a newline in a value.
    """
    if isinstance(fact, Recorded):
        record = fact.record
        if record.time is None:
            raise ValueError("a record without its time can't be stored")
        return as_line(
            b'{"packet":%d,"time":%s,"data":%s}'
            % (record.number, time_text(record.time), record.data)
        )
    if isinstance(fact, Started):
        return b'{"start":%s}\n' % time_text(fact.at)
    if isinstance(fact, Resumable):
        return b'{"resumable":%s}\n' % time_text(fact.at)
    ((key, raw),) = members_of(_readable(fact.ending)).items()
    return as_line(b'{"end":%s,"%s":%s}' % (time_text(fact.at), key.encode("ascii"), raw))


def _readable(ending: Ending) -> Ending:
    """Take out what could be written but not read: half characters, of file names mostly."""
    if not isinstance(ending, (Raised, Failed)):
        return ending
    try:
        _ = ending.type.encode("utf-8"), ending.message.encode("utf-8")
    except UnicodeEncodeError:
        return type(ending)(_whole(ending.type), _whole(ending.message), ending.data)
    return ending


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def place(beginning: bytes) -> int:
    """Tell where a line stands in its file from its first bytes.

    Returns:
        A record's number, or :data:`HEAD`, :data:`START`, :data:`RESUMABLE` or
        :data:`END`.

    Raises:
        BadLine: It begins like no line of ours.
    """
    found = _place(beginning)
    if found is None:
        raise BadLine("a line begins like none that is known")
    number, start, resumable, end, _ = found.groups()
    if number is not None:
        return int(number)
    return START if start else RESUMABLE if resumable else END if end else HEAD


def _time_of(text: bytes) -> float:
    """Read a time that is written as JSON has it."""
    time = float(text) if len(text) < 40 else inf
    return time if isfinite(time) else as_time(Raw(text), "time")  # which tells what is wrong


def parse_record(line: bytes) -> Record:
    """Read a record's line, with its newline or without.

    Raises:
        BadLine: It isn't one.
    """
    line = line.removesuffix(b"\n")
    found = _record(line)
    if found is None or line[-1:] != b"}":
        raise BadLine("a line that should be a record isn't one")
    data = line[found.end() : -1]
    try:
        check(data)
        return Record(int(found[1]), Raw(data), _time_of(found[2]))
    except (NotJSON, BadField) as error:
        raise BadLine(f"record {int(found[1])}: {error}") from None


def need(found: dict[str, Raw], key: str) -> Raw:
    """Give a member that must be there.

    Raises:
        BadField: It isn't.
    """
    if key not in found:
        raise BadField(f"{key}: missing")
    return found[key]


def parse_end(line: bytes) -> Ended:
    """Read a last line.

    Raises:
        BadLine: It isn't one.
    """
    try:
        found = members(line, max_depth=DEPTH)
        at = as_time(need(found, "end"), "end")
        ending = from_members(found)
    except (NotJSON, BadField) as error:
        raise BadLine(f"the end: {error}") from None
    if ending is None:
        raise BadLine("the end doesn't tell how")
    return Ended(ending, at)


_time = re.compile(rb'\{"(?:start|end)":(-?[0-9][-+.eE0-9]{0,40})[,}]').match


def parse_time(beginning: bytes) -> float:
    """Read the time of a start or an end from its line's first bytes.

    Raises:
        BadLine: It is neither.
    """
    found = _time(beginning)
    if found is None:
        raise BadLine("a line that should be a start or an end is neither")
    try:
        return as_time(Raw(found[1]), "time")
    except BadField as error:
        raise BadLine(str(error)) from None
