"""Damage in the journal is found, explained and repaired, and no job loses what it need not."""

from __future__ import annotations

import os
import shutil

from harpcaller.store.findings import DAMAGED
from harpcaller.store.layout import JOURNAL
from harpcaller.store.segments import entry
from tests.store.checkcase import ALL, ENDED, RUNNING, WAITING, CheckCase
from tests.store.fakes import FaultyDisk
from tests.store.filecase import read_file, write_file
from tests.store.jobs import ended, job, record


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
