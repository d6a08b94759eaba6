"""Whatever isn't a store's, or isn't where or whose it should be, is found and repaired."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable

from harpcaller.store.findings import DAMAGED
from harpcaller.store.layout import IDENTITY, INDEX, JOURNAL, LOCK
from tests.store.checkcase import ALL, CheckCase
from tests.store.filecase import write_file
from tests.store.jobs import DONE, job


class LyingAroundTests(CheckCase):
    """What isn't the store's, or isn't where it belongs."""

    def test_strays(self) -> None:
        """Everything that isn't the store's is moved away, and kept."""
        write_file(self.path("notes.txt"), b"a")
        write_file(self.path("aa/x"), b"b")
        write_file(self.path("aa/bb/y"), b"c")
        write_file(self.path("journal/z"), b"d")
        write_file(self.path("some/where/deep"), b"e")
        os.symlink("nowhere", self.path("link"))
        os.symlink("nowhere", self.path("aa/link"))
        os.symlink("circle", self.path("circle"))
        self.close_up()
        before = self.told()
        self.found_and_repaired("stray")
        kept = {"notes.txt", "aa-x", "aa-bb-y", "journal-z", "some", "link", "aa-link", "circle"}
        self.assertEqual(kept, {*self.names(DAMAGED)})
        self.assertEqual(before, self.told())

    def test_what_the_system_refuses(self) -> None:
        """A name that can't even be asked about ends the check: it is no finding."""
        self.disk.names = lambda path: ["x" * 300]  # type: ignore[method-assign]  # a fake
        self.assertRaises(OSError, self.check)

    def test_misplaced(self) -> None:
        """A job's file under another name goes back to where it belongs."""
        before = self.told()
        os.rename(self.file_of(job(1)), self.path("copy.txt"))
        self.found_and_repaired("misplaced", "index_has_no_file", "empty_directory")
        self.assertEqual(before, self.told())

    def test_misplaced_in_the_place_of_another(self) -> None:
        """Two files that were swapped are told apart by what stands in them."""
        before = self.told()
        os.rename(self.file_of(job(1)), self.path("x"))
        os.rename(self.file_of(job(2)), self.file_of(job(1)))
        os.rename(self.path("x"), self.file_of(job(2)))
        self.assertIn("misplaced", self.kinds())
        self.repair()
        # Neither place was free, so one was put away first, and came back from there.
        told = self.told()
        self.assertEqual([], self.check())
        self.assertTrue(any(before[one] == told[one] for one in (job(1), job(2))))

    def test_misplaced_twice(self) -> None:
        """A copy of a job that is in its place is put away."""
        shutil.copy(self.file_of(job(1)), self.path("copy"))
        before = self.told()
        self.found_and_repaired("misplaced")
        self.assertEqual(["copy"], self.names(DAMAGED))
        self.assertEqual(before, self.told())

    def test_not_a_file(self) -> None:
        """A directory in the place of a job's file is moved away."""
        os.unlink(self.file_of(job(3)))
        os.mkdir(self.file_of(job(3)))
        self.found_and_repaired("not_a_file", "index_has_no_file")
        self.assertEqual([job(3)], self.names(DAMAGED))

    def test_directories_for_files(self) -> None:
        """A directory in the place of any of the store's own files is moved away."""
        before = self.told()
        for name, others in (
            (LOCK, ()),
            (IDENTITY, ("index_foreign",)),
            (INDEX, ("index_missing",)),
        ):
            with self.subTest(name=name):
                os.unlink(self.path(name))
                os.makedirs(self.path(name), 0o700)
                self.found_and_repaired("not_a_file", *others)
                self.assertTrue(os.path.isdir(self.path(f"{DAMAGED}/{name}")))
                self.assertEqual(before, self.told())

    def test_other_things_for_files(self) -> None:
        """A named pipe or a directory in a file's place is moved away, and nobody waits for it."""
        before = self.told()
        for make in (os.mkfifo, os.mkdir):
            self.put_in_place_of_files(make)
        shutil.rmtree(self.path(DAMAGED))
        del before[job(3)]
        self.assertEqual(before, self.told([one for one in ALL if one != job(3)]))

    def put_in_place_of_files(self, make: Callable[[str, int], None]) -> None:
        """Put something else in the place of each kind of file, and see to it that it goes."""
        for find, kind, others in (
            (lambda: self.file_of(job(3)), "not_a_file", set()),
            (lambda: self.path(INDEX), "not_a_file", {"index_missing"}),
            (self.list_of_living, "stray", {"journal_missing"}),
            (self.segment, "stray", set()),
        ):
            path = find()
            with self.subTest(path=path):
                if os.path.exists(path):
                    os.unlink(path)
                os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
                make(path, 0o700)
                kinds = self.kinds()
                self.assertIn(kind, kinds)
                self.assertLessEqual(others, kinds)
                self.assertEqual([], self.repair().remaining)
                self.assertEqual([], self.check())

    def test_not_a_directory(self) -> None:
        """A file where the journal should be is moved away, and the journal begun anew."""
        shutil.rmtree(self.path(JOURNAL))
        write_file(self.path(JOURNAL), b"what?")
        self.close_up()
        self.assertEqual({"not_a_file", "journal_missing", "index_foreign"}, self.kinds())
        self.assertEqual([], self.repair().remaining)
        self.assertEqual([], self.check())

    def test_empty_directories(self) -> None:
        """Directories in which nothing is left are removed."""
        os.makedirs(self.path("00/00"), 0o700)
        os.makedirs(self.path("01"), 0o700)
        self.close_up()
        self.found_and_repaired("empty_directory")
        self.assertEqual([], self.names("00"))
        self.assertFalse(os.path.exists(self.path("00")))

    def test_permissions(self) -> None:
        """Whatever others could read is closed to them, and opened for the owner."""
        os.chmod(self.file_of(job(1)), 0o644)
        os.chmod(self.file_of(job(2)), 0o400)
        os.chmod(os.path.dirname(self.file_of(job(2))), 0o740)
        os.chmod(self.path(INDEX), 0o660)
        os.chmod(self.path(JOURNAL), 0o740)
        os.chmod(self.segment(), 0o640)
        before = self.told()
        self.found_and_repaired("permissions")
        self.assertEqual(0o600, stat.S_IMODE(os.stat(self.file_of(job(1))).st_mode))
        self.assertEqual(0o700, stat.S_IMODE(os.stat(self.path(JOURNAL)).st_mode))
        self.assertEqual(before, self.told())

    def test_links(self) -> None:
        """What a link leads to may be anybody's: its mode and its owner are left alone."""
        outside = os.path.abspath(self.mktemp())
        os.rename(self.file_of(job(1)), outside)
        os.symlink(outside, self.file_of(job(1)))
        os.chmod(outside, 0o644)
        stray = os.path.abspath(self.mktemp())
        write_file(stray, b"precious")
        os.symlink(stray, self.path("stray"))
        if os.geteuid() == 0:
            os.chown(outside, 12345, 12345)
            os.chown(stray, 12345, 12345)
        before = os.stat(outside), os.stat(stray)
        self.assertEqual({"permissions", "stray"}, self.kinds())
        ((_, reason),) = self.repair().remaining
        self.assertIn("it is a link", reason)
        for was, now in zip(before, (os.stat(outside), os.stat(stray)), strict=True):
            self.assertEqual((was.st_mode, was.st_uid), (now.st_mode, now.st_uid))
        self.assertTrue(os.path.islink(self.path(f"{DAMAGED}/stray")))

    def test_owner(self) -> None:
        """Files that root made are given to whom the store belongs; so is what a repair makes."""
        if os.geteuid() != 0:
            self.skipTest("only root can give files away")
        for folder, names, files in os.walk(self.directory):
            for name in (*names, *files, ""):
                os.chown(os.path.join(folder, name), 12345, 12345)
        os.chown(self.file_of(job(1)), 0, 0)
        self.change_job(job(2), lambda text: text + b"torn")
        (owner,) = (one for one in self.check() if one.kind == "permissions")
        self.assertIn("owned by user 0, expected 12345", owner.detail)
        self.repair()
        for folder, names, files in os.walk(self.directory):
            for name in (*names, *files):
                path = os.path.join(folder, name)
                self.assertEqual(12345, os.stat(path).st_uid, path)

    def test_unreadable(self) -> None:
        """A file that the disk doesn't give is told of, and left alone."""
        self.disk.failing_paths = {self.file_of(job(1))}
        self.assertEqual({"unreadable"}, self.kinds())
        # The index that is made anew is without it, and says so.
        remaining = [one.kind for one, _ in self.repair().remaining]
        self.assertEqual(["index_incomplete", "unreadable"], sorted(remaining))
        self.disk.failing_paths = set()
        self.assertEqual(DONE, self.told()[job(1)][-1])
