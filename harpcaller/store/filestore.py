"""The store on disk: joins journal, jobs' files and index behind :class:`IJobStore`.

A fact goes to the journal; once its batch is durable it can be read, and its Deferred fires; its
line is filed some time later.  ``doc/store`` tells the whole story.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred, execute, fail, succeed
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from zope.interface import implementer

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.interfaces import (
    Fact,
    IJobStore,
    LeftOver,
    Page,
    Pruned,
    StoredJob,
)
from harpcaller.logs.events import EventLog
from harpcaller.store.background import Background
from harpcaller.store.catalogue import Catalogue
from harpcaller.store.checkpoint import Checkpoint
from harpcaller.store.disk import Disk
from harpcaller.store.files import Content, count, head, page
from harpcaller.store.identity import own_identity
from harpcaller.store.index import Index
from harpcaller.store.lane import Lane, ThreadLane
from harpcaller.store.layout import INDEX, JOURNAL
from harpcaller.store.opening import Recovered, recover, take_lock
from harpcaller.store.pruning import Pruning
from harpcaller.store.segments import SegmentWriter
from harpcaller.store.shelf import Shelf
from harpcaller.store.sizes import Durability, Sizes
from harpcaller.store.writing import Writing
from harpcaller.wire.client import Call, JobId
from harpcaller.wire.client_answers import JobStatus
from harpcaller.wire.ending import Ending

_T = TypeVar("_T")


@attrs.frozen
class _Rooms:
    """What exists while the store is open."""

    lock: int
    tree: int
    lanes: tuple[Lane, Lane]
    background: Background
    shelf: Shelf
    index: Index
    catalogue: Catalogue
    writer: SegmentWriter
    writing: Writing
    checkpoint: Checkpoint
    pruning: Pruning


@implementer(IJobStore)
class FileJobStore:
    """Jobs in a directory.

    Reads are bounded and done in the reactor's thread; waiting for the disk is for two others.

    Args:
        directory: The store's; it is made if it isn't there.
        disk: The way to it.
        clock: On which long work takes its turns.
        reactor: To which the threads report.
        durability: What :meth:`add` waits for.
        sizes: Where the bounds are.
        lane: Makes a lane of this name.
        random_bytes: Where a new store's identity comes from.
    """

    def __init__(
        self,
        directory: str,
        *,
        disk: Disk,
        clock: IReactorTime,
        reactor: IReactorFromThreads,
        durability: Durability = "full",
        sizes: Sizes | None = None,
        lane: Callable[[str, IReactorFromThreads], Lane] = ThreadLane,
        random_bytes: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._directory = os.path.abspath(directory)
        self._disk = disk
        self._clock = clock
        self._reactor = reactor
        self._durability = durability
        self._sizes = sizes or Sizes()
        self._lane = lane
        self._random_bytes = random_bytes
        self._log = EventLog("store")
        self._rooms: _Rooms | None = None
        self._is_closing = False

    # --- Opening and closing -------------------------------------------------------------

    def open(self) -> Deferred[Sequence[LeftOver]]:
        """See :meth:`IJobStore.open`; the disk is waited for, nobody is served yet.

        Raises:
            StorageError: The store is in use, or can't be read or written.
        """
        return execute(self._open)

    def _open(self) -> Sequence[LeftOver]:
        if self._rooms is not None:
            raise StorageError(f"{self._directory}: the store is open already")
        try:
            self._disk.make_directory(f"{self._directory}/{JOURNAL}")
            lock = take_lock(self._disk, self._directory)
            try:
                return self._move_in(lock)
            except BaseException:
                self._disk.close(lock)
                raise
        except (OSError, sqlite3.Error) as error:
            text = getattr(error, "strerror", None) or str(error)
            path = getattr(error, "filename", None) or self._directory
            raise StorageError(f"{path}: the store can't be opened: {text}") from error

    def _move_in(self, lock: int) -> Sequence[LeftOver]:
        disk, directory, log, sizes = self._disk, self._directory, self._log, self._sizes
        index_path = f"{directory}/{INDEX}"
        background = Background(self._clock, log)
        shelf = Shelf(
            disk,
            directory,
            log,
            job_bytes=sizes.job_tail,
            all_bytes=sizes.all_tails,
            recent_bytes=sizes.recent,
        )
        with ExitStack() as undo:
            tree = disk.open_tree(directory)
            undo.callback(disk.close, tree)
            index = Index(disk, index_path, log)
            undo.callback(index.close)
            catalogue = Catalogue(index, disk, directory, shelf, background, log)
            undo.callback(setattr, background, "is_stopping", True)
            identity = own_identity(disk, directory, self._random_bytes)
            found: Recovered = recover(disk, directory, tree, identity, index, catalogue, log)
            synced = self._durability == "full"
            writer = SegmentWriter(disk, directory, found.segment, synced=synced)
            undo.callback(_give_up, writer)
            found.settle(writer)
            undo.pop_all()
        for job in found.jobs:
            shelf.put(job)
        shelf.set_aside(found.unread)
        lanes = (
            self._lane("harpcaller journal", self._reactor),
            self._lane("harpcaller checkpoint", self._reactor),
        )
        catalogue.lane = lanes[1]
        writing = Writing(
            writer,
            lanes[0],
            serial=found.serial,
            durability=self._durability,
            shelf=shelf,
            index=index,
            grown=lambda length: checkpoint.grown(length),
            background=background,
            log=log,
        )
        checkpoint = Checkpoint(
            disk,
            directory,
            index=index_path,
            tree=tree,
            synced=writing.synced,
            oldest=writer.number,
            every=sizes.segment,
            roll=writing.journal.roll,
            length=lambda: writing.journal.length,
            shelf=shelf,
            catalogue=catalogue,
            lane=lanes[1],
            background=background,
            log=log,
        )
        pruning = Pruning(
            disk,
            directory,
            shelf=shelf,
            index=index,
            catalogue=catalogue,
            synced=writing.synced,
            announce=writing.announce_pruned,
            background=background,
            log=log,
        )
        self._rooms = _Rooms(
            lock, tree, lanes, background, shelf, index, catalogue, writer, writing, checkpoint,
            pruning,
        )  # fmt: skip
        self._is_closing = False
        catalogue.complete()
        return found.left_over

    def close(self) -> Deferred[None]:
        """See :meth:`IJobStore.close`; a store that isn't open is closed already."""
        if self._rooms is None or self._is_closing:
            return succeed(None)
        self._is_closing = True
        return Deferred.fromCoroutine(self._close(self._rooms))

    async def _close(self, rooms: _Rooms) -> None:
        try:
            await rooms.background.stop()
            await rooms.writing.journal.drained()
            await rooms.checkpoint.make()
            rooms.catalogue.flush()
        finally:
            for lane in rooms.lanes:
                lane.stop()
            _give_up(rooms.writer)
            rooms.index.close()
            self._disk.close(rooms.tree)
            self._disk.close(rooms.lock)
            self._rooms = None
            self._log.info("store.closed")

    def _opened(self) -> _Rooms:
        if self._rooms is None or self._is_closing:
            raise StorageError("the store is not open")
        return self._rooms

    # --- Writing -------------------------------------------------------------------------

    def add(self, job_id: JobId, *facts: Fact) -> Deferred[None]:
        """See :meth:`IJobStore.add`.

        It can't be cancelled: what is on its way to the disk gets there.
        """
        try:
            return self._opened().writing.add(job_id, facts)
        except (StorageError, InvalidJobId, ValueError) as error:
            return fail(error)
        except OSError as error:
            return fail(StorageError(f"the store can't be read: {error.strerror}"))

    # --- Reading -------------------------------------------------------------------------

    def call(self, job_id: JobId) -> Deferred[Call]:
        """See :meth:`IJobStore.call`."""
        return self._look(job_id, lambda content: head(content)[0].submitted.call)

    def status(self, job_id: JobId) -> Deferred[JobStatus]:
        """See :meth:`IJobStore.status`."""
        return execute(lambda: self._opened().shelf.status(job_id))

    def ending(self, job_id: JobId) -> Deferred[Ending | None]:
        """See :meth:`IJobStore.ending`."""
        return execute(lambda: self._opened().shelf.ending(job_id))

    def count(self, job_id: JobId) -> Deferred[int]:
        """See :meth:`IJobStore.count`."""
        return self._look(job_id, count)

    def read(self, job_id: JobId, since: int) -> Deferred[Page]:
        """See :meth:`IJobStore.read`."""
        sizes = self._sizes

        def look(content: Content) -> Page:
            shelf = self._opened().shelf
            job = shelf.get(job_id)
            if job is not None and job.ended_at is None and since >= job.records:
                return Page((), None)
            found = page(content, since, most_records=sizes.page_records, most_bytes=sizes.page)
            if not found.records and found.ending is None:
                shelf.refuse_stray(job_id)
            return found

        return self._look(job_id, look)

    def _look(self, job_id: JobId, look: Callable[[Content], _T]) -> Deferred[_T]:
        return execute(lambda: self._opened().shelf.look(job_id, look))

    def jobs(self, after: int, limit: int) -> Deferred[tuple[Sequence[StoredJob], int]]:
        """See :meth:`IJobStore.jobs`."""
        most = min(limit, self._sizes.list_jobs)
        try:
            rooms = self._opened()
        except StorageError as error:
            return fail(error)
        return rooms.background.run(self._jobs(rooms, after, most))

    async def _jobs(self, rooms: _Rooms, after: int, most: int) -> tuple[Sequence[StoredJob], int]:
        found = rooms.catalogue.jobs(after, most)
        # Who lists a million jobs as fast as we can must not keep others waiting.
        await rooms.background.turn()
        return found

    def prune(self, ended_before: float) -> Deferred[Pruned]:
        """See :meth:`IJobStore.prune`."""
        try:
            rooms = self._opened()
        except StorageError as error:
            return fail(error)
        return rooms.background.run(rooms.pruning.prune(ended_before))


def _give_up(writer: SegmentWriter) -> None:
    with suppress(OSError):
        writer.close()
