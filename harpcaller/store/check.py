"""Finding every kind of damage in a store that no daemon uses; nothing is changed.

The order is that of a start: first what the journal tells, then the jobs' files as they will be
when that is written, then the index.  A state that a start mends by itself (a file that lacks
lines which the journal has, an entry that was torn when the power was cut) is no damage.
Memory is bounded by the journal's length, not by the number of jobs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.store.anatomy import Anatomy, examine
from harpcaller.store.disk import Disk
from harpcaller.store.evidence import Evidence, Patched, read_journal
from harpcaller.store.findings import DAMAGED, Finding
from harpcaller.store.identity import read_identity
from harpcaller.store.layout import INDEX, JOURNAL, is_job_id, job_path
from harpcaller.store.ledger import Ledger
from harpcaller.store.premises import JobFile, Premises, is_store
from harpcaller.store.rows import Columns, columns_of
from harpcaller.wire.client import JobId

_PAGE = 1 << 15


class Numbers:
    """Numbers that were met, in memory that grows with their spread and not with their count."""

    def __init__(self) -> None:
        self._pages: dict[int, bytearray] = {}

    def meet(self, number: int) -> bool:
        """Note a number; tell whether it was met before."""
        page = self._pages.setdefault(number // _PAGE, bytearray(_PAGE // 8))
        byte, bit = divmod(number % _PAGE, 8)
        met = bool(page[byte] & 1 << bit)
        page[byte] |= 1 << bit
        return met


class Check:
    """One look at a store.

    Args:
        disk: How files are read.
        directory: The store's.

    Raises:
        StorageError: It isn't a store.
        OSError: It can't be read.
    """

    def __init__(self, disk: Disk, directory: str) -> None:
        self._disk = disk
        self._directory = directory
        self._premises = Premises(disk, directory)
        if not is_store(disk, directory):
            raise StorageError(f"{directory}: nothing here looks like a store of jobs")
        #: How many jobs there are.
        self.jobs = 0
        self._serials = Numbers()
        self._highest = 0
        self._salvaged: set[str] = set()
        self._missing: set[JobId] = set()
        self._journal = Evidence()

    @property
    def next_serial(self) -> int:
        """Give a number that no job has, as far as the run has come."""
        return max(self._highest + 1, self._journal.serial)

    def is_told(self, job_id: str) -> bool:
        """Tell whether the journal has lines of a job, or tells that it was pruned."""
        return job_id in self._journal.runs or job_id in self._journal.pruned

    def run(self) -> Iterator[Finding]:
        """Look at everything.

        Raises:
            OSError: A directory or the journal can't be read.
        """
        self._salvaged = _salvaged(self._disk, self._directory)
        self._journal = read_journal(self._disk, self._directory)
        self._missing = set(self._journal.living or ())
        yield from self._journal.findings
        ledger = Ledger(
            f"{self._directory}/{INDEX}",
            identity=read_identity(self._disk, self._directory),
            first=self._journal.first,
            last=self._journal.last,
            is_told=self.is_told,
        )
        with closing(ledger):
            if ledger.finding is not None and ledger.finding.kind != "index_missing":
                yield ledger.finding
            try:
                yield from self._files(ledger)
                yield from ledger.finish()
            except sqlite3.Error as error:
                yield Finding("index_damaged", INDEX, str(error))
        yield from self._without_file()
        if self.jobs and ledger.finding is not None and ledger.finding.kind == "index_missing":
            yield ledger.finding
        if self.jobs and self._journal.is_missing:
            yield Finding("journal_missing", JOURNAL, "there is none, but there are jobs")
        elif self.jobs and self._journal.living is None:
            yield Finding("journal_missing", JOURNAL, "no list of living jobs is there and whole")

    def _files(self, ledger: Ledger) -> Iterator[Finding]:
        awaited = {job_id[:size] for job_id in self._journal.runs for size in (2, 4)}
        for each in self._premises.walk():
            if isinstance(each, Finding):
                # A start may be about to write into an empty directory.
                if each.kind != "empty_directory" or each.path.replace("/", "") not in awaited:
                    yield each
            elif each.job_id not in self._journal.pruned:
                yield from self._job(each, ledger)

    def _job(self, file: JobFile, ledger: Ledger) -> Iterator[Finding]:
        self.jobs += 1
        self._missing.discard(file.job_id)
        try:
            handle = self._disk.open(f"{self._directory}/{file.path}")
            try:
                findings, columns = self._content(file, handle)
            finally:
                self._disk.close(handle)
        except OSError as error:
            text = error.strerror or str(error)
            findings, columns = [Finding("unreadable", file.path, text, file.job_id)], None
        yield from findings
        if not any(finding.kind == "misplaced" for finding in findings):
            yield from ledger.take(file.job_id, columns)

    def _without_file(self) -> Iterator[Finding]:
        """Look at the jobs of which only the journal tells."""
        for job_id in sorted(self._journal.runs):
            path = job_path("", job_id)[1:]
            if self._disk.size(f"{self._directory}/{path}") is None:
                self.jobs += 1
                self._missing.discard(job_id)
                yield from self._content(JobFile(job_id, path), None)[0]
        for job_id in sorted(self._missing):
            detail = "a job that hasn't ended should be here"
            yield Finding("missing_file", job_path("", job_id)[1:], detail, job_id)

    def _content(self, file: JobFile, handle: int | None) -> tuple[list[Finding], Columns | None]:
        """Look at one job.

        Returns:
            What is wrong with it, and what its row in the index should be, if that is known.
        """
        content = Patched(self._disk, handle, self._journal.runs.get(file.job_id, []))
        findings = []

        def found(kind: str, detail: str, at: int = 0, target: str = "") -> None:
            findings.append(Finding(kind, file.path, detail, file.job_id, target, at))

        if content.gap_at is not None:
            found("gap", f"the journal has more, but not what stands at byte {content.gap_at}")
        elif (at := content.disagrees_at()) is not None:
            found("disagrees", f"the journal has something else at byte {at}")
        anatomy = examine(content.read)
        head = anatomy.head
        if head is None:
            if anatomy.is_newer:
                found("newer_format", anatomy.damage[0])
            elif content.gap_at is None or content.length:
                found("headless", anatomy.damage[0] if anatomy.damage else "there is no whole line")
            return findings, None
        if head.job_id != file.job_id:
            found("misplaced", f"it is job {head.job_id}", target=_path_of(head.job_id))
            return findings, None
        for kind, detail, at in self._flaws(file.job_id, anatomy):
            found(kind, detail, at)
        if self._serials.meet(head.serial):
            found("serial_twice", f"another job has the number {head.serial}, too")
        self._highest = max(self._highest, head.serial)
        submitted = head.submitted
        return findings, columns_of(
            head.serial, head.job_id, submitted.call, submitted.at,
            anatomy.started_at, anatomy.ended_at,
        )  # fmt: skip

    def _flaws(self, job_id: JobId, anatomy: Anatomy) -> Iterator[tuple[str, str, int]]:
        if anatomy.torn_at is not None:
            size = anatomy.length - anatomy.torn_at
            yield "torn_line", f"{size} bytes follow the last whole line", anatomy.torn_at
        if anatomy.damaged:
            more = anatomy.damaged - len(anatomy.damage)
            text = "; ".join(anatomy.damage) + (f"; and {more} more" if more else "")
            yield "damaged_lines", text, 0
        if anatomy.missing and job_id not in self._salvaged:
            yield "records_missing", f"missing: {', '.join(anatomy.missing)}", 0
        living = self._journal.living
        if anatomy.ended_at is None and living is not None and job_id not in living:
            yield "no_end", "the job isn't known to live, but has no end", 0


def _path_of(job_id: JobId) -> str:
    try:
        return job_path("", job_id)[1:]
    except InvalidJobId:
        return ""


def _salvaged(disk: Disk, directory: str) -> set[str]:
    """Give the jobs whose files were replaced, in part, by an earlier repair."""
    try:
        names = disk.names(f"{directory}/{DAMAGED}")
    except FileNotFoundError:
        return set()
    return {name[:36] for name in names if is_job_id(name[:36])}
