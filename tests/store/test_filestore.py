"""The store on disk while it lives: what is told when, and what trouble does."""

from __future__ import annotations

import errno
import os

from twisted.internet.defer import Deferred

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.interfaces import LeftOver, Page, Started, Submitted
from harpcaller.store.disk import RealDisk
from harpcaller.store.filestore import FileJobStore
from harpcaller.store.layout import INDEX, job_path
from harpcaller.store.sizes import Sizes
from harpcaller.wire.client import JobId
from tests.house import HouseCase
from tests.store.fakes import NoReactor, StraightLane, file_store
from tests.store.filecase import FileCase, SteppedCase, read_file, write_file
from tests.store.jobs import call, ended, job, record


class PrivacyTests(HouseCase):
    """What calls carry is for the daemon's user alone."""

    def test_modes(self) -> None:
        """Nobody else can read anything in a store, the index and its log included."""
        directory = os.path.abspath(self.mktemp())
        mask = os.umask(0)
        self.addCleanup(os.umask, mask)
        store = FileJobStore(
            directory,
            disk=RealDisk(),
            clock=self.clock,
            reactor=NoReactor(),
            lane=lambda name, reactor: StraightLane(),
        )
        self.successResultOf(store.open())
        self.clock.advance(0)
        self.successResultOf(store.add(job(1), Submitted(call(), 1.0)))
        self.successResultOf(store.add(job(1), ended()))
        listed = store.jobs(0, 5)
        self.clock.advance(0)
        self.successResultOf(listed)
        modes = {
            os.path.join(folder, name): os.stat(os.path.join(folder, name)).st_mode & 0o077
            for folder, directories, files in os.walk(directory)
            for name in (*directories, *files)
        }
        self.assertIn(f"{directory}/index.sqlite-wal", modes)
        self.assertIn(job_path(directory, job(1)), modes)
        self.assertEqual({0}, set(modes.values()), modes)
        self.successResultOf(store.close())


class StoreThenTellTests(SteppedCase):
    """Nobody sees what a crash would lose."""

    def test_nothing_before_it_is_durable(self) -> None:
        """A job can't be seen, nor is its submission told, before its batch is written."""
        (added,) = self.add(1, Submitted(call(), 1.0))
        self.failureResultOf(self.store.status(job(1)), InvalidJobId)
        self.assertEqual([], self.listing())
        self.assertNoResult(added)
        self.lane.step()
        self.successResultOf(added)
        self.assertEqual("queued", self.successResultOf(self.store.status(job(1))).state)
        self.assertEqual(1, len(self.listing()))

    def test_later_facts_likewise(self) -> None:
        """Start, records and end are seen when their batches are written, not before."""
        self.do(1, Submitted(call(), 1.0))
        self.add(1, Started(2.0))
        self.add(1, record(0), record(1), ended())
        self.assertEqual("queued", self.successResultOf(self.store.status(job(1))).state)
        self.lane.step()
        self.assertEqual("running", self.successResultOf(self.store.status(job(1))).state)
        self.assertEqual(Page((), None), self.successResultOf(self.store.read(job(1), 0)))
        self.assertIsNone(self.successResultOf(self.store.ending(job(1))))
        self.lane.step()
        page = self.successResultOf(self.store.read(job(1), 0))
        self.assertEqual(2, len(page.records))
        self.assertIsNotNone(page.ending)

    def test_seen_when_told(self) -> None:
        """Who is told of a fact can read it in that very moment."""
        (added,) = self.add(1, Submitted(call(), 1.0))
        seen = added.addCallback(lambda _: self.store.status(job(1)))
        self.lane.step()
        self.assertEqual("web01", self.successResultOf(seen).host)

    def test_told_before_the_index_is_written(self) -> None:
        """Nobody waits for the index, which is written when many changes have gathered."""
        seen: list[str] = []
        rooms = self.store._rooms
        assert rooms is not None
        rooms.index._connection.set_trace_callback(lambda sql: seen.append(sql.split()[0]))
        added = [self.store.add(job(number), Submitted(call(), 1.0)) for number in range(201)]
        for one in added:
            _ = one.addCallback(lambda _: seen.append("told"))
        self.lane.drain()
        self.assertEqual(["told"] * 201, [what for what in seen if what == "told"])
        self.assertEqual("BEGIN", seen[201])
        self.assertIn("COMMIT", seen)

    def test_many_share_one_write(self) -> None:
        """What fifty submitters ask for at once is two writes, not fifty."""
        for number in range(50):
            self.add(number, Submitted(call(), 1.0))
        self.disk.calls.clear()
        self.lane.drain()
        self.assertEqual(2, self.disk.calls.count("append"))


class FailureTests(SteppedCase):
    """What a disk that fails does to those who store."""

    def test_failed_submission_leaves_nothing(self) -> None:
        """A job whose submission failed isn't there, and never will be."""
        self.do(1, Submitted(call(), 1.0))
        self.disk.fill_up()
        self.disk.partly = 10_000
        (failed,) = self.add(2, Submitted(call(), 1.0))
        self.lane.drain()
        self.assertIn("No space left", self.failureResultOf(failed, StorageError).value.message)
        self.failureResultOf(self.store.status(job(2)), InvalidJobId)
        self.assertEqual([job(1)], [one.job_id for one in self.listing()])
        self.disk.recover()
        self.assertEqual([job(1)], [one.job_id for one in self.restart_now()])

    def test_failed_submission_behind_good_length(self) -> None:
        """Nor if what was written couldn't be cut off, once something could be written again."""
        self.disk.failing.update(append=errno.EIO, cut=errno.EIO)
        self.disk.partly = 10_000
        (failed,) = self.add(2, Submitted(call(), 1.0))
        self.lane.drain()
        self.failureResultOf(failed, StorageError)
        self.disk.recover()
        self.do(3, Submitted(call(), 1.0))
        self.assertEqual([job(3)], [one.job_id for one in self.restart_now()])

    def test_same_fact_again(self) -> None:
        """An end that couldn't be written is told again until it can."""
        self.do(1, Submitted(call(), 1.0), Started(2.0), record(0))
        self.disk.fill_up()
        for _ in range(3):
            (failed,) = self.add(1, ended())
            self.lane.drain()
            self.failureResultOf(failed, StorageError)
            self.assertIsNone(self.successResultOf(self.store.ending(job(1))))
        self.disk.recover()
        self.do(1, ended())
        self.assertEqual([], self.restart_now())
        self.assertIsNotNone(self.finish(self.store.ending(job(1))))
        self.assertEqual(1, self.finish(self.store.count(job(1))))

    def test_everything_under_way_fails(self) -> None:
        """Facts that build on one that failed fail with it, and the job goes on from before."""
        self.do(1, Submitted(call(), 1.0))
        self.disk.fill_up()
        first = self.add(1, Started(2.0))
        later = self.add(1, record(0), record(1))
        other = self.add(2, Submitted(call(), 1.0), Started(1.0))
        self.lane.drain()
        for failed in (*first, *later, *other):
            self.failureResultOf(failed, StorageError)
        self.disk.recover()
        self.do(1, Started(3.0))
        self.assertEqual(3.0, self.successResultOf(self.store.status(job(1))).started_at)
        self.do(2, Submitted(call(), 1.0))

    def test_record_after_lost_record(self) -> None:
        """After a record was lost the job takes no more records, but its end."""
        self.do(1, Submitted(call(), 1.0))
        self.disk.fill_up()
        (failed,) = self.add(1, record(0))
        self.lane.drain()
        self.failureResultOf(failed, StorageError)
        self.disk.recover()
        for number in (0, 1):
            (refused,) = self.add(1, record(number))
            self.failureResultOf(refused, StorageError)
        self.do(1, ended())

    def test_retry_from_the_failure(self) -> None:
        """Who is told of a failure may try again at once."""
        self.disk.fill_up()
        (added,) = self.add(1, Submitted(call(), 1.0))

        def again(_: object) -> Deferred[None]:
            self.disk.recover()
            return self.store.add(job(1), Submitted(call(), 1.0))

        retried = added.addErrback(again)
        self.lane.drain()
        self.successResultOf(retried)

    def test_file_cannot_be_written(self) -> None:
        """A job's file that can't be written waits in memory, and its job is read all the same."""
        self.disk.failing["write_at"] = errno.ENOSPC
        self.disk.partly = 7
        self.do(1, Submitted(call(), 1.0), ended())
        self.do(2, Submitted(call(), 1.0), ended())
        self.assertEqual("ended", self.successResultOf(self.store.status(job(1))).state)
        self.disk.recover()
        self.assertEqual([], self.restart_now())
        self.assertEqual("ended", self.finish(self.store.status(job(1))).state)

    def test_unreadable_directory(self) -> None:
        """Trouble with a stat is told as trouble with the store."""
        self.disk.failing["size"] = errno.EACCES
        (failed,) = self.add(1, Submitted(call(), 1.0))
        self.failureResultOf(failed, StorageError)

    def restart_now(self) -> list[LeftOver]:
        """Die and open again, with lanes that work at once."""
        self.stepped = False
        return list(self.restart())

    def test_index_lost_under_way(self) -> None:
        """A job whose submission is under way while the index is made anew is listed, too."""
        self.do(1, Submitted(call(), 1.0))
        (added,) = self.add(2, Submitted(call(), 1.0))
        rooms = self.store._rooms
        assert rooms is not None
        rooms.index.start_over()
        rooms.catalogue.complete()
        self.let_turn()
        self.assertEqual([job(1)], [one.job_id for one in self.listing()])
        self.lane.drain()
        self.successResultOf(added)
        self.assertEqual([job(1), job(2)], [one.job_id for one in self.listing()])

    def test_long_tail_that_ends(self) -> None:
        """A job whose long record and end come in one batch is filed once."""
        self.do(1, Submitted(call(), 1.0))
        self.disk.calls.clear()
        self.do(1, record(0, "x" * 100_000), ended())
        self.assertEqual(1, self.disk.calls.count("write_at") // 2)

    def test_file_again_later(self) -> None:
        """A file that couldn't be written doesn't hold others up."""
        self.disk.failing["write_at"] = errno.ENOSPC
        self.do(1, Submitted(call(), 1.0), ended())
        self.disk.recover()
        self.do(2, Submitted(call(), 1.0), ended())
        self.assertTrue(os.path.exists(self.file_of(job(2))))


class EndDurabilityTests(SteppedCase):
    """With ``durability = "end"`` nobody waits for records."""

    durability = "end"

    def test_records_fire_at_once(self) -> None:
        """Records don't wait, everything else does."""
        (submitted,) = self.add(1, Submitted(call(), 1.0))
        self.assertNoResult(submitted)
        self.lane.drain()
        (started,) = self.add(1, Started(1.0))
        (said,) = self.add(1, record(0))
        self.assertNoResult(started)
        self.successResultOf(said)
        (end,) = self.add(1, ended())
        self.assertNoResult(end)
        self.lane.drain()
        self.assertEqual(1, self.successResultOf(self.store.count(job(1))))

    def test_lost_record_is_told_with_the_next(self) -> None:
        """A record that got lost unseen makes the next one fail."""
        self.do(1, Submitted(call(), 1.0))
        self.disk.fill_up()
        self.add(1, record(0))
        self.lane.drain()
        self.disk.recover()
        (failed,) = self.add(1, record(1))
        self.failureResultOf(failed, StorageError)
        self.do(1, ended())
        self.assertEqual(0, self.successResultOf(self.store.count(job(1))))

    def test_only_needed_syncs(self) -> None:
        """A batch of records alone isn't synced."""
        self.do(1, Submitted(call(), 1.0))
        self.disk.calls.clear()
        self.add(1, record(0))
        self.lane.drain()
        self.assertEqual(0, self.disk.calls.count("sync"))


class NoDurabilityTests(SteppedCase):
    """With ``durability = "none"`` nothing is synced."""

    durability = "none"

    def test_no_sync(self) -> None:
        """Facts wait for the write only."""
        self.disk.calls.clear()
        self.do(1, Submitted(call(), 1.0), Started(1.0), ended())
        self.assertEqual(0, self.disk.calls.count("sync"))
        self.assertEqual("ended", self.successResultOf(self.store.status(job(1))).state)


class OpeningTests(FileCase):
    """Who may have the store, and who is told why not."""

    def test_second_store_refuses(self) -> None:
        """Two daemons on one store: the second is told who has it, and harms nothing."""
        self.open()
        self.submit(1)
        second = file_store(self.directory, self.clock)
        error = self.failureResultOf(second.open(), StorageError).value
        self.assertIn(self.directory, error.message)
        self.assertIn(f"process {os.getpid()}", error.message)
        self.submit(2)
        self.close()
        self.assertEqual(2, len(self.successResultOf(second.open())))
        self.finish(second.close())

    def test_opened_twice(self) -> None:
        """A store that is open isn't opened again."""
        self.open()
        self.failureResultOf(self.store.open(), StorageError)

    def test_unusable_directory(self) -> None:
        """A directory that can't be used is named, with the reason; later it may work."""
        write_file(self.directory, b"a file")
        error = self.failureResultOf(self.store.open(), StorageError).value
        self.assertIn(self.directory, error.message)
        os.unlink(self.directory)
        self.open()

    def test_no_room_to_open(self) -> None:
        """A full disk keeps the store closed, and loses nothing."""
        self.open()
        self.submit(1)
        self.kill()
        self.disk.fill_up()
        self.failureResultOf(self.store.open(), StorageError)
        self.disk.recover()
        self.assertEqual([job(1)], [one.job_id for one in self.open()])

    def test_index_that_cannot_be_made(self) -> None:
        """An index that can't even be made anew is an opening error that says so."""
        os.makedirs(f"{self.directory}/{INDEX}/x")
        self.failureResultOf(self.store.open(), StorageError)

    def test_list_of_a_page(self) -> None:
        """However many are asked for, a list is bounded."""
        self.sizes = Sizes(list_jobs=2)
        self.store = self.make()
        self.open()
        for number in range(3):
            self.submit(number)
        found, _ = self.finish(self.store.jobs(0, 1000))
        self.assertEqual(2, len(found))


class RealDiskTests(FileCase):
    """What unit tests don't do to the machine otherwise."""

    def test_sync_of_everything(self) -> None:
        """The store's directory can be synced as a whole, and what can't is told."""
        disk = RealDisk()
        os.makedirs(self.directory)
        handle = disk.open_tree(self.directory)
        disk.sync_tree(handle)
        disk.close(handle)
        self.assertRaises(OSError, disk.sync_tree, handle)

    def test_log(self) -> None:
        """A log is appended to, synced and cut; one that is there isn't overwritten."""
        disk = RealDisk()
        disk.make_directory(self.directory)
        path = f"{self.directory}/log"
        handle = disk.create_log(path, synced=True)
        disk.append(handle, b"one")
        disk.append(handle, b"two")
        disk.sync(handle)
        disk.sync_directory(self.directory)
        disk.cut(handle, 4)
        disk.close(handle)
        self.assertEqual(b"onet", read_file(path))
        self.assertRaises(FileExistsError, disk.create_log, path, synced=False)
        self.assertRaises(FileNotFoundError, disk.write_at, path + "x", 0, b"x", create=False)
        disk.database(f"{self.directory}/database").close()

    def test_short_reads_and_ends(self) -> None:
        """Reading past the end gives what there is."""
        disk = RealDisk()
        path = f"{self.directory}/x"
        write_file(path, b"abc")
        handle = disk.open(path)
        self.assertEqual(b"bc", disk.read(handle, 1, 100))
        self.assertEqual(b"", disk.read(handle, 3, 100))
        disk.close(handle)
        self.assertIsNone(disk.size(f"{self.directory}/y"))
        self.assertEqual(JobId("x"), disk.names(self.directory)[0])
