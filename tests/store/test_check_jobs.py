"""Damage in a job's file is found, explained and repaired, and no other job is touched."""

from __future__ import annotations

import os

from harpcaller.errors import StorageError
from harpcaller.store.findings import DAMAGED
from harpcaller.store.layout import LOCK
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Failed
from tests.store.checkcase import ALL, RUNNING, WAITING, CheckCase
from tests.store.filecase import read_file, write_file
from tests.store.jobs import DONE, job


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
