"""Cutting lines: right, bounded, in linear time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.wire.lines import LineBuffer, LineTooLong
from tests.wire.strategies import pieces


def lines(buffer: LineBuffer) -> list[bytes]:
    """Take all lines that are there."""
    found = []
    while (line := buffer.next_line()) is not None:
        found.append(line)
    return found


class LineBufferTests(SynchronousTestCase):
    """Bytes in, lines out."""

    def test_nothing_yet(self) -> None:
        """An empty buffer has no line."""
        buffer = LineBuffer(10)
        self.assertEqual((None, 0), (buffer.next_line(), buffer.pending()))

    def test_several_lines_at_once(self) -> None:
        """All are given, in order, empty ones too; the rest waits."""
        buffer = LineBuffer(10)
        buffer.feed(b"a\n\nb\nrest")
        self.assertEqual([b"a", b"", b"b"], lines(buffer))
        self.assertEqual(4, buffer.pending())
        buffer.feed(b"!\n")
        self.assertEqual([b"rest!"], lines(buffer))
        self.assertEqual(0, buffer.pending())

    def test_longest_line(self) -> None:
        """The limit itself is allowed, its newline isn't counted."""
        buffer = LineBuffer(3)
        buffer.feed(b"abc")
        self.assertIsNone(buffer.next_line())
        buffer.feed(b"\n")
        self.assertEqual(b"abc", buffer.next_line())

    def test_line_too_long(self) -> None:
        """It is known before its end comes, and what there was of it is gone."""
        for data in (b"abcd", b"abcd\n", b"abcd\nx\n"):
            buffer = LineBuffer(3)
            buffer.feed(data)
            error = self.assertRaises(LineTooLong, buffer.next_line)
            self.assertEqual((3, "line longer than 3 bytes"), (error.limit, str(error)))
            self.assertEqual((0, None), (buffer.pending(), buffer.next_line()))

    def test_lines_before_a_long_one(self) -> None:
        """They are given; only the long one is refused."""
        buffer = LineBuffer(3)
        buffer.feed(b"a\nbcd\nefgh")
        self.assertEqual([b"a", b"bcd"], [buffer.next_line(), buffer.next_line()])
        self.assertRaises(LineTooLong, buffer.next_line)

    def test_limit_counts_from_the_lines_begin(self) -> None:
        """Lines that were taken don't count for those that follow."""
        buffer = LineBuffer(3)
        for _ in range(3):
            buffer.feed(b"ab")
            self.assertIsNone(buffer.next_line())
            buffer.feed(b"c\n")
            self.assertEqual(b"abc", buffer.next_line())

    @given(
        parts=st.lists(st.binary(max_size=8).map(lambda b: b.replace(b"\n", b""))),
        rest=st.binary(max_size=8).map(lambda b: b.replace(b"\n", b"")),
        places=st.lists(st.integers(0)),
    )
    def test_pieces_make_no_difference(
        self, parts: list[bytes], rest: bytes, places: list[int]
    ) -> None:
        """However a stream is cut on its way, the same lines come out of it."""
        buffer = LineBuffer(8)
        found = []
        for piece in pieces(b"".join(part + b"\n" for part in parts) + rest, places):
            buffer.feed(piece)
            found += lines(buffer)
        self.assertEqual((parts, len(rest)), (found, buffer.pending()))

    @given(chunks=st.lists(st.binary(max_size=20)))
    def test_any_bytes(self, chunks: list[bytes]) -> None:
        """Nothing but LineTooLong comes of them, and never a line over the limit."""
        buffer = LineBuffer(5)
        for chunk in chunks:
            buffer.feed(chunk)
            try:
                self.assertTrue(all(len(line) <= 5 for line in lines(buffer)))
            except LineTooLong:
                self.assertEqual(0, buffer.pending())


class _Counted(bytearray):
    """Counts how many bytes are searched and moved."""

    searched = 0
    moved = 0

    def find(self, what: bytes, start: int = 0) -> int:  # type: ignore[override]  # one use
        end = super().find(what, start)
        self.searched += (len(self) if end < 0 else end + 1) - start
        return end

    def __delitem__(self, where: object) -> None:
        assert isinstance(where, slice)
        self.moved += len(self) - where.stop
        super().__delitem__(where)


class LinearTimeTests(SynchronousTestCase):
    """The work is counted, not timed."""

    def setUp(self) -> None:
        self.buffer = LineBuffer(10**6)
        self.counted = self.buffer._buffer = _Counted()

    def test_long_line_in_small_pieces(self) -> None:
        """Every byte is searched once, however small the pieces are."""
        for _ in range(10_000):
            self.buffer.feed(b"0123456789")
            self.assertIsNone(self.buffer.next_line())
        self.buffer.feed(b"\n")
        self.assertEqual(100_000, len(self.buffer.next_line() or b""))
        self.assertEqual((100_001, 0), (self.counted.searched, self.counted.moved))

    def test_many_lines_in_one_piece(self) -> None:
        """They are searched once, and not moved for each line that is taken."""
        self.buffer.feed(b"0123456789\n" * 10_000)
        self.assertEqual(10_000, len(lines(self.buffer)))
        self.assertEqual((110_000, 0), (self.counted.searched, self.counted.moved))

    def test_many_lines_in_many_pieces(self) -> None:
        """What is moved is the unfinished line, never more."""
        for _ in range(10_000):
            self.buffer.feed(b"6789\n012345")
            self.assertEqual(1, len(lines(self.buffer)))
        self.assertLessEqual(self.counted.searched, 110_000 + 10_000)
        self.assertLessEqual(self.counted.moved, 60_000)
