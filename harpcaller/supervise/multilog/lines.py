"""What was read, cut into what can be judged.  No input or output here.

A line is judged when its newline has come, or 1000 bytes of it, which is all that patterns look at.
Of a longer one no more than that is ever kept, so that memory is bounded: what follows
goes where its beginning went.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from harpcaller.supervise.multilog.selector import COMPARED


class Whole(NamedTuple):
    """Lines, at least one, each with its newline."""

    data: bytes


class Begun(NamedTuple):
    """The first 1000 bytes or more of a line that has no newline yet."""

    data: bytes


class More(NamedTuple):
    """Bytes of the line that was begun last; a newline is their last one and ends it."""

    data: bytes


Piece = Whole | Begun | More


class Cutter:
    """Cuts a stream that comes in any pieces."""

    def __init__(self) -> None:
        self._held = b""
        self._begun = False

    @property
    def unfinished(self) -> bool:
        """The last line has no newline yet."""
        return self._begun or bool(self._held)

    def cut(self, data: bytes) -> Iterator[Piece]:
        """Take what came; gives what can be judged now."""
        if self._begun:
            end = data.find(b"\n") + 1
            self._begun = not end
            ending, data = (data[:end], data[end:]) if end else (data, b"")
            if ending:
                yield More(ending)
        end = data.rfind(b"\n") + 1
        if end:
            whole, self._held = self._held + data[:end], data[end:]
            yield Whole(whole)
        else:
            self._held += data
        if len(self._held) >= COMPARED:
            begun, self._held, self._begun = self._held, b"", True
            yield Begun(begun)

    def end(self) -> Iterator[Piece]:
        """Give the last line a newline if it has none: nothing more will come."""
        if self.unfinished:
            yield from self.cut(b"\n")
