"""What the journal tells, read without changing anything: what a start would write, and where.

This follows :func:`harpcaller.store.recovery.replay` step by step, but keeps the lines in memory,
and notices what a start passes over: that whole entries follow a damaged one, for instance.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from harpcaller.store.anatomy import lines
from harpcaller.store.disk import Disk
from harpcaller.store.findings import Finding
from harpcaller.store.layout import (
    JOURNAL,
    is_job_id,
    living_number,
    living_path,
    segment_number,
    segment_path,
)
from harpcaller.store.records import END, HEAD, PLACE_BYTES, BadLine, place
from harpcaller.store.roster import read_living
from harpcaller.store.segments import (
    Entry,
    Header,
    entries,
    parse_entry,
    parse_header,
    pruned_serial,
)
from harpcaller.wire.client import JobId


@attrs.define
class Evidence:
    """What the journal tells.

    Attributes:
        first: The oldest segment that counts.
        last: The newest there is; 0 if there is none.
        living: The jobs that haven't ended; None if only their files tell.
        runs: For each job of which something stands in the journal: places in its file, and
            what belongs there, in order.
        pruned: The jobs that were forgotten, and their serials.
        serial: The first that wasn't given away yet, as far as the journal knows.
        findings: What isn't as it should be.
    """

    first: int = 0
    last: int = 0
    living: set[JobId] | None = None
    runs: dict[JobId, list[tuple[int, bytearray]]] = attrs.Factory(dict)
    pruned: dict[JobId, int] = attrs.Factory(dict)
    serial: int = 1
    findings: list[Finding] = attrs.Factory(list)

    @property
    def is_missing(self) -> bool:
        """Tell whether there is nothing of a journal."""
        return self.last == 0


def read_journal(disk: Disk, directory: str) -> Evidence:
    """Read what the journal tells.

    Raises:
        OSError: It can't be read.
    """
    found = Evidence()
    try:
        names = disk.names(f"{directory}/{JOURNAL}")
    except (FileNotFoundError, NotADirectoryError):
        return found
    _read_lists(disk, directory, names, found)
    numbers = sorted(filter(None, map(segment_number, names)))
    found.last = max([found.first, *numbers])
    living = found.living if found.living is not None else set()
    headers = _headers(disk, directory, [one for one in numbers if one >= found.first], found)
    good = {key: length for header in headers for key, length in header.good.items()}
    for header in headers:
        found.serial = max(found.serial, header.serial)
        path = segment_path(directory, header.number)
        end = 0
        for entry in entries(disk, path, good.get(header.number)):
            end = entry.end
            if is_job_id(entry.job_id):
                _note(entry, found, living)
        _look_behind(disk, directory, header.number, end, good.get(header.number), found)
    return found


def _read_lists(disk: Disk, directory: str, names: list[str], found: Evidence) -> None:
    for number in sorted(filter(None, map(living_number, names)), reverse=True):
        living = read_living(disk, directory, number)
        if living is not None:
            found.first, found.living = number, set(living)
            return
        detail = "the list of jobs that lived then isn't whole"
        found.findings.append(Finding("list_damaged", _name(living_path("", number)), detail))


def _headers(disk: Disk, directory: str, numbers: list[int], found: Evidence) -> list[Header]:
    headers = []
    for number in numbers:
        path = segment_path(directory, number)
        first = next(entries(disk, path), None)
        header = None if first is None else parse_header(first)
        if header is not None and header.number == number:
            headers.append(header)
        elif first is None:
            # A segment that was never begun in earnest, unless there is more in it.
            _look_behind(disk, directory, number, 0, None, found)
        else:
            detail = (
                f"its header is that of segment {header.number}"
                if header is not None
                else "its first entry is no header that is known"
            )
            found.findings.append(Finding("segment_unknown", _name(path, directory), detail))
    return headers


def whole_entries(disk: Disk, path: str, begin: int, good: int | None) -> Iterator[Entry]:
    """Read the whole entries that stand in a segment from a place on, whatever lies between.

    Raises:
        OSError: It can't be read.
    """
    handle = disk.open(path)
    try:
        for line in lines(lambda offset, size: disk.read(handle, begin + offset, size)):
            end = begin + line.offset + line.length
            if good is not None and end > good:
                return
            if line.text is not None and not line.is_torn:
                entry = parse_entry(line.text[:-1], end)
                if entry is not None:
                    yield entry
    finally:
        disk.close(handle)


def _look_behind(
    disk: Disk, directory: str, number: int, end: int, good: int | None, found: Evidence
) -> None:
    path = segment_path(directory, number)
    count = 0
    jobs: set[JobId] = set()
    for entry in whole_entries(disk, path, end, good):
        count += 1
        jobs.add(entry.job_id)
    if count:
        detail = f"damaged at byte {end}; {count} whole entries of {len(jobs)} jobs follow"
        found.findings.append(
            Finding("segment_damaged", _name(path, directory), detail, at=end, until=good)
        )


def _note(entry: Entry, found: Evidence, living: set[JobId]) -> None:
    serial = pruned_serial(entry.line)
    if serial is not None:
        found.pruned[entry.job_id] = serial
        found.runs.pop(entry.job_id, None)
        living.discard(entry.job_id)
        return
    runs = found.runs.setdefault(entry.job_id, [])
    if runs and runs[-1][0] + len(runs[-1][1]) == entry.offset:
        runs[-1][1].extend(entry.line)
    else:
        runs.append((entry.offset, bytearray(entry.line)))
    try:
        standing = place(entry.line[:PLACE_BYTES])
    except BadLine:
        return
    if standing == HEAD:
        living.add(entry.job_id)
    elif standing == END:
        living.discard(entry.job_id)


def _name(path: str, directory: str = "") -> str:
    return path.removeprefix(directory).removeprefix("/")


class Patched:
    """A file as it will be when the journal's lines are written into it.

    Args:
        disk: Where the file is.
        handle: The file, None if there is none.
        runs: What will be written.
    """

    def __init__(self, disk: Disk, handle: int | None, runs: list[tuple[int, bytearray]]) -> None:
        self._disk = disk
        self._handle = handle
        self._runs: list[tuple[int, bytearray]] = []
        self._size = 0 if handle is None else disk.length(handle)
        self.length = self._size
        #: Where lines are missing before those that the journal has; None if none are.
        self.gap_at: int | None = None
        for offset, data in runs:
            if offset > self.length:
                self.gap_at = self.length
                break
            self._runs.append((offset, data))
            self.length = max(self.length, offset + len(data))

    def read(self, offset: int, size: int) -> bytes:
        """Read so many bytes, fewer at the end."""
        size = max(0, min(size, self.length - offset))
        found = bytearray(size)
        own = self._own(offset, size)
        found[: len(own)] = own
        for begin, data in self._runs:
            low, high = max(begin, offset), min(begin + len(data), offset + size)
            if low < high:
                found[low - offset : high - offset] = data[low - begin : high - begin]
        return bytes(found)

    def disagrees_at(self) -> int | None:
        """Tell where the file has something else than the journal; None if nowhere."""
        for begin, data in self._runs:
            own = self._own(begin, len(data))
            if own != self.read(begin, len(own)):
                return begin
        return None

    def _own(self, offset: int, size: int) -> bytes:
        size = min(size, self._size - offset)
        if self._handle is None or size <= 0:
            return b""
        return self._disk.read(self._handle, offset, size)
