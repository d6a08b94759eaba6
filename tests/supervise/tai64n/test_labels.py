"""TAI64N labels: as daemontools writes them, both ways, and before lines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise.tai64n.labels import (
    LENGTH,
    PACKED_LENGTH,
    Stamper,
    from_label,
    from_packed,
    label,
    packed,
)
from tests.wire.strategies import pieces

#: From some time before the year 1 to some time after 9999.
MOMENTS = st.integers(-(10**20), 10**21)


class LabelTests(SynchronousTestCase):
    """Unix time ⇄ label."""

    def test_known(self) -> None:
        """These are what daemontools writes and what its documentation tells."""
        self.assertEqual(b"@400000000000000a00000000", label(0))
        self.assertEqual(b"@400000000000000a0000000b", label(11))
        self.assertEqual(b"@400000004d52960a0ebe121c", label(1297257984_247337500))
        self.assertEqual(1297257984_247337500, from_label(b"@400000004d52960a0ebe121c"))
        self.assertEqual(bytes.fromhex("400000004d52960a0ebe121c"), packed(1297257984_247337500))

    def test_before_1970(self) -> None:
        """Time goes on below zero; nanoseconds stay positive."""
        self.assertEqual(b"@40000000000000093b9ac9ff", label(-1))
        self.assertEqual(-1, from_label(b"@40000000000000093b9ac9ff"))

    def test_what_isnt_a_label(self) -> None:
        """It is refused, and named."""
        for text in (
            b"",
            b"@",
            b"400000004d52960a0ebe121c",
            b"@400000004d52960a0ebe121C",
            b"@400000004d52960a0ebe121",
            b"@400000004d52960a0ebe121c0",
            b"@400000004d52960a0ebe121c\n",
        ):
            error = self.assertRaises(ValueError, from_label, text)
            self.assertIn(repr(text), str(error))
        self.assertRaises(ValueError, from_packed, bytes(11))
        self.assertRaises(ValueError, from_packed, bytes(13))

    @given(MOMENTS)
    def test_both_ways(self, moment: int) -> None:
        """What was made of a moment tells that moment again."""
        self.assertEqual((LENGTH, moment), (len(label(moment)), from_label(label(moment))))
        self.assertEqual(
            (PACKED_LENGTH, moment), (len(packed(moment)), from_packed(packed(moment)))
        )

    @given(MOMENTS, MOMENTS)
    def test_order(self, one: int, other: int) -> None:
        """Names sort as the moments do."""
        self.assertEqual(one < other, label(one) < label(other))


class StamperTests(SynchronousTestCase):
    """Labels before lines."""

    def test_line(self) -> None:
        """Each line gets one, an empty one too."""
        self.assertEqual(
            b"@400000000000000a00000001 a\n@400000000000000a00000001 \n",
            Stamper().stamped(b"a\n\n", 1),
        )

    def test_torn_line(self) -> None:
        """A line has the label of when its first byte came, and a next one not before its own."""
        stamper = Stamper()
        self.assertEqual(b"@400000000000000a00000001 a", stamper.stamped(b"a", 1))
        self.assertEqual(b"b", stamper.stamped(b"b", 2))
        self.assertEqual(b"\n", stamper.stamped(b"\n", 3))
        self.assertEqual(b"", stamper.stamped(b"", 4))
        self.assertEqual(
            b"@400000000000000a00000005 \n@400000000000000a00000005 c",
            stamper.stamped(b"\nc", 5),
        )

    @given(st.lists(st.sampled_from([b"", b"a", b"\0b", b"longer"])), st.lists(st.integers(0)))
    def test_pieces(self, lines: list[bytes], places: list[int]) -> None:
        """However the stream is cut, its lines are the same but for what the labels tell."""
        data = b"\n".join(lines)
        stamper = Stamper()
        found = b"".join(stamper.stamped(piece, 7) for piece in pieces(data, places))
        self.assertEqual(Stamper().stamped(data, 7), found)
        self.assertEqual(data, found.replace(label(7) + b" ", b""))
