"""Lists for people."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.control.table import LOOKED_AT, aligned, host_row, job_row, queue_row
from harpcaller.wire.fields import BadField
from harpcaller.wire.values import Raw

JOB = (
    b'{"job":"9e03ca7a","call":{"host":"web01","procedure":"p","arguments":[]},'
    b'"time":{"submit":1455282411,"start":%s,"end":%s}%s}'
)


class RowTests(SynchronousTestCase):
    def test_states(self) -> None:
        """Queued, running and ended are told by the times."""
        for start, end, state in (
            (b"null", b"null", "queued"),
            (b"1", b"null", "running"),
            (b"1", b"2", "ended"),
            (b"null", b"2", "ended"),
        ):
            self.assertEqual(state, job_row(Raw(JOB % (start, end, b"")))[1])

    def test_job(self) -> None:
        """Times are readable."""
        row = job_row(Raw(JOB % (b"1", b"null", b"")))
        self.assertEqual(["9e03ca7a", "running", "web01", "p"], row[:4])
        self.assertEqual(["2016-02-12 13:06:51", "1970-01-01 00:00:01", "-"], row[4:])

    def test_queue_column(self) -> None:
        """As JSON, or a dash."""
        self.assertEqual('{"a":1}', job_row(Raw(JOB % (b"1", b"2", b',"queue":{"a":1}')))[7])
        self.assertEqual("-", job_row(Raw(JOB % (b"1", b"2", b',"queue":null')))[7])
        self.assertEqual(['{"a":1}'], queue_row(Raw(b'{"queue":{"a": 1}}')))

    def test_time_out_of_this_world(self) -> None:
        """A job of the year 300,000 doesn't break the list."""
        self.assertEqual(str(10**18), job_row(Raw(JOB % (b"%d" % 10**18, b"null", b"")))[5])

    def test_host(self) -> None:
        """As the registry has it."""
        host = Raw(b'{"hostname":"h","address":"::1","port":4306}')
        self.assertEqual(["h", "::1", "4306"], host_row(host))

    def test_what_is_no_item_is_named(self) -> None:
        """A daemon of another kind."""
        self.assertRaises(BadField, job_row, Raw(b"{}"))
        self.assertRaises(BadField, host_row, Raw(b'{"hostname":"h"}'))


class AlignedTests(SynchronousTestCase):
    def test_columns_are_as_wide_as_they_need(self) -> None:
        """Two spaces between, none at the end."""
        lines = list(aligned(("AB", "C"), [("x", "long one"), ("yyy", "")]))
        self.assertEqual(["AB   C", "x    long one", "yyy"], lines)

    def test_no_rows(self) -> None:
        """The header alone."""
        self.assertEqual(["A  B"], list(aligned(("A", "B"), [])))

    def test_rows_beyond_those_looked_at(self) -> None:
        """They are printed as they come, pushed aside where they are wider."""
        rows = [("a", "b")] * LOOKED_AT + [("wide", "b")]
        lines = list(aligned(("A", "B"), rows))
        self.assertEqual(LOOKED_AT + 2, len(lines))
        self.assertEqual("wide  b", lines[-1])

    def test_texts_cannot_move_the_cursor(self) -> None:
        """A procedure's name is a client's choice."""
        self.assertEqual(["A", r"\x1b[2J\nhé"], list(aligned(("A",), [("\x1b[2J\nhé",)])))
