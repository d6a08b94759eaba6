"""What a call of several hosts looks like."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.client.progress import (
    FAILED,
    NOT_STARTED,
    OK,
    bar,
    host_line,
    is_coloured,
    is_lively,
    summary,
)
from harpcaller.client.rolling import Rolling


class Screen(io.StringIO):
    """A stream that somebody looks at."""

    def isatty(self) -> bool:
        return True


def rolling(count: int, batch: int = 3, fail: int = 0, succeed: int = 0) -> Rolling:
    """Give a call of so many hosts, of which the first have ended."""
    made = Rolling([f"h{number}" for number in range(count)], batch)
    for number in range(fail + succeed):
        host = made.next_host()
        assert host is not None
        made.ended(host, succeeded=number >= fail)
    while made.next_host() is not None:
        pass
    return made


class LineTests(SynchronousTestCase):
    def test_plain(self) -> None:
        """Columns, that awk can tell apart; no space at a line's end."""
        self.assertEqual("web01   ok           1", host_line("web01", 6, OK, "1", coloured=False))
        self.assertEqual("web01  ok", host_line("web01", 5, OK, "", coloured=False))
        self.assertEqual(
            "web01  not-started", host_line("web01", 5, NOT_STARTED, "", coloured=False)
        )

    def test_coloured(self) -> None:
        """Only the word is."""
        self.assertEqual(
            "web01  \x1b[31mfailed     \x1b[0m  x",
            host_line("web01", 5, FAILED, "x", coloured=True),
        )

    def test_host_with_odd_characters(self) -> None:
        """It can't move the cursor, or make a second line."""
        line = host_line("a\x1b[2J\nb", 3, OK, "", coloured=False)
        self.assertEqual("a\\u001b[2J\\u000ab  ok", line)

    def test_when_there_are_colours(self) -> None:
        """On a terminal that can, unless NO_COLOR says no."""
        for stream, environ, expected in [
            (Screen(), {}, (True, True)),
            (Screen(), {"NO_COLOR": ""}, (True, True)),
            (Screen(), {"NO_COLOR": "1"}, (True, False)),
            (Screen(), {"TERM": "dumb"}, (False, False)),
            (io.StringIO(), {}, (False, False)),
        ]:
            self.assertEqual(expected, (is_lively(stream, environ), is_coloured(stream, environ)))


class BarTests(SynchronousTestCase):
    def test_beginning_middle_and_end(self) -> None:
        """How many are done of how many, and what there is to worry about."""
        self.assertEqual(f"[{'.' * 24}] 0/4  3 running", bar(rolling(4), 80))
        self.assertEqual(
            f"[{'#' * 12}{'.' * 12}] 2/4  2 running  1 failed",
            bar(rolling(4, fail=1, succeed=1), 80),
        )
        self.assertEqual(f"[{'#' * 24}] 4/4", bar(rolling(4, succeed=4), 80))

    def test_no_hosts(self) -> None:
        """Nothing of nothing."""
        self.assertEqual(f"[{'.' * 24}] 0/0", bar(rolling(0), 80))

    @given(st.integers(0, 500), st.integers(0, 300))
    def test_fits_its_line(self, count: int, columns: int) -> None:
        """Or it couldn't be erased."""
        self.assertLessEqual(len(bar(rolling(count), columns)), max(0, columns - 1))


class SummaryTests(SynchronousTestCase):
    def test_all_well(self) -> None:
        """Short."""
        self.assertEqual("1 host: 1 succeeded", summary(rolling(1, succeed=1)))
        self.assertEqual("2 hosts: 2 succeeded", summary(rolling(2, succeed=2)))

    def test_not_all_well(self) -> None:
        """A few of the failed are named."""
        self.assertEqual(
            "9 hosts: 1 succeeded, 6 failed (h0, h1, h2, h3, h4 and 1 more), 1 running,"
            " 1 not started",
            summary(rolling(9, 1, fail=6, succeed=1)),
        )
