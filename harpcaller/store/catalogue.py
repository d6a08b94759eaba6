"""Lists of jobs: the index, and making it anew from the jobs' files when it was lost.

While it is being made anew, lists have the jobs that were reached so far (and all that
came since the start), and pruning sees no others: both are whole again when
``store.index_complete`` is logged.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import TypeVar

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.interfaces import StoredJob
from harpcaller.logs.events import EventLog
from harpcaller.store.background import Background
from harpcaller.store.disk import Disk
from harpcaller.store.files import Summary, is_passing, status, summary
from harpcaller.store.index import Index, IndexLost, shrink
from harpcaller.store.lane import Lane, in_lane
from harpcaller.store.layout import INDEX
from harpcaller.store.recovery import all_jobs
from harpcaller.store.rows import Row
from harpcaller.store.shelf import Shelf
from harpcaller.wire.client import JobId

_T = TypeVar("_T")

# After so many rows it is looked whether the index's log is to be shortened.
_MOST_ROWS = 200
# So long may it become, in bytes.
MOST_LOG = 32 * 1024 * 1024
# After a failure it is begun anew so much later, in seconds.
_RETRY_SECONDS = 30.0


class Catalogue:
    """The jobs that there are.

    Args:
        index: What is asked; wholly ours from now on, but for telling it of changes.
        disk: Where the jobs' files are.
        directory: The store's.
        shelf: Through which jobs are read.
        background: In which the index is made anew.
        log: Where that is told.
    """

    def __init__(
        self,
        index: Index,
        disk: Disk,
        directory: str,
        shelf: Shelf,
        background: Background,
        log: EventLog,
    ) -> None:
        self._index = index
        self._disk = disk
        self._directory = directory
        self._shelf = shelf
        self._background = background
        self._log = log
        self._is_rebuilding = False
        self._was_lost = False  # while it was being made anew
        #: Where waiting for the disk is done, once the store is open.
        self.lane: Lane | None = None

    def jobs(self, after: int, limit: int) -> tuple[Sequence[StoredJob], int]:
        """See :meth:`IJobStore.jobs`.

        Raises:
            StorageError: The index can't be read.
        """
        while rows := self._page(after, limit):
            after = rows[-1].serial
            listed = [job for job in map(self._listed, rows) if job is not None]
            # A page of nothing but damaged jobs isn't the end of the list.
            if listed:
                return listed, after
        return [], after

    def _page(self, after: int, limit: int) -> Sequence[Row]:
        return self._ask(lambda: self._index.page(after, limit))

    def due(
        self, before: float, after: tuple[float, int], limit: int
    ) -> Sequence[tuple[float, int, JobId]]:
        """Give end, serial and id of jobs that ended before a time, in that order.

        Raises:
            StorageError: The index can't be read.
        """
        return self._ask(lambda: self._index.ended_before(before, after, limit))

    def next_serial(self) -> int:
        """Give a number greater than that of any job in the index, 1 if that isn't known."""
        try:
            return self._ask(self._index.next_serial)
        except StorageError:
            return 1

    def forget_lost(self, serial: int) -> None:
        """Take out the jobs from this serial on that have no file.

        Without syncs a power cut may leave more of the index than of the journal.
        """
        after = serial - 1
        with suppress(StorageError):
            while rows := self._page(after, _MOST_ROWS):
                after = rows[-1].serial
                for row in rows:
                    if not self._shelf.has_file(row.job_id):
                        self._index.remove(row.serial)

    def flush(self) -> bool:
        """Hand what is gathered to the system; False if it must be gathered on."""
        try:
            self._ask(self._index.flush)
        except StorageError:
            return not self._index.is_complete
        return True

    def settled(self, segment: int) -> None:
        """Note that the journal will begin with this segment once the index is flushed."""
        self._index.settled(segment)

    async def keep_short(self) -> None:
        """Wait until the index's log is moved into the index proper, if it has grown.

        Every change of a page makes it longer, and it lives on until the next checkpoint.
        """
        path = f"{self._directory}/{INDEX}"
        with suppress(sqlite3.Error, OSError):
            # It only gets longer until the next time.
            if self.lane is not None and (self._disk.size(f"{path}-wal") or 0) > MOST_LOG:
                await in_lane(self.lane, lambda: shrink(self._disk, path))

    def distrust(self) -> None:
        """Make the index anew: what was written of it may be lost, and SQLite doesn't know."""
        with suppress(StorageError):
            self._ask(self._lose)

    def _lose(self) -> None:
        raise IndexLost("a sync failed")

    def complete(self) -> None:
        """Make the index anew in the background, if it isn't complete."""
        if not self._index.is_complete and not self._is_rebuilding:
            self._is_rebuilding = True
            self._background.start(self._rebuild(), "store.index_bug")

    def add(self, found: Summary) -> None:
        """Put a job in as its file has it."""
        submitted = found.head.submitted
        self._index.add(
            found.head.serial,
            found.head.job_id,
            submitted.call,
            submitted.at,
            found.started_at,
            found.ended_at,
        )
        self._index.write_if_many()

    def _listed(self, row: Row) -> StoredJob | None:
        if row.status is not None:
            return StoredJob(row.job_id, row.status)
        try:
            return StoredJob(row.job_id, self._shelf.look(row.job_id, status))
        except (InvalidJobId, StorageError) as error:
            self._log.warn("store.unlisted", job=row.job_id, error=error.message)
            return None

    def _ask(self, question: Callable[[], _T]) -> _T:
        try:
            return question()
        except sqlite3.OperationalError as error:
            raise StorageError(f"the index of jobs can't be used now: {error}") from None
        except IndexLost as error:
            self._log.error("store.index_lost", error=str(error))
            self._was_lost = True
            try:
                self._index.start_over()
            except (OSError, sqlite3.Error) as worse:
                raise StorageError(f"the index of jobs can't be made anew: {worse}") from None
            finally:
                # If it isn't possible now, it is tried again.
                if not self._background.is_stopping:
                    self.complete()
            raise StorageError("the index of jobs was damaged, and is being made anew") from None

    async def _rebuild(self) -> None:
        self._log.info("store.index_rebuilding")
        try:
            while not self._index.is_complete and not self._background.is_stopping:
                self._was_lost = False
                try:
                    await self._walk()
                except (OSError, StorageError) as error:
                    self._log.error("store.index_not_rebuilt", error=str(error))
                    await self._background.pause(_RETRY_SECONDS)
        finally:
            self._is_rebuilding = False

    async def _walk(self) -> None:
        """Put in every job, unless the index is lost once more on the way."""
        count = 0
        pace = self._background.pace()
        is_all = True
        for job_id in self._everything():
            if count % _MOST_ROWS == 0:
                await self.keep_short()
                await pace.rest()
            else:
                await pace.step()
            count += 1
            if self._background.is_stopping or self._was_lost:
                return
            try:
                self.add(self._shelf.look(job_id, summary))
            except InvalidJobId:
                pass  # pruned meanwhile, or not durable yet
            except StorageError as error:
                if is_passing(error.__cause__):
                    raise
                is_all = is_all and not isinstance(error.__cause__, OSError)
                self._log.warn("store.damaged", job=job_id, error=error.message)
        # What the disk didn't give may be there at the next start, which looks again.
        self._ask(lambda: self._index.complete(for_good=is_all))
        self._log.info("store.index_complete", jobs=count)

    def _everything(self) -> Iterator[JobId]:
        return chain(self._shelf.in_hand(), all_jobs(self._disk, self._directory))
