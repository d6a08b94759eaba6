"""Looking at every line of a job's file; the daemon reads only what it is asked for.

A file is taken as what it is, a head and lines that may follow it, and each line is judged by
itself and by its place.  What is whole and in place can be kept, whatever lies between.
Nothing here touches the disk; a job whose lines are partly in the journal is read the same way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import attrs

from harpcaller.store.heads import Head, parse_head
from harpcaller.store.records import (
    END,
    FORMAT,
    HEAD,
    PLACE_BYTES,
    RESUMABLE,
    START,
    BadLine,
    parse_end,
    parse_record,
    parse_time,
    place,
)
from harpcaller.wire.fields import BadField, as_time
from harpcaller.wire.values import NotJSON, members

#: Reads so many bytes from a place; fewer mean that the file ends there.
Read = Callable[[int, int], bytes]

#: The longest line that is believed, as in the journal.
LONGEST = 80 * 1024 * 1024

_CHUNK = 64 * 1024
_MOST_CHUNK = 1024 * 1024
_version = re.compile(rb'\{"harpcaller_job":([0-9]{1,9})[,}]').match


@attrs.frozen
class Line:
    """A piece of a file up to a newline; ``text`` is None if it is too long to be believed."""

    offset: int
    length: int
    text: bytes | None
    is_torn: bool


def lines(read: Read, longest: int = LONGEST) -> Iterator[Line]:
    """Cut a file into lines, in bounded memory; the last may have no newline."""
    buffer = bytearray()
    offset = position = searched = 0  # where the line begins, the reading is, no newline lies
    size = _CHUNK
    is_too_long = False
    while data := read(position, size):
        position += len(data)
        buffer += data
        size = min(2 * size, _MOST_CHUNK)
        begin = 0
        while (found := buffer.find(b"\n", max(begin, searched))) >= 0:
            end = found + 1
            text = None if is_too_long else bytes(buffer[begin:end])
            length = position - len(buffer) + end - offset
            yield Line(offset, length, text, False)
            offset += length
            begin, searched, is_too_long = end, 0, False
        del buffer[:begin]
        searched = len(buffer)
        if len(buffer) > longest:
            buffer.clear()
            searched, is_too_long = 0, True
    if offset < position:
        yield Line(offset, position - offset, None if is_too_long else bytes(buffer), True)


@attrs.define
class Anatomy:
    """What was found in a job's file.

    Attributes:
        head: None if the first line is none; nothing else is known then.
        is_newer: The head is of a format that comes after ours.
        is_resumable: The agent keeps the call.
        records: One more than the number of the last.
        last_time: The latest time that stands in it.
        length: Of all, in bytes.
        torn_at: Where the torn last line begins, None if there is none.
        damage: What is wrong with lines, the first few; :attr:`damaged` counts them all.
        missing: Which records aren't there.
        kept: Where the lines are that are whole and in place: offset and length.
    """

    head: Head | None = None
    is_newer: bool = False
    started_at: float | None = None
    is_resumable: bool = False
    records: int = 0
    ended_at: float | None = None
    last_time: float = 0.0
    length: int = 0
    torn_at: int | None = None
    damage: list[str] = attrs.Factory(list)
    damaged: int = 0
    missing: list[str] = attrs.Factory(list)
    kept: list[tuple[int, int]] = attrs.Factory(list)

    def complain(self, line: Line, what: str) -> None:
        """Note that a line isn't what should stand there."""
        self.damaged += 1
        if len(self.damage) < 3:
            self.damage.append(f"{what} at byte {line.offset}")

    def keep(self, line: Line) -> None:
        """Note that a line is whole and in place."""
        if self.kept and sum(self.kept[-1]) == line.offset:
            offset, length = self.kept.pop()
            self.kept.append((offset, length + line.length))
        else:
            self.kept.append((line.offset, line.length))


def examine(read: Read) -> Anatomy:
    """Look at every line of a job's file.

    Raises:
        OSError: It can't be read.
    """
    found = Anatomy()
    for line in lines(read):
        found.length = line.offset + line.length
        if line.is_torn:
            found.torn_at = line.offset
        elif line.offset == 0:
            if not _head(found, line):
                return found
        else:
            _follower(found, line)
    return found


def _head(found: Anatomy, line: Line) -> bool:
    version = _version((line.text or b"")[:PLACE_BYTES])
    try:
        found.head = parse_head(line.text or b"")
    except BadLine as error:
        found.is_newer = version is not None and int(version[1]) > FORMAT
        found.damage.append(str(error))
        return False
    found.last_time = found.head.submitted.at
    found.keep(line)
    return True


def _follower(found: Anatomy, line: Line) -> None:
    text = line.text
    if text is None:
        found.complain(line, "a line that is too long to be one")
        return
    try:
        standing = place(text[:PLACE_BYTES])
        if standing == START:
            problem = _start(found, text)
        elif standing == RESUMABLE:
            problem = _resumable(found, text)
        elif standing == END:
            problem = _end(found, text)
        elif standing == HEAD:
            problem = "another head"
        else:
            problem = _record(found, text)
    except (BadLine, BadField, NotJSON) as error:
        problem = str(error)
    if problem:
        found.complain(line, problem)
    else:
        found.keep(line)


def _start(found: Anatomy, text: bytes) -> str:
    if len(members(text)) != 1:
        raise BadLine("a start with more in it")
    at = parse_time(text)
    if found.ended_at is not None:
        return "a start after the end"
    if found.started_at is not None or found.records:
        return "a start that isn't the second line"
    found.started_at = at
    found.last_time = max(found.last_time, at)
    return ""


def _resumable(found: Anatomy, text: bytes) -> str:
    _ = as_time(members(text)["resumable"], "resumable")
    if found.ended_at is not None or found.records or found.is_resumable:
        return "that the agent keeps the call, in a wrong place"
    if found.started_at is None:
        return "that the agent keeps a call that wasn't started"
    found.is_resumable = True
    return ""


def _record(found: Anatomy, text: bytes) -> str:
    record = parse_record(text)
    if found.ended_at is not None:
        return f"record {record.number} after the end"
    if record.number < found.records:
        return f"record {record.number} where {found.records} belongs"
    if record.number > found.records:
        last = record.number - 1
        which = f"{last}" if last == found.records else f"{found.records} to {last}"
        if len(found.missing) < 3:
            found.missing.append(which)
    found.records = record.number + 1
    found.last_time = max(found.last_time, record.time or 0.0)
    return ""


def _end(found: Anatomy, text: bytes) -> str:
    ended = parse_end(text)
    if found.ended_at is not None:
        # The first is what was told when it happened.
        return "a second end"
    found.ended_at = ended.at
    found.last_time = max(found.last_time, ended.at)
    return ""
