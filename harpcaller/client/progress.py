"""What a call of several hosts looks like: words, colours, a bar.  Nothing is written here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TextIO

from harpcaller.client.rolling import Rolling

#: What could move a terminal's cursor or worse, and how it is shown: as JSON writes it.
CONTROLS = {code: f"\\u{code:04x}" for code in (*range(32), *range(127, 160)) if code != 10}
#: The same for what must stay on one line.
CONTROLS_AND_NEWLINE = {**CONTROLS, 10: "\\u000a"}

#: How a host's line begins after its name.
OK, FAILED, CANCELLED = "ok", "failed", "cancelled"
#: It goes on without us.
RUNNING = "running"
NOT_STARTED = "not-started"

_COLOURS = {OK: "32", FAILED: "31", CANCELLED: "33", RUNNING: "36", NOT_STARTED: "33"}
_LONGEST_WORD = max(map(len, _COLOURS))
_BAR_CELLS = 24

#: Erases the line that the cursor is in.
ERASE = "\r\x1b[K"


def is_lively(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether a stream shows somebody what is erased and written anew."""
    return stream.isatty() and environ.get("TERM", "") != "dumb"


def is_coloured(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Tell whether a stream is to be coloured; ``NO_COLOR``, if it isn't empty, says no."""
    return is_lively(stream, environ) and not environ.get("NO_COLOR")


def host_line(host: str, width: int, word: str, detail: str, *, coloured: bool) -> str:
    """Write the line of one host.

    Args:
        width: Of the column of names.
        word: How it ended, one of those above.
        detail: What there is to say besides.
    """
    shown = f"{word:<{_LONGEST_WORD}}" if detail else word
    if coloured:
        shown = f"\x1b[{_COLOURS[word]}m{shown}\x1b[0m"
    line = f"{host.translate(CONTROLS_AND_NEWLINE):<{width}}  {shown}"
    return f"{line}  {detail}" if detail else line


def bar(rolling: Rolling, columns: int) -> str:
    """Draw how far it has come, on one line of so many columns."""
    done = len(rolling.succeeded) + len(rolling.failed)
    cells = _BAR_CELLS * done // max(1, rolling.total)
    drawn = f"[{'#' * cells}{'.' * (_BAR_CELLS - cells)}] {done}/{rolling.total}"
    parts = [f"{len(rolling.running)} running"] if rolling.running else []
    if rolling.failed:
        parts.append(f"{len(rolling.failed)} failed")
    # In the last column some terminals begin a new line.
    return "  ".join([drawn, *parts])[: max(0, columns - 1)]


def summary(rolling: Rolling) -> str:
    """Say in a line what came of all of them, so far."""
    parts = [f"{len(rolling.succeeded)} succeeded"]
    if rolling.failed:
        parts.append(f"{len(rolling.failed)} failed ({_some(rolling.failed)})")
    if rolling.running:
        parts.append(f"{len(rolling.running)} running")
    if rolling.waiting:
        parts.append(f"{len(rolling.waiting)} not started")
    hosts = "1 host" if rolling.total == 1 else f"{rolling.total} hosts"
    return f"{hosts}: {', '.join(parts)}"


def _some(names: list[str], most: int = 5) -> str:
    """Name a few, so that a line stays one."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
