"""Group commit."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from twisted.internet.defer import Deferred

from harpcaller.logs.events import EventLog
from harpcaller.store import segments
from harpcaller.store.journal import Journal
from harpcaller.store.segments import SegmentWriter
from tests.house import HouseCase
from tests.store.fakes import FaultyDisk, SteppedLane
from tests.store.jobs import job


class JournalTests(HouseCase):
    """Who waits, for what, and who is told when."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = FaultyDisk()
        self.directory = self.mktemp()
        os.makedirs(f"{self.directory}/journal")
        self.writer = SegmentWriter(self.disk, self.directory, 0, synced=True)
        self.addCleanup(self.writer.close)
        self.lane = SteppedLane()
        self.told: list[object] = []
        self.journal: Journal[int] = Journal(
            self.writer,
            self.lane,
            serial=lambda: 5,
            committed=lambda tickets: self.told.append(list(tickets)),
            failed=self.failed,
            log=EventLog("test"),
        )

    def failed(self, tickets: Sequence[int], error: Exception) -> None:
        """Note who failed."""
        self.told.append(("failed", list(tickets), getattr(error, "errno", None)))

    def add(self, *numbers: int) -> None:
        """Write some entries."""
        for number in numbers:
            entry = segments.entry(job(number), 0, b"{}\n")
            self.journal.add(entry, number, sync=True)

    def test_first_goes_at_once(self) -> None:
        """An entry that finds the disk idle doesn't wait for others."""
        self.add(1)
        self.assertEqual(1, len(self.lane.waiting))
        self.assertEqual([], self.told)
        self.lane.step()
        self.assertEqual([[1]], self.told)

    def test_batch_is_what_came_meanwhile(self) -> None:
        """What comes while a batch is written makes the next one, in one write."""
        self.add(1)
        self.add(2, 3, 4)
        self.lane.step()
        self.assertEqual([[1]], self.told)
        self.disk.calls.clear()
        self.lane.step()
        self.assertEqual([[1], [2, 3, 4]], self.told)
        self.assertEqual(["append"], self.disk.calls)
        self.assertEqual([], list(self.lane.waiting))

    def test_disk_works_while_people_are_told(self) -> None:
        """The next batch is with the disk before anyone hears of this one."""
        seen = []
        journal: Journal[int] = Journal(
            self.writer,
            self.lane,
            serial=lambda: 5,
            committed=lambda tickets: seen.append(len(self.lane.waiting)),
            failed=self.failed,
            log=EventLog("test"),
        )
        journal.add(b"x\n", 1, sync=True)
        journal.add(b"x\n", 2, sync=True)
        self.lane.step()
        self.assertEqual([1], seen)
        self.lane.drain()

    def test_failure_takes_everything_along(self) -> None:
        """What came after a batch that failed fails with it: it builds on it."""
        self.add(1)
        self.add(2, 3)
        self.disk.fill_up()
        self.lane.step()
        self.assertEqual([("failed", [1, 2, 3], errno.ENOSPC)], self.told)
        self.disk.recover()
        self.add(4)
        self.lane.drain()
        self.assertEqual([4], self.told[-1])

    def test_bug_in_the_lane_is_a_failure(self) -> None:
        """An exception nobody meant fails the batch and is logged with its traceback."""

        def buggy(handle: int, data: bytes) -> None:
            raise ZeroDivisionError

        self.disk.append = buggy  # type: ignore[method-assign]  # a fake of a fake
        self.add(1)
        self.lane.drain()
        self.assertEqual([("failed", [1], None)], self.told)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_roll_when_idle(self) -> None:
        """A new segment can be begun without anything to write."""
        self.add(1)
        self.lane.drain()
        rolled = self.journal.roll()
        self.lane.drain()
        self.assertEqual(2, self.successResultOf(rolled))

    def test_roll_with_next_batch(self) -> None:
        """While a batch is written, the new segment begins with the next."""
        self.add(1)
        rolled = self.journal.roll()
        self.add(2)
        self.lane.step()
        self.assertNoResult(rolled)
        self.lane.step()
        self.assertEqual(2, self.successResultOf(rolled))
        self.assertEqual([[1], [2]], self.told)

    def test_roll_fails_with_its_batch(self) -> None:
        """Who wanted a new segment hears that nothing can be written."""
        self.disk.fill_up()
        rolled = self.journal.roll()
        self.lane.drain()
        self.failureResultOf(rolled, OSError)

    def test_roll_wanted_while_a_batch_fails(self) -> None:
        """A failing batch doesn't lose the wish for a new segment."""
        self.disk.fill_up()
        self.add(1)
        rolled = self.journal.roll()
        self.lane.step()
        self.disk.recover()
        self.lane.drain()
        self.successResultOf(rolled)

    def test_drained(self) -> None:
        """Waiting for the journal ends when the last one was told, good or bad."""
        self.successResultOf(self.journal.drained())
        self.add(1)
        drained: Deferred[None] = self.journal.drained()
        self.add(2)
        self.lane.step()
        self.assertNoResult(drained)
        self.disk.fill_up()
        self.lane.step()
        self.assertEqual(2, len(self.told))
        self.successResultOf(drained)
