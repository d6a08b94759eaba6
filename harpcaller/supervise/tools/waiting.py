"""``svc -w``: wait until services have got where they were told to go, whoever supervises them."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from enum import Enum

from harpcaller.supervise.messages import reason, say
from harpcaller.supervise.servicedir.detail import in_words
from harpcaller.supervise.servicedir.seen import NotRunning, NotSeen, Seen, look
from harpcaller.supervise.servicedir.status import Status
from harpcaller.supervise.tools.svstat import look_at

#: Exit code when the time is over, as s6 has it.
TIMED_OUT = 99
#: Exit code when it won't come to what was waited for.
IN_VAIN = 1
#: How often it is looked, in seconds.
_LOOK_EVERY = 0.025
#: How long a supervisor may take to hear what it is told, in seconds.
_HEARING = 5.0


class Progress(Enum):
    """How far a service is."""

    THERE = "there"
    ON_ITS_WAY = "on its way"
    NEVER = "never"


#: What tells one run of a service from the next; a log that svscan keeps always has its pid.
Run = tuple[int, int]


def _run(status: Status) -> Run:
    return status.pid, status.changed


def processes(paths: Sequence[str]) -> dict[str, Run]:
    """Tell which process each service has now, if it has one."""
    seen = {path: look_at(path) for path in paths}
    return {
        path: _run(one.status)
        for path, one in seen.items()
        if isinstance(one, Seen) and one.status.pid
    }


def progress(goal: str, seen: Seen | NotSeen, leaves: bool, ended: Run | None = None) -> Progress:
    """Tell how far a service is.

    Args:
        goal: ``u`` up, ``U`` ready (or up, if its supervisor has no word for it), ``d`` down.
        seen: What is known of it.
        leaves: Whether its supervision is to end, too.
        ended: The process that was told to end: it is to come up with another.
    """
    if isinstance(seen, NotRunning):
        return Progress.THERE if goal == "d" else Progress.NEVER
    if isinstance(seen, NotSeen):
        return Progress.NEVER
    up = seen.status.pid != 0
    state = None if seen.detail is None else seen.detail.state
    if goal == "d":
        if leaves or up or state in ("finishing", "starting", "backoff"):
            return Progress.ON_ITS_WAY
        # Djb's tells no more: one that is wanted up is about to be started again.
        doomed = state is None and seen.status.want == ord("u")
        return Progress.ON_ITS_WAY if doomed else Progress.THERE
    if state == "given up":
        return Progress.NEVER
    if _run(seen.status) == ended:
        return Progress.ON_ITS_WAY
    if goal == "u" or state is None:
        return Progress.THERE if up else Progress.ON_ITS_WAY
    if state == "up":
        return Progress.ON_ITS_WAY if seen.tells_readiness else Progress.THERE
    return Progress.THERE if state == "ready" else Progress.ON_ITS_WAY


def wait(
    goal: str,
    paths: Sequence[str],
    letters: str,
    deadline: float | None,
    before: Mapping[str, Run],
) -> int:
    """Wait; gives the exit code.

    Args:
        goal: As for :func:`progress`.
        paths: The services' folders.
        letters: What they were told just now.
        deadline: Until when, on the monotonic clock; None: for ever.
        before: The processes that were told to end.
    """
    open_ = _opened(paths)
    code = IN_VAIN if open_.keys() != set(paths) else 0
    leaves = "x" in letters
    # One that was given up and is told to go up may not have heard it yet.
    heard = time.monotonic() + (_HEARING if letters else 0.0)
    while True:
        for path, start in list(open_.items()):
            seen = _look(start)
            how = progress(goal, seen, leaves, before.get(path))
            if how is Progress.NEVER and isinstance(seen, Seen) and time.monotonic() < heard:
                how = Progress.ON_ITS_WAY
            if how is Progress.ON_ITS_WAY:
                continue
            del open_[path]
            os.close(start)
            if how is Progress.NEVER:
                say(f"svc: warning: {path} won't get there: {_why(seen)}")
                code = IN_VAIN
        if not open_:
            return code
        if deadline is not None and time.monotonic() >= deadline:
            say(f"svc: warning: timed out waiting for {' '.join(open_)}")
            return TIMED_OUT
        time.sleep(_LOOK_EVERY)


def _opened(paths: Sequence[str]) -> dict[str, int]:
    """Open the folders that can be, once each; renaming one later changes nothing."""
    opened = {}
    for path in dict.fromkeys(paths):
        try:
            opened[path] = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            say(f"svc: warning: unable to chdir to {path}: {reason(error)}")
    return opened


def _look(start: int) -> Seen | NotSeen:
    try:
        return look(start)
    except NotSeen as error:
        return error


def _why(seen: Seen | NotSeen) -> str:
    if isinstance(seen, NotSeen):
        return str(seen)
    if seen.detail is None:
        return "it doesn't say why"
    return in_words(seen.detail, time.clock_gettime(time.CLOCK_BOOTTIME))
