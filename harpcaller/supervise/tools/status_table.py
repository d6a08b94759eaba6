"""All services of a directory as a table for people.  PURE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from harpcaller.supervise.servicedir.detail import in_words
from harpcaller.supervise.servicedir.seen import Normally, NotRunning, NotSeen, Seen

_NOTHING = "-"
_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))


class Row(NamedTuple):
    """A service in words, each for a column."""

    service: str
    state: str
    since: str
    pid: str
    more: str


_TITLES = Row("SERVICE", "STATE", "FOR", "PID", "")


def row(name: str, seen: Seen | NotSeen, now: float, since_boot: float) -> Row:
    """Tell how a service is.

    Args:
        name: What to call it.
        seen: What is known of it.
        now: Unix time in seconds.
        since_boot: Seconds since the system's start.
    """
    if isinstance(seen, NotSeen):
        state = "unsupervised" if isinstance(seen, NotRunning) else "unknown"
        return Row(name, state, _NOTHING, _NOTHING, str(seen))
    status, detail = seen.status, seen.detail
    state = "up" if status.pid else "down"
    if detail is not None:
        state = detail.state
    elif status.encore_state is not None:
        state = status.encore_state
    if status.is_paused:
        state = "paused"
    more = []
    if status.pid and seen.normally is Normally.DOWN:
        more.append("normally down")
    if not status.pid and seen.normally is Normally.UP and state == "down":
        more.append("normally up")
    if status.pid and status.want == ord("d"):
        more.append("want down")
    if detail is not None:
        words = in_words(detail, since_boot).split("; ")
        more += [word for word in words if word not in ("", state)]
    pid = str(status.pid) if status.pid else _NOTHING
    return Row(name, state, duration(now - status.changed / 10**9), pid, "; ".join(more))


def duration(seconds: float) -> str:
    """Write a time in its two greatest units; a clock that was set back counts as none."""
    left = max(0, int(seconds))
    parts = []
    for unit, size in _UNITS:
        count, left = divmod(left, size)
        parts.append((count, unit))
    while len(parts) > 1 and not parts[0][0]:
        del parts[0]
    return " ".join(f"{count}{unit}" for count, unit in parts[:2])


def render(rows: Sequence[Row]) -> str:
    """Write the table, with titles; what can't be printed is shown as a question mark."""
    table = [Row._make(map(_printable, one)) for one in (_TITLES, *rows)]
    widths = [max(map(len, column)) for column in list(zip(*table, strict=True))[:-1]]
    lines = []
    for one in table:
        cells = [text.ljust(width) for text, width in zip(one, widths, strict=False)]
        lines.append("  ".join([*cells, one.more]).rstrip())
    return "".join(f"{line}\n" for line in lines)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)
