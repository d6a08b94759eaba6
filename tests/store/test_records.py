"""The lines of a job's file."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from harpcaller.interfaces import Ended, Recorded, Resumable, Started, Submitted
from harpcaller.store import records
from harpcaller.wire.client import Call, JobId, QueueSpec
from harpcaller.wire.client_answers import Record
from harpcaller.wire.ending import Failed, Returned
from harpcaller.wire.values import Raw
from tests.house import HouseCase
from tests.store import strategies
from tests.store.jobs import call, ended, job, record

ID = JobId("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda")


class WritingTests(HouseCase):
    """Facts become lines."""

    def test_head(self) -> None:
        """The head tells all about the call, its values as they came."""
        told = Call("web01", "p", Raw(b"[1e5]"), timeout=60, queue=QueueSpec(Raw(b'{"q":1}'), 3))
        self.assertEqual(
            b'{"harpcaller_job":1,"job":"8ec71d6b-28d1-4ce2-aa23-f3ea7887beda","serial":7,'
            b'"submit":1.5,"call":{"host":"web01","procedure":"p","arguments":[1e5],"timeout":60},'
            b'"queue":{"name":{"q":1},"concurrency":3},"info":null}\n',
            records.head_line(ID, 7, Submitted(told, 1.5)),
        )

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
            lambda: records.head_line(ID, 1, Submitted(call(arguments=bad), 1.0)),
            lambda: records.fact_line(Recorded(Record(0, bad, 1.0))),
            lambda: records.fact_line(Ended(Returned(bad), 1.0)),
        ):
            self.assertRaises(ValueError, write)

    def test_half_characters(self) -> None:
        """Half of a surrogate pair can't be read back: calls can't have it, errors lose it."""
        bad = Submitted(call(host="web\ud800"), 1.0)
        self.assertRaises(ValueError, records.head_line, ID, 1, bad)
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

    @given(st.integers(0, 2**62), strategies.submitted)
    def test_head(self, serial: int, fact: Submitted) -> None:
        """Every head comes back, and is JSON for others too."""
        line = records.head_line(ID, serial, fact)
        self.assertEqual(records.Head(ID, serial, fact), records.parse_head(line))
        self.assertEqual(records.HEAD, records.place(line[: records.PLACE_BYTES]))
        json.loads(line)

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
        told = Submitted(call(arguments=deep, queue=QueueSpec(Raw(b'{"a":1}'))), 1.0)
        self.assertEqual(told, records.parse_head(records.head_line(ID, 1, told)).submitted)
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

    def test_bad_heads(self) -> None:
        """A head that lacks something, or of a newer format, is refused with the reason."""
        good = records.head_line(job(1), 1, Submitted(call(), 1.0))
        newer = good.replace(b'job":1', b'job":2', 1)
        with self.assertRaises(records.BadLine) as caught:
            records.parse_head(newer)
        self.assertIn("format 2", str(caught.exception))
        for bad in (b"[]", b"{}", good[:-9], good.replace(b'"call":{"host"', b'"call":{"hast"'),
                    good.replace(b'"serial":1', b'"serial":-1')):  # fmt: skip
            self.assertRaises(records.BadLine, records.parse_head, bad)

    def test_bad_ends(self) -> None:
        """An end that doesn't tell how, or not when, is refused."""
        for bad in (b"{}", b'{"end":1}', b'{"end":"x","result":1}', b'{"end":1,"cancelled":false}'):
            self.assertRaises(records.BadLine, records.parse_end, bad)

    def test_bad_times(self) -> None:
        """A start without a proper time is refused."""
        for bad in (b'{"start":x}', b'{"start":1.2.3}', b"{}"):
            self.assertRaises(records.BadLine, records.parse_time, bad)
