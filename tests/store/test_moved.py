"""Stores that were moved, or restored from a backup, whole or in parts."""

from __future__ import annotations

import os
import shutil

from harpcaller.interfaces import StoredJob
from harpcaller.store.layout import IDENTITY, INDEX
from tests.store.filecase import FileCase, read_file, write_file
from tests.store.jobs import DONE, job


class MovedTests(FileCase):
    """An index counts only if it is this store's and of this time; files count always."""

    def setUp(self) -> None:
        super().setUp()
        self.open()
        self.let_turn()
        for number in range(1, 6):
            self.run_job(number)
        self.close()

    def copy(self) -> str:
        """Make a backup of a store that is closed."""
        backup: str = os.path.abspath(self.mktemp())
        shutil.copytree(self.directory, backup)
        return backup

    def go_on(self) -> list[StoredJob]:
        """Let the store live for a while, and end with more jobs and fewer."""
        self.open()
        self.let_turn()
        self.run_job(6)
        self.submit(7)
        self.finish(self.store.prune(2000.0))
        self.run_job(8)
        listed = self.listing()
        self.close()
        return listed

    def reopened(self) -> list[StoredJob]:
        """Open, let everything settle, and list all jobs."""
        self.open()
        self.let_turn()
        return self.listing()

    def take_index_from(self, other: str) -> None:
        """Put another index in the place of ours."""
        self.drop_index()
        shutil.copy(f"{other}/{INDEX}", f"{self.directory}/{INDEX}")

    def test_moved(self) -> None:
        """A store that was moved is as it was, its index is good as it is."""
        moved = os.path.abspath(self.mktemp())
        os.rename(self.directory, moved)
        self.directory = moved
        self.store = self.make()
        self.open()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual(5, len(self.listing()))

    def test_backup_restored_whole(self) -> None:
        """A store goes back to what it was; its index isn't made anew for that."""
        before = self.reopened()
        self.close()
        backup = self.copy()
        self.go_on()
        self.directory = backup
        self.store = self.make()
        self.open()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual(before, self.listing())

    def test_index_from_a_backup(self) -> None:
        """An older index beside newer files is made anew."""
        backup = self.copy()
        listed = self.go_on()
        self.take_index_from(backup)
        self.assertEqual(listed, self.reopened())

    def test_index_from_a_backup_after_kill(self) -> None:
        """Also when there is a journal to replay."""
        backup = self.copy()
        self.go_on()
        self.open()
        self.run_job(9)
        listed = self.listing()
        self.kill()
        self.take_index_from(backup)
        self.assertEqual(listed, self.reopened())

    def test_files_from_a_backup(self) -> None:
        """A newer index beside older files is made anew."""
        before = self.reopened()
        self.close()
        backup = self.copy()
        self.go_on()
        newer, self.directory = self.directory, backup
        self.take_index_from(newer)
        self.store = self.make()
        self.assertEqual(before, self.reopened())

    def test_index_of_another_store(self) -> None:
        """An index of another store is made anew, however alike the two are."""
        listed = self.reopened()
        self.close()
        ours, self.directory = self.directory, os.path.abspath(self.mktemp())
        self.store = self.make()
        self.open()
        self.let_turn()
        for number in range(11, 16):
            self.run_job(number)
        self.close()
        other, self.directory = self.directory, ours
        self.take_index_from(other)
        self.store = self.make()
        self.assertEqual(listed, self.reopened())

    def test_numbers_go_on(self) -> None:
        """With an old journal a submission's number isn't given away twice if the index knows."""
        backup = self.copy()
        listed = self.go_on()
        shutil.rmtree(f"{self.directory}/journal")
        shutil.copytree(f"{backup}/journal", f"{self.directory}/journal")
        self.open()
        self.submit(20)
        self.let_turn()
        # Job 7 waited, which the old journal doesn't know; so it is listed, but isn't run.
        self.assertEqual([*(one.job_id for one in listed), job(20)],
                         [one.job_id for one in self.listing()])  # fmt: skip

    def test_identity_lost_or_damaged(self) -> None:
        """A store without identity gets a new one and a new index."""
        path = f"{self.directory}/{IDENTITY}"
        first = read_file(path)
        listed = self.reopened()
        for damage in (None, b"", b"x" * 100, first + b"more"):
            self.close()
            os.unlink(path)
            if damage is not None:
                write_file(path, damage)
            self.assertEqual(listed, self.reopened())
            self.assertEqual(33, len(read_file(path)))
            self.assertNotEqual(first, read_file(path))
            self.assertEqual(DONE, self.finish(self.store.ending(job(1))))

    def test_identity_stays(self) -> None:
        """It is the same after every start."""
        path = f"{self.directory}/{IDENTITY}"
        first = read_file(path)
        self.reopened()
        self.assertEqual(first, read_file(path))
