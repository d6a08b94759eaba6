"""Nothing is found where nothing is wrong, and a finding names a path and a job.

The damage of each kind that is found, explained and repaired is beside this: of places, jobs,
journal and index.
"""

from __future__ import annotations

import os

from harpcaller.errors import StorageError
from harpcaller.store.check import Numbers
from harpcaller.store.layout import LOCK, job_path
from tests.house import HouseCase
from tests.store.checkcase import CheckCase
from tests.store.filecase import read_file, write_file
from tests.store.jobs import job


class CleanTests(CheckCase):
    """Nothing is found where nothing is wrong."""

    def test_closed(self) -> None:
        """A store whose daemon was stopped is clean, and a repair changes nothing."""
        before = self.everything()
        self.assertEqual([], self.check())
        self.assertEqual(0, self.repair().found)
        after = self.everything()
        self.assertEqual({**before, LOCK: b""}, {**after, LOCK: b""})

    def test_killed(self) -> None:
        """What a start mends by itself is no damage: lines in the journal, and torn entries."""
        self.run_more()
        self.assertEqual([], self.check())
        with open(self.segment(), "ab") as file:
            file.write(b"0badbad0 half an ent")
        self.assertEqual([], self.check())

    def test_files_lag_behind_the_journal(self) -> None:
        """A file that a power cut shortened or swallowed is as the journal says."""
        self.run_more()
        whole = read_file(self.file_of(job(11)))
        for cut in (0, 10, len(whole) - 20):
            write_file(self.file_of(job(11)), whole[:cut])
            self.assertEqual([], self.check())
        os.unlink(self.file_of(job(11)))
        self.assertEqual([], self.check())

    def test_pruned(self) -> None:
        """A file that should be gone since a pruning is removed by the next start."""
        self.open()
        self.let_turn()
        whole = read_file(self.file_of(job(1)))
        self.finish(self.store.prune(2000.0))
        self.kill()
        write_file(self.file_of(job(1)), whole)
        self.close_up()
        self.assertEqual([], self.check())

    def test_empty(self) -> None:
        """A store that has never had a job is clean."""
        self.directory = os.path.abspath(self.mktemp())
        self.store = self.make()
        self.open()
        self.close()
        self.assertEqual([], self.check())

    def test_no_store(self) -> None:
        """A directory of something else isn't tidied up."""
        for directory in ("/nonexistent", "/etc/passwd", os.path.dirname(__file__)):
            self.directory = directory
            with self.assertRaises(StorageError):
                self.check()
            with self.assertRaises(StorageError):
                self.repair()
            self.assertFalse(os.path.exists(f"{directory}/{LOCK}"))

    def test_in_use(self) -> None:
        """A store that a daemon uses isn't repaired."""
        self.open()
        with self.assertRaisesRegex(StorageError, "in use"):
            self.repair()

    def test_lost_and_found(self) -> None:
        """A file system's own directory is left alone."""
        os.mkdir(self.path("lost+found"))
        self.assertEqual([], self.check())


class NumbersTests(HouseCase):
    def test_met(self) -> None:
        """A number is new once, however far from the others it is."""
        numbers = Numbers()
        for number in (0, 1, 7, 8, 10**6, 2**62):
            self.assertFalse(numbers.meet(number))
            self.assertTrue(numbers.meet(number))


class PathTests(CheckCase):
    def test_paths(self) -> None:
        """Findings name paths inside the store."""
        self.change_job(job(1), lambda text: text + b"x")
        (finding,) = self.check()
        self.assertEqual(job_path("", job(1))[1:], finding.path)
        self.assertEqual(job(1), finding.job)
