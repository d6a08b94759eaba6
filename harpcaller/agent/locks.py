"""Which call has which lock, and who is next.

Purely in memory: a lock is as old as its first call and gone with its last.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Locks:
    """Locks by name; calls have and want them in the order in which they came."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[tuple[int, Callable[[], None]]]] = {}

    def enter(self, name: str, call: int, free: Callable[[], None]) -> bool:
        """Get in line for a lock.

        Args:
            name: The lock.
            call: Who wants it.
            free: Called when it is this call's turn, unless it is at once.

        Returns:
            Whether the lock is this call's at once.
        """
        line = self._lines.setdefault(name, deque())
        line.append((call, free))
        return len(line) == 1

    def leave(self, name: str, call: int) -> None:
        """Give a lock back, or the waiting for it up; the next in line is told."""
        line = self._lines[name]
        had = line[0][0] == call
        self._lines[name] = line = deque(one for one in line if one[0] != call)
        if not line:
            del self._lines[name]
        elif had:
            line[0][1]()
