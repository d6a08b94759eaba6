"""What procedures print, as lines for the log."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.interfaces import IReactorTime

from harpcaller.logs.events import EventLog

#: The longest line that is logged whole, in bytes.
LONGEST = 8192
#: How many lines are logged however fast they come, and how many a second after that.  A
#: line that is longer than a kilobyte counts as several.
BURST, RATE = 5000, 200


class PrintedLines:
    """Logs bytes line by line.

    Bytes that aren't UTF-8 and control characters are shown escaped, so that what a
    procedure prints can't be taken for the agent's own lines, or upset a terminal.  Of
    what is printed too fast some is left out, and the log says how much.

    Args:
        log: Where to.
        kind: The kind of event.
        context: What else to tell with each line.
        clock: Measures the rate.
    """

    def __init__(
        self, log: EventLog, kind: str, context: Mapping[str, object], clock: IReactorTime
    ) -> None:
        self._log = log
        self._kind = kind
        self._context = context
        self._clock = clock
        self._rest = b""
        self._allowed: float = BURST
        self._reckoned_at = clock.seconds()
        self._left_out = 0

    def feed(self, data: bytes) -> None:
        """Take bytes as they come."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        now = self._clock.seconds()
        self._allowed = min(BURST, self._allowed + (now - self._reckoned_at) * RATE)
        self._reckoned_at = now
        for line in lines:
            self._tell(line)
        while len(self._rest) > LONGEST:
            self._tell(self._rest[:LONGEST])
            self._rest = self._rest[LONGEST:]

    def finish(self) -> None:
        """Log what is left, an unfinished line."""
        if self._rest:
            self._tell(self._rest)
            self._rest = b""
        self._admit()

    def _tell(self, line: bytes) -> None:
        for start in range(0, len(line) or 1, LONGEST):
            self._tell_piece(line[start : start + LONGEST])

    def _tell_piece(self, piece: bytes) -> None:
        # Once some is left out, a second's worth is, rather than every other line.
        if self._allowed < (RATE if self._left_out else 1):
            self._left_out += 1
            return
        self._admit()
        self._allowed -= 1 + len(piece) // 1024
        text = piece.decode("utf-8", "backslashreplace")
        shown = "".join(
            character if character.isprintable() or character == "\t" else ascii(character)[1:-1]
            for character in text
        )
        self._log.info(self._kind, **self._context, line=shown)

    def _admit(self) -> None:
        if self._left_out:
            self._log.warn("agent.lines_left_out", **self._context, lines=self._left_out)
            self._left_out = 0
