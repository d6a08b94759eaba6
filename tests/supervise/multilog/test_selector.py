"""Which lines are selected, beside a naive model of what daemontools documents."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise.multilog.script import Deselect, Select
from harpcaller.supervise.multilog.selector import Selection

SMALL = st.lists(st.sampled_from(b"ab*^]-\\\0\xff"), max_size=8).map(bytes)


def matches(pattern: bytes, line: bytes) -> bool:
    """The model: the pattern from left to right, a star skips to the first of what follows."""
    if not pattern:
        return not line
    if pattern[:1] != b"*":
        return pattern[:1] == line[:1] and matches(pattern[1:], line[1:])
    if pattern == b"*":
        return True
    place = line.find(pattern[1:2])
    return place >= 0 and matches(pattern[1:], line[place:])


def selected(line: bytes, *patterns: bytes) -> bool:
    """Ask for one line; patterns with their signs."""
    return Selection(read(patterns)).selects(line)


def read(patterns: tuple[bytes, ...] | list[bytes]) -> list[Select | Deselect]:
    return [(Select if one[:1] == b"+" else Deselect)(one[1:]) for one in patterns]


class PatternTests(SynchronousTestCase):
    """One pattern, one line."""

    def test_table(self) -> None:
        """Documented cases, and those that surprise."""
        for pattern, line, expected in (
            (b"", b"", True),
            (b"", b"a", False),
            (b"hello", b"hello", True),
            (b"hello", b"hello ", False),
            (b"Hello", b"hello", False),
            (b"*", b"", True),
            (b"*", b"\0any\xff", True),
            (b"hell*", b"hello", True),
            (b"*: warning: *", b"x: warning: y", True),
            (b"* b*", b"a b", True),
            # No going back.
            (b"*one", b"one", True),
            (b"*one", b"oneone", False),
            (b"a*bc", b"abbc", False),
            (b"*o*o", b"foo", True),
            # A star can only be asked for after a star.
            (b"**", b"no", False),
            (b"**", b"a*b", True),
            (b"***", b"a*b", True),
            (b"***", b"ab", False),
            (b"**b", b"b*ab", True),
            (b"a.c", b"abc", False),
            (b"*]x", b"a]x", True),
            (b"*^x", b"a^x", True),
            (b"*\\x", b"a\\x", True),
        ):
            self.assertEqual(expected, matches(pattern, line), (pattern, line))
            self.assertEqual(expected, selected(line, b"-*", b"+" + pattern), (pattern, line))
            self.assertEqual(not expected, selected(line, b"-" + pattern), (pattern, line))

    def test_only_the_beginning(self) -> None:
        """Patterns look at 1000 bytes of a line."""
        self.assertTrue(selected(b"a" * 1000 + b"b", b"-*", b"+" + b"a" * 1000))
        self.assertFalse(selected(b"a" * 1000 + b"b", b"-*", b"+*b*"))
        self.assertFalse(selected(b"a" * 1000, b"-*", b"+" + b"a" * 1001))

    def test_many_stars(self) -> None:
        """No pattern takes long."""
        self.assertFalse(selected(b"a" * 1000, b"-*", b"+" + b"*a" * 300 + b"b"))
        self.assertFalse(selected(b"ab" * 500, b"-*", b"+" + b"*a*b" * 249 + b"x"))

    @given(SMALL, SMALL)
    def test_model(self, pattern: bytes, line: bytes) -> None:
        """Every pattern is as the model has it."""
        self.assertEqual(matches(pattern, line), selected(line, b"-*", b"+" + pattern))


class SelectionTests(SynchronousTestCase):
    """Several patterns."""

    def test_each_may_change_it(self) -> None:
        """A line is selected at first, then the last one that matches decides."""
        self.assertTrue(selected(b"x"))
        self.assertTrue(selected(b"x", b"+y"))
        self.assertFalse(selected(b"x", b"-x", b"+y"))
        self.assertTrue(selected(b"x", b"-x", b"+x", b"-y", b"-z"))
        self.assertFalse(selected(b"x", b"-*", b"+x", b"-x"))

    def test_everything_and_nothing(self) -> None:
        """Patterns that settle it for all lines are known."""
        for patterns, everything, nothing in (
            ((), True, False),
            ((b"+a", b"+b*"), True, False),
            ((b"-*",), False, True),
            ((b"-a", b"-*"), False, True),
            ((b"-a", b"-*", b"-a"), False, True),
            ((b"-*", b"+*"), True, False),
            ((b"-a",), False, False),
            ((b"-*", b"+a"), False, False),
        ):
            one = Selection(read(patterns))
            self.assertEqual((everything, nothing), (one.everything, one.nothing), patterns)

    @given(
        st.lists(st.tuples(st.sampled_from([b"+", b"-"]), st.one_of(SMALL, st.just(b"*")))),
        st.lists(SMALL),
    )
    def test_model(self, patterns: list[tuple[bytes, bytes]], lines: list[bytes]) -> None:
        """Many lines at once, and each alone, are judged as the model does."""
        expected = []
        for line in lines:
            verdict = True
            for sign, pattern in patterns:
                if matches(pattern, line):
                    verdict = sign == b"+"
            if verdict:
                expected.append(line)
        one = Selection(read([sign + pattern for sign, pattern in patterns]))
        self.assertEqual(expected, one.chosen(lines))
        self.assertEqual(expected, [line for line in lines if one.selects(line)])
        self.assertTrue(not one.everything or expected == lines)
        self.assertTrue(not one.nothing or expected == [])
