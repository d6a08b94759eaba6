"""What a kept call has said, for a caller that comes back: the last of it, in bounded memory.

Positions are those of the whole stream of lines, from 0 on, whatever is still there.  The stream
is cut into pieces; a piece begins in memory and goes to a file of its own when it grows.  The
file has no name, so that nobody else can open it and nothing is left behind.  Files are written
in the reactor's thread: they go to the system's cache, nothing is synced.
"""

from __future__ import annotations

import os
import tempfile
from bisect import bisect_right
from io import FileIO

import attrs

#: How much of a piece may be in memory, in bytes.
MEMORY = 64 * 1024
#: So far apart in bytes are the records whose places are noted.
_MARKS_APART = 64 * 1024
_CHUNK = 64 * 1024


@attrs.define(eq=False)
class _Piece:
    """A part of the stream.

    Attributes:
        begin: Its position.
        length: In bytes.
        numbers: Of some records in it, their numbers.
        places: And where those begin.
    """

    begin: int
    length: int = 0
    numbers: list[int] = attrs.Factory(list)
    places: list[int] = attrs.Factory(list)
    _memory: bytearray = attrs.Factory(bytearray)
    _file: FileIO | None = None

    @property
    def end(self) -> int:
        return self.begin + self.length

    def append(self, data: bytes, folder: str) -> None:
        if self._file is None and self.length + len(data) > MEMORY:
            # Unbuffered, so that an error comes when it happens.
            self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - kept
            self._write(self._memory, 0)
            self._memory = bytearray()
        if self._file is None:
            self._memory += data
        else:
            self._write(data, self.length)
        self.length += len(data)

    def _write(self, data: bytes | bytearray, offset: int) -> None:
        assert self._file is not None
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self._file.fileno(), rest, offset)
            rest, offset = rest[written:], offset + written

    def read(self, position: int, size: int) -> bytes:
        offset = position - self.begin
        if self._file is None:
            return bytes(self._memory[offset : offset + size])
        return os.pread(self._file.fileno(), min(size, self.length - offset), offset)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class Spool:
    """The last lines of a call.

    Args:
        folder: Where files are made.
        piece_bytes: How large a piece grows, its last line not counted.

    Attributes:
        end: The position after what was said so far.
        records: How many of that are records; they come before anything else.
    """

    def __init__(self, folder: str, piece_bytes: int) -> None:
        self.end = 0
        self.records = 0
        self._records_end = 0
        self._folder = folder
        self._piece_bytes = piece_bytes
        self._pieces = [_Piece(0)]

    @property
    def begin(self) -> int:
        """The position of the first byte that is still there."""
        return self._pieces[0].begin

    def add_records(self, lines: bytes, count: int) -> None:
        """Append whole lines, a record each.

        Raises:
            OSError: They couldn't be written; the spool is of no use any more.
        """
        if self._pieces[-1].length >= self._piece_bytes:
            self._pieces.append(_Piece(self.end))
        last = self._pieces[-1]
        if not last.places or self.end - last.places[-1] >= _MARKS_APART:
            last.numbers.append(self.records)
            last.places.append(self.end)
        self.add_line(lines)
        self.records += count
        self._records_end = self.end

    def add_line(self, line: bytes) -> None:
        """Append a line that is no record, after the last of those.

        Raises:
            OSError: It couldn't be written; the spool is of no use any more.
        """
        self._pieces[-1].append(line, self._folder)
        self.end += len(line)

    def read(self, position: int) -> bytes:
        """Read some bytes from a position on that is still there; none at the end.

        Raises:
            OSError: They can't be read.
        """
        for piece in self._pieces:
            if position < piece.end:
                return piece.read(position, _CHUNK)
        return b""

    def position_of(self, record: int) -> int | None:
        """Find where a record begins, or where the next one would.

        Returns:
            None if it isn't there any more, or not even known yet.

        Raises:
            OSError: What was kept can't be read.
        """
        if record == self.records:
            return self._records_end
        if record > self.records:
            return None
        for piece in reversed(self._pieces):
            mark = bisect_right(piece.numbers, record) - 1
            if mark >= 0:
                return self._skip(piece.places[mark], record - piece.numbers[mark])
        return None

    def _skip(self, position: int, lines: int) -> int:
        """Give the position so many lines further on."""
        while lines:
            chunk = self.read(position)
            found = chunk.count(b"\n")
            if found < lines:
                lines -= found
                position += len(chunk)
                continue
            offset = 0
            for _ in range(lines):
                offset = chunk.index(b"\n", offset) + 1
            return position + offset
        return position

    def forget_before(self, position: int) -> None:
        """Let go of what lies before a position, as far as whole pieces do."""
        while len(self._pieces) > 1 and self._pieces[0].end <= position:
            self._pieces.pop(0).close()

    def close(self) -> None:
        """Let go of everything."""
        for piece in self._pieces:
            piece.close()
        self._pieces = [_Piece(self.end)]
