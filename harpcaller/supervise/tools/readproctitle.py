"""``readproctitle WORDS... DOTS``: show the last of what is read where ``ps`` shows arguments.

The text moves through the last argument from right to left.  Its memory is the kernel's copy
of the command line, whose place ``/proc/self/stat`` tells.
"""

from __future__ import annotations

import ctypes
import os

from harpcaller.supervise.messages import FAILED, USED_WRONGLY, Ended

#: Shorter last arguments leave nothing to move through.
_SHORTEST = 5
#: Its first places always stay dots.
_FIXED = 3
#: Where ``/proc/self/stat`` has the end of the arguments' memory, counted after the name.
_END_OF_ARGUMENTS = 49 - 3


class Window:
    """Bytes that move from right to left.

    Args:
        size: How many there are room for.
    """

    def __init__(self, size: int) -> None:
        self.text = bytearray(b"." * size)

    def take(self, data: bytes) -> None:
        """Let bytes in at the right end; NUL would end what is shown, so it is left out."""
        kept = data.replace(b"\0", b"")
        moving = self.text[_FIXED:] + kept
        self.text[_FIXED:] = moving[len(kept) :]


def main(argv: list[str]) -> int:
    """Show what is read until its end; gives 0 then."""
    last = os.fsencode(argv[-1]) if argv else b""
    if len(last) < _SHORTEST:
        raise Ended("", USED_WRONGLY)
    place = _end_of_arguments() - 1 - len(last)
    window = Window(len(last))
    while True:
        ctypes.memmove(place, bytes(window.text), len(last))
        try:
            data = os.read(0, 4096)
        except OSError:
            return FAILED
        if not data:
            return 0
        window.take(data)


def _end_of_arguments() -> int:
    with open("/proc/self/stat", "rb") as stream:
        fields = stream.read().rpartition(b")")[2].split()
    return int(fields[_END_OF_ARGUMENTS])
