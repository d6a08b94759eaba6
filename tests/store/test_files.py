"""Reading jobs, filed and not."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.interfaces import Page, Resumable, Started, Submitted
from harpcaller.store import files, heads, records
from harpcaller.store.files import Content
from harpcaller.store.layout import job_path
from harpcaller.wire.client_answers import Record
from tests.house import HouseCase
from tests.store.fakes import FaultyDisk
from tests.store.filecase import write_file
from tests.store.jobs import DONE, call, ended, job, record

_T = TypeVar("_T")


def lines(
    sizes: list[int], *, start: bool = True, kept: bool = False, end: bool = True
) -> list[bytes]:
    """Make the lines of a job with records of these sizes."""
    made = [heads.head_line(job(1), 1, Submitted(call(), 1.0))]
    if start:
        made.append(records.fact_line(Started(2.0)))
    if kept:
        made.append(records.fact_line(Resumable(2.5)))
    for number, size in enumerate(sizes):
        made.append(records.fact_line(record(number, "x" * size)))
    if end:
        made.append(records.fact_line(ended(9.0)))
    return made


class FilesCase(HouseCase):
    """A test with a job in a file and in memory."""

    def setUp(self) -> None:
        super().setUp()
        self.disk = FaultyDisk()
        self.directory = self.mktemp()

    def look(self, made: list[bytes], split: int, look: Callable[[Content], _T]) -> _T:
        """Read a job of which the lines from ``split`` on aren't filed."""
        filed = b"".join(made[:split])
        write_file(job_path(self.directory, job(1)), filed)
        with files.opened(
            self.disk, self.directory, job(1), len(filed), b"".join(made[split:])
        ) as content:
            return look(content)


class ReadingTests(FilesCase):
    """What can be known of a job without reading all of it."""

    def test_same_wherever_the_seam_is(self) -> None:
        """How much of a job is filed makes no difference to who reads."""
        made = lines([5, 9000, 0, 70_000, 3])
        whole = self.look(made, len(made), files.summary)
        self.assertEqual((2.0, 5, 9.0), (whole.started_at, whole.records, whole.ended_at))
        self.assertEqual(len(b"".join(made)), whole.length)
        for split in range(len(made)):
            self.assertEqual(whole, self.look(made, split, files.summary))
            self.assertEqual(ended(9.0), self.look(made, split, files.ended))

    def test_how_far_it_came(self) -> None:
        """Summaries of jobs that wait, run, or were cancelled while they waited."""
        for made, expected in (
            (lines([], start=False, end=False), (None, 0, None)),
            (lines([], end=False), (2.0, 0, None)),
            (lines([1, 2], end=False), (2.0, 2, None)),
            (lines([], start=False), (None, 0, 9.0)),
        ):
            found = self.look(made, 1, files.summary)
            self.assertEqual(expected, (found.started_at, found.records, found.ended_at))
            self.assertEqual(expected[2] is None, self.look(made, 1, files.ended) is None)

    def test_whether_the_agent_keeps_the_call(self) -> None:
        """A line after the start says so, wherever the seam is; records are counted as ever."""
        for sizes in ([], [5, 9000]):
            for kept in (True, False):
                for end in (True, False):
                    made = lines(sizes, kept=kept, end=end)
                    for split in range(len(made)):
                        found = self.look(made, split, files.summary)
                        self.assertEqual((kept, len(sizes)), (found.is_resumable, found.records))
        self.assertFalse(self.look(lines([], start=False), 1, files.summary).is_resumable)
        self.assertFalse(self.look(lines([3], start=False), 1, files.summary).is_resumable)

    def test_end_of_huge_line(self) -> None:
        """The end is found behind a record of megabytes, and is one itself."""
        made = lines([3_000_000])
        made[-1] = b'{"end":9.0,"result":"%s"}\n' % (b"y" * 3_000_000)
        self.assertEqual(1, self.look(made, len(made), files.count))
        self.assertEqual(9.0, self.look(made, len(made), files.ended_at))

    @given(
        st.lists(st.sampled_from([0, 10, 300, 5000, 20_000]), max_size=40),
        st.booleans(),
        st.booleans(),
        st.data(),
    )
    def test_finds_any_record(
        self, sizes: list[int], start: bool, end: bool, data: st.DataObject
    ) -> None:
        """Halving finds the same line as looking at each."""
        made = lines(sizes, start=start, end=end)
        number = data.draw(st.integers(0, len(sizes) + 2))
        split = data.draw(st.integers(1, len(made)))
        first = 1 + start + min(number, len(sizes))
        expected = sum(map(len, made[:first]))
        self.assertEqual(expected, self.look(made, split, lambda c: files.find(c, number)))

    @given(st.lists(st.sampled_from([0, 30, 1000, 9000]), max_size=30), st.booleans(), st.data())
    def test_pages(self, sizes: list[int], end: bool, data: st.DataObject) -> None:
        """Pages put together are the stream, each within its bounds."""
        made = lines(sizes, end=end)
        split = data.draw(st.integers(1, len(made)))
        since = 0
        seen: list[Record] = []
        while True:
            page = self.look(
                made,
                split,
                partial(files.page, since=since, most_records=7, most_bytes=4000),
            )
            seen.extend(page.records)
            size = sum(len(one.data) for one in page.records)
            self.assertTrue(len(page.records) == 1 or size <= 4000)
            self.assertTrue(len(page.records) <= 7)
            since += len(page.records)
            if page.ending is not None or not page.records:
                break
        self.assertEqual([record(n, "x" * size).record for n, size in enumerate(sizes)], seen)
        self.assertEqual(DONE if end else None, page.ending)

    def test_reads_little(self) -> None:
        """The last records of a long stream are found without reading the stream."""
        made = lines([100] * 20_000)
        touched = []
        real = self.disk.read

        def counting(handle: int, offset: int, size: int) -> bytes:
            touched.append(size)
            return real(handle, offset, size)

        self.disk.read = counting  # type: ignore[method-assign]  # a fake of a fake
        for since in (19_999, 10_000, 3):
            touched.clear()
            page = self.look(
                made,
                len(made),
                partial(files.page, since=since, most_records=5, most_bytes=64 * 1024),
            )
            self.assertEqual(since, page.records[0].number)
            self.assertLess(sum(touched), 300_000)
        touched.clear()
        self.assertEqual(20_000, self.look(made, len(made), files.count))
        self.assertLess(sum(touched), 100_000)


class DamageTests(FilesCase):
    """A damaged file is one job's trouble, and said to be that."""

    def assert_damaged(self, made: list[bytes], look: Callable[[Content], object]) -> None:
        """Reading must tell of damage."""
        with self.assertRaises(StorageError) as caught:
            self.look(made, len(made), look)
        self.assertIn("damaged", caught.exception.message)

    def page(self, content: Content) -> Page:
        """Read the first page."""
        return files.page(content, 0, most_records=100, most_bytes=100_000)

    def test_damaged_head(self) -> None:
        """A job without a proper head can't be read."""
        made = lines([1])
        made[0] = b"\0" * 50 + b"\n"
        self.assert_damaged(made, files.summary)

    def test_damaged_record(self) -> None:
        """A record with damage in it isn't given out."""
        made = lines([1, 2, 3])
        made[3] = made[3].replace(b"xx", b"x\0")
        self.assert_damaged(made, self.page)

    def test_missing_record(self) -> None:
        """A hole in the numbers is damage."""
        made = lines([1, 2, 3])
        del made[3]
        self.assert_damaged(made, self.page)

    def test_torn_end(self) -> None:
        """A last line without a newline isn't believed."""
        made = lines([1])
        made[-1] = made[-1][:-1]
        self.assert_damaged(made, files.ended)

    def test_file_shorter_than_it_was(self) -> None:
        """A file that somebody cut is damage."""
        made = lines([1, 2, 3])
        length = len(b"".join(made))
        write_file(job_path(self.directory, job(1)), b"".join(made)[:-20])
        with self.assertRaises(StorageError):
            with files.opened(self.disk, self.directory, job(1), length, b"") as content:
                files.summary(content)

    def test_no_file(self) -> None:
        """A job that never was has no file; one that must have a file has lost it."""
        with self.assertRaises(InvalidJobId):
            with files.opened(self.disk, self.directory, job(1), None, b""):
                self.fail("opened")
        with self.assertRaises(StorageError):
            with files.opened(self.disk, self.directory, job(1), 10, b""):
                self.fail("opened")

    def test_unreadable(self) -> None:
        """An error of the disk is said in its own words."""
        made = lines([1])
        before = len(os.listdir("/proc/self/fd"))
        self.disk.failing["read"] = 5
        with self.assertRaises(StorageError) as caught:
            self.look(made, len(made), files.summary)
        self.assertIn("Input/output error", caught.exception.message)
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))
