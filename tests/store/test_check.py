"""Every kind of damage is found, explained and repaired, and nothing else is touched."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable

from harpcaller.errors import StorageError
from harpcaller.store.check import Numbers
from harpcaller.store.findings import DAMAGED
from harpcaller.store.layout import IDENTITY, INDEX, JOURNAL, LOCK, job_path
from harpcaller.store.segments import entry
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Failed
from tests.house import HouseCase
from tests.store.checkcase import ALL, ENDED, RUNNING, WAITING, CheckCase
from tests.store.fakes import FaultyDisk
from tests.store.filecase import read_file, write_file
from tests.store.jobs import DONE, ended, job, record


class _NotingDisk(FaultyDisk):
    """Notes what is durably kept in ``damaged/`` while a file has which content."""

    def __init__(self, watched: str) -> None:
        super().__init__()
        self._watched = watched
        self.kept: dict[bytes, list[bytes]] = {}

    def sync_directory(self, path: str) -> None:
        super().sync_directory(path)
        if os.path.basename(path) == DAMAGED:
            kept = [read_file(os.path.join(path, name)) for name in os.listdir(path)]
            self.kept[read_file(self._watched)] = kept


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


class JobTests(CheckCase):
    """Damage in one job's file."""

    def others_are_as_before(self, job_id: JobId) -> None:
        """Make sure that other jobs tell the same as ever."""
        told = self.told()
        self.assertEqual(
            {one: self.before[one] for one in ALL if one != job_id},
            {one: told[one] for one in ALL if one != job_id},
        )

    def setUp(self) -> None:
        super().setUp()
        self.before = self.told()

    def test_torn_line(self) -> None:
        """A torn last line is cut off, and kept."""
        for job_id in (job(1), RUNNING):
            self.change_job(job_id, lambda text: text + b'{"packet":5,"ti')
        self.found_and_repaired("torn_line")
        self.assertEqual(self.before, self.told())
        self.assertEqual(b'{"packet":5,"ti', read_file(self.path(f"{DAMAGED}/torn-{RUNNING}")))

    def test_damaged_record(self) -> None:
        """Of a job with a damaged record all others can be read, and the end; the gap is told."""
        self.change_job(job(1), lambda text: text.replace(b'{"packet":2,', b'{"pocket":2,'))
        whole = read_file(self.file_of(job(1)))
        self.found_and_repaired("damaged_lines", "records_missing")
        self.assertEqual(whole, read_file(self.path(f"{DAMAGED}/{job(1)}")))
        self.assertEqual(("storage_error",), self.told()[job(1)])
        self.open()
        self.assertEqual(DONE, self.finish(self.store.ending(job(1))))
        self.assertEqual([3, 4], [one.number for one in self.all_records(job(1), 3)])
        self.close()
        self.others_are_as_before(job(1))

    def test_damage_of_many_kinds(self) -> None:
        """Lines that are none are taken out, whatever they are."""
        text = read_file(self.file_of(job(1)))
        head, start, first, *rest = text.splitlines(keepends=True)
        noise = [b"\0\n", b"{}\n", b"\xff\xfe\n", b'{"start":nan}\n', b'{"start":1,"x":2}\n', head,
                 start, first, b'{"end":1.0}\n', b'{"packet":9,"time":1,"data":}\n']  # fmt: skip
        lines = [head, start, first]
        for line in rest:
            lines += [*noise, line]
        write_file(self.file_of(job(1)), b"".join([*lines, *noise]))
        self.found_and_repaired("damaged_lines")
        self.assertEqual(text, read_file(self.file_of(job(1))))
        self.others_are_as_before(job(1))

    def test_resumable_out_of_place(self) -> None:
        """That an agent keeps a call stands after the start, once, or counts for nothing."""
        line = b'{"resumable":12.5}\n'
        whole = read_file(self.file_of(RUNNING))
        first = whole.index(line)
        for damaged in (
            whole[:first] + line + whole[first:],
            whole + line,
            whole[:first] + b'{"resumable":"soon"}\n' + whole[first:],
        ):
            write_file(self.file_of(RUNNING), damaged)
            self.assertEqual({"damaged_lines"}, self.kinds())
        self.found_and_repaired("damaged_lines")
        self.assertEqual(self.before, self.told())
        waiting = read_file(self.file_of(WAITING))
        write_file(self.file_of(WAITING), waiting + line)
        self.assertEqual({"damaged_lines"}, self.kinds())

    def test_out_of_order(self) -> None:
        """Records that were swapped, or stand twice, are told; each is kept once at most."""

        def swap(text: bytes) -> bytes:
            lines = text.splitlines(keepends=True)
            lines[3], lines[4] = lines[4], lines[3]
            return b"".join(lines)

        self.change_job(job(1), swap)
        self.change_job(job(2), lambda text: text.replace(b'{"packet":3', b'{"packet":2'))
        details = {one.job: one.detail for one in self.check() if one.kind == "damaged_lines"}
        self.assertIn("record 1 where 3 belongs", details[job(1)])
        self.assertIn("record 2 where 3 belongs", details[job(2)])
        self.found_and_repaired("damaged_lines", "records_missing")

    def test_records_missing(self) -> None:
        """Records that are gone without a trace are told; what is there stays readable."""

        def drop(text: bytes) -> bytes:
            lines = text.splitlines(keepends=True)
            del lines[3:5]
            return b"".join(lines)

        self.change_job(job(1), drop)
        (finding,) = self.check()
        self.assertEqual("missing: 1 to 2", finding.detail)
        self.found_and_repaired("records_missing")
        self.others_are_as_before(job(1))

    def test_end_twice(self) -> None:
        """The first end counts, for it is what was told; what follows it is kept aside."""
        self.change_job(job(1), lambda text: text + b'{"end":2000.0,"cancelled":true}\n')
        self.found_and_repaired("damaged_lines")
        self.assertEqual(self.before, self.told())

    def test_no_end(self) -> None:
        """A job of which nobody knows how it ended is ended so, and isn't run again."""
        end = b'{"end":1000.0,"result":"done"}\n'
        self.change_job(job(1), lambda text: text.replace(end, b""))
        self.found_and_repaired("no_end", "index_differs")
        told = self.told()[job(1)]
        assert len(told) == 3
        _, records, ending = told
        assert isinstance(ending, Failed)
        self.assertEqual(5, len(records))
        self.assertEqual("missing_result", ending.type)
        self.open()
        self.assertEqual(1, self.finish(self.store.prune(2000.0)).removed - 2)
        self.close()

    def test_torn_end(self) -> None:
        """An end that is torn is no end."""
        self.change_job(job(1), lambda text: text[:-3])
        self.found_and_repaired("torn_line", "no_end", "index_differs")
        self.others_are_as_before(job(1))

    def test_headless(self) -> None:
        """A file without a head tells nothing, and is moved away."""
        origin = self.directory
        for damage in (
            b"",
            b"\n",
            b"\0" * 100,
            b'{"harpcaller_job":1,"jo',
            b'{"harpcaller_job":1}\n',
        ):
            self.directory = origin
            self.damaged_copy()
            write_file(self.file_of(job(1)), damage)
            self.found_and_repaired("headless")
            self.assertEqual(damage, read_file(self.path(f"{DAMAGED}/{job(1)}")))
            self.assertEqual(("invalid_jobid",), self.told()[job(1)])
            self.others_are_as_before(job(1))

    def test_headless_living(self) -> None:
        """Also if the job hasn't ended; it is lost then, and no start waits for it."""
        write_file(self.file_of(WAITING), b"\0" * 100)
        self.found_and_repaired("headless")
        self.others_are_as_before(WAITING)

    def test_newer_format(self) -> None:
        """A store that a newer version wrote is left alone."""
        self.change_job(
            job(1), lambda text: text.replace(b'"harpcaller_job":1', b'"harpcaller_job":2')
        )
        self.assertEqual({"newer_format"}, self.kinds())
        before = self.everything()
        with self.assertRaisesRegex(StorageError, "newer"):
            self.repair()
        self.assertEqual({**before, LOCK: b""}, {**self.everything(), LOCK: b""})

    def test_missing_file(self) -> None:
        """Of a living job's file that somebody removed nothing can be had back."""
        os.unlink(self.file_of(WAITING))
        self.assertIn("missing_file", self.kinds())
        self.assertEqual([], self.repair().remaining)
        self.assertEqual([], self.check())
        self.others_are_as_before(WAITING)

    def test_same_number(self) -> None:
        """Two jobs with one number get two, and both are listed then."""
        self.change_job(job(2), lambda text: text.replace(b'"serial":2', b'"serial":1'))
        self.assertEqual({"serial_twice", "index_differs"}, self.kinds())
        self.repair()
        self.assertEqual([], self.check())
        self.open()
        self.assertEqual({*ALL}, {one.job_id for one in self.listing()})
        self.submit(99)
        self.assertEqual(6, len(self.listing()))
        self.close()
        self.assertEqual([], self.check())
        self.assertEqual(self.before, self.told())


class JournalTests(CheckCase):
    """Damage in the journal, and where it and the files tell different things."""

    def test_missing(self) -> None:
        """Without a journal every job's file is looked at; those without end live."""
        before = self.told()
        shutil.rmtree(self.path(JOURNAL))
        self.found_and_repaired("journal_missing", "index_foreign")
        self.assertEqual(before, self.told())

    def test_lists_missing(self) -> None:
        """Likewise without a list of living jobs."""
        before = self.told()
        os.unlink(self.list_of_living())
        self.found_and_repaired("journal_missing")
        self.assertEqual(before, self.told())

    def test_list_damaged(self) -> None:
        """A list of living jobs that isn't whole is kept, and made anew."""
        before = self.told()
        self.change(self.list_of_living(), lambda text: text[:-5])
        self.found_and_repaired("list_damaged", "journal_missing")
        self.assertEqual(before, self.told())

    def test_damaged_middle(self) -> None:
        """Whole entries that follow a damaged one are saved; a start would have lost them."""
        self.open()
        self.submit(20)
        begin = os.path.getsize(self.segment())
        self.submit(21)
        self.submit(22)
        self.kill()
        before = self.told((*ALL, job(20), job(22)))
        self.change(self.segment(), lambda text: text[: begin + 9] + b"!" + text[begin + 10 :])
        self.found_and_repaired("segment_damaged")
        told = self.told((*ALL, job(20), job(21), job(22)))
        self.assertEqual(("invalid_jobid",), told.pop(job(21)))
        self.assertEqual(before, told)

    def test_damaged_header(self) -> None:
        """Also if the header is what was damaged."""
        self.run_more()
        before = self.told((*ALL, job(11), job(12)))
        self.change(self.segment(), lambda text: b"00000000" + text[8:])
        self.found_and_repaired("segment_damaged", "index_differs", "index_lacks_job")
        self.assertEqual(before, self.told((*ALL, job(11), job(12))))

    def test_unknown_segment(self) -> None:
        """A segment that isn't one of ours is moved away."""
        before = self.told()
        text = entry("segment", 99, b'{"harpcaller_journal":7,"serial":1,"good":{}}\n')
        write_file(self.path("journal/00000099.log"), text)
        self.close_up()
        self.found_and_repaired("segment_unknown")
        self.assertEqual(["journal-00000099.log"], self.names(DAMAGED))
        self.assertEqual(before, self.told())

    def test_renamed_segment(self) -> None:
        """A segment under another number gets its own back."""
        self.run_more()
        before = self.told((*ALL, job(11), job(12)))
        os.rename(self.segment(), self.path("journal/00000077.log"))
        self.found_and_repaired("segment_unknown", "index_differs", "index_lacks_job")
        self.assertEqual(before, self.told((*ALL, job(11), job(12))))

    def test_disagreement(self) -> None:
        """Where file and journal differ the journal is believed, which has checksums."""
        self.run_more()
        before = self.told((*ALL, job(11), job(12)))
        self.change_job(job(11), lambda text: text.replace(b'"done"', b'"dine"'))
        damaged = read_file(self.file_of(job(11)))
        self.found_and_repaired("disagrees")
        self.assertEqual(damaged, read_file(self.path(f"{DAMAGED}/file-{job(11)}")))
        self.assertEqual(before, self.told((*ALL, job(11), job(12))))

    def test_kept_before_it_goes(self) -> None:
        """What a repair takes away is durably in damaged/ first: the power may be cut any time."""
        self.run_more()
        for job_id, change in (
            (job(11), lambda text: text.replace(b'"done"', b'"dine"')),
            (job(1), lambda text: text + b'{"packet":5,"ti'),
            (job(2), lambda text: text.replace(b'{"packet":2,', b'{"pocket":2,')),
        ):
            with self.subTest(job=job_id):
                self.change_job(job_id, change)
                damaged = read_file(self.file_of(job_id))
                self.disk = disk = _NotingDisk(self.file_of(job_id))
                self.repair()
                self.assertNotEqual(damaged, read_file(self.file_of(job_id)))
                self.assertTrue(any(each and damaged.endswith(each) for each in disk.kept[damaged]))

    def test_gap(self) -> None:
        """Lines whose predecessors are lost are kept in the segment's copy."""
        self.run_more()
        os.unlink(self.file_of(WAITING))
        self.change_job(RUNNING, lambda text: text[: text.index(b'{"packet":1')])
        segment = os.path.basename(self.segment())
        self.assertEqual({"gap"}, self.kinds())
        done = self.repair()
        self.assertEqual([], done.remaining)
        self.assertEqual([], self.check())
        self.assertIn(segment, self.names(DAMAGED))
        told = self.told((*ENDED, job(11), job(12)))
        self.assertNotIn(("invalid_jobid",), told.values())

    def test_more_than_one_fault(self) -> None:
        """What stands before the journal's lines is repaired after they are written."""
        self.run_more()
        self.change_job(RUNNING, lambda text: text.replace(b'{"packet":1,', b'{"packet":x,'))
        self.found_and_repaired("damaged_lines", "records_missing")
        self.open()
        self.assertEqual(4, self.finish(self.store.count(RUNNING)))
        self.finish(self.store.add(RUNNING, record(4)))
        self.finish(self.store.add(RUNNING, ended()))
        self.close()
        self.assertEqual([], self.check())


class IndexTests(CheckCase):
    """The index is compared with the files, row by row."""

    def setUp(self) -> None:
        super().setUp()
        self.before = self.told()

    def database(self, *statements: str) -> None:
        """Change the index."""
        connection = sqlite3.connect(self.path(INDEX), isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()

    def repaired(self, *kinds: str) -> None:
        """Make sure that this is found and repaired, and no job was touched."""
        self.found_and_repaired(*kinds)
        self.assertEqual(self.before, self.told())
        self.assertEqual([], self.names(DAMAGED))
        self.open()
        self.assertEqual([], self.clock.getDelayedCalls(), "the index isn't complete")
        self.assertEqual({*ALL}, {one.job_id for one in self.listing()})
        self.close()

    def test_missing(self) -> None:
        """A missing index is made anew."""
        self.drop_index()
        self.repaired("index_missing")

    def test_not_a_database(self) -> None:
        """What is no database is replaced."""
        write_file(self.path(INDEX), b"no database" * 1000)
        self.repaired("index_damaged")

    def test_empty(self) -> None:
        """Nor is an empty file an index."""
        write_file(self.path(INDEX), b"")
        self.repaired("index_damaged")

    def test_damaged_page(self) -> None:
        """A database with a damaged page is noticed."""
        size = os.path.getsize(self.path(INDEX))
        self.change(self.path(INDEX), lambda text: text[:4096] + b"\xaa" * (size - 4096))
        self.repaired("index_damaged")

    def test_damaged_schema(self) -> None:
        """So is one whose schema can't even be complained about."""
        self.change(
            self.path(INDEX), lambda text: text.replace(b"job_end ON job", b"job_\xd6nd \xff job")
        )
        self.repaired("index_damaged")

    def test_incomplete(self) -> None:
        """One that was being made anew when its daemon died is made anew once more."""
        self.database("UPDATE state SET complete=0")
        self.repaired("index_incomplete")

    def test_older_format(self) -> None:
        """One of another format is replaced."""
        self.database("PRAGMA user_version=1")
        self.repaired("index_damaged")

    def test_another_store(self) -> None:
        """One of another store is replaced."""
        self.database("UPDATE state SET store='other'")
        self.repaired("index_foreign")

    def test_another_time(self) -> None:
        """One that is older or newer than the journal is replaced."""
        self.database("UPDATE state SET segment=1")
        self.repaired("index_foreign")

    def test_identity_lost(self) -> None:
        """Without the store's identity no index can be its own."""
        os.unlink(self.path(IDENTITY))
        self.repaired("index_foreign")

    def test_row_missing(self) -> None:
        """A job that isn't in the index would never be listed nor pruned."""
        self.database("DELETE FROM job WHERE serial IN (1, 5)")
        (first, second) = self.check()
        self.assertEqual({job(1), RUNNING}, {first.job, second.job})
        self.repaired("index_lacks_job")

    def test_row_without_file(self) -> None:
        """A row without a file shows a job that there isn't."""
        row = "SELECT serial+{0},'{1}',submit,start,end,host,procedure,arguments,info,queue"
        for number, job_id in enumerate(
            ("00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-8fff-ffffffffffff"), 50
        ):
            self.database(f"INSERT INTO job {row.format(number, job_id)} FROM job WHERE serial=1")
        self.repaired("index_has_no_file")

    def test_row_differs(self) -> None:
        """A row that tells something else than the file is wrong."""
        self.database("UPDATE job SET end=5.0 WHERE serial=1")
        self.repaired("index_differs")

    def test_row_twice(self) -> None:
        """A job with two rows would be listed twice."""
        self.database(
            "INSERT INTO job SELECT 90,id,submit,start,end,host,procedure,arguments,info,queue"
            " FROM job WHERE serial=1"
        )
        self.repaired("index_differs")

    def test_with_its_log(self) -> None:
        """After a kill the index is read with the log that lies beside it."""
        self.run_more()
        self.assertTrue(os.path.exists(self.path(f"{INDEX}-wal")))
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
