"""The stream, cut into what can be judged."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise.multilog.lines import Begun, Cutter, More, Whole
from tests.wire.strategies import pieces


class CutterTests(SynchronousTestCase):
    """Bytes in, pieces out."""

    def setUp(self) -> None:
        self.cutter = Cutter()

    def cut(self, data: bytes) -> list[object]:
        return list(self.cutter.cut(data))

    def test_whole_lines(self) -> None:
        """All that end come at once; the rest is held back."""
        self.assertFalse(self.cutter.unfinished)
        self.assertEqual([Whole(b"a\n\nb\n")], self.cut(b"a\n\nb\nc"))
        self.assertTrue(self.cutter.unfinished)
        self.assertEqual([], self.cut(b"d"))
        self.assertEqual([Whole(b"cd\n")], self.cut(b"\n"))
        self.assertFalse(self.cutter.unfinished)

    def test_last_line(self) -> None:
        """One without a newline gets it at the end."""
        self.assertEqual([], self.cut(b"a"))
        self.assertEqual([Whole(b"a\n")], list(self.cutter.end()))
        self.assertEqual([], list(self.cutter.end()))

    def test_long_line(self) -> None:
        """It is judged by its first 1000 bytes, and goes on piece by piece."""
        self.assertEqual([], self.cut(b"x" * 999))
        self.assertEqual([Begun(b"x" * 1000)], self.cut(b"x"))
        self.assertTrue(self.cutter.unfinished)
        self.assertEqual([], self.cut(b""))
        self.assertEqual([More(b"yy")], self.cut(b"yy"))
        self.assertEqual([More(b"z\n"), Whole(b"a\n")], self.cut(b"z\na\nb"))
        self.assertEqual([Whole(b"b\n")], self.cut(b"\n"))

    def test_long_line_at_the_end(self) -> None:
        """It gets its newline, too."""
        self.assertEqual([Begun(b"x" * 1001)], self.cut(b"x" * 1001))
        self.assertEqual([More(b"\n")], list(self.cutter.end()))
        self.assertFalse(self.cutter.unfinished)

    @given(
        st.lists(st.sampled_from([b"", b"a", b"b" * 999, b"c" * 1000, b"d" * 2500])),
        st.lists(st.integers(0)),
    )
    def test_pieces(self, lines: list[bytes], places: list[int]) -> None:
        """Nothing is lost or added but the last newline, and little is held."""
        cutter = Cutter()
        data = b"\n".join(lines)
        found: list[Whole | Begun | More] = []
        taken = 0
        for piece in pieces(data, places):
            found += cutter.cut(piece)
            taken += len(piece)
            self.assertLess(taken - sum(len(one.data) for one in found), 1000)
        found += cutter.end()
        ended = data if not data or data.endswith(b"\n") else data + b"\n"
        self.assertEqual(ended, b"".join(one.data for one in found))
        for before, one in zip([None, *found], found, strict=False):
            if isinstance(one, Whole):
                self.assertTrue(one.data.endswith(b"\n"))
            elif isinstance(one, Begun):
                self.assertGreaterEqual(len(one.data), 1000)
                self.assertNotIn(b"\n", one.data)
            else:
                self.assertNotIn(b"\n", one.data[:-1])
                self.assertNotIsInstance(before, Whole)
