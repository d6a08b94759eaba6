"""``supervise/detail``, text ⇄ values: what the 18 bytes of the status have no room for.

A line for each field: its name, a space, its value.  Fields that mean nothing now are left
out, those that a reader doesn't know are passed over; ``end`` is the last.  The file is
written just before the status, in place; ``stamp`` and ``pid`` say to which status it belongs,
so that one that is out of date (another family's program has taken the service over) is known
for what it is.  PURE.
"""

from __future__ import annotations

import signal
from typing import NamedTuple

from harpcaller.supervise.machine.restarts import Ending
from harpcaller.supervise.servicedir.status import Status
from harpcaller.supervise.tai64n.labels import packed

#: A file that is longer wasn't written by us.
MAX_SIZE = 65536
_END = "end"


class Detail(NamedTuple):
    """More about a service.

    Attributes:
        stamp: The first 12 bytes of the status that this belongs to, in hexadecimal.
        pid: The pid there.
        state: The machine's word for where it is.
        uptime: When that began to be, in seconds since the system's start, suspension
            included; a clock that nobody sets.
        ending: How it ended the last time; None if it didn't yet.
        deaths: How often in a row it died without being asked.
        retry: When it is tried again, in seconds since the system's start.
        waits_for: What it needs and isn't there.
        trouble: Why it couldn't be started, or was given up.
        said: What it says of itself.
    """

    stamp: str
    pid: int
    state: str
    uptime: float
    ending: Ending | None = None
    deaths: int = 0
    retry: float | None = None
    waits_for: tuple[str, ...] = ()
    trouble: str = ""
    said: str = ""

    def belongs_to(self, status: Status) -> bool:
        """Tell whether this is about the same process, or its absence."""
        return self.pid == status.pid and self.stamp == packed(status.changed).hex()


def signal_name(number: int) -> str:
    """Give a signal's name, or its number where it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def encode_detail(detail: Detail) -> bytes:
    """Write it down."""
    lines = [
        f"stamp {detail.stamp}",
        f"pid {detail.pid}",
        f"state {detail.state}",
        f"uptime {detail.uptime:.6f}",
    ]
    if detail.ending is not None:
        if detail.ending.signal is None:
            lines.append(f"exit {detail.ending.code}")
        else:
            lines.append(f"signal {detail.ending.signal}")
    if detail.deaths:
        lines.append(f"deaths {detail.deaths}")
    if detail.retry is not None:
        lines.append(f"retry {detail.retry:.6f}")
    lines += [f"waits {' '.join(name.split())}" for name in detail.waits_for]
    lines += [
        f"{name} {' '.join(text.split())}"
        for name, text in (("trouble", detail.trouble), ("said", detail.said))
        if text.strip()
    ]
    lines.append(_END)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def decode_detail(data: bytes) -> Detail | None:
    """Read it; None if it isn't one, or isn't whole."""
    fields: dict[str, str] = {}
    waits = []
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    if _END not in lines:
        return None
    for line in lines[: lines.index(_END)]:
        name, _, value = line.partition(" ")
        if name == "waits":
            waits.append(value)
        else:
            fields[name] = value
    try:
        ending = None
        if "signal" in fields:
            ending = Ending(None, int(fields["signal"]))
        elif "exit" in fields:
            ending = Ending(int(fields["exit"]), None)
        return Detail(
            stamp=fields["stamp"],
            pid=int(fields["pid"]),
            state=fields["state"],
            uptime=float(fields["uptime"]),
            ending=ending,
            deaths=int(fields.get("deaths", "0")),
            retry=float(fields["retry"]) if "retry" in fields else None,
            waits_for=tuple(waits),
            trouble=fields.get("trouble", ""),
            said=fields.get("said", ""),
        )
    except (KeyError, ValueError):
        return None


def in_words(detail: Detail, now: float) -> str:
    """Tell in words why it is as it is; nothing where there is nothing to tell.

    Args:
        detail: What is known.
        now: Seconds since the system's start.
    """
    parts = []
    if detail.state == "starting" and detail.waits_for:
        parts.append(f"waits for {', '.join(detail.waits_for)}")
    elif detail.state == "backoff" and detail.retry is not None:
        parts.append(f"next try in {max(0.0, detail.retry - now):.0f} s")
    elif detail.state not in ("up", "down"):
        parts.append(detail.state)
    if detail.trouble:
        parts.append(detail.trouble)
    if detail.ending is not None and (detail.pid == 0 or detail.deaths):
        parts.append(_ended(detail.ending, detail.deaths))
    if detail.said:
        parts.append(f'says "{detail.said}"')
    return "; ".join(parts)


def _ended(ending: Ending, deaths: int) -> str:
    if ending.signal is None:
        how = f"exit code {ending.code}"
    else:
        how = f"killed by {signal_name(ending.signal)}"
    return f"died {deaths} times in a row, the last: {how}" if deaths > 1 else f"ended: {how}"
