"""The jobs in hand, their lines that aren't filed yet, and the way to read any job.

Lines are filed lazily and without a sync (the journal has them): when their job has ended, when a
job's tail has grown, when all tails together have, and at a checkpoint.  No file is kept open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.interfaces import Ended, Fact
from harpcaller.logs.events import EventLog
from harpcaller.store.disk import Disk
from harpcaller.store.files import Content, ended, opened, status
from harpcaller.store.layout import job_path
from harpcaller.store.living import LivingJob
from harpcaller.store.recent import Recent
from harpcaller.store.recovery import write_lines
from harpcaller.wire.client import JobId
from harpcaller.wire.client_answers import JobStatus
from harpcaller.wire.ending import Ending, Failed, Raised, Returned

_T = TypeVar("_T")

#: So many jobs that have ended may wait for the journal's rest to be filed, and so many are filed
#: in it at once.
MOST_ENDED = 64
SLICE = 8


class Shelf:
    """Jobs in hand.

    Args:
        disk: Where the files are.
        directory: The store's.
        log: Where trouble is told.
        job_bytes: How long one job's tail may become.
        all_bytes: How long all tails together may become.
        recent_bytes: How much may be remembered of what was told last.
    """

    def __init__(
        self,
        disk: Disk,
        directory: str,
        log: EventLog,
        *,
        job_bytes: int,
        all_bytes: int,
        recent_bytes: int,
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._log = log
        self._job_bytes = job_bytes
        self._all_bytes = all_bytes
        self._jobs: dict[JobId, LivingJob] = {}
        self._tailed: dict[JobId, LivingJob] = {}  # those with a tail, the oldest tail first
        self._bytes = 0  # of all tails
        self._grown: list[LivingJob] = []  # whose tail is too long
        self._ended: deque[LivingJob] = deque()
        self._in_trouble = False
        self._aside: list[JobId] = []
        self._endings: Recent[Ending] = Recent(recent_bytes)
        self._statuses: Recent[JobStatus] = Recent(recent_bytes)

    # --- Jobs ----------------------------------------------------------------------------

    def get(self, job_id: JobId) -> LivingJob | None:
        """Give a job that is in hand."""
        return self._jobs.get(job_id)

    def put(self, job: LivingJob) -> None:
        """Take a job in hand."""
        self._jobs[job.job_id] = job

    def drop(self, job: LivingJob) -> None:
        """Let go of a job of which nothing is durable."""
        del self._jobs[job.job_id]

    def has_file(self, job_id: JobId) -> bool:
        """Tell whether a job of this id was ever filed.

        Raises:
            InvalidJobId: It isn't a job id.
        """
        return self._disk.size(job_path(self._directory, job_id)) is not None

    def in_hand(self) -> Iterator[JobId]:
        """Give the ids of all jobs in hand."""
        return iter(list(self._jobs))

    def set_aside(self, unread: Sequence[JobId]) -> None:
        """Remember jobs that can't be read, so that the next start looks at them again."""
        self._aside = list(unread)

    def living(self) -> list[JobId]:
        """Give the ids of the jobs that have not durably ended, or nobody knows."""
        found = [job.job_id for job in self._jobs.values() if job.ended_at is None and job.durable]
        return found + self._aside

    # --- Filing --------------------------------------------------------------------------

    def keep(self, job: LivingJob, facts: Sequence[Fact], lines: bytes) -> None:
        """Note that a fact is durable, or records; :meth:`file_due` may then have work."""
        job.keep(facts, lines)
        self._tailed[job.job_id] = job
        self._bytes += len(lines)
        fact = facts[0]
        if isinstance(fact, Ended):
            self._ended.append(job)
            if isinstance(fact.ending, Returned):  # others may be written a little differently
                self._endings.put(job.job_id, fact.ending, _carried(fact.ending))
        elif len(job.tail) > self._job_bytes:
            self._grown.append(job)

    def file_due(self, *, at_rest: bool) -> bool:
        """File what should wait no longer; what can't be filed waits on in memory.

        A file system that is syncing the journal keeps those waiting who make files meanwhile, and
        with us everybody.  So jobs that have ended are filed between two syncs, a few at once,
        unless too many wait for that.

        Args:
            at_rest: Whether nothing is synced now.

        Returns:
            Whether some wait for a rest.
        """
        grown, self._grown = self._grown, []
        for job in grown:
            self._try_to_file(job)
        waiting = len(self._ended)
        for _ in range(max(waiting - MOST_ENDED, min(waiting, SLICE) if at_rest else 0)):
            self._try_to_file(self._ended.popleft())
        while self._bytes > self._all_bytes:
            if not self._try_to_file(next(iter(self._tailed.values()))):
                break
        return bool(self._ended)

    def file(self, job: LivingJob) -> None:
        """Write a job's tail to its file; a job that has ended leaves our hands with that.

        Raises:
            OSError: It can't be written now.
        """
        if self._tailed.get(job.job_id) is not job:
            return
        write_lines(self._disk, self._directory, job.job_id, job.filed, bytes(job.tail))
        del self._tailed[job.job_id]
        self._bytes -= len(job.tail)
        job.file()
        if job.ended_at is not None:
            del self._jobs[job.job_id]

    def tailed(self) -> list[LivingJob]:
        """Give the jobs that have a tail, the oldest tail first."""
        return list(self._tailed.values())

    def _try_to_file(self, job: LivingJob) -> bool:
        try:
            self.file(job)
        except OSError as error:
            if not self._in_trouble:
                self._in_trouble = True
                self._log.warn("store.not_filed", job=job.job_id, error=error.strerror)
            return False
        self._in_trouble = False
        return True

    # --- Reading -------------------------------------------------------------------------

    def look(self, job_id: JobId, look: Callable[[Content], _T]) -> _T:
        """Read a job.

        Args:
            job_id: Which.
            look: Reads what it wants to know.

        Raises:
            InvalidJobId: There is none.
            StorageError: It can't be read.
        """
        job = self._jobs.get(job_id)
        if job is not None and job.durable == 0:
            raise InvalidJobId("no job has this id")
        filed, tail = (None, b"") if job is None else (job.filed, job.tail)
        with opened(self._disk, self._directory, job_id, filed, tail) as content:
            return look(content)

    def ending(self, job_id: JobId) -> Ending | None:
        """Tell how a job ended; None while it hasn't.

        Raises:
            InvalidJobId: There is none.
            StorageError: It can't be read, or has no end and will have none.
        """
        known = self._endings.get(job_id)
        if known is not None:
            return known
        fact = self.look(job_id, ended)
        if fact is None:
            self.refuse_stray(job_id)
            return None
        self._endings.put(job_id, fact.ending, _carried(fact.ending))
        return fact.ending

    def refuse_stray(self, job_id: JobId) -> None:
        """Refuse to say "not ended" of a job that nobody will ever end.

        Raises:
            StorageError: It isn't in hand.
        """
        if job_id not in self._jobs:
            raise StorageError("the job's file is damaged: it has no end")

    def status(self, job_id: JobId) -> JobStatus:
        """Tell what a job is and how far it came.

        Raises:
            InvalidJobId: There is none.
            StorageError: It can't be read.
        """
        known = self._statuses.get(job_id)
        if known is None:
            known = self.look(job_id, status)
            if known.ended_at is not None:
                self._statuses.put(job_id, known, known.carried)
        return known

    def forget(self, job_id: JobId) -> None:
        """Hear that a job is no more."""
        self._endings.forget(job_id)
        self._statuses.forget(job_id)


def _carried(ending: Ending) -> int:
    if isinstance(ending, Returned):
        return len(ending.value)
    if isinstance(ending, (Raised, Failed)):
        return len(ending.type) + len(ending.message) + len(ending.data or b"")
    return 0
