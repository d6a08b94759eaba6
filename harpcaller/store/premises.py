"""Going through everything that lies in a store: whose it is, who may read it, what it is.

Symbolic links are followed: somebody may have moved a part of a store to another disk.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

import attrs

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.store.disk import Disk
from harpcaller.store.findings import DAMAGED, Finding
from harpcaller.store.heads import parse_head
from harpcaller.store.layout import (
    IDENTITY,
    INDEX,
    JOURNAL,
    LOCK,
    is_level,
    job_id_at,
    job_path,
    living_number,
    segment_number,
)
from harpcaller.store.records import BadLine
from harpcaller.wire.client import JobId

FILES = frozenset({INDEX, f"{INDEX}-wal", f"{INDEX}-shm", LOCK, IDENTITY})
# File systems have one of the second name in their top directory.
_FOLDERS_LEFT_ALONE = frozenset({DAMAGED, "lost+found"})
# A head that is longer isn't looked for in a file that lies around.
_MOST_HEAD = 1024 * 1024


@attrs.frozen
class JobFile:
    """A file that is named and placed like a job's; its path is relative."""

    job_id: JobId
    path: str


def is_store(disk: Disk, directory: str) -> bool:
    """Tell whether a directory looks like a store, so that nobody else's is tidied up.

    Raises:
        OSError: It can't be read.
    """
    names = disk.names(directory)
    if {JOURNAL, INDEX, IDENTITY} & {*names}:
        return True
    return any(isinstance(each, JobFile) for each in Premises(disk, directory).walk())


class Premises:
    """A store's directory.

    Args:
        disk: How files are read.
        directory: Where it is.

    Raises:
        StorageError: It isn't a directory, or isn't there.
    """

    def __init__(self, disk: Disk, directory: str) -> None:
        self._disk = disk
        self._directory = directory
        try:
            found = os.stat(directory)
        except OSError as error:
            raise StorageError(f"{directory}: {error.strerror}") from None
        if not stat.S_ISDIR(found.st_mode):
            raise StorageError(f"{directory}: not a directory")
        self._owner = found.st_uid
        self._group = found.st_gid

    @property
    def owner(self) -> tuple[int, int]:
        """Give the user and the group to whom everything should belong."""
        return self._owner, self._group

    def walk(self) -> Iterator[Finding | JobFile]:
        """Give every job's file, in order of their ids, and what isn't as it should be.

        Raises:
            OSError: A directory can't be read.
        """
        for name in self._disk.names(self._directory):
            if name in _FOLDERS_LEFT_ALONE:
                continue
            found = self._stat(name)
            if found is None:
                yield Finding("stray", name, "a link that leads nowhere")
            elif name in FILES:
                yield from self._expect(name, found, stat.S_ISREG, "a file")
            elif name == JOURNAL:
                yield from self._expect(name, found, stat.S_ISDIR, "a directory")
                yield from self._journal()
            elif is_level(name) and stat.S_ISDIR(found.st_mode):
                yield from self._permissions(name, found)
                yield from self._first_level(name)
            else:
                yield self._stray(name, found)

    def _first_level(self, first: str) -> Iterator[Finding | JobFile]:
        names = self._names(first)
        if not names:
            yield Finding("empty_directory", first, "nothing is in it")
        for name in names:
            path = f"{first}/{name}"
            found = self._stat(path)
            if found is not None and is_level(name) and stat.S_ISDIR(found.st_mode):
                yield from self._permissions(path, found)
                yield from self._second_level(first, name)
            else:
                yield self._stray(path, found)

    def _second_level(self, first: str, second: str) -> Iterator[Finding | JobFile]:
        folder = f"{first}/{second}"
        names = self._names(folder)
        if not names:
            yield Finding("empty_directory", folder, "nothing is in it")
        for name in names:
            path = f"{folder}/{name}"
            job_id = job_id_at(first, second, name)
            found = self._stat(path)
            if job_id is None:
                yield self._stray(path, found)
            elif found is None or not stat.S_ISREG(found.st_mode):
                yield Finding("not_a_file", path, "a job's file should be here", job_id)
            else:
                yield from self._permissions(path, found, job_id)
                yield JobFile(job_id, path)

    def _journal(self) -> Iterator[Finding]:
        for name in self._names(JOURNAL):
            path = f"{JOURNAL}/{name}"
            found = self._stat(path)
            is_ours = segment_number(name) is not None or living_number(name) is not None
            if found is None or not is_ours or not stat.S_ISREG(found.st_mode):
                yield self._stray(path, found)
            else:
                yield from self._permissions(path, found)

    def _names(self, path: str) -> list[str]:
        try:
            return self._disk.names(f"{self._directory}/{path}")
        except (NotADirectoryError, FileNotFoundError):
            # Somebody may have just moved it away: we, for instance.
            return []

    def _stat(self, path: str) -> os.stat_result | None:
        try:
            return os.stat(f"{self._directory}/{path}")
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENOTDIR):
                return None
            raise

    def _expect(
        self, path: str, found: os.stat_result, is_it: object, what: str
    ) -> Iterator[Finding]:
        assert callable(is_it)
        if is_it(found.st_mode):
            yield from self._permissions(path, found)
        else:
            yield Finding("not_a_file", path, f"{what} of the store should be here")

    def _permissions(self, path: str, found: os.stat_result, job_id: str = "") -> Iterator[Finding]:
        problems = []
        needed = 0o700 if stat.S_ISDIR(found.st_mode) else 0o600
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077 or mode & needed != needed:
            problems.append(f"mode {mode:04o}, expected {needed:04o}")
        if found.st_uid != self._owner:
            problems.append(f"owned by user {found.st_uid}, expected {self._owner}")
        if problems:
            yield Finding("permissions", path, "; ".join(problems), job_id)

    def _stray(self, path: str, found: os.stat_result | None) -> Finding:
        """Look whether what lies around is a job's file in a wrong place."""
        if found is None:
            return Finding("stray", path, "a link that leads nowhere")
        if not stat.S_ISREG(found.st_mode):
            return Finding("stray", path, "nothing of the store's has this name")
        try:
            handle = self._disk.open(f"{self._directory}/{path}")
            try:
                begin = self._disk.read(handle, 0, min(found.st_size, _MOST_HEAD))
            finally:
                self._disk.close(handle)
            job_id = parse_head(begin[: begin.find(b"\n") + 1]).job_id
            target = job_path("", job_id)[1:]
        except (OSError, BadLine, InvalidJobId):
            return Finding("stray", path, "nothing of the store's has this name")
        return Finding("misplaced", path, f"it is job {job_id}", job_id, target)
