"""Letting go of the journal's past."""

from __future__ import annotations

import errno
import os

from twisted.internet.defer import Deferred

from harpcaller.interfaces import Started, Submitted
from harpcaller.store.sizes import Sizes
from tests.store.fakes import SteppedLane
from tests.store.filecase import FileCase, read_file, write_file
from tests.store.jobs import call, ended, job, record

SMALL = Sizes(segment=2000)


class CheckpointTests(FileCase):
    """A segment that has grown is replaced, and what it told is safe by then."""

    sizes = SMALL

    def setUp(self) -> None:
        super().setUp()
        self.open()

    def fill(self, first: int = 0) -> None:
        """Write a segment full."""
        for number in range(first, first + 12):
            self.submit(number)
        self.let_turn()

    def segments(self) -> int:
        """Count the segments."""
        return len([name for name in self.journal() if name.endswith(".log")])

    def test_old_segment_goes(self) -> None:
        """The journal stays short however long the store runs."""
        for first in range(0, 120, 12):
            self.fill(first)
            self.assertLessEqual(self.segments(), 2)
        self.assertEqual(120, len(self.restart()))

    def test_everything_is_synced_first(self) -> None:
        """Before a segment goes, what it told is filed and synced, then the living are listed."""
        self.disk.calls.clear()
        self.fill()
        calls = self.disk.calls
        synced = calls.index("sync_tree")
        self.assertIn("write_at", calls[:synced])
        self.assertNotIn("remove", calls[:synced])
        after = calls[synced:]
        self.assertLess(after.index("create_log"), after.index("remove"))

    def test_waiting_jobs_are_filed(self) -> None:
        """A job that still waits has a file after a checkpoint, and goes on in it."""
        self.fill()
        self.assertTrue(os.path.exists(self.file_of(job(0))))
        self.finish(self.store.add(job(0), Started(2.0)))
        self.finish(self.store.add(job(0), ended()))
        self.assertEqual(3, read_file(self.file_of(job(0))).count(b"\n"))

    def test_failed_sync_keeps_the_journal(self) -> None:
        """After a failed sync the journal is kept, and the files written again from it."""
        self.disk.failing["sync_tree"] = errno.EIO
        self.fill()
        self.assertGreaterEqual(self.segments(), 2)
        self.disk.recover()
        # What the system called clean after the failure is not on disk.
        write_file(self.file_of(job(0)), b"")
        self.fill(100)
        self.assertLessEqual(self.segments(), 2)
        self.assertIn(b'"harpcaller_job"', read_file(self.file_of(job(0))))
        self.assertEqual(24, len(self.restart()))

    def test_writing_again_brings_nothing_back(self) -> None:
        """Jobs that were pruned meanwhile aren't made anew from the journal."""
        self.run_job(500)
        self.disk.failing["sync_tree"] = errno.EIO
        self.fill()
        self.disk.recover()
        self.finish(self.store.prune(5000.0))
        self.fill(100)
        self.assertFalse(os.path.exists(self.file_of(job(500))))

    def test_nothing_can_be_filed(self) -> None:
        """While files can't be written the journal is kept; then a checkpoint catches up."""
        self.disk.failing["write_at"] = errno.ENOSPC
        self.fill()
        self.assertGreaterEqual(self.segments(), 2)
        self.disk.recover()
        self.assertEqual(12, len(self.restart()))

    def test_no_new_segment(self) -> None:
        """If no new segment can be begun, the old one grows on and nothing is lost."""
        self.disk.failing["create_log"] = errno.EMFILE
        self.fill()
        self.assertEqual(1, self.segments())
        self.disk.recover()
        self.fill(100)
        self.assertLessEqual(self.segments(), 2)
        self.assertEqual(24, len(self.restart()))

    def test_failures_are_not_hurried(self) -> None:
        """A checkpoint that can't be made isn't tried again with every fact."""
        self.sizes = Sizes(segment=20_000)
        self.close()
        self.store = self.make()
        self.open()
        self.disk.failing["create_log"] = errno.EMFILE
        self.disk.calls.clear()
        for number in range(200):
            self.submit(number)
        self.let_turn()
        self.assertTrue(1 < self.disk.calls.count("create_log") < 30)

    def test_old_segment_cannot_be_removed(self) -> None:
        """A segment that can't be removed does no harm, and goes with the next."""
        self.disk.failing["remove"] = errno.EPERM
        self.fill()
        self.disk.recover()
        self.fill(100)
        self.assertLessEqual(self.segments(), 2)
        self.assertEqual(24, len(self.restart()))

    def test_close_fails_at_every_step(self) -> None:
        """Wherever closing is cut short, the next start finds everything."""
        for name in ("create_log", "write_at", "sync_tree", "append", "sync", "remove"):
            self.finish(self.store.close())
            self.directory = os.path.abspath(self.mktemp())
            self.store = self.make()
            self.open()
            self.run_job(900, records=1)
            for number in range(5):
                self.submit(number)
            self.disk.failing[name] = errno.EIO
            closing = self.store.close()
            self.disk.recover()
            self.finish(closing)
            left = self.restart()
            self.assertEqual([job(n) for n in range(5)], [one.job_id for one in left], name)
            self.assertEqual(1, self.finish(self.store.count(job(900))))


class SteppedCheckpointTests(FileCase):
    """Serving goes on while a checkpoint waits for the disk."""

    sizes = SMALL
    stepped = True

    def lane(self, name: str) -> SteppedLane:
        """Give a lane by name."""
        lane = self.lanes[f"harpcaller {name}"]
        assert isinstance(lane, SteppedLane)
        return lane

    def test_group_commit_goes_on(self) -> None:
        """Facts become durable while the checkpoint's sync takes its time; one runs at once."""
        self.open()
        for number in range(12):
            _ = self.store.add(job(number), Submitted(call(), 1.0))
        self.lane("journal").drain()
        self.let_turn()
        self.lane("journal").drain()
        self.assertEqual(1, len(self.lane("checkpoint").waiting))
        added: list[Deferred[None]] = []
        for number in range(50, 80):
            added.append(self.store.add(job(number), Submitted(call(), 1.0)))
            self.lane("journal").drain()
        for one in added:
            self.successResultOf(one)
        self.assertEqual(1, len(self.lane("checkpoint").waiting))
        self.lane("checkpoint").drain()
        self.let_turn()

    def test_filing_gives_way(self) -> None:
        """Thousands of waiting jobs are filed in slices."""
        self.sizes = Sizes(segment=100_000)
        self.store = self.make()
        self.open()
        for number in range(600):
            _ = self.store.add(job(number), Submitted(call(), 1.0))
        self.lane("journal").drain()
        filed: list[int] = []

        def look() -> None:
            filed.append(sum(os.path.exists(self.file_of(job(n))) for n in range(600)))

        self.clock.callLater(0, look)
        self.let_turn()
        self.assertTrue(0 < filed[0] < 600)

    def test_close_waits_for_it(self) -> None:
        """Closing waits for a checkpoint that is under way, then makes its own."""
        self.open()
        for number in range(12):
            _ = self.store.add(job(number), Submitted(call(), 1.0))
        self.lane("journal").drain()
        self.let_turn()
        closing = self.store.close()
        self.assertNoResult(closing)
        self.lane("checkpoint").drain()
        self.lane("journal").drain()
        self.lane("checkpoint").drain()
        self.successResultOf(closing)
        self.stepped = False
        self.store = self.make()
        self.assertEqual(12, len(self.open()))

    def test_close_waits_for_what_is_under_way(self) -> None:
        """What was told to the store before it was closed is written and acknowledged."""
        self.open()
        added = self.store.add(job(1), Submitted(call(), 1.0))
        later = self.store.add(job(1), record(0))
        closing = self.store.close()
        self.lane("journal").drain()
        self.successResultOf(added)
        self.successResultOf(later)
        self.lane("checkpoint").drain()
        self.successResultOf(closing)
