"""Taking a store over: the lock, the replay, and the jobs that hadn't ended."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.interfaces import LeftOver
from harpcaller.logs.events import EventLog
from harpcaller.store.catalogue import Catalogue
from harpcaller.store.disk import Disk
from harpcaller.store.files import Content, Summary, ended_at, head, is_passing, opened, summary
from harpcaller.store.index import Index
from harpcaller.store.layout import LOCK, job_path
from harpcaller.store.living import LivingJob
from harpcaller.store.recovery import (
    Replayed,
    all_jobs,
    remove_job,
    remove_segments,
    replay,
)
from harpcaller.store.roster import write_living
from harpcaller.store.segments import SegmentWriter
from harpcaller.wire.client import JobId


def take_lock(disk: Disk, directory: str) -> int:
    """Make sure that nobody else uses the store until the handle is closed.

    Raises:
        StorageError: Somebody does.
    """
    path = f"{directory}/{LOCK}"
    try:
        return disk.lock(path)
    except BlockingIOError:
        handle = disk.open(path)
        try:
            owner = disk.read(handle, 0, 20).decode("ascii", "replace").strip()
        finally:
            disk.close(handle)
        raise StorageError(
            f"{directory}: the store is in use by another daemon (process {owner or 'unknown'})"
        ) from None


@attrs.define
class Recovered:
    """A store as it was found.

    Attributes:
        left_over: The jobs that had not ended, in order of submission.
        jobs: The same, as the store has them in hand.
        unread: Jobs that may not have ended either, but can't be read now.
        serial: The next submission's.
        segment: The last segment number in use.
    """

    left_over: Sequence[LeftOver]
    jobs: Sequence[LivingJob]
    unread: Sequence[JobId]
    serial: int
    segment: int
    _disk: Disk
    _directory: str

    def settle(self, writer: SegmentWriter) -> None:
        """Begin a new segment, and drop the older ones; what they tell must be safe by now.

        Raises:
            OSError: It didn't work; the older ones are still there, or not needed.
        """
        number = writer.write((), serial=self.serial).number
        living = [*(job.job_id for job in self.jobs), *self.unread]
        write_living(self._disk, self._directory, number, living)
        remove_segments(self._disk, self._directory, number)


def recover(
    disk: Disk,
    directory: str,
    tree: int,
    identity: str,
    index: Index,
    catalogue: Catalogue,
    log: EventLog,
) -> Recovered:
    """Bring files and index up to what the journal tells, durably.

    Args:
        disk: Where everything is.
        directory: The store's.
        tree: Its handle, opened before anything was written.
        identity: The store's.
        index: Told what changed; thrown away if it isn't this store's, or is of another time.
        catalogue: Likewise.
        log: Where damage is told.

    Raises:
        OSError: It can't be done; trying again later loses nothing.
    """
    # What a killed daemon had written, but not synced, is read as well.  No file is made of it
    # before it is durable: a power cut could leave the file and take the journal.
    disk.sync_tree(tree)
    replayed = replay(disk, directory, log)
    submitted = replayed.serial  # as far as the journal knows
    # An index that came from a backup may still be the one to know which numbers are used.
    replayed.serial = max(replayed.serial, catalogue.next_serial())
    index.adopt(identity, replayed.first, replayed.last)
    for serial in replayed.pruned.values():
        index.remove(serial)
    if replayed.living is None or not (replayed.segments or index.is_complete):
        _look_at_every_job(disk, directory, replayed, log)
    living = replayed.living or {}
    found: list[Summary] = []
    unread: list[JobId] = []
    for job_id in {**living, **replayed.touched}:
        one = _take_up(disk, directory, job_id, unread, log)
        if one is None:
            continue
        if job_id in replayed.touched or one.ended_at is None:
            catalogue.add(one)
        submitted = max(submitted, one.head.serial + 1)
        replayed.serial = max(replayed.serial, one.head.serial + 1)
        if one.ended_at is None:
            found.append(one)
    found.sort(key=lambda one: one.head.serial)
    if replayed.segments:
        catalogue.forget_lost(submitted)
    if not catalogue.flush():
        raise OSError("the index of jobs can't be written")
    index.fold()
    disk.sync_tree(tree)
    return Recovered(
        [_left_over(one) for one in found],
        [_in_hand(one) for one in found],
        [job_id for job_id in unread if job_id in living],
        max(replayed.serial, catalogue.next_serial()),
        replayed.last,
        disk,
        directory,
    )


def _look_at_every_job(disk: Disk, directory: str, replayed: Replayed, log: EventLog) -> None:
    """Find out what the journal doesn't tell: which jobs live, or which number is the next.

    Without a list of living jobs it is a new store, or one whose journal was lost. Without a
    segment the daemon before us died while the disk was full, and took back the only one.
    """
    log.info("store.looking_at_every_job")
    found: dict[JobId, None] = {}
    for job_id in all_jobs(disk, directory):
        try:
            with opened(disk, directory, job_id, None, b"") as content:
                serial, end = _serial_and_end(content)
        except (StorageError, InvalidJobId):
            end, serial = None, 0  # looked at again, and told of, when it is taken up
        replayed.serial = max(replayed.serial, serial + 1)
        if end is None:
            found[job_id] = None
    if replayed.living is None:
        replayed.living = found


def _serial_and_end(content: Content) -> tuple[int, float | None]:
    return head(content)[0].serial, ended_at(content)


def _take_up(
    disk: Disk, directory: str, job_id: JobId, unread: list[JobId], log: EventLog
) -> Summary | None:
    """Repair a job's file and read what it tells, None if there is none or it can't be read.

    Args:
        disk: Where it is.
        directory: The store's.
        job_id: Which job.
        unread: Told of a file that can't be read.
        log: Where damage is told.

    Raises:
        OSError: The system has no room for any file now.
    """
    try:
        with opened(disk, directory, job_id, None, b"") as content:
            torn = content.leave_out_torn_line()
            if torn:
                disk.truncate(job_path(directory, job_id), content.length)
                log.warn("store.torn_line", job=job_id, bytes=torn)
            if content.length > 0:
                return summary(content)
        # Not even its head was written: it was never acknowledged.
        log.warn("store.headless", job=job_id)
        remove_job(disk, directory, job_id)
    except InvalidJobId:
        log.error("store.missing", job=job_id)
    except StorageError as error:
        if isinstance(error.__cause__, OSError) and is_passing(error.__cause__):
            raise error.__cause__ from None
        log.error("store.damaged", job=job_id, error=error.message)
        unread.append(job_id)
    except OSError as error:
        log.error("store.damaged", job=job_id, error=error.strerror or str(error))
        unread.append(job_id)
    return None


def _left_over(one: Summary) -> LeftOver:
    submitted = one.head.submitted
    return LeftOver(
        one.head.job_id,
        submitted.call,
        submitted.at,
        one.started_at,
        one.records,
        one.is_resumable,
        submitted.client,
    )


def _in_hand(one: Summary) -> LivingJob:
    return LivingJob.found(
        one.head.job_id,
        one.head.serial,
        one.length,
        one.started_at,
        one.is_resumable,
        one.records,
    )
