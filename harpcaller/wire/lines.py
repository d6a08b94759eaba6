"""Cutting a byte stream into lines, with a bound, in linear time.

Twisted's own receivers cut at 16 KiB and are quadratic when their limit is raised;
here the search for a line's end goes on from where it stopped, however small the
pieces that arrive.
"""

from __future__ import annotations

from harpcaller.errors import HarpcallerError


class LineTooLong(HarpcallerError):
    """A line passed the limit; what is left in the buffer was thrown away."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"line longer than {limit} bytes")
        self.limit = limit


class LineBuffer:
    """What came and was not yet taken, cut at newlines.

    Args:
        limit: The longest line allowed, in bytes, its newline not counted.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._start = 0  # where the next line begins
        self._searched = 0  # no newline lies before this position

    def feed(self, data: bytes) -> None:
        """Add bytes as they came from the peer."""
        if self._start:
            # Taken lines are dropped once per arrival, so each byte moves at most
            # once for every time that the peer sends.
            del self._buffer[: self._start]
            self._searched -= self._start
            self._start = 0
        self._buffer += data

    def next_line(self) -> bytes | None:
        """Take the next whole line, without its newline.

        Returns:
            The line, or None when it isn't complete yet.

        Raises:
            LineTooLong: It is, or is already known to become, longer than the limit.
        """
        end = self._buffer.find(b"\n", self._searched)
        length = (len(self._buffer) if end < 0 else end) - self._start
        if length > self._limit:
            self._buffer.clear()
            self._start = self._searched = 0
            raise LineTooLong(self._limit)
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[self._start : end])
        self._start = self._searched = end + 1
        return line

    def pending(self) -> int:
        """Count the bytes that were fed and not yet taken."""
        return len(self._buffer) - self._start
