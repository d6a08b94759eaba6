"""What power cuts and troubles of the disk have taught, one by one."""

from __future__ import annotations

import errno
import os
import shutil

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.interfaces import Submitted
from harpcaller.store.sizes import Durability, Sizes
from harpcaller.store.writing import RETRY_SECONDS
from harpcaller.testing.durability import Outcome
from harpcaller.testing.filesystem import FileSystem
from tests.house import HouseCase
from tests.store.crash import cuts, faults
from tests.store.filecase import FileCase, read_file, write_file
from tests.store.jobs import call, job, record


class RefusedTests(FileCase):
    """What was refused doesn't come to life."""

    def test_disk_took_it_and_then_nothing(self) -> None:
        """A refused job stays away once the disk is healed, also if nobody came since."""
        self.open()
        self.disk.fill_up()
        self.disk.partly = 100_000
        self.disk.failing["cut"] = errno.EIO
        self.failureResultOf(self.store.add(job(1), Submitted(call(), 1.0)), StorageError)
        self.disk.recover()
        self.clock.advance(RETRY_SECONDS)
        self.assertEqual([], self.restart())
        self.failureResultOf(self.store.status(job(1)), InvalidJobId)


class StartTests(FileCase):
    """A start makes the best of what it finds."""

    def test_number_of_a_damaged_list(self) -> None:
        """The number of a list that was half written isn't used again."""
        self.open()
        self.submit(1)
        self.close()
        last = max(int(name[:8]) for name in self.journal())
        write_file(f"{self.directory}/journal/{last + 1:08d}.living", b"harpcaller-liv")
        self.assertEqual([job(1)], [one.job_id for one in self.open()])

    def test_unreadable_job_is_taken_up_later(self) -> None:
        """A waiting job whose file can't be read runs after the next start that can read it."""
        self.open()
        self.submit(1)
        self.close()
        path = self.file_of(job(1))
        shutil.move(path, path + ".aside")
        os.mkdir(path)
        self.assertEqual([], list(self.open()))
        self.close()
        os.rmdir(path)
        shutil.move(path + ".aside", path)
        self.assertEqual([job(1)], [one.job_id for one in self.open()])


class UnsyncedTests(FileCase):
    """A job's file is never ahead of what the journal has for certain."""

    durability: Durability = "end"
    sizes = Sizes(job_tail=0)

    def test_records_wait_for_a_sync(self) -> None:
        """A record that isn't synced isn't filed; the next synced fact files it."""
        self.open()
        self.submit(1)
        self.finish(self.store.add(job(1), record(0)))
        self.assertFalse(
            os.path.exists(self.file_of(job(1))) and b"packet" in read_file(self.file_of(job(1)))
        )
        self.submit(2)
        self.finish(self.store.add(job(1), record(1)))
        self.submit(3)
        self.assertIn(b'"packet":1', read_file(self.file_of(job(1))))


class IndexTests(FileCase):
    """The index after a failed sync."""

    sizes = Sizes(segment=2000)

    def test_failed_sync_makes_it_anew(self) -> None:
        """What a failed sync lost of the index SQLite wouldn't know: it is made anew."""
        self.open()
        self.disk.failing["sync_tree"] = errno.EIO
        for number in range(12):
            self.submit(number)
        self.assertIn("remove", self.disk.calls)
        self.disk.recover()
        self.let_turn()
        self.assertEqual(12, len(self.listing()))


class NamedCaseTests(HouseCase):
    """Cases can be done again by their names."""

    def test_cases_that_failed_once(self) -> None:
        """What went wrong once goes well: leaks, a second start, troubles while starting."""
        life = "full 700 | s1 t1 r1 R1 e1 s2 p q"
        for rest in (
            "call=9 trouble=EIO then=heal",
            "call=10 trouble=EIO then=heal",
            "call=43 trouble=ENOSPC+ then=kill",
            "call=44 trouble=ENOSPC+ then=kill",
            "call=52 trouble=EIO+ then=all",
            "call=80 trouble=ENOSPC+ then=none",
            "call=82 trouble=ENOSPC+ then=none",
            "call=84 trouble=EIO/1+ then=all",
        ):
            faults.run(faults.Fault.named(f"{life} {rest}"))
        unsynced = "end 700 | s1 t1 r1 R1 R1 r1 s2 t2 R2 R2 r2 e2 p s3 K t3 R3 R3 R3 q R3 R3"
        cuts.run(cuts.Cut.named(f"{unsynced} cut=145 outcome=random:373243 index=as-is"))

    def test_power_cut_in_a_start_after_a_kill(self) -> None:
        """No job's file is ahead of the journal, also if a killed daemon hadn't synced that."""
        for at in range(20, 30):
            for outcome in ("zeros", "empty"):
                life = f"none 2500 | s2 t2 K e2 K s1 e1 cut={at}"
                cuts.run(cuts.Cut.named(f"{life} outcome={outcome} index=as-is"))

    def test_names(self) -> None:
        """A name says everything; what isn't one is refused."""
        name = "full 700 | s1 cut=3 outcome=torn:4 index=half again=5:all"
        self.assertEqual(name, cuts.Cut.named(name).name)
        name = "full 700 | s1 call=3 trouble=EIO/1+ then=heal"
        self.assertEqual(name, faults.Fault.named(name).name)
        for wrong in (cuts.Cut.named, faults.Fault.named):
            self.assertRaises(ValueError, wrong, "full 700 | s1")
        self.assertRaises(ValueError, Outcome("miracle").pick)

    def test_a_store_that_lies_is_caught(self) -> None:
        """A file system that says it has synced, and hasn't, is noticed by the judge."""

        class Liar(FileSystem):
            """It says so."""

            def syncfs(self, handle: int) -> None:
                self._handle(handle)

        def lose(at: int, story: object) -> list[cuts.Cut]:
            return [cuts.Cut(text, at, Outcome("none"))]

        text = "full 700 | s1 t1 r1 R1 e1 q"
        self.assertRaises(cuts.Failed, cuts.tell, text, lose, Liar())
