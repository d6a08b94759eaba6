"""tai64nlocal's translation, piece by piece."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise.tai64n.labels import label
from harpcaller.supervise.tai64n.local import Translator
from tests.wire.strategies import pieces

LABEL = b"@400000004d52960a0ebe121c"
READABLE = b"2011-02-09 13:26:24.247337500"


def translated(*given_pieces: bytes) -> bytes:
    """Translate what comes in these pieces, to its end."""
    translator = Translator(time.gmtime)
    return b"".join([*map(translator.translated, given_pieces), translator.end()])


class TranslatorTests(SynchronousTestCase):
    """Labels become readable, all else stays."""

    def test_label(self) -> None:
        """The label at a line's begin is translated, only the first one."""
        self.assertEqual(
            READABLE + b" test " + LABEL + b"\n", translated(LABEL + b" test " + LABEL + b"\n")
        )
        self.assertEqual(b"x " + LABEL + b"\n", translated(b"x " + LABEL + b"\n"))
        self.assertEqual(
            READABLE + b"\n" + READABLE + b"x", translated(LABEL + b"\n" + LABEL + b"x")
        )

    def test_any_nanoseconds(self) -> None:
        """Eight digits that are no nanoseconds are shown as the number that they are."""
        self.assertEqual(b"2011-02-09 13:26:24.4294967295 ", translated(LABEL[:17] + b"ffffffff "))

    def test_far_times(self) -> None:
        """Times before 1970 and long after 2038 are shown; what no calendar has stays."""
        self.assertEqual(b"1969-12-31 23:59:59.000000000", translated(label(-1_000_000_000)))
        self.assertEqual(b"2500-01-01 00:00:00.000000000", translated(label(16725225600_000000000)))
        self.assertEqual(b"@" + b"f" * 24, translated(b"@" + b"f" * 24))

    def test_what_isnt_a_label(self) -> None:
        """It passes."""
        for text in (b"@", b"@hello", LABEL[:17], LABEL + b"0", LABEL.upper(), b"", b"\0@"):
            for line in (text, text + b"\n", text + b" \n", b"\n" + text):
                self.assertEqual(line, translated(line))

    def test_at_once(self) -> None:
        """Nothing is held back but what may be a label's begin."""
        translator = Translator(time.gmtime)
        for piece, expected in (
            (b"no newline", b"no newline"),
            (b"@4", b"@4"),
            (b"\n@40", b"\n"),
            (LABEL[3:], b""),
            (b" ", READABLE + b" "),
            (b"\n@h", b"\n@h"),
            (b"@\n@", b"@\n"),
            (b"\n", b"@\n"),
        ):
            self.assertEqual(expected, translator.translated(piece))
        self.assertEqual(b"", translator.end())

    def test_endless_line(self) -> None:
        """It passes piece by piece."""
        translator = Translator(time.gmtime)
        self.assertEqual(b"@" + b"a" * 25, translator.translated(b"@" + b"a" * 25))
        for _ in range(3):
            self.assertEqual(b"a" * 1000, translator.translated(b"a" * 1000))

    @given(
        st.lists(
            st.sampled_from([LABEL, LABEL[:9], b"@", b"\n", b" ", b"a", b"0", b"text", b"\0"])
        ),
        st.lists(st.integers(0)),
    )
    def test_pieces(self, parts: list[bytes], places: list[int]) -> None:
        """However the stream is cut, it is translated alike."""
        data = b"".join(parts)
        self.assertEqual(translated(data), translated(*pieces(data, places)))
