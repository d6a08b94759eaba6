"""Reading a job: its file, and behind it what is durable but not filed yet.

Both are one text to whoever reads (:class:`Content`), so there is one reading path and no
seam.  Nothing here reads more than it is asked for: a record is found by halving, the end by
going backwards, in chunks.  Lines are in order, so that halving works: head, start,
records by number, end.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.facts import Ended, Page
from harpcaller.store.disk import Disk
from harpcaller.store.heads import Head, parse_head
from harpcaller.store.layout import job_path
from harpcaller.store.records import (
    END,
    PLACE_BYTES,
    RECORD,
    RESUMABLE,
    START,
    BadLine,
    parse_end,
    parse_record,
    parse_time,
    place,
)
from harpcaller.wire.client import JobId
from harpcaller.wire.client_answers import JobStatus, Record

# A short job is read whole with its first chunk.
_FIRST = 8 * 1024
_CHUNK = 64 * 1024
# So near to each other lines are looked through one by one.
_NEAR = 4 * 1024


class Content:
    """A job's lines, those on disk and those in memory.

    Args:
        disk: Where the file is.
        handle: The file, or None if there is none yet.
        filed: How many bytes of the file count.
        tail: What follows them, whole lines.
    """

    def __init__(self, disk: Disk, handle: int | None, filed: int, tail: bytearray | bytes) -> None:
        self._disk = disk
        self._handle = handle
        self._filed = filed
        self._tail = tail
        self._first = b""
        #: The length of all in bytes.
        self.length = filed + len(tail)

    def read(self, offset: int, size: int) -> bytes:
        """Read so many bytes, fewer at the end."""
        if offset >= self._filed:
            begin = offset - self._filed
            return bytes(self._tail[begin : begin + size])
        here = min(size, self._filed - offset)
        data = self._read_file(offset, here)
        if len(data) < here:
            raise BadLine("the file is shorter than it was")
        return data if here == size else data + bytes(self._tail[: size - here])

    def _read_file(self, offset: int, size: int) -> bytes:
        assert self._handle is not None
        if offset + size > _FIRST:
            return self._disk.read(self._handle, offset, size)
        if not self._first:
            self._first = self._disk.read(self._handle, 0, min(_FIRST, self._filed))
        return self._first[offset : offset + size]

    def line_at(self, offset: int) -> bytes:
        """Read the line that begins here, its newline included.

        Raises:
            BadLine: It has no newline.
        """
        size = _FIRST
        data = self.read(offset, size)
        found = data.find(b"\n")
        while found < 0:
            if offset + len(data) >= self.length:
                raise BadLine("the last line is torn")
            searched = len(data)
            # Growing steps: a line of 64 MiB takes a dozen reads, and each byte is copied
            # about twice.
            data += self.read(offset + searched, searched)
            found = data.find(b"\n", searched)
        return data[: found + 1]

    def line_after(self, offset: int, limit: int) -> int:
        """Find where the first line that begins after ``offset`` begins; ``limit`` if none does."""
        size = 512
        while offset < limit:
            data = self.read(offset, min(size, limit - offset))
            found = data.find(b"\n")
            if found >= 0:
                return offset + found + 1
            offset += len(data)
            size = min(2 * size, 16 * _CHUNK)
        return limit

    def line_before(self, end: int) -> int:
        """Find where the line begins that ends, newline included, at ``end``."""
        position = end - 1
        size = _FIRST
        while position > 0:
            begin = max(0, position - size)
            found = self.read(begin, position - begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            position = begin
            size = min(2 * size, 16 * _CHUNK)
        return 0

    def leave_out_torn_line(self) -> int:
        """Go on as if there were nothing after the last newline of what is on disk.

        Returns:
            How many bytes there are.
        """
        whole = self.line_before(self._filed + 1)
        torn = self._filed - whole
        self._filed, self.length = whole, self.length - torn
        return torn

    def place_at(self, offset: int) -> int:
        """Tell where the line that begins here stands (see :func:`records.place`)."""
        return place(self.read(offset, PLACE_BYTES))


@contextmanager
def opened(
    disk: Disk, directory: str, job_id: JobId, filed: int | None, tail: bytearray | bytes
) -> Iterator[Content]:
    """Open a job for reading.

    Args:
        disk: Where it is.
        directory: The store's.
        job_id: Which job.
        filed: How many bytes of its file count; None for all, also if there is none.
        tail: What follows them.

    Raises:
        InvalidJobId: There is no such job.
        StorageError: It can't be read, or what is read isn't what should stand there.
    """
    handle: int | None = None
    try:
        if filed != 0:
            try:
                handle = disk.open(job_path(directory, job_id))
            except FileNotFoundError:
                if filed is None:
                    raise InvalidJobId("no job has this id") from None
                raise
            if filed is None:
                filed = disk.length(handle)
        yield Content(disk, handle, filed, tail)
    except BadLine as error:
        raise StorageError(f"the job's file is damaged: {error}") from None
    except OSError as error:
        text = error.strerror or str(error)
        raise StorageError(f"the job's file can't be read: {text}") from error
    finally:
        if handle is not None:
            disk.close(handle)


# It isn't the file's fault, and over soon.
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def is_passing(cause: BaseException | None) -> bool:
    """Tell whether a failure to read a file has to do with the process, not with the file."""
    return isinstance(cause, OSError) and cause.errno in _PASSING


@attrs.frozen
class Summary:
    """What a job is and how far it came.

    Attributes:
        is_resumable: Whether its agent keeps the call.
        records: How many there are.
        ended_at: None if it hasn't ended.
        length: Of its file, in bytes.
    """

    head: Head
    started_at: float | None
    is_resumable: bool
    records: int
    ended_at: float | None
    length: int


def head(content: Content) -> tuple[Head, int]:
    """Read the head, and tell where the next line begins."""
    line = content.line_at(0)
    return parse_head(line), len(line)


def started_at(content: Content, second: int) -> float | None:
    """Read when the job started from the line after the head, None if it hasn't."""
    if second >= content.length:
        return None
    beginning = content.read(second, PLACE_BYTES)
    return parse_time(beginning) if place(beginning) == START else None


def is_resumable(content: Content, second: int) -> bool:
    """Tell whether the line after the start, if there is one, says that the agent has the call."""
    if second >= content.length or content.place_at(second) != START:
        return False
    third = content.line_after(second, content.length)
    return third < content.length and content.place_at(third) == RESUMABLE


def ended_at(content: Content) -> float | None:
    """Read when the job ended, None if it hasn't."""
    beginning = content.read(content.line_before(content.length), PLACE_BYTES)
    return parse_time(beginning) if place(beginning) == END else None


def ended(content: Content) -> Ended | None:
    """Read how the job ended, None if it hasn't."""
    last = content.line_before(content.length)
    if content.place_at(last) != END:
        return None
    return parse_end(content.line_at(last))


def count(content: Content) -> int:
    """Count the records by looking at the last line or two."""
    last = content.line_before(content.length)
    found = content.place_at(last)
    if found == END:
        found = content.place_at(content.line_before(last))
    return max(found, RESUMABLE) + 1


def summary(content: Content) -> Summary:
    """Read what a job is and how far it came."""
    found, second = head(content)
    if second >= content.length:
        # It waits, as a hundred thousand others may.
        return Summary(found, None, False, 0, None, content.length)
    return Summary(
        found,
        started_at(content, second),
        is_resumable(content, second),
        count(content),
        ended_at(content),
        content.length,
    )


def status(content: Content) -> JobStatus:
    """Read what a job is and how far it came."""
    found, second = head(content)
    call = found.submitted.call
    return JobStatus(
        host=call.host,
        procedure=call.procedure,
        arguments=call.arguments,
        submitted_at=found.submitted.at,
        started_at=started_at(content, second),
        ended_at=ended_at(content),
        info=call.info,
        queue_name=None if call.queue is None else call.queue.name,
        client=found.submitted.client,
    )


def find(content: Content, number: int) -> int:
    """Find where the first line begins that stands at ``number`` or after it.

    Returns:
        Its offset, or the content's length.
    """
    # The line at low stands before number, the one at high doesn't, and none begins from
    # bound to high.
    low, bound, high = 0, content.length, content.length
    # Who follows a stream asks for what came last: look there first.
    middle = content.length - _NEAR
    while high - low > _NEAR and bound - low > 1:
        begin = content.line_after(middle - 1, bound)
        if begin >= bound:
            bound = middle
        elif content.place_at(begin) < number:
            low = begin
        else:
            high, bound = begin, middle
        middle = (low + bound) // 2
    if bound - low > 1:
        near = content.read(low, high - low)
        begin = near.rfind(b"\n", 0, -1) + 1
        while begin > 0 and place(near[begin : begin + PLACE_BYTES]) >= number:
            high = low + begin
            begin = near.rfind(b"\n", 0, begin - 1) + 1
    return high


def page(content: Content, since: int, *, most_records: int, most_bytes: int) -> Page:
    """Read records from number ``since`` on, at least one if there is one.

    Args:
        content: The job.
        since: The first record wanted.
        most_records: How many to read at most.
        most_bytes: How many bytes of lines to read at most, the first line excepted.
    """
    offset = find(content, since)
    records: list[Record] = []
    data = content.read(offset, most_bytes)
    begin = 0
    while offset + begin < content.length and len(records) < most_records:
        end = data.find(b"\n", begin) + 1
        if end == 0:
            # The page ends inside this line; it is read whole only if it is all there will be.
            if records or content.place_at(offset) == END:
                break
            data = content.line_at(offset)
            end = len(data)
        if not data.startswith(RECORD, begin) and place(data[begin : begin + PLACE_BYTES]) == END:
            break
        record = parse_record(data[begin:end])
        if record.number != since + len(records):
            raise BadLine(f"record {record.number} stands where {since + len(records)} belongs")
        records.append(record)
        begin = end
    following = offset + begin
    if following >= content.length or content.place_at(following) != END:
        return Page(tuple(records), None)
    return Page(tuple(records), parse_end(content.line_at(following)).ending)
