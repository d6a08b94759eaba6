"""When the lines of a job leave memory for its file."""

from __future__ import annotations

import errno
import os
import stat

from harpcaller.errors import InvalidJobId
from harpcaller.interfaces import Submitted
from harpcaller.store.layout import LOCK
from harpcaller.store.shelf import MOST_ENDED, SLICE
from harpcaller.store.sizes import Sizes
from harpcaller.wire.client import JobId
from tests.store.filecase import FileCase, SteppedCase, read_file
from tests.store.jobs import call, ended, job, record


class FilingTests(FileCase):
    """When lines leave memory."""

    sizes = Sizes(job_tail=1000, all_tails=3000)

    def setUp(self) -> None:
        super().setUp()
        self.open()

    def test_grown_tail(self) -> None:
        """A job that said much is filed while it runs, and read as one."""
        job_id = self.submit(1)
        for number in range(50):
            self.finish(self.store.add(job_id, record(number, "x" * 50)))
        self.assertGreater(len(read_file(self.file_of(job_id))), 2500)
        self.assertEqual(list(range(50)), [one.number for one in self.all_records(job_id)])

    def test_all_tails_together(self) -> None:
        """When many small tails pass the bound, the oldest are filed."""
        jobs = [self.submit(number) for number in range(30)]
        there = [os.path.exists(self.file_of(job_id)) for job_id in jobs]
        self.assertIn(True, there)
        self.assertEqual(sorted(there, reverse=True), there)
        self.assertFalse(there[-1])

    def test_bound_with_broken_disk(self) -> None:
        """If nothing can be filed the store goes on in memory."""
        self.disk.failing["write_at"] = errno.EIO
        for number in range(30):
            self.submit(number)
        self.assertEqual(30, len(self.listing()))

    def test_private(self) -> None:
        """Files and directories are for the daemon's user alone."""
        job_id = self.run_job(1)
        for path in (self.file_of(job_id), f"{self.directory}/{LOCK}"):
            self.assertEqual(0o600, stat.S_IMODE(os.stat(path).st_mode))
        folder = os.path.dirname(self.file_of(job_id))
        self.assertEqual(0o700, stat.S_IMODE(os.stat(folder).st_mode))

    def test_reads_like_the_manual(self) -> None:
        """A job's file is the lines that doc/store shows."""
        job_id = self.run_job(1, records=1)
        head, start, packet, end = read_file(self.file_of(job_id)).splitlines()
        self.assertIn(b'"harpcaller_job":1', head)
        self.assertEqual(b'{"start":11.0}', start)
        self.assertEqual(b'{"packet":0,"time":100.0,"data":"line"}', packet)
        self.assertEqual(b'{"end":1000.0,"result":"done"}', end)


class RestTests(SteppedCase):
    """Jobs that have ended are filed while the journal rests."""

    def test_files_are_lazy(self) -> None:
        """A job that waits has no file; one that ended has."""
        self.do(1, Submitted(call(), 1.0))
        self.assertFalse(os.path.exists(self.file_of(job(1))))
        self.disk.calls.clear()
        self.do(1, ended())
        self.assertTrue(os.path.exists(self.file_of(job(1))))
        self.assertEqual(0, self.disk.calls.count("sync"))

    def end(self, count: int) -> list[JobId]:
        """Have jobs end in one batch while the next is under way, which is another job's."""
        numbers = range(1, count + 1)
        for number in numbers:
            self.add(number, Submitted(call(), 1.0))
        self.lane.drain()
        self.add(1, ended())  # goes alone, as the lane is at rest
        for number in numbers[1:]:
            self.add(number, ended())
        self.lane.step()
        self.add(9999, Submitted(call(), 1.0))
        self.lane.step()
        return [job(number) for number in numbers]

    def filed(self, jobs: list[JobId]) -> int:
        """Count the jobs that have files; they are filed in the order of their ends."""
        there = [os.path.exists(self.file_of(job_id)) for job_id in jobs]
        self.assertEqual(sorted(there, reverse=True), there)
        return sum(there)

    def test_not_while_the_journal_is_written(self) -> None:
        """Who ends while others are being stored waits for its file, and can be read."""
        jobs = self.end(3)
        self.assertEqual(0, self.filed(jobs))
        self.disk.calls.clear()
        for job_id in jobs:
            self.assertEqual("ended", self.successResultOf(self.store.status(job_id)).state)
            self.assertIsNotNone(self.successResultOf(self.store.ending(job_id)))
            self.assertIsNotNone(self.successResultOf(self.store.read(job_id, 0)).ending)
        self.assertEqual([], self.disk.calls)
        self.lane.drain()
        self.assertEqual(3, self.filed(jobs))

    def test_few_at_once(self) -> None:
        """In a rest the reactor has its turns between a few files and the next."""
        jobs = self.end(3 * SLICE)
        self.lane.drain()
        self.assertEqual(SLICE, self.filed(jobs))
        seen: list[int] = []
        self.clock.callLater(0, lambda: seen.append(self.filed(jobs)))
        self.let_turn()
        self.assertEqual([2 * SLICE], seen)
        self.assertEqual(3 * SLICE, self.filed(jobs))

    def test_rest_that_is_over(self) -> None:
        """When something is to be stored again, what isn't filed yet waits for the next rest."""
        jobs = self.end(3 * SLICE)
        self.lane.drain()
        self.add(9998, Submitted(call(), 1.0))
        self.let_turn()
        self.assertEqual(SLICE, self.filed(jobs))
        self.lane.drain()
        self.assertEqual(2 * SLICE, self.filed(jobs))

    def test_no_rest(self) -> None:
        """A journal that never rests has no more than some of them wait."""
        jobs = self.end(MOST_ENDED + 5)
        self.assertEqual(5, self.filed(jobs))

    def test_closing(self) -> None:
        """A store that is closed has filed them all."""
        jobs = self.end(3 * SLICE)
        self.settle(self.store.close())
        self.assertEqual(3 * SLICE, self.filed(jobs))

    def test_killed(self) -> None:
        """A daemon that is killed meanwhile knows their ends at its next start."""
        jobs = self.end(3)
        self.stepped = False
        self.assertEqual([], [one.job_id for one in self.restart() if one.job_id in jobs])
        self.assertEqual(3, self.filed(jobs))

    def test_pruned(self) -> None:
        """A job that is forgotten meanwhile has no file, and its id is free again."""
        (job_id, *_) = self.end(SLICE + 1)
        self.assertEqual(SLICE + 1, self.settle(self.store.prune(2000.0)).removed)
        self.failureResultOf(self.store.status(job_id), InvalidJobId)
        self.do(1, Submitted(call(), 1.0))
        self.let_turn()
        self.assertEqual("queued", self.successResultOf(self.store.status(job_id)).state)
        self.assertFalse(os.path.exists(self.file_of(job_id)))

    def test_full_disk(self) -> None:
        """What can't be filed in a rest waits on in memory for the next checkpoint."""
        jobs = self.end(3 * SLICE)
        self.disk.failing["write_at"] = errno.ENOSPC
        self.lane.drain()
        self.let_turn()
        self.assertEqual(0, self.filed(jobs))
        self.assertEqual("ended", self.successResultOf(self.store.status(jobs[-1])).state)
        self.disk.recover()
        self.settle(self.store.close())
        self.assertEqual(3 * SLICE, self.filed(jobs))
