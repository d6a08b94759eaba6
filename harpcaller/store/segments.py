r"""The journal's files: what stands in a segment, how it is written and read.

A segment is ``journal/00000007.log``, a text file of entries, one a line::

    <crc32, 8 hex digits> <job id> <offset> <line of the job's file>

``offset`` is the place of the line in the job's file, in bytes, so that writing it there
again changes nothing.  The checksum covers all that follows it, the newline included.  Two
entries are something else.  The first of a segment is its header::

    <crc32> segment 7 {"harpcaller_journal":1,"serial":1234,"good":{"6":5120}}

where ``serial`` is the first submission number that wasn't given away yet and ``good`` tells
for each abandoned segment how many of its bytes may be believed.  And a line
``{"pruned":<serial>}`` at offset 0 means that the job was forgotten.

The first entry that is torn or has a wrong checksum ends its segment: nothing after it was
ever acknowledged.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from zlib import crc32

import attrs

from harpcaller.store.disk import Disk
from harpcaller.store.layout import JOURNAL, segment_path
from harpcaller.wire.client import JobId
from harpcaller.wire.fields import BadField, as_integer, as_object
from harpcaller.wire.lines import LineBuffer, LineTooLong
from harpcaller.wire.values import NotJSON, build, encode, members

#: The longest entry that is believed: a record of 64 MiB with room around it.
MAX_ENTRY = 80 * 1024 * 1024

_FORMAT = 1
_CHUNK = 1024 * 1024
_HEADER = "segment"
_entry = re.compile(rb"[0-9a-f]{8} ([0-9a-z-]{1,40}) ([0-9]{1,19}) ").match
_pruned = re.compile(rb'\{"pruned":([0-9]{1,19})\}\n').fullmatch


@attrs.frozen
class Entry:
    """One entry; ``line`` has its newline, ``end`` is where the entry ends in its segment."""

    job_id: JobId
    offset: int
    line: bytes
    end: int


@attrs.frozen
class Header:
    """What the first entry of a segment tells."""

    number: int
    serial: int
    good: dict[int, int]


def entry(name: str, offset: int, line: bytes) -> bytes:
    """Write an entry; ``line`` has its newline."""
    body = b"%s %d %s" % (name.encode("ascii"), offset, line)
    return b"%08x %s" % (crc32(body), body)


def header(number: int, serial: int, good: dict[int, int]) -> bytes:
    """Write a segment's first entry."""
    fields = {
        "harpcaller_journal": encode(_FORMAT),
        "serial": encode(serial),
        "good": build({str(key): encode(length) for key, length in good.items()}),
    }
    return entry(_HEADER, number, build(fields) + b"\n")


def pruned_line(serial: int) -> bytes:
    """Write the line that tells of a job's pruning."""
    return b'{"pruned":%d}\n' % serial


def pruned_serial(line: bytes) -> int | None:
    """Read the line that tells of a job's pruning; None if it tells something else."""
    found = _pruned(line)
    return None if found is None else int(found[1])


def parse_header(first: Entry) -> Header | None:
    """Read a segment's first entry; None if it isn't a header of ours."""
    if first.job_id != _HEADER:
        return None
    try:
        found = members(first.line)
        if as_integer(found["harpcaller_journal"], "harpcaller_journal") != _FORMAT:
            return None
        good = as_object(found["good"], "good")
        return Header(
            first.offset,
            as_integer(found["serial"], "serial"),
            {int(key): as_integer(length, "good") for key, length in good.items()},
        )
    except (NotJSON, BadField, KeyError, ValueError):
        return None


def entries(
    disk: Disk, path: str, good: int | None = None, *, longest: int = MAX_ENTRY
) -> Iterator[Entry]:
    """Read a segment's entries up to the first that can't be believed.

    Args:
        disk: Where it lies.
        path: Its path.
        good: How many of its bytes may be believed; None for all.
        longest: The longest entry that is believed.
    """
    handle = disk.open(path)
    try:
        buffer = LineBuffer(longest)
        position = end = 0
        while data := disk.read(handle, position, _CHUNK):
            position += len(data)
            buffer.feed(data)
            while (text := buffer.next_line()) is not None:
                end += len(text) + 1
                found = parse_entry(text, end)
                if found is None or (good is not None and end > good):
                    return
                yield found
    except LineTooLong:
        return
    finally:
        disk.close(handle)


def parse_entry(text: bytes, end: int) -> Entry | None:
    """Read an entry without its newline, None if it can't be believed; ``end`` is where it ends."""
    found = _entry(text)
    if found is None or int(text[:8], 16) != crc32(b"\n", crc32(memoryview(text)[9:])):
        return None
    line = text[found.end() :] + b"\n"
    return Entry(JobId(found[1].decode("ascii")), int(found[2]), line, end)


@attrs.frozen
class Written:
    """What became of a batch.

    Attributes:
        number: The segment it stands in.
        length: How long that segment is now.
        is_durable: Nothing that was ever accepted waits for a sync.
        setback: What went wrong before it went well, if anything.
    """

    number: int
    length: int
    is_durable: bool
    setback: OSError | None


class SegmentWriter:
    """The writing end of the journal: used by one thread at a time, which may block.

    A segment in which a write or a sync failed is abandoned: its descriptor is never written
    again (after a failed sync the system calls the lost pages clean), it is cut back to
    what was accepted before if that works, and the header of every later segment tells
    how much that is.  The batch at hand goes to a new segment.  If that fails too, the
    batch has failed, and the next one tries anew.

    Args:
        disk: Where to write.
        directory: The store's.
        last: The last segment number in use.
        synced: Whether every batch is to be synced, or only those that ask for it.
    """

    # So much may wait for a sync that nobody asked for; it is kept for a new segment, and
    # what it tells isn't filed until then.
    _MOST_UNSYNCED = 1024 * 1024

    def __init__(self, disk: Disk, directory: str, last: int, *, synced: bool) -> None:
        self._disk = disk
        self._directory = directory
        self._last = last
        self._synced = synced
        #: The segment that is written.
        self.number = 0
        self._handle: int | None = None
        self._length = 0  # as far as it was written
        self._good = 0  # as far as it is durable
        self._unsynced: list[bytes] = []  # what lies between the two
        self._is_fresh = False  # nothing stands in it but its header
        self._abandoned: dict[int, int] = {}
        self._uncut: set[int] = set()  # those that still have what isn't to be believed
        self._removed: set[int] = set()

    def write(
        self,
        batch: Sequence[bytes],
        *,
        serial: int,
        sync: bool = True,
        roll: bool = False,
        oldest: int = 0,
    ) -> Written:
        """Append a batch.

        Args:
            batch: Entries.
            serial: What the header tells if a new segment is begun.
            sync: Whether the batch must be durable.
            roll: Whether to begin a new segment for it; if none can be had, the old one goes on.
            oldest: The first segment that is still there.

        Raises:
            OSError: Nothing of the batch will be believed.
        """
        data = b"".join(batch)
        for gone in [number for number in self._abandoned if number < oldest]:
            del self._abandoned[gone]
            self._uncut.discard(gone)
        setback: OSError | None = None
        try:
            if self._handle is not None:
                if roll:
                    self._sync()
                    setback = self._try_to_begin(serial)
                self._append(data, sync)
                return self._written(setback)
        except OSError as error:
            setback = error
            self._abandon()
        self._begin(serial)
        try:
            self._append(data, sync)
        except OSError:
            self._abandon()
            raise
        return self._written(setback)

    def _written(self, setback: OSError | None) -> Written:
        return Written(self.number, self._length, not self._unsynced, setback)

    def close(self) -> None:
        """Sync and close the segment."""
        if self._handle is None:
            return
        try:
            self._sync()
        finally:
            handle, self._handle = self._handle, None
            self._disk.close(handle)

    def _try_to_begin(self, serial: int) -> OSError | None:
        try:
            self._begin(serial)
        except OSError as error:
            return error
        return None

    def _begin(self, serial: int) -> None:
        """Begin the next segment with what wasn't synced in the one before."""
        # The number is used up, whatever comes of it: what fails may have left a file.
        self._last += 1
        number = self._last
        first = header(number, serial, self._abandoned) + b"".join(self._unsynced)
        handle = self._disk.create_log(segment_path(self._directory, number), synced=self._synced)
        try:
            self._disk.append(handle, first)
            if not self._synced:
                self._disk.sync(handle)
            self._disk.sync_directory(f"{self._directory}/{JOURNAL}")
        except OSError:
            # Harmless if it stays: there is nothing in it that wasn't accepted.
            self._disk.close(handle)
            with suppress(OSError):
                self._disk.remove(segment_path(self._directory, number))
            raise
        if self._handle is not None:
            self._disk.close(self._handle)
        self.number, self._handle = number, handle
        self._length = self._good = len(first)
        self._is_fresh = not self._unsynced
        self._unsynced.clear()
        # The directory is synced: what was removed before doesn't come back.
        for gone in self._removed:
            self._abandoned.pop(gone, None)
            self._uncut.discard(gone)
        self._removed.clear()

    def _append(self, data: bytes, sync: bool) -> None:
        assert self._handle is not None
        if not data:
            if sync:
                self._sync()
            return
        self._disk.append(self._handle, data)
        if self._synced:
            self._length += len(data)
            self._good = self._length
        elif sync or self._length + len(data) - self._good > self._MOST_UNSYNCED:
            self._disk.sync(self._handle)
            self._length += len(data)
            self._good = self._length
            self._unsynced.clear()
        else:
            self._length += len(data)
            self._unsynced.append(data)
        self._is_fresh = False

    def _sync(self) -> None:
        if self._unsynced:
            assert self._handle is not None
            self._disk.sync(self._handle)
            self._good = self._length
            self._unsynced.clear()

    def _abandon(self) -> None:
        assert self._handle is not None
        handle, self._handle = self._handle, None
        # What is written but not durable stays, too.  The next segment tells it again; until
        # there is one, it is all that a killed daemon leaves of what was acknowledged unsynced.
        # Where it turns out to be lost, its checksums tell.
        self._abandoned[self.number] = self._length
        # None of this has to work: the next header tells what is good.  But if there is none
        # before a crash, a batch that was called failed must not be found by the next start.
        # (The sync is for the cut; of what was written before it says nothing.)
        try:
            self._disk.cut(handle, self._length)
            self._disk.sync(handle)
        except OSError:
            self._uncut.add(self.number)
        self._disk.close(handle)
        # A header that others need is kept: it may be the only one that tells of them.
        if self._is_fresh and not self._uncut - {self.number}:
            with suppress(OSError):
                self._disk.remove(segment_path(self._directory, self.number))
                self._removed.add(self.number)
