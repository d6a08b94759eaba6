"""What a repair does about each finding, one step at a time.

Nothing that may hold a fact is removed: it is kept in ``damaged/`` first.  Every step can be
interrupted at any place and done again.  What the steps leave to do is done by a start
(:mod:`harpcaller.store.repair`).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import chain

from harpcaller.errors import MissingResult
from harpcaller.facts import Ended
from harpcaller.store.anatomy import Anatomy, examine
from harpcaller.store.disk import Disk
from harpcaller.store.evidence import whole_entries
from harpcaller.store.findings import DAMAGED, Finding
from harpcaller.store.heads import head_line
from harpcaller.store.index import remove_index
from harpcaller.store.layout import (
    INDEX,
    JOURNAL,
    is_job_id,
    job_id_at,
    segment_number,
    segment_path,
)
from harpcaller.store.premises import FILES
from harpcaller.store.records import fact_line
from harpcaller.store.segments import entries, entry, header, parse_header
from harpcaller.wire.ending import Failed

_CHUNK = 1024 * 1024

_LOST = "the store was damaged; how the job ended is not known"


class Salvage:
    """Repairs what can be repaired by itself.

    Args:
        disk: How files are read and written.
        directory: The store's.
        owner: The user and the group to whom everything is to belong.
        next_serial: A number that no job has, nor any after it.
    """

    def __init__(
        self, disk: Disk, directory: str, owner: tuple[int, int], next_serial: int
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._owner = owner
        self._next_serial = next_serial
        self._has_kept_segments = False
        self._steps: Mapping[str, Callable[[Finding], None]] = {
            "stray": self._put_away,
            "not_a_file": self._put_away,
            "headless": self._put_away,
            "list_damaged": self._put_away,
            "segment_unknown": self._segment_unknown,
            "segment_damaged": self._segment_damaged,
            "misplaced": self._misplaced,
            "empty_directory": self._empty_directory,
            "permissions": self._permissions,
            "unreadable": self._permissions,
            "torn_line": self._torn_line,
            "damaged_lines": self._rewrite,
            "records_missing": self._rewrite,
            "no_end": self._no_end,
            "serial_twice": self._serial_twice,
            "disagrees": self._disagrees,
            "gap": self._keep_segments,
        }

    def step(self, finding: Finding) -> None:
        """Do what is to be done about a finding before the store is started.

        Raises:
            OSError: It can't be done.
        """
        step = self._steps.get(finding.kind)
        if step is not None:
            step(finding)

    def drop_index(self) -> None:
        """Have the index made anew; it holds nothing that isn't in the files.

        Raises:
            OSError: It can't be removed.
        """
        remove_index(self._disk, f"{self._directory}/{INDEX}")

    def hand_over(self) -> None:
        """Give to the store's owner what was made here."""
        if os.geteuid() != 0:
            return
        made = [*FILES, JOURNAL, DAMAGED]
        made += [f"{JOURNAL}/{name}" for name in self._names(JOURNAL)]
        made += [f"{DAMAGED}/{name}" for name in self._names(DAMAGED)]
        for path in made:
            with suppress(FileNotFoundError):
                self._give(f"{self._directory}/{path}")

    # --- Keeping ---------------------------------------------------------------------------

    def _names(self, path: str) -> list[str]:
        try:
            return self._disk.names(f"{self._directory}/{path}")
        except FileNotFoundError:
            return []

    def _give(self, path: str) -> None:
        if os.geteuid() == 0:
            # Whoever may write here could have laid a link to anything.
            os.chown(path, *self._owner, follow_symlinks=False)

    def _path(self, finding: Finding) -> str:
        return f"{self._directory}/{finding.path}"

    def _place(self, name: str) -> str:
        """Give a path in ``damaged/`` at which nothing is."""
        folder = f"{self._directory}/{DAMAGED}"
        if not os.path.lexists(folder):
            self._disk.make_directory(folder)
            self._disk.sync_directory(self._directory)
        self._give(folder)
        path, count = f"{folder}/{name}", 0
        while os.path.lexists(path):
            count += 1
            path = f"{folder}/{name}.{count}"
        return path

    def _put_away(self, finding: Finding) -> None:
        """Move something to ``damaged/``."""
        path = self._path(finding)
        os.rename(path, self._place(_flat(finding.path)))
        self._tidy(path)

    def _tidy(self, path: str) -> None:
        """Remove the directories of a job's file, if nothing is left in them."""
        with suppress(OSError):
            while (path := os.path.dirname(path)) != self._directory:
                self._disk.remove_directory(path)

    def _write(self, path: str, pieces: Iterable[bytes]) -> None:
        """Make a file, durably."""
        handle = self._disk.create_log(path, synced=False)
        try:
            for piece in pieces:
                self._disk.append(handle, piece)
            self._disk.sync(handle)
        finally:
            self._disk.close(handle)
        self._give(path)

    def _keep(self, name: str, pieces: Iterable[bytes]) -> None:
        """Make a file in ``damaged/`` of what is about to go, durably."""
        path = self._place(name)
        self._write(path, pieces)
        self._disk.sync_directory(os.path.dirname(path))

    def _replace(self, path: str, name: str, pieces: Iterable[bytes]) -> None:
        """Keep a file in ``damaged/`` and put another in its place, in one stroke."""
        fresh = f"{self._directory}/{DAMAGED}/new"
        kept = self._place(name)
        with suppress(FileNotFoundError):
            self._disk.remove(fresh)
        self._write(fresh, pieces)
        os.link(path, kept)
        # The power may be cut between the two, and takes names in any order.
        self._disk.sync_directory(os.path.dirname(kept))
        os.replace(fresh, path)

    def _pieces(self, path: str, ranges: Iterable[tuple[int, int]]) -> Iterable[bytes]:
        """Read parts of a file."""
        handle = self._disk.open(path)
        try:
            for offset, length in ranges:
                for begin in range(offset, offset + length, _CHUNK):
                    size = min(_CHUNK, offset + length - begin)
                    yield self._disk.read(handle, begin, size)
        finally:
            self._disk.close(handle)

    # --- What lies around --------------------------------------------------------------------

    def _misplaced(self, finding: Finding) -> None:
        target = f"{self._directory}/{finding.target}"
        if not finding.target or os.path.lexists(target):
            self._put_away(finding)
            return
        self._disk.make_directory(os.path.dirname(target))
        self._give(os.path.dirname(os.path.dirname(target)))
        self._give(os.path.dirname(target))
        os.rename(self._path(finding), target)
        self._tidy(self._path(finding))

    def _empty_directory(self, finding: Finding) -> None:
        with suppress(FileNotFoundError):
            self._disk.remove_directory(self._path(finding))
        self._tidy(self._path(finding))

    def _permissions(self, finding: Finding) -> None:
        path = self._path(finding)
        if os.path.islink(path):
            raise OSError(errno.EPERM, "it is a link, and what that leads to is left alone", path)
        mode = 0o700 if stat.S_ISDIR(os.stat(path).st_mode) else 0o600
        if os.geteuid() != 0:
            os.chmod(path, mode)
            return
        # By its handle, lest it become a link to something else meanwhile.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.fchmod(handle, mode)
            os.fchown(handle, *self._owner)
        finally:
            os.close(handle)

    # --- Jobs' files -------------------------------------------------------------------------

    def _examine(self, finding: Finding) -> Anatomy:
        handle = self._disk.open(self._path(finding))
        try:
            return examine(lambda offset, size: self._disk.read(handle, offset, size))
        finally:
            self._disk.close(handle)

    def _torn_line(self, finding: Finding) -> None:
        path = self._path(finding)
        found = self._examine(finding)
        if found.torn_at is None:
            return
        torn = [(found.torn_at, found.length - found.torn_at)]
        self._keep(f"torn-{finding.job}", self._pieces(path, torn))
        self._disk.truncate(path, found.torn_at)

    def _rewrite(self, finding: Finding) -> None:
        path = self._path(finding)
        found = self._examine(finding)
        if found.damaged or not os.path.lexists(f"{self._directory}/{DAMAGED}/{finding.job}"):
            self._replace(path, finding.job, self._pieces(path, found.kept))

    def _no_end(self, finding: Finding) -> None:
        found = self._examine(finding)
        if found.ended_at is not None or found.torn_at is not None:
            return
        ending = Failed.because(MissingResult(_LOST))
        line = fact_line(Ended(ending, found.last_time))
        self._disk.write_at(self._path(finding), found.length, line, create=False)

    def _serial_twice(self, finding: Finding) -> None:
        path = self._path(finding)
        found = self._examine(finding)
        if found.head is None:
            return
        head = head_line(found.head.job_id, self._next_serial, found.head.submitted)
        self._next_serial += 1
        (_, first), *rest = found.kept
        length = self._line_length(path)
        follow = self._pieces(path, [(length, first - length), *rest])
        self._replace(path, f"numbered-{finding.job}", [head, *follow])

    def _line_length(self, path: str) -> int:
        handle = self._disk.open(path)
        try:
            data = self._disk.read(handle, 0, _CHUNK)
            while b"\n" not in data:
                data += self._disk.read(handle, len(data), _CHUNK)
            return data.index(b"\n") + 1
        finally:
            self._disk.close(handle)

    def _disagrees(self, finding: Finding) -> None:
        """Keep a copy: a start writes into the file itself."""
        path = self._path(finding)
        whole = [(0, self._disk.size(path) or 0)]
        self._keep(f"file-{finding.job}", self._pieces(path, whole))

    # --- The journal -------------------------------------------------------------------------

    def _keep_segments(self, finding: Finding) -> None:
        if self._has_kept_segments:
            return
        for name in self._names(JOURNAL):
            number = segment_number(name)
            if number is not None:
                os.link(segment_path(self._directory, number), self._place(name))
        self._has_kept_segments = True

    def _segment_unknown(self, finding: Finding) -> None:
        """Give a segment the name that its header says, if it is free."""
        path = self._path(finding)
        first = next(entries(self._disk, path), None)
        found = None if first is None else parse_header(first)
        if found is not None and not os.path.lexists(segment_path(self._directory, found.number)):
            os.rename(path, segment_path(self._directory, found.number))
        else:
            self._put_away(finding)

    def _segment_damaged(self, finding: Finding) -> None:
        path = self._path(finding)
        number = segment_number(os.path.basename(path)) or 0
        begin = [] if finding.at else [header(number, self._next_serial, {})]
        behind = (
            entry(one.job_id, one.offset, one.line)
            for one in whole_entries(self._disk, path, finding.at, finding.until)
            if is_job_id(one.job_id)
        )
        before = self._pieces(path, [(0, finding.at)])
        self._replace(path, os.path.basename(path), chain(begin, before, behind))


def _flat(path: str) -> str:
    """Give a name for something that is kept: a job's id if its place says which job it is."""
    parts = path.split("/")
    job_id = job_id_at(*parts) if len(parts) == 3 else None
    return job_id or "-".join(parts)
