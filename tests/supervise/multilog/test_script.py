"""multilog's arguments, read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise.multilog.script import (
    Append,
    Deselect,
    Keep,
    Script,
    Select,
    Show,
    parse,
    parse_file,
)


class ParseTests(SynchronousTestCase):
    """Arguments become actions."""

    def test_all_actions(self) -> None:
        """Each is told by its first byte; what is for directories goes to those that follow."""
        words = b"t -* +a* ./one s8000 n3 !gzip e =status /two ! ./three".split()
        self.assertEqual(
            Script(
                True,
                (
                    Deselect(b"*"),
                    Select(b"a*"),
                    Append(b"./one", 99999, 10, None),
                    Show(),
                    Keep(b"status"),
                    Append(b"/two", 8000, 3, b"gzip"),
                    Append(b"./three", 8000, 3, b""),
                ),
            ),
            parse(words),
        )

    def test_stamps_only_at_first(self) -> None:
        """A t is heeded as the first argument only, and any word will do that begins with it."""
        self.assertEqual(Script(True, ()), parse([b"test"]))
        self.assertEqual(Script(False, (Show(),)), parse([b"e", b"t"]))
        self.assertEqual(Script(False, ()), parse([]))

    def test_numbers(self) -> None:
        """Sizes and counts are kept within bounds; what isn't a number is zero."""
        for word, size, files in (
            (b"s", 4096, 10),
            (b"sx", 4096, 10),
            (b"s-9999", 4096, 10),
            (b"s0x5000", 4096, 10),
            (b"s004097x", 4097, 10),
            (b"s16777215", 16777215, 10),
            (b"s16777216", 16777215, 10),
            (b"s" + b"9" * 5000, 16777215, 10),
            (b"n", 99999, 2),
            (b"n1", 99999, 2),
            (b"n3k", 99999, 3),
            (b"n" + b"9" * 5000, 99999, 2**63 - 1),
        ):
            self.assertEqual((Append(b".", size, files, None),), parse([word, b"."]).actions)

    def test_unknown(self) -> None:
        """What multilog doesn't know it passes over, as it always did."""
        self.assertEqual(Script(False, ()), parse([b"", b"T", b"x", b"\xff", b"#", b" e"]))

    def test_file(self) -> None:
        """A file has what would follow multilog in a shell script."""
        text = b"# how it's logged\nt '-* debug: *' # not those\n\n'!gzip -9' s5000\n./m\xffin"
        self.assertEqual(
            Script(
                True, (Deselect(b"* debug: *"), Append(b"./m\xffin", 5000, processor=b"gzip -9"))
            ),
            parse_file(text),
        )
        self.assertEqual(Script(False, ()), parse_file(b""))
        self.assertRaises(ValueError, parse_file, b"t '-* debug: *")

    @given(st.lists(st.binary(max_size=8)))
    def test_anything(self, words: list[bytes]) -> None:
        """No argument is wrong."""
        script = parse(words)
        self.assertLessEqual(len(script.actions), len(words))
