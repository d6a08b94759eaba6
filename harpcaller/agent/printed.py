"""What procedures print, as lines for the log."""

from __future__ import annotations

from collections.abc import Mapping

from harpcaller.logs.events import EventLog

#: The longest line that is logged whole, in bytes.
LONGEST = 8192


class PrintedLines:
    """Logs bytes line by line.

    Bytes that aren't UTF-8 and control characters are shown escaped, so that what a
    procedure prints can't be taken for the agent's own lines, or upset a terminal.

    Args:
        log: Where to.
        kind: The kind of event.
        context: What else to tell with each line.
    """

    def __init__(self, log: EventLog, kind: str, context: Mapping[str, object]) -> None:
        self._log = log
        self._kind = kind
        self._context = context
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take bytes as they come."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
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

    def _tell(self, line: bytes) -> None:
        for start in range(0, len(line) or 1, LONGEST):
            text = line[start : start + LONGEST].decode("utf-8", "backslashreplace")
            shown = "".join(
                character
                if character.isprintable() or character == "\t"
                else ascii(character)[1:-1]
                for character in text
            )
            self._log.info(self._kind, **self._context, line=shown)
