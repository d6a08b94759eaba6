"""Letting go of the journal's past: once the jobs' files are safe, it isn't needed.

A new segment begins; every tail is filed; then, in a thread of its own, one ``syncfs`` makes all
files, directories and the index durable, the list of living jobs is written for the new
segment, and the older segments go.  One sync of the file system instead of one for each file:
a segment holds a hundred thousand short jobs, and a sync takes the better part of a
millisecond.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import suppress

from twisted.internet.defer import Deferred

from harpcaller.errors import StorageError
from harpcaller.logs.events import EventLog
from harpcaller.store.background import Background
from harpcaller.store.catalogue import Catalogue
from harpcaller.store.disk import Disk
from harpcaller.store.index import shrink
from harpcaller.store.lane import Lane, in_lane
from harpcaller.store.recovery import remove_segments, replay_again
from harpcaller.store.roster import write_living
from harpcaller.store.shelf import Shelf
from harpcaller.wire.client import JobId


class Checkpoint:
    """Makes checkpoints, one at a time.

    Args:
        disk: Where everything is.
        directory: The store's.
        index: The index's path.
        tree: Handle of the store's directory, opened before anything was written.
        oldest: The oldest segment.
        every: How long a segment becomes before the next checkpoint, in bytes.
        synced: Waits until all that can be read is durable in the journal.
        roll: Begins a new segment; told the oldest, it gives the new one's number.
        length: Gives how long the segment is that is written, in bytes.
        shelf: Knows what isn't filed.
        catalogue: Knows what the index hasn't written.
        lane: Where the waiting for the disk is done.
        background: Where turns are taken.
        log: Where failures are told.
    """

    def __init__(
        self,
        disk: Disk,
        directory: str,
        *,
        index: str,
        tree: int,
        oldest: int,
        every: int,
        synced: Callable[[], Deferred[None]],
        roll: Callable[[int], Deferred[int]],
        length: Callable[[], int],
        shelf: Shelf,
        catalogue: Catalogue,
        lane: Lane,
        background: Background,
        log: EventLog,
    ) -> None:
        self._disk = disk
        self._directory = directory
        self._index = index
        self._tree = tree
        self._current = self._oldest = oldest
        self._every = self._due_at = every
        self._is_under_way = False
        self._synced = synced
        self._roll = roll
        self._length = length
        self._shelf = shelf
        self._catalogue = catalogue
        self._lane = lane
        self._background = background
        self._log = log
        self._must_repeat = False  # write the files from the journal
        self._has_lost = False  # what may be of the index, too

    def grown(self, length: int) -> None:
        """Hear how long the segment is that is written, and make a checkpoint if it's time to."""
        if length > self._due_at and not self._is_under_way:
            self._is_under_way = True
            self._background.start(self._make_in_passing(), "store.checkpoint_bug")

    async def _make_in_passing(self) -> None:
        try:
            is_made = await self.make()
        finally:
            self._is_under_way = False
        # One that failed is tried again soon, but not with every fact.
        self._due_at = self._every if is_made else self._length() + self._every // 8

    async def make(self) -> bool:
        """Make a checkpoint.

        Returns:
            Whether it worked; if not, the journal keeps its past until the next one does.
        """
        try:
            number = await self._roll(self._oldest)
            if number == self._current:
                return False
            self._current = number
            await self._file_everything()
            self._catalogue.settled(number)
            if not self._catalogue.flush():
                return False
            living = self._shelf.living()
            await in_lane(self._lane, lambda: self._settle(number, living))
        except OSError as error:
            self._log.error("store.checkpoint_failed", error=error.strerror or str(error))
            if self._has_lost:
                self._has_lost = False
                self._catalogue.distrust()
            return False
        except StorageError as error:
            self._log.error("store.checkpoint_failed", error=error.message)
            return False
        self._oldest = number
        return True

    async def _file_everything(self) -> None:
        pace = self._background.pace()
        for job in self._shelf.tailed():
            await self._synced()
            self._shelf.file(job)
            await pace.step()

    def _settle(self, number: int, living: list[JobId]) -> None:
        """Make everything durable that the segments before ``number`` tell; may block."""
        if self._must_repeat:
            # What couldn't be written back is gone from memory too: only the journal has it.
            replay_again(self._disk, self._directory, number, self._log)
        self._must_repeat = self._has_lost = True
        self._disk.sync_tree(self._tree)
        self._must_repeat = self._has_lost = False
        write_living(self._disk, self._directory, number, living)
        with suppress(sqlite3.Error):
            # It only gets longer until the next time.
            shrink(self._disk, self._index)
        remove_segments(self._disk, self._directory, number)
