"""``svstat [--json | --why] DIR ...``: how services are, a line each.

Without options the lines are those of the original, byte by byte.
"""

from __future__ import annotations

import os
import time

from harpcaller.supervise.messages import Ended, reason, show
from harpcaller.supervise.servicedir.detail import in_words
from harpcaller.supervise.servicedir.seen import Normally, NotSeen, Seen, look

_USAGE = "svstat: usage: svstat [ --json | --why ] [ dir ... ]"


def main(argv: list[str]) -> int:
    """Print the lines."""
    form = _in_text
    match argv:
        case ["--json", *argv]:
            form = _as_json
        case ["--why", *argv]:
            form = _with_reason
        case ["--", *argv]:
            pass
        case [word, *_] if word.startswith("--"):
            raise Ended(_USAGE, 100)
    for path in argv:
        show("svstat", form(path, look_at(path)) + "\n")
    return 0


def look_at(path: str) -> Seen | NotSeen:
    """Look at the service in a folder."""
    try:
        start = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        return NotSeen(f"unable to chdir: {reason(error)}")
    try:
        return look(start)
    except NotSeen as error:
        return error
    finally:
        os.close(start)


def describe(seen: Seen, now: int) -> str:
    """Say how a service is, in the words of the original.

    Args:
        seen: What is known of it.
        now: Unix time in whole seconds.
    """
    status = seen.status
    seconds = max(0, now - status.seconds)
    if status.pid:
        words = [f"up (pid {status.pid}) {seconds} seconds"]
        if seen.normally is Normally.DOWN:
            words.append("normally down")
        if status.is_paused:
            words.append("paused")
        if status.want == ord("d"):
            words.append("want down")
    else:
        words = [f"down {seconds} seconds"]
        if seen.normally is Normally.UP:
            words.append("normally up")
        if status.want == ord("u"):
            words.append("want up")
    return ", ".join(words)


def _now() -> int:
    return time.time_ns() // 10**9


def _since_boot() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _in_text(path: str, seen: Seen | NotSeen) -> str:
    if isinstance(seen, NotSeen):
        return f"{path}: {seen}"
    return f"{path}: {describe(seen, _now())}"


def _with_reason(path: str, seen: Seen | NotSeen) -> str:
    line = _in_text(path, seen)
    if isinstance(seen, NotSeen):
        return line
    words = seen.status.encore_state or ""
    if seen.detail is not None:
        words = in_words(seen.detail, _since_boot())
    return f"{line}; {words}" if words else line


def _as_json(path: str, seen: Seen | NotSeen) -> str:
    # Nobody else needs it, and it takes as long to import as all the rest.
    from harpcaller.supervise.tools.seen_json import encode_seen

    return encode_seen(path, seen, _since_boot(), time.time_ns())
