"""The lines of a job's file."""

from __future__ import annotations

import json

from hypothesis import given

from harpcaller.interfaces import Ended, Recorded, Resumable, Started
from harpcaller.store import records
from harpcaller.wire.client import JobId
from harpcaller.wire.client_answers import Record
from harpcaller.wire.ending import Failed, Returned
from harpcaller.wire.values import Raw
from tests.house import HouseCase
from tests.store import strategies
from tests.store.jobs import ended, record

ID = JobId("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda")


class WritingTests(HouseCase):
    """Facts become lines."""

    def test_other_lines(self) -> None:
        """Start, record and end are one short line each."""
        self.assertEqual(b'{"start":2.5}\n', records.fact_line(Started(2.5)))
        self.assertEqual(
            b'{"packet":3,"time":103.0,"data":"x"}\n', records.fact_line(record(3, "x"))
        )
        self.assertEqual(b'{"end":9.0,"result":"done"}\n', records.fact_line(ended(9.0)))

    def test_no_newline_inside(self) -> None:
        """A value with a raw newline would be two lines, and is refused."""
        bad = Raw(b"[1,\n2]")
        for write in (
            lambda: records.fact_line(Recorded(Record(0, bad, 1.0))),
            lambda: records.fact_line(Ended(Returned(bad), 1.0)),
        ):
            self.assertRaises(ValueError, write)

    def test_half_characters(self) -> None:
        """Half of a surrogate pair can't be read back: errors lose it."""
        fact = Ended(Failed("os_error", "no such file: \udcff.pem", Raw(b"1")), 1.0)
        self.assertEqual(
            Ended(Failed("os_error", "no such file: ?.pem", Raw(b"1")), 1.0),
            records.parse_end(records.fact_line(fact)),
        )

    def test_times_are_finite(self) -> None:
        """A time that is no number is refused; JSON has no word for it."""
        for time in (float("nan"), float("inf")):
            self.assertRaises(ValueError, records.fact_line, Started(time))

    def test_record_needs_its_time(self) -> None:
        """A record without a time is refused."""
        fact = Recorded(Record(0, Raw(b"1"), None))
        self.assertRaises(ValueError, records.fact_line, fact)


class RoundTripTests(HouseCase):
    """What was written is read as it was."""

    @given(strategies.started)
    def test_start(self, fact: Started) -> None:
        """Every start comes back."""
        line = records.fact_line(fact)
        self.assertEqual(fact.at, records.parse_time(line[: records.PLACE_BYTES]))
        self.assertEqual(records.START, records.place(line))

    @given(strategies.resumable)
    def test_resumable(self, fact: Resumable) -> None:
        """It is a line of its own, between the start and the first record."""
        line = records.fact_line(fact)
        self.assertEqual({"resumable": fact.at}, json.loads(line))
        standing = records.place(line[: records.PLACE_BYTES])
        self.assertEqual(records.RESUMABLE, standing)
        self.assertTrue(records.HEAD < records.START < standing < 0)

    @given(strategies.recorded)
    def test_record(self, fact: Recorded) -> None:
        """Every record comes back."""
        line = records.fact_line(fact)
        self.assertEqual(fact.record, records.parse_record(line))
        self.assertEqual(fact.record.number, records.place(line[: records.PLACE_BYTES]))
        json.loads(line)

    @given(strategies.ended)
    def test_end(self, fact: Ended) -> None:
        """Every end comes back."""
        line = records.fact_line(fact)
        self.assertEqual(fact, records.parse_end(line))
        self.assertEqual(records.END, records.place(line[: records.PLACE_BYTES]))
        self.assertEqual(fact.at, records.parse_time(line[: records.PLACE_BYTES]))
        json.loads(line)

    def test_deepest_values(self) -> None:
        """A value as deep as the door lets in is still readable in its line."""
        deep = Raw(b"[" * 499 + b"]" * 499)
        fact = Ended(Returned(deep), 1.0)
        self.assertEqual(fact, records.parse_end(records.fact_line(fact)))
        said = Recorded(Record(0, deep, 1.0))
        self.assertEqual(said.record, records.parse_record(records.fact_line(said)))


class ReadingTests(HouseCase):
    """Lines that aren't ours are told from ours."""

    def test_place_of_nonsense(self) -> None:
        """A line that begins like none of ours has no place."""
        for line in (b"", b"\0" * 40, b"{}", b'{"packet":-1,"time"', b'{"packet":1}', b' {"end":1'):
            self.assertRaises(records.BadLine, records.place, line)

    def test_bad_records(self) -> None:
        """A record's line with damage in it is no record."""
        good = records.fact_line(record(1, [1, 2]))
        self.assertEqual([1, 2], json.loads(records.parse_record(good).data))
        for bad in (good[:-2], good.replace(b"[1,2]", b"[1,\0]"), good.replace(b"1,2", b"1,"),
                    good.replace(b"101.0", b"1.2.3"), b"{}"):  # fmt: skip
            self.assertRaises(records.BadLine, records.parse_record, bad)

    def test_bad_ends(self) -> None:
        """An end that doesn't tell how, or not when, is refused."""
        for bad in (b"{}", b'{"end":1}', b'{"end":"x","result":1}', b'{"end":1,"cancelled":false}'):
            self.assertRaises(records.BadLine, records.parse_end, bad)

    def test_bad_times(self) -> None:
        """A start without a proper time is refused."""
        for bad in (b'{"start":x}', b'{"start":1.2.3}', b"{}"):
            self.assertRaises(records.BadLine, records.parse_time, bad)
