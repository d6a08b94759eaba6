"""An event as all handlers tell it: time, level, kind and context.  Pure.

The context is one JSON object without a newline, a terminal's control codes or other
surprises in it, and bounded: what a peer sends can neither forge a line nor fill a disk
with one.  Whatever an event holds, there is an entry for it; nothing here raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import attrs
from twisted.logger import LogLevel, formatEvent
from twisted.python.failure import Failure
from twisted.python.reflect import safe_str

from harpcaller.wire.values import NotJSON, Raw, build, encode, encode_object

#: The longest context, in bytes; a longer one has its values shortened.
MAX_CONTEXT = 16 * 1024
#: How much is left of each value of a context that was too long, in characters.
_SHORT = 1000
#: The most values that such a context keeps.
_FEW = 30

_Context = Mapping[str, object]

# Valid in JSON, but some would take them for line ends or terminal commands.
_unsafe = re.compile("[\x7f-\x9f\u2028\u2029]")


@attrs.frozen
class Entry:
    """One event.

    Args:
        at: Unix time.
        level: ``debug``, ``info``, ``warn``, ``error`` or ``critical``.
        kind: What happened, like ``job.submitted``; ``twisted`` for what isn't ours.
        context: A JSON object on one line.
        job: The id of the job it is about, if it is about one.
    """

    at: float
    level: str
    kind: str
    context: Raw
    job: str | None = None


def entry_of(event: Mapping[str, Any]) -> Entry:
    """Make an entry of an event of :mod:`twisted.logger`."""
    try:
        return _entry(event)
    except Exception as error:  # noqa: BLE001  # the log has nobody to complain to but itself
        why = f"{type(error).__name__}: {safe_str(error)}"
        return Entry(_time(event), "error", "log.unformattable", _context({"why": why}))


def _entry(event: Mapping[str, Any]) -> Entry:
    kind = event.get("kind")
    context = event.get("context")
    ours = str(event.get("log_namespace")).startswith("harpcaller.")
    if not ours or not isinstance(kind, str) or not isinstance(context, dict):
        kind = "twisted"
        context = {"namespace": event.get("log_namespace"), "text": formatEvent(dict(event))}
    failure = event.get("log_failure")
    if isinstance(failure, Failure):
        context = {**context, "traceback": _middle_cut(failure.getTraceback())}
    level = event.get("log_level", LogLevel.info).name
    job = context.get("job")
    return Entry(_time(event), level, kind, _context(context), job if type(job) is str else None)


def _time(event: Mapping[str, Any]) -> float:
    at = event.get("log_time")
    return float(at) if isinstance(at, (int, float)) and 0 <= at < 2e11 else 0.0


def _context(context: _Context) -> Raw:
    try:
        data = encode_object(context)
    except NotJSON:
        data = _each_encoded(context)
    if len(data) > MAX_CONTEXT:
        data = _shortened(context)
    if not data.isascii() or 0x7F in data:
        escaped = _unsafe.sub(lambda found: f"\\u{ord(found[0]):04x}", data.decode())
        data = Raw(escaped.encode())
    return data


def _each_encoded(context: _Context) -> Raw:
    return encode({str(key): _plain(value) for key, value in context.items()})


def _plain(value: object) -> object:
    """A value that has a JSON form: itself, or else its text."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    try:
        _ = encode(value)
    except Exception:  # noqa: BLE001  # the value's own code was run
        return safe_str(value)
    return value


def _shortened(context: _Context) -> Raw:
    """Keep the beginning of each value, and tell how many values there were no room for."""
    short: dict[str, object] = {}
    for key, value in list(context.items())[:_FEW]:
        plain = _plain(value)
        if not isinstance(plain, (str, int, float, type(None))):
            plain = encode(plain).decode()
        limit = 8 * _SHORT if key == "traceback" else _SHORT
        # Also a number can be long.
        text = plain if isinstance(plain, str) else safe_str(plain)
        short[key[:60]] = plain if len(text) <= limit else f"{text[:limit]}..."
    if len(context) > _FEW:
        short["left_out"] = len(context) - _FEW
    data = encode(short)
    return data if len(data) <= 4 * MAX_CONTEXT else build({"left_out": encode(len(context))})


def _middle_cut(text: str) -> str:
    """A traceback's beginning and end; endless recursion makes a very long middle."""
    return text if len(text) <= 8 * _SHORT else f"{text[: 3 * _SHORT]}\n...\n{text[-4 * _SHORT :]}"


# --- How handlers write it ------------------------------------------------------------------


@lru_cache(maxsize=8)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def timestamp(at: float) -> str:
    """Write a time as UTC with milliseconds."""
    second = math.floor(at)
    return f"{_second(second)}.{int((at - second) * 1000):03}Z"


def text_line(entry: Entry) -> bytes:
    """Write an entry as people read it: ``time level kind context``."""
    head = f"{timestamp(entry.at)} {entry.level} {entry.kind} "
    return b"%s%s\n" % (head.encode(), entry.context)


def json_line(entry: Entry) -> bytes:
    """Write an entry as programs read it: one object."""
    return b'{"time":"%s","level":"%s","kind":%s,"context":%s}\n' % (
        timestamp(entry.at).encode(),
        entry.level.encode(),
        encode(entry.kind),
        entry.context,
    )


_PRIORITY = {"debug": 7, "info": 6, "warn": 4, "error": 3, "critical": 2}
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DAEMON = 3 << 3


def syslog_message(entry: Entry, program: str, pid: int) -> bytes:
    """Write an entry as the local syslog daemon takes it, as ``syslog(3)`` would."""
    local = datetime.fromtimestamp(entry.at)  # noqa: DTZ006  # syslog's times are local ones
    head = (
        f"<{_DAEMON | _PRIORITY[entry.level]}>{_MONTHS[local.month - 1]} {local.day:2} "
        f"{local:%H:%M:%S} {program}[{pid}]: {entry.level} {entry.kind} "
    )
    return head.encode() + entry.context


def journal_message(entry: Entry, program: str) -> bytes:
    """Write an entry in systemd-journald's native protocol, the job as a field of its own."""
    # No value can hold a newline, so the protocol's simple form is enough.
    job = "" if entry.job is None else f"HARPCALLER_JOB={_one_line(entry.job)}\n"
    head = (
        f"PRIORITY={_PRIORITY[entry.level]}\nSYSLOG_IDENTIFIER={program}\n"
        f"HARPCALLER_KIND={entry.kind}\n{job}MESSAGE={entry.level} {entry.kind} "
    )
    return head.encode() + entry.context + b"\n"


def _one_line(text: str) -> str:
    """Keep a value that isn't an id after all from adding fields."""
    return text[:100].replace("\n", " ").encode("utf-8", "replace").decode()
