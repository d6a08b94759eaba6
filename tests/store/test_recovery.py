"""What a start makes of what a crash left."""

from __future__ import annotations

import errno
import os

from twisted.internet.defer import Deferred

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.interfaces import LeftOver, Pruned, Started, Submitted
from harpcaller.store.layout import segment_path
from harpcaller.store.segments import entry
from harpcaller.store.sizes import Sizes
from harpcaller.wire.client import JobId
from tests.store.filecase import FileCase, read_file, write_file
from tests.store.jobs import DONE, call, ended, job, record


class RecoveryTests(FileCase):
    """The daemon is killed; the next start finds everything that was acknowledged."""

    def setUp(self) -> None:
        super().setUp()
        self.open()

    def segment(self) -> str:
        """Give the path of the only segment."""
        (name,) = [name for name in self.journal() if name.endswith(".log")]
        return f"{self.directory}/journal/{name}"

    def test_everything_acknowledged_is_there(self) -> None:
        """Ended, running and waiting jobs come back, the unfiled ones too."""
        self.run_job(1, records=2)
        self.submit(2)
        self.submit(3)
        self.finish(self.store.add(job(3), Started(5.0)))
        self.finish(self.store.add(job(3), record(0)))
        expected = [
            LeftOver(job(2), call(), 10.0, None, 0),
            LeftOver(job(3), call(), 10.0, 5.0, 1),
        ]
        for _ in range(3):
            self.assertEqual(expected, self.restart())
            self.assertEqual(DONE, self.finish(self.store.ending(job(1))))
            self.assertEqual([0], [one.number for one in self.all_records(job(3))])
            self.assertEqual(
                ["ended", "queued", "running"], [one.status.state for one in self.listing()]
            )

    def test_serials_go_on(self) -> None:
        """A job submitted after a crash comes after all before it."""
        for number in range(5):
            self.run_job(number)
            self.restart()
        self.close()
        self.open()
        self.submit(5)
        self.assertEqual([job(n) for n in range(6)], [one.job_id for one in self.listing()])

    def test_serials_go_on_without_index_and_segment(self) -> None:
        """A full disk takes the only segment back, the index is lost: no number is given twice."""
        self.run_job(1)
        self.close()
        self.open()
        self.disk.failing["append"] = errno.ENOSPC
        self.failureResultOf(self.store.add(job(2), Submitted(call(), 10.0)), StorageError)
        self.kill()
        self.disk.recover()
        self.assertEqual([], [name for name in self.journal() if name.endswith(".log")])
        self.drop_index()
        self.open()
        self.let_turn()
        self.submit(3)
        self.assertEqual([job(1), job(3)], [one.job_id for one in self.listing()])

    def test_torn_at_every_byte(self) -> None:
        """Wherever the last entry is torn, what was before it stands, and it never happened."""
        self.submit(1)
        before = os.path.getsize(self.segment())
        self.submit(2)
        whole = read_file(self.segment())
        origin = self.directory
        for cut in range(before, len(whole), 7):
            self.directory = origin
            self.kill()
            write_file(self.segment(), whole[:cut])
            self.assertEqual([job(1)], [one.job_id for one in self.open()])
            self.failureResultOf(self.store.status(job(2)), InvalidJobId)
            self.submit(2)

    def test_damage_in_the_journal(self) -> None:
        """A damaged entry ends its segment; jobs before it are unharmed."""
        self.submit(1)
        before = os.path.getsize(self.segment())
        self.submit(2)
        self.submit(3)
        self.kill()
        damaged = bytearray(read_file(self.segment()))
        damaged[before + 60] ^= 0xFF
        write_file(self.segment(), bytes(damaged))
        self.assertEqual([job(1)], [one.job_id for one in self.open()])

    def test_torn_file(self) -> None:
        """A torn last line of a job's file is cut off and never reaches a reader."""
        self.submit(1)
        self.finish(self.store.add(job(1), record(0)))
        self.close()
        path = self.file_of(job(1))
        good = read_file(path)
        write_file(path, good + b'{"packet":1,"time":1.0,"da')
        self.assertEqual(1, self.open()[0].records)
        self.assertEqual(good, read_file(path))
        self.finish(self.store.add(job(1), record(1)))
        self.finish(self.store.add(job(1), ended()))
        self.assertEqual([0, 1], [one.number for one in self.all_records(job(1))])

    def test_torn_file_is_mended_from_the_journal(self) -> None:
        """What a power cut left of a file is made whole with what the journal has."""
        self.sizes = Sizes(job_tail=0)
        self.close()
        self.store = self.make()
        self.open()
        self.run_job(1, records=3)
        whole = read_file(self.file_of(job(1)))
        origin = self.directory
        for cut in range(0, len(whole), 11):
            self.directory = origin
            self.kill()
            write_file(self.file_of(job(1)), whole[:cut])
            self.open()
            self.assertEqual(whole, read_file(self.file_of(job(1))))

    def test_lost_file_is_made_from_the_journal(self) -> None:
        """A file that a power cut swallowed whole comes back."""
        self.run_job(1, records=3)
        self.kill()
        os.unlink(self.file_of(job(1)))
        self.open()
        self.assertEqual(3, len(self.all_records(job(1))))

    def test_damaged_living_job(self) -> None:
        """A job with a damaged file is one job's trouble: told as such, the others go on."""
        self.submit(1)
        self.submit(2)
        self.close()
        write_file(self.file_of(job(1)), b"\0" * 100 + b"\n" + b'{"packet":0,"t')
        self.assertEqual([job(2)], [one.job_id for one in self.open()])
        for asked in (self.store.status(job(1)), self.store.ending(job(1)),
                      self.store.read(job(1), 0), self.store.count(job(1))):  # fmt: skip
            self.failureResultOf(asked, StorageError)

    def test_unfinished_job_that_nobody_runs(self) -> None:
        """A file without an end whose job isn't known to live is damage, not an endless wait."""
        self.run_job(1, records=1)
        self.close()
        path = self.file_of(job(1))
        write_file(path, read_file(path).replace(b'{"end":1000.0,"result":"done"}\n', b""))
        self.open()
        self.failureResultOf(self.store.ending(job(1)), StorageError)
        self.assertEqual(1, len(self.finish(self.store.read(job(1), 0)).records))
        self.failureResultOf(self.store.read(job(1), 1), StorageError)

    def test_missing_living_job(self) -> None:
        """A living job whose file somebody removed is told of, and no job any more."""
        self.submit(1)
        self.close()
        os.unlink(self.file_of(job(1)))
        self.assertEqual([], list(self.open()))
        self.failureResultOf(self.store.status(job(1)), InvalidJobId)

    def test_headless_job(self) -> None:
        """A file in which not even the head is whole is removed: it was never acknowledged."""
        self.submit(1)
        self.close()
        write_file(self.file_of(job(1)), b'{"harpcaller_job":1,"jo')
        self.assertEqual([], list(self.open()))
        self.assertFalse(os.path.exists(self.file_of(job(1))))

    def test_headless_job_that_stays(self) -> None:
        """If it can't be removed, the next start tries again."""
        self.submit(1)
        self.close()
        write_file(self.file_of(job(1)), b"")
        self.disk.failing_paths = {self.file_of(job(1))}
        self.assertEqual([], list(self.open()))
        self.close()
        self.assertTrue(os.path.exists(self.file_of(job(1))))
        self.disk.failing_paths = set()
        self.assertEqual([], list(self.open()))
        self.assertFalse(os.path.exists(self.file_of(job(1))))

    def test_unreadable_living_job(self) -> None:
        """A file that can't be read is one job's trouble."""
        self.submit(1)
        self.submit(2)
        self.close()
        os.unlink(self.file_of(job(1)))
        os.mkdir(self.file_of(job(1)))
        self.assertEqual([job(2)], [one.job_id for one in self.open()])

    def test_gap(self) -> None:
        """A line whose predecessors are lost isn't written behind a hole."""
        self.submit(1)
        self.submit(2)
        self.close()
        self.open()
        self.finish(self.store.add(job(1), record(0)))
        self.finish(self.store.add(job(2), record(0)))
        self.kill()
        os.unlink(self.file_of(job(1)))
        self.assertEqual([job(2)], [one.job_id for one in self.open()])

    def test_clean_close_leaves_nothing_to_replay(self) -> None:
        """After a clean close the journal is one header, and ended jobs aren't looked at."""
        for number in range(20):
            self.run_job(number)
        self.submit(50)
        self.close()
        self.assertEqual(1, read_file(self.segment()).count(b"\n"))
        self.disk.calls.clear()
        self.assertEqual([job(50)], [one.job_id for one in self.open()])
        opened = self.disk.calls.count("open")
        self.close()
        for number in range(100, 150):
            self.store = self.make()
            self.open()
            self.run_job(number)
            self.close()
        self.disk.calls.clear()
        self.open()
        self.assertEqual(opened, self.disk.calls.count("open"))

    def test_journal_lost(self) -> None:
        """Without a journal every file is looked at, and nothing that is in one is lost."""
        self.run_job(1)
        self.submit(2)
        self.close()
        for name in self.journal():
            os.unlink(f"{self.directory}/journal/{name}")
        write_file(f"{self.directory}/zz", b"somebody else's")
        write_file(f"{self.directory}/aa", b"somebody else's")
        write_file(f"{self.directory}/ab/cd/x", b"somebody else's")
        self.assertEqual([job(2)], [one.job_id for one in self.open()])
        self.submit(3)
        self.let_turn()  # what the index tells may be of any time: it is made anew
        self.assertEqual([job(n) for n in (1, 2, 3)], [one.job_id for one in self.listing()])

    def test_list_of_living_damaged(self) -> None:
        """A list of living jobs that isn't whole isn't believed; every file is looked at."""
        self.run_job(1)
        self.submit(2)
        for damage in (b"", b"harpcaller-living 1 7 00000000\nx\n", b"\0" * 100):
            self.close()
            (name,) = [name for name in self.journal() if name.endswith(".living")]
            write_file(f"{self.directory}/journal/{name}", damage)
            self.assertEqual([job(2)], [one.job_id for one in self.open()])

    def test_old_segments_left_behind(self) -> None:
        """Segments that a checkpoint couldn't remove are passed over, in any mixture."""
        self.run_job(1)
        self.submit(2)
        old = self.segment()
        self.disk.failing["remove"] = errno.EPERM
        self.close()
        self.disk.recover()
        os.unlink(old.replace(".log", ".living"))
        self.disk.calls.clear()
        self.assertEqual([job(2)], [one.job_id for one in self.open()])
        self.assertNotIn("write_at", self.disk.calls)
        self.assertEqual(DONE, self.finish(self.store.ending(job(1))))

    def test_damaged_file_when_journal_is_lost(self) -> None:
        """Looking at every file, damaged ones are told of and passed over."""
        self.run_job(1)
        self.submit(2)
        self.close()
        for name in self.journal():
            os.unlink(f"{self.directory}/journal/{name}")
        write_file(self.file_of(job(1)), b"\0" * 50 + b"\n")
        self.assertEqual([job(2)], [one.job_id for one in self.open()])

    def test_segment_without_header(self) -> None:
        """A segment that isn't one, or was never begun in earnest, is passed over."""
        self.submit(1)
        self.kill()
        number, whole = int(os.path.basename(self.segment())[:8]), read_file(self.segment())
        write_file(segment_path(self.directory, number + 1), b"")
        write_file(segment_path(self.directory, number + 2), whole)
        self.assertEqual([job(1)], [one.job_id for one in self.open()])
        self.submit(2)
        self.assertEqual([job(1), job(2)], [one.job_id for one in self.restart()])

    def test_strange_entries(self) -> None:
        """Entries that no store of ours writes are passed over."""
        self.submit(1)
        self.kill()
        with open(self.segment(), "ab") as file:
            file.write(entry("no-job", 0, b"{}\n") + entry(job(1), 10**9, b"nonsense\n"))
        self.assertEqual([job(1)], [one.job_id for one in self.open()])

    def test_killed_while_recovering(self) -> None:
        """A start that is killed half way is no worse than one that wasn't tried."""
        self.run_job(1, records=2)
        self.submit(2)
        self.kill()
        for name in ("write_at", "sync_tree", "create_log", "append", "remove"):
            self.disk.failing[name] = errno.EIO
            self.failureResultOf(self.store.open(), StorageError)
            self.disk.recover()
        self.assertEqual([job(2)], [one.job_id for one in self.open()])
        self.assertEqual(2, len(self.all_records(job(1))))

    def test_much_to_replay(self) -> None:
        """What is gathered for the files on replay is bounded."""
        big = "x" * (9 * 1024 * 1024)
        job_id = self.submit(1)
        for number in range(4):
            self.finish(self.store.add(job_id, record(number, big)))
        self.restart()
        self.assertEqual(4, self.finish(self.store.count(job_id)))


class PrunedTests(FileCase):
    """What was pruned stays away."""

    def setUp(self) -> None:
        super().setUp()
        self.open()

    def gone(self, job_id: JobId) -> None:
        """Make sure that a job is nowhere."""
        self.failureResultOf(self.store.status(job_id), InvalidJobId)
        self.assertFalse(os.path.exists(self.file_of(job_id)))
        self.assertNotIn(job_id, [one.job_id for one in self.listing()])

    def test_replay_does_not_resurrect(self) -> None:
        """A journal that tells a pruned job's whole life doesn't bring it back."""
        self.run_job(1)
        self.run_job(2, end=5000.0)
        self.assertEqual(Pruned(1, 0), self.finish(self.store.prune(2000.0)))
        for _ in range(2):
            self.restart()
            self.gone(job(1))
            self.assertEqual(DONE, self.finish(self.store.ending(job(2))))

    def test_removal_undone_by_power_cut(self) -> None:
        """A file that a power cut brings back is removed again."""
        self.run_job(1)
        whole = read_file(self.file_of(job(1)))
        self.finish(self.store.prune(2000.0))
        self.kill()
        write_file(self.file_of(job(1)), whole)
        self.open()
        self.gone(job(1))

    def test_index_older_than_the_pruning(self) -> None:
        """An index that still knows the job is told."""
        self.run_job(1)
        self.close()
        self.open()
        self.assertEqual(1, len(self.listing()))
        # Removals are gathered: the index on disk doesn't know yet.
        self.finish(self.store.prune(2000.0))
        self.restart()
        self.gone(job(1))

    def test_directories_go_too(self) -> None:
        """Emptied directories are removed, the store's own never."""
        self.run_job(1)
        self.finish(self.store.prune(2000.0))
        left = {name.partition("-")[0] for name in os.listdir(self.directory)}
        self.assertEqual({"identity", "index.sqlite", "journal", "lock"}, left)

    def test_what_cannot_be_removed_is_counted(self) -> None:
        """A file that can't be removed is counted as failed, listed still, and tried again."""
        self.run_job(1)
        self.run_job(2)
        self.disk.failing["remove"] = errno.EPERM
        self.assertEqual(Pruned(0, 2), self.finish(self.store.prune(2000.0)))
        self.assertEqual(2, len(self.listing()))
        self.disk.recover()
        self.assertEqual(Pruned(2, 0), self.finish(self.store.prune(2000.0)))

    def test_gone_already(self) -> None:
        """A file that somebody removed counts as removed."""
        self.run_job(1)
        os.unlink(self.file_of(job(1)))
        self.assertEqual(Pruned(1, 0), self.finish(self.store.prune(2000.0)))
        self.gone(job(1))

    def test_journal_fails(self) -> None:
        """A pruning that can't be written down removes nothing."""
        self.run_job(1)
        self.disk.fill_up()
        self.failureResultOf(self.store.prune(2000.0), StorageError)
        self.assertTrue(os.path.exists(self.file_of(job(1))))

    def test_gives_way(self) -> None:
        """A long pruning lets the reactor work between its slices; closing ends it early."""
        for number in range(120):
            self.run_job(number)
        pruning = self.store.prune(2000.0)
        closing: list[Deferred[None]] = []
        self.clock.callLater(0, lambda: closing.append(self.store.close()))
        self.assertNoResult(pruning)
        self.clock.advance(0)
        self.let_turn()
        removed = self.successResultOf(pruning).removed
        self.assertTrue(0 < removed < 120, removed)
        self.successResultOf(closing[0])
        self.open()
        self.assertEqual(120 - removed, len(self.listing()))

    def test_ended_but_not_filed(self) -> None:
        """A job whose file can't be written yet is left for the next time."""
        self.disk.failing["write_at"] = errno.EIO
        self.run_job(1)
        self.assertEqual(Pruned(0, 0), self.finish(self.store.prune(2000.0)))
        self.assertEqual(1, len(self.listing()))
        self.disk.recover()
        self.assertEqual(Pruned(1, 0), self.finish(self.store.prune(2000.0)))
        self.assertEqual([], self.listing())

    def test_same_end_many_times(self) -> None:
        """Jobs that ended in the same moment are all found, over slices."""
        for number in range(130):
            self.finish(self.store.add(job(number), Submitted(call(), 1.0)))
            self.finish(self.store.add(job(number), ended(7.0)))
        self.assertEqual(Pruned(130, 0), self.finish(self.store.prune(7.5)))
