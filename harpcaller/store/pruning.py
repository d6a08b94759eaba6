"""Forgetting jobs that ended long ago.

A job's pruning is written to the journal before its file is removed: a removed name may come back
after a power cut, and an older entry of the journal must not make the file again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.internet.defer import Deferred

from harpcaller.interfaces import Pruned
from harpcaller.logs.events import EventLog
from harpcaller.store.background import Background
from harpcaller.store.catalogue import Catalogue
from harpcaller.store.disk import Disk
from harpcaller.store.index import Index
from harpcaller.store.recovery import remove_job
from harpcaller.store.shelf import Shelf
from harpcaller.wire.client import JobId

# So many jobs are announced at once.
_SLICE = 50


class Pruning:
    """Removes jobs.

    Args:
        disk: Where their files are.
        directory: The store's.
        shelf: Jobs in hand are left alone.
        index: What is removed is told to it.
        catalogue: Knows when jobs ended.
        synced: Waits until all that can be read is durable in the journal.
        announce: Writes durably that these jobs are forgotten.
        background: Where turns are taken.
        log: Where failures are told.
    """

    def __init__(
        self,
        disk: Disk,
        directory: str,
        *,
        shelf: Shelf,
        index: Index,
        catalogue: Catalogue,
        synced: Callable[[], Deferred[None]],
        announce: Callable[[Sequence[tuple[JobId, int]]], Deferred[None]],
        background: Background,
        log: EventLog,
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._shelf = shelf
        self._index = index
        self._catalogue = catalogue
        self._synced = synced
        self._announce = announce
        self._background = background
        self._log = log

    async def prune(self, ended_before: float) -> Pruned:
        """Remove the jobs that ended before a time; it ends early when the store closes.

        Raises:
            StorageError: The index can't be read, or the journal not written.
        """
        removed = failed = 0
        position = (float("-inf"), 0)
        pace = self._background.pace()
        while not self._background.is_stopping:
            found = self._catalogue.due(ended_before, position, _SLICE)
            if not found:
                break
            position = found[-1][:2]
            if any(self._shelf.get(job_id) for _, _, job_id in found):
                await self._synced()
            jobs = [(job_id, serial) for _, serial, job_id in found if self._is_filed(job_id)]
            if jobs:
                await self._announce(jobs)
                await pace.rest()
            for job_id, serial in jobs:
                try:
                    remove_job(self._disk, self._directory, job_id)
                except OSError as error:
                    failed += 1
                    self._log.warn("store.not_pruned", job=job_id, error=error.strerror)
                else:
                    removed += 1
                    self._index.remove(serial)
                self._shelf.forget(job_id)
                await pace.step()
            await self._catalogue.keep_short()
            await pace.rest()
        self._log.info("store.pruned", removed=removed, failed=failed)
        return Pruned(removed, failed)

    def _is_filed(self, job_id: JobId) -> bool:
        """Make sure that a job isn't in hand; one that can't be filed is for the next time."""
        job = self._shelf.get(job_id)
        if job is None:
            return True
        try:
            self._shelf.file(job)
        except OSError:
            return False
        return self._shelf.get(job_id) is None
