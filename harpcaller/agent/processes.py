"""Other processes as ``/proc`` shows them, and signals that can't hit a wrong one.

A number read from ``/proc`` may belong to somebody else by the time it is signalled.  So
a process is known by its number *and* the time when it was started.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

#: Only there if the kernel was built with CONFIG_PROC_CHILDREN, as most are.
_CHILDREN = "/proc/thread-self/children"
#: What may be raised where a process was a moment ago.
_GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True)
class Seen:
    """A process as it was a moment ago, zombies left out."""

    pid: int
    parent: int
    group: int
    started: int


def _stat(pid: int) -> list[bytes] | None:
    """Read what the kernel tells of a process, from its state on; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            # The command's name stands in brackets and may contain some.
            return stream.read().rpartition(b")")[2].split()
    except _GONE:
        return None


def _numbers() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def look(pid: int) -> Seen | None:
    """Look at a process; None if there is none, or only a zombie."""
    fields = _stat(pid)
    if fields is None or fields[0] in (b"Z", b"X"):
        return None
    return Seen(pid, int(fields[1]), int(fields[2]), int(fields[19]))


def everybody() -> list[Seen]:
    """Look at all processes."""
    return [seen for seen in map(look, _numbers()) if seen is not None]


def descendants(of: int, among: Iterable[Seen]) -> list[Seen]:
    """Pick the children of a process, their children, and so on."""
    children: dict[int, list[Seen]] = {}
    for seen in among:
        children.setdefault(seen.parent, []).append(seen)
    found: list[Seen] = []
    parents = [of]
    while parents:
        born = children.pop(parents.pop(), [])
        found += born
        parents += [child.pid for child in born]
    return found


def children(pid: int) -> list[int]:
    """Tell the numbers of a process's children, zombies too; empty if it is gone."""
    if not os.path.exists(_CHILDREN):
        return _children_by_search(pid)
    found: list[int] = []
    with suppress(*_GONE):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(*_GONE), open(f"/proc/{pid}/task/{thread}/children") as stream:
                found += map(int, stream.read().split())
    return found


def _children_by_search(pid: int) -> list[int]:
    stats = [(number, _stat(number)) for number in _numbers()]
    return [number for number, stat in stats if stat is not None and int(stat[1]) == pid]


def count_below(pid: int, enough: int) -> int:
    """Count a process's descendants, and stop counting when there are enough."""
    count = 0
    parents = [pid]
    while parents and count < enough:
        born = children(parents.pop())
        count += len(born)
        parents += born
    return count


def signal_exactly(seen: Seen, number: int) -> None:
    """Signal this process and no other; nothing happens if it is gone."""
    with suppress(*_GONE, PermissionError):
        descriptor = os.pidfd_open(seen.pid)
        try:
            now = look(seen.pid)  # whoever has the number now is whom the descriptor means
            if now is not None and now.started == seen.started:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
