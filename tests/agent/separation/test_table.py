"""What network process and monitor can say to each other."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from harpcaller.agent.separation.frames import LEVELS, NotInTable, Table
from harpcaller.agent.separation.table import (
    ANSWERED,
    ASKED,
    MOST_SAID,
    TO_MONITOR,
    TO_NETWORK,
    Answered,
    Asked,
    Attach,
    Authenticate,
    Call,
    Cancel,
    Closed,
    Confine,
    Finished,
    GiveUp,
    Known,
    Leave,
    List,
    Listen,
    Listening,
    Noted,
    Opened,
    Ready,
    Refused,
    Said,
    SaidAll,
    Taken,
    Terms,
    ToMonitor,
    ToNetwork,
)
from harpcaller.wire.agent import MAX_REQUEST_SIZE
from harpcaller.wire.values import Raw
from tests.house import HouseCase

texts = st.text(st.characters(codec="utf-8"), max_size=30)
numbers = st.integers(0, 2**63 - 1)
flags = st.booleans()
pems = st.binary(max_size=50)
jobs = st.text(st.characters(codec="utf-8"), min_size=1, max_size=64)
peers = st.ip_addresses().map(str) | st.just("?")
values = st.sampled_from([Raw(b"[]"), Raw(b'{"a":[1,2.50,"\\n"]}'), Raw(b'[ 1 ,"\xc3\xa9"]')])
seconds = st.none() | st.floats(0, exclude_min=True, allow_infinity=False, allow_nan=False)

TO_THE_MONITOR: st.SearchStrategy[ToMonitor] = st.one_of(
    st.builds(Ready, texts),
    st.just(Listening()),
    st.just(Opened()),
    st.builds(Noted, st.sampled_from(LEVELS), st.text("abc.", max_size=64), values),
)
TO_THE_NETWORK: st.SearchStrategy[ToNetwork] = st.one_of(
    st.builds(Terms, pems, pems, pems, numbers, flags, numbers, numbers),
    st.builds(Confine, flags, numbers, numbers),
    st.just(Listen()),
    st.just(Leave()),
)
WHAT_IS_ASKED: st.SearchStrategy[Asked] = st.one_of(
    st.builds(Authenticate, texts, texts, peers),
    st.builds(Call, texts, values, st.none() | jobs, seconds),
    st.builds(Attach, jobs, numbers),
    st.just(List()),
    st.builds(Cancel, jobs),
    st.just(GiveUp()),
)
WHAT_IS_ANSWERED: st.SearchStrategy[Answered] = st.one_of(
    st.just(Known()),
    st.builds(Refused, texts),
    st.builds(Taken, flags),
    st.builds(Said, st.binary(max_size=200)),
    st.just(SaidAll()),
    st.just(Finished()),
    st.just(Closed()),
)
TABLES: dict[str, tuple[Table[Any], st.SearchStrategy[Any]]] = {
    "to the monitor": (TO_MONITOR, TO_THE_MONITOR),
    "to the network process": (TO_NETWORK, TO_THE_NETWORK),
    "asked": (ASKED, WHAT_IS_ASKED),
    "answered": (ANSWERED, WHAT_IS_ANSWERED),
}


def frame(letter: bytes, *fields: bytes) -> bytes:
    """A message as anybody could write it."""
    content = b"".join(struct.pack(">I", len(field)) + field for field in fields)
    return letter + struct.pack(">I", len(content)) + content


def read(table: Table[Any], data: bytes) -> list[Any]:
    """Read all messages of a stream."""
    reader = table.reader()
    reader.feed(data)
    found = []
    while (message := reader.next()) is not None:
        found.append(message)
    return found


class RoundTripTests(HouseCase):
    @given(st.sampled_from(sorted(TABLES)), st.data(), st.integers(1, 40))
    def test_comes_as_it_went(self, name: str, data: st.DataObject, piece: int) -> None:
        """Messages are read as they were written, in whatever pieces they come."""
        table, strategy = TABLES[name]
        messages = data.draw(st.lists(strategy, max_size=5))
        stream = b"".join(map(table.encode, messages))
        reader = table.reader()
        found = []
        for start in range(0, len(stream), piece):
            reader.feed(stream[start : start + piece])
            while (message := reader.next()) is not None:
                found.append(message)
        self.assertEqual(messages, found)
        self.assertEqual(0, reader.pending())

    @given(st.sampled_from(sorted(TABLES)), st.binary(max_size=100))
    def test_anything(self, name: str, stream: bytes) -> None:
        """Whatever comes is a message, or isn't in the table; it has no third effect."""
        table, _ = TABLES[name]
        try:
            messages = read(table, stream)
        except NotInTable:
            return
        self.assertTrue(stream.startswith(b"".join(map(table.encode, messages))))

    @given(st.sampled_from(sorted(TABLES)), st.data())
    def test_spoilt(self, name: str, data: st.DataObject) -> None:
        """A message that was changed is another one of the table, or none."""
        table, strategy = TABLES[name]
        stream = bytearray(table.encode(data.draw(strategy)))
        place = data.draw(st.integers(0, len(stream) - 1))
        stream[place] = data.draw(st.integers(0, 255))
        try:
            messages = read(table, bytes(stream))
        except NotInTable:
            return
        self.assertTrue(bytes(stream).startswith(b"".join(map(table.encode, messages))))

    def test_secrets(self) -> None:
        """No password and no key is shown."""
        terms = Terms(b"", b"secret", b"", 1, True, 1, 1)
        shown = repr((Authenticate("user", "secret", "?"), terms))
        self.assertNotIn("secret", shown)


class RefusalTests(HouseCase):
    def refused(self, table: Table[Any], data: bytes) -> str:
        return str(self.assertRaises(NotInTable, read, table, data))

    def test_letter(self) -> None:
        """There is nothing but what is in the table, which is known from the first byte on."""
        self.assertEqual("there is no message b'Z'", self.refused(ASKED, b"Z"))
        self.assertIn("no message", self.refused(ASKED, b"\n"))

    def test_length(self) -> None:
        """What is too long is refused before it is there."""
        head = b"A" + struct.pack(">I", MAX_REQUEST_SIZE + 257)
        self.assertIn("a message b'A' of", self.refused(ASKED, head))
        self.assertIn("a message b'G' of 1 bytes", self.refused(ASKED, b"G\0\0\0\1"))
        head = b"D" + struct.pack(">I", MOST_SAID + 257)
        self.assertIn("a message b'D' of", self.refused(ANSWERED, head))

    def test_fields(self) -> None:
        """Fields are as many as there are, each no longer than it can be."""
        self.assertIn("missing", self.refused(ASKED, frame(b"A", b"user", b"password")))
        too_many = frame(b"A", b"u", b"p", b"?", b"")
        self.assertIn("more than its fields", self.refused(ASKED, too_many))
        self.assertIn("a field of 65 bytes", self.refused(ASKED, frame(b"A", b"", b"", b"1" * 65)))
        beyond = b"A" + struct.pack(">I", 4) + struct.pack(">I", 5)
        self.assertIn("a field of 5 bytes", self.refused(ASKED, beyond))

    def test_content(self) -> None:
        """What they hold is what it has to be, and written in one way only."""
        for letter, *fields in (
            (b"A", b"\xff", b"", b"?"),
            (b"A", b"", b"", b"localhost"),
            (b"A", b"", b"", b"fe80::1%\n"),
            (b"C", b"p", b"nonsense", b"", b""),
            (b"C", b"p", b"1", b"", b""),
            (b"C", b"p", b"[\n]", b"", b""),
            (b"C", b"p", b" []", b"", b""),
            (b"C", b"p", b'[],"call":{"user":"root"}', b"", b""),
            (b"C", b"p", b"[" * 501 + b"]" * 501, b"", b""),
            (b"C", b"p", b"[]", b"x" * 65, b""),
            (b"C", b"p", b"[]", b"job", b"-1.0"),
            (b"C", b"p", b"[]", b"job", b"inf"),
            (b"C", b"p", b"[]", b"job", b"nan"),
            (b"C", b"p", b"[]", b"job", b"1"),
            (b"T", b"", b"0"),
            (b"T", b"job", b"-1"),
            (b"T", b"job", b"01"),
            (b"T", b"job", b"9999999999999999999"),
            (b"T", b"job", b""),
        ):
            told = self.refused(ASKED, frame(letter, *fields))
            for field in fields:
                if len(field) > 3:
                    self.assertNotIn(field.decode("latin-1"), told)
        self.assertIn("ValueError", self.refused(ANSWERED, frame(b"A", b"2")))
        self.assertIn("ValueError", self.refused(TO_MONITOR, frame(b"N", b"loud", b"k", b"{}")))
