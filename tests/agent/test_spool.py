"""What a kept call has said, for a caller that comes back."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from harpcaller.agent.spool import MEMORY, Spool
from tests.house import HouseCase


def line(number: int, size: int = 10) -> bytes:
    return b"%d" % number + b"x" * size + b"\n"


class SpoolCase(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = self.mktemp()
        os.mkdir(self.folder)

    def make(self, piece_bytes: int = 1000) -> Spool:
        spool = Spool(self.folder, piece_bytes)
        self.addCleanup(spool.close)
        return spool

    def read_from(self, spool: Spool, position: int) -> bytes:
        found = b""
        while data := spool.read(position + len(found)):
            found += data
        return found


class SpoolTests(SpoolCase):
    def test_empty(self) -> None:
        """The first record is to come at the beginning; others aren't known."""
        spool = self.make()
        self.assertEqual((0, None), (spool.position_of(0), spool.position_of(1)))
        self.assertEqual(b"", spool.read(0))

    def test_reads_on_from_any_record(self) -> None:
        """From each record on, what was said is read as it was, the ending included."""
        for size in (10, 5000, 70_000):
            spool = self.make(100_000)
            lines = [line(number, size) for number in range(30)]
            for one in lines:
                spool.add_records(one, 1)
            spool.add_line(b"the end\n")
            for number in range(31):
                position = spool.position_of(number)
                assert position is not None
                expected = b"".join([*lines[number:], b"the end\n"])
                self.assertEqual(expected, self.read_from(spool, position))
            self.assertIsNone(spool.position_of(31))

    def test_many_at_once(self) -> None:
        """A record in the middle of a large batch is found, too."""
        spool = self.make(10**6)
        lines = [line(number, 100) for number in range(3000)]
        spool.add_records(b"".join(lines), 3000)
        position = spool.position_of(2500)
        self.assertEqual(sum(map(len, lines[:2500])), position)

    def test_nothing_is_seen_in_the_folder(self) -> None:
        """Little stays in memory, much goes to a file that has no name."""
        spool = self.make(10 * MEMORY)
        spool.add_records(line(0), 1)
        before = len(os.listdir("/proc/self/fd"))
        spool.add_records(line(1, MEMORY), 1)
        self.assertEqual(before + 1, len(os.listdir("/proc/self/fd")))
        self.assertEqual([], os.listdir(self.folder))
        spool.close()
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))

    def test_forgets_whole_pieces(self) -> None:
        """What lies before a position goes, and its records aren't found any more."""
        spool = self.make(1000)
        for number in range(100):
            spool.add_records(line(number, 100), 1)
        spool.forget_before(5000)
        self.assertTrue(3500 < spool.begin <= 5000, spool.begin)
        self.assertIsNone(spool.position_of(0))
        position = spool.position_of(60)
        assert position is not None
        self.assertTrue(spool.read(position).startswith(b"60x"))

    def test_last_piece_stays(self) -> None:
        """What is being written isn't forgotten."""
        spool = self.make(1000)
        spool.add_records(line(0), 1)
        spool.forget_before(10**9)
        self.assertEqual(0, spool.position_of(0))

    def test_no_folder(self) -> None:
        """What can't be written is an error when it is said."""
        spool = Spool("/nonexistent/folder", 1000)
        spool.add_records(line(0), 1)
        self.assertRaises(OSError, spool.add_records, line(1, MEMORY), 1)
        spool.close()

    @given(
        st.lists(st.tuples(st.integers(1, 4), st.integers(0, 300)), max_size=30),
        st.integers(1, 500),
        st.integers(0, 3000),
    )
    def test_any_records(
        self, batches: list[tuple[int, int]], piece_bytes: int, forgotten: int
    ) -> None:
        """Whatever the sizes: a record that is found is the right one, and new ones are found."""
        spool = Spool(self.folder, piece_bytes)
        lines: list[bytes] = []
        for count, size in batches:
            batch = [line(len(lines) + i, size) for i in range(count)]
            spool.add_records(b"".join(batch), count)
            lines += batch
        spool.forget_before(forgotten)
        self.assertEqual((len(lines), sum(map(len, lines))), (spool.records, spool.end))
        position = 0
        for number, one in enumerate(lines):
            found = spool.position_of(number)
            if found is None:
                self.assertLess(position, forgotten)
            else:
                self.assertEqual(position, found)
                self.assertEqual(b"".join(lines[number:]), self.read_from(spool, found))
            position += len(one)
        spool.close()
