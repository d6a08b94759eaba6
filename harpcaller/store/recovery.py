"""Bringing the jobs' files up to what the journal says; what a start does first.

The journal holds every line that isn't known to be safe in its job's file.  Replaying means to
write each at its place; doing it twice, or being killed half way, changes nothing.

Which jobs hadn't ended is not looked up in the files, of which there may be millions:
beside a segment lies the list of jobs that lived when it was begun (``00000007.living``), and
the journal tells what changed since.  The list is written when everything that older segments
tell is safe in the files, so the newest whole list says where replaying begins.  Only without
any list every file is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import attrs

from harpcaller.logs.events import EventLog
from harpcaller.store.disk import Disk
from harpcaller.store.heads import head_serial
from harpcaller.store.layout import (
    JOURNAL,
    is_job_id,
    is_level,
    job_id_at,
    job_path,
    living_number,
    living_path,
    segment_number,
    segment_path,
)
from harpcaller.store.records import END, HEAD, PLACE_BYTES, BadLine, place
from harpcaller.store.roster import read_living
from harpcaller.store.segments import Entry, Header, entries, parse_header, pruned_serial
from harpcaller.wire.client import JobId

# So many bytes of lines are gathered before they are written to their files.
_MOST_GATHERED = 32 * 1024 * 1024


# --- Job files -----------------------------------------------------------------------------


def write_lines(disk: Disk, directory: str, job_id: JobId, offset: int, data: bytes) -> None:
    """Write lines into a job's file, and make it if need be; nothing is synced.

    Raises:
        OSError: Some of it may have been written.
    """
    path = job_path(directory, job_id)
    try:
        disk.write_at(path, offset, data)
    except FileNotFoundError:
        disk.make_directory(path[: path.rindex("/")])
        disk.write_at(path, offset, data)


def remove_job(disk: Disk, directory: str, job_id: JobId) -> None:
    """Remove a job's file, if it is there, and its directories, if they are empty now.

    Raises:
        OSError: The file can't be removed.
    """
    path = job_path(directory, job_id)
    with suppress(FileNotFoundError):
        disk.remove(path)
    with suppress(OSError):
        for _ in range(2):
            path = path[: path.rindex("/")]
            disk.remove_directory(path)


def all_jobs(disk: Disk, directory: str) -> Iterator[JobId]:
    """Walk through the files of a store; what isn't a job's is passed over."""
    for first in filter(is_level, disk.names(directory)):
        for second in filter(is_level, _names(disk, f"{directory}/{first}")):
            for rest in _names(disk, f"{directory}/{first}/{second}"):
                job_id = job_id_at(first, second, rest)
                if job_id is not None:
                    yield job_id


def _names(disk: Disk, path: str) -> list[str]:
    try:
        return disk.names(path)
    except (FileNotFoundError, NotADirectoryError):
        # Pruned meanwhile, or a file of somebody else's.
        return []


# --- The journal's files -------------------------------------------------------------------


def segments(disk: Disk, directory: str) -> list[int]:
    """Give the numbers of the segments that are there, the oldest first."""
    names = disk.names(f"{directory}/{JOURNAL}")
    return sorted(number for number in map(segment_number, names) if number is not None)


def remove_segments(disk: Disk, directory: str, before: int) -> None:
    """Remove the segments with lower numbers, and their lists of living jobs.

    Raises:
        OSError: Something couldn't be removed; what is removed is no longer needed.
    """
    names = disk.names(f"{directory}/{JOURNAL}")
    for number in filter(None, map(segment_number, names)):
        if number < before:
            disk.remove(segment_path(directory, number))
    for number in filter(None, map(living_number, names)):
        if number < before:
            disk.remove(living_path(directory, number))


# --- Replay --------------------------------------------------------------------------------


@attrs.define
class Replayed:
    """What a replay found.

    Attributes:
        living: The jobs that haven't ended, a dict for its order; some of their files may be
            damaged.  None if every file must be looked at.
        touched: The jobs of which something stood in the journal, pruned ones excepted.
        pruned: The jobs that were forgotten, and their serials.
        serial: The first that wasn't given away yet, as far as the journal knows.
        first: The oldest segment that was needed.
        last: The last segment number in use.
        segments: How many there were to replay.
    """

    living: dict[JobId, None] | None = None
    touched: dict[JobId, None] = attrs.Factory(dict)
    pruned: dict[JobId, int] = attrs.Factory(dict)
    serial: int = 1
    first: int = 0
    last: int = 0
    segments: int = 0


def replay(disk: Disk, directory: str, log: EventLog) -> Replayed:
    """Write every line that the journal holds at its place.

    Raises:
        OSError: A file can't be read or written; nothing is lost by trying again.
    """
    numbers = segments(disk, directory)
    first, living = _newest_living(disk, directory, log)
    names = disk.names(f"{directory}/{JOURNAL}")
    # A list that is damaged has used its number, too.
    lists = filter(None, map(living_number, names))
    found = Replayed(first=first, last=max([first, *numbers, *lists]))
    began: dict[JobId, None] = dict.fromkeys(living or ())
    # What is older than the list is safe in the files already; removing it didn't work.
    numbers = [number for number in numbers if number >= first]
    headers = _headers(disk, directory, numbers, log)
    good = {key: length for header in headers for key, length in header.good.items()}
    lines = _Lines(disk, directory, log, may_create=True)
    found.segments = len(headers)
    for header in headers:
        found.serial = max(found.serial, header.serial)
        for entry in _entries(disk, directory, header.number, good):
            _note(entry, found, began)
            lines.add(entry)
    lines.write()
    for job_id in lines.not_removed:
        found.pruned.pop(job_id, None)
    if living is not None:
        found.living = began
    log.info("store.replayed", segments=len(headers), jobs=len(found.touched))
    return found


def replay_again(disk: Disk, directory: str, before: int, log: EventLog) -> None:
    """Write again what is in the older segments, for what was written before may be lost.

    Nothing is made anew that was removed meanwhile.

    Raises:
        OSError: It didn't work.
    """
    numbers = segments(disk, directory)
    headers = _headers(disk, directory, numbers, log)
    good = {key: length for header in headers for key, length in header.good.items()}
    lines = _Lines(disk, directory, log, may_create=False)
    for number in numbers:
        if number < before:
            for entry in _entries(disk, directory, number, good):
                lines.add(entry)
    lines.write()


def _newest_living(disk: Disk, directory: str, log: EventLog) -> tuple[int, list[JobId] | None]:
    """The newest list of living jobs that is whole, and the number it is for."""
    names = disk.names(f"{directory}/{JOURNAL}")
    for number in sorted(filter(None, map(living_number, names)), reverse=True):
        living = read_living(disk, directory, number)
        if living is not None:
            return number, living
        log.warn("store.living_damaged", segment=number)
    return 0, None


def _headers(disk: Disk, directory: str, numbers: list[int], log: EventLog) -> list[Header]:
    found = []
    for number in numbers:
        first = next(entries(disk, segment_path(directory, number)), None)
        header = None if first is None else parse_header(first)
        if header is None or header.number != number:
            # Nothing was written to it before its header was durable.
            log.warn("store.segment_without_header", segment=number)
        else:
            found.append(header)
    return found


def _entries(disk: Disk, directory: str, number: int, good: dict[int, int]) -> Iterator[Entry]:
    """The entries of a segment that are about jobs."""
    for entry in entries(disk, segment_path(directory, number), good.get(number)):
        if is_job_id(entry.job_id):
            yield entry


def _note(entry: Entry, found: Replayed, living: dict[JobId, None]) -> None:
    serial = pruned_serial(entry.line)
    if serial is not None:
        found.pruned[entry.job_id] = serial
        found.touched.pop(entry.job_id, None)
        living.pop(entry.job_id, None)
        return
    found.touched[entry.job_id] = None
    try:
        standing = place(entry.line[:PLACE_BYTES])
    except BadLine:
        return
    if standing == HEAD:
        living[entry.job_id] = None
        found.serial = max(found.serial, head_serial(entry.line) + 1)
    elif standing == END:
        living.pop(entry.job_id, None)


class _Lines:
    """Lines on their way from the journal to the files, written job by job."""

    def __init__(self, disk: Disk, directory: str, log: EventLog, *, may_create: bool) -> None:
        self._disk = disk
        self._directory = directory
        self._log = log
        self._may_create = may_create
        self._runs: dict[JobId, list[tuple[int, bytearray]]] = {}
        self._pruned: dict[JobId, None] = {}  # for its order
        #: What was pruned, but couldn't be removed.
        self.not_removed: set[JobId] = set()
        self._size = 0

    def add(self, entry: Entry) -> None:
        if pruned_serial(entry.line) is not None:
            self._pruned[entry.job_id] = None
            self._runs.pop(entry.job_id, None)
            return
        runs = self._runs.setdefault(entry.job_id, [])
        if runs and runs[-1][0] + len(runs[-1][1]) == entry.offset:
            runs[-1][1].extend(entry.line)
        else:
            runs.append((entry.offset, bytearray(entry.line)))
        self._size += len(entry.line)
        if self._size > _MOST_GATHERED:
            self.write()

    def write(self) -> None:
        for job_id, runs in self._runs.items():
            self._write(job_id, runs)
        self._runs.clear()
        self._size = 0
        if self._may_create:
            for job_id in self._pruned:
                # What can't be removed is listed still, and due at the next pruning.
                try:
                    remove_job(self._disk, self._directory, job_id)
                except OSError:
                    self.not_removed.add(job_id)
            self._pruned.clear()

    def _write(self, job_id: JobId, runs: list[tuple[int, bytearray]]) -> None:
        path = job_path(self._directory, job_id)
        size = self._disk.size(path)
        if size is None and not self._may_create:
            return
        size = size or 0
        for offset, data in runs:
            if offset > size:
                self._log.error("store.gap", job=job_id, at=size)
                return
            if self._may_create:
                write_lines(self._disk, self._directory, job_id, offset, bytes(data))
            else:
                with suppress(FileNotFoundError):
                    self._disk.write_at(path, offset, bytes(data), create=False)
            size = max(size, offset + len(data))
