"""``tai64nlocal``: shows the TAI64N labels at the beginning of lines as local time.

What isn't a label stays as it is, where the original dies.  Arguments are ignored.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

from harpcaller.supervise.tai64n.filters import filtered
from harpcaller.supervise.tai64n.labels import EPOCH

# A label ends where no digit follows; ``$`` is for the end of what has come.
_labels = re.compile(rb"^@([0-9a-f]{16})([0-9a-f]{8})(?![0-9a-f])", re.MULTILINE)
_maybe_label = re.compile(rb"@[0-9a-f]{0,24}").fullmatch


class Translator:
    """Translates a stream that comes in pieces; holds back a label that isn't whole yet.

    Args:
        local: Gives local time for Unix seconds, as :func:`time.localtime` does.
    """

    def __init__(self, local: Callable[[int], time.struct_time] = time.localtime) -> None:
        self._local = local
        self._held = b""
        self._between_lines = True
        # Neighbouring lines are mostly of one second.
        self._last = (b"", b"")

    def translated(self, data: bytes) -> bytes:
        """Give a piece with its labels translated."""
        text = self._held + data
        # Only the last line can be torn, and only a line's begin be a label.
        start = text.rfind(b"\n") + 1
        torn = (start > 0 or self._between_lines) and _maybe_label(text, start) is not None
        self._held = text[start:] if torn else b""
        return self._translate(text[:start] if torn else text)

    def end(self) -> bytes:
        """Give what was held back: nothing more will come."""
        text, self._held = self._held, b""
        return self._translate(text)

    def _translate(self, text: bytes) -> bytes:
        if not text:
            return text
        begins, self._between_lines = self._between_lines, text.endswith(b"\n")
        if begins:
            return _labels.sub(self._readable, text)
        # The rest of a line came first; a label in it is none.
        end = text.find(b"\n") + 1 or len(text)
        return text[:end] + _labels.sub(self._readable, text[end:])

    def _readable(self, found: re.Match[bytes]) -> bytes:
        digits = found[1]
        if digits != self._last[0]:
            try:
                moment = self._local(int(digits, 16) - EPOCH)
            except (OverflowError, OSError, ValueError):
                return found[0]
            text = "{}-{:02}-{:02} {:02}:{:02}:{:02}".format(*moment[:6])
            self._last = (digits, text.encode())
        return b"%b.%09d" % (self._last[1], int(found[2], 16))


def main(arguments: Sequence[str]) -> int:
    """Run the tool; gives the exit code."""
    del arguments
    translator = Translator()
    return filtered(translator.translated, translator.end)
