"""Lists for people: aligned columns instead of JSON lines.

Pure, and of bounded memory: the first rows decide how wide the columns are, and what
comes after them is printed as it comes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from harpcaller.wire.fields import BadField
from harpcaller.wire.values import Raw, decode, encode

#: How many rows are looked at for the columns' widths.
LOOKED_AT = 200
#: The widest that a column is made, in characters; a wider text pushes the others aside.
WIDEST = 60

JOB_COLUMNS = ("JOB", "STATE", "HOST", "PROCEDURE", "SUBMITTED (UTC)", "STARTED", "ENDED")
HOST_COLUMNS = ("HOSTNAME", "ADDRESS", "PORT")
QUEUE_COLUMNS = ("QUEUE",)


def job_row(item: Raw) -> list[str]:
    """Make a row of a listed job; its queue, if shown, is one more column."""
    job = _known(item, "job", "call", "time")
    times = job["time"]
    state = "queued" if times["start"] is None else "running"
    row = [
        job["job"],
        state if times["end"] is None else "ended",
        job["call"]["host"],
        job["call"]["procedure"],
        *(_moment(times[key]) for key in ("submit", "start", "end")),
    ]
    if "queue" in job:
        row.append("-" if job["queue"] is None else encode(job["queue"]).decode())
    return row


def host_row(item: Raw) -> list[str]:
    """Make a row of a listed host."""
    host = _known(item, "hostname", "address", "port")
    return [host["hostname"], host["address"], str(host["port"])]


def queue_row(item: Raw) -> list[str]:
    """Make a row of a listed queue."""
    return [encode(_known(item, "queue")["queue"]).decode()]


def _known(item: Raw, *needed: str) -> dict[str, Any]:
    found: dict[str, Any] = decode(item)
    for name in needed:
        if name not in found:
            raise BadField(f"{name}: missing")
    return found


def _moment(seconds: int | None) -> str:
    if seconds is None:
        return "-"
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))
    except (OSError, OverflowError, ValueError):
        return str(seconds)


def aligned(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Give the lines of a table, its header first; no line ends in spaces."""
    coming = iter(rows)
    first = [list(columns)]
    for row in coming:
        first.append([_printable(text) for text in row])
        if len(first) > LOOKED_AT:
            break
    widths = [min(WIDEST, max(map(len, column))) for column in zip(*first, strict=True)]
    for row in first:
        yield _line(row, widths)
    for row in coming:
        yield _line([_printable(text) for text in row], widths)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()


def _printable(text: str) -> str:
    """Show what would move the cursor, or break the line, as an escape."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
