"""The first line of a job's file."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from harpcaller.interfaces import Submitted
from harpcaller.store import heads, records
from harpcaller.wire.client import Call, JobId, QueueSpec
from harpcaller.wire.values import Raw
from tests.house import HouseCase
from tests.store import strategies
from tests.store.jobs import call, job

ID = JobId("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda")


class WritingTests(HouseCase):
    """A call becomes a line."""

    def test_head(self) -> None:
        """The head tells all about the call, its values as they came."""
        told = Call("web01", "p", Raw(b"[1e5]"), timeout=60, queue=QueueSpec(Raw(b'{"q":1}'), 3))
        self.assertEqual(
            b'{"harpcaller_job":1,"job":"8ec71d6b-28d1-4ce2-aa23-f3ea7887beda","serial":7,'
            b'"submit":1.5,"call":{"host":"web01","procedure":"p","arguments":[1e5],"timeout":60},'
            b'"queue":{"name":{"q":1},"concurrency":3},"info":null}\n',
            heads.head_line(ID, 7, Submitted(told, 1.5)),
        )

    def test_no_newline_inside(self) -> None:
        """A value with a raw newline would be two lines, and is refused."""
        bad = Submitted(call(arguments=Raw(b"[1,\n2]")), 1.0)
        self.assertRaises(ValueError, heads.head_line, ID, 1, bad)

    def test_half_characters(self) -> None:
        """Half of a surrogate pair can't be read back, and is refused."""
        bad = Submitted(call(host="web\ud800"), 1.0)
        self.assertRaises(ValueError, heads.head_line, ID, 1, bad)


class ReadingTests(HouseCase):
    """What was written is read as it was, and what wasn't is told from it."""

    @given(st.integers(0, heads.MAX_SERIAL), strategies.submitted)
    def test_head(self, serial: int, fact: Submitted) -> None:
        """Every head comes back, and is JSON for others too."""
        line = heads.head_line(ID, serial, fact)
        self.assertEqual(heads.Head(ID, serial, fact), heads.parse_head(line))
        self.assertEqual(records.HEAD, records.place(line[: records.PLACE_BYTES]))
        json.loads(line)

    @given(
        st.integers(0, heads.MAX_SERIAL),
        strategies.submitted,
        st.integers(0, 400),
        st.binary(max_size=2),
    )
    def test_both_ways(self, serial: int, fact: Submitted, at: int, change: bytes) -> None:
        """Read quickly or slowly, a line tells the same, if it is damaged too."""
        line = heads.head_line(ID, serial, fact)
        changed = line[:at] + change + line[at + 1 :]
        self.assertEqual(self.slowly(line), heads.parse_head(line))
        try:
            slowly = self.slowly(changed)
        except records.BadLine:
            self.assertRaises(records.BadLine, heads.parse_head, changed)
        else:
            self.assertEqual(slowly, heads.parse_head(changed))

    def slowly(self, line: bytes) -> heads.Head:
        """Have a head read that isn't written as we do: a space is before it."""
        return heads.parse_head(b" " + line)

    def test_deepest_values(self) -> None:
        """A value as deep as the door lets in is still readable in its line."""
        deep = Raw(b"[" * 499 + b"]" * 499)
        told = Submitted(call(arguments=deep, queue=QueueSpec(Raw(b'{"a":1}'))), 1.0)
        self.assertEqual(told, heads.parse_head(heads.head_line(ID, 1, told)).submitted)

    def test_serial(self) -> None:
        """The serial can be read from the first bytes; of what is no head it is 0."""
        line = heads.head_line(ID, 7, Submitted(call(), 1.0))
        self.assertEqual(7, heads.head_serial(line[:100]))
        self.assertEqual(0, heads.head_serial(b"{}"))

    def test_bad_heads(self) -> None:
        """A head that lacks something, or of a newer format, is refused with the reason."""
        good = heads.head_line(job(1), 1, Submitted(call(), 1.0))
        newer = good.replace(b'job":1', b'job":2', 1)
        with self.assertRaises(records.BadLine) as caught:
            heads.parse_head(newer)
        self.assertIn("format 2", str(caught.exception))
        limited = heads.head_line(ID, 1, Submitted(Call("a", "b", Raw(b"[]"), 5.0), 1.0))
        for bad in (b"[]", b"{}", good[:-9], good.replace(b'"call":{"host"', b'"call":{"hast"'),
                    good.replace(b'"serial":1', b'"serial":-1'),
                    good.replace(b'"serial":1', b'"serial":%d' % (heads.MAX_SERIAL + 1)),
                    limited.replace(b":5.0", b":0")):  # fmt: skip
            self.assertRaises(records.BadLine, heads.parse_head, bad)
