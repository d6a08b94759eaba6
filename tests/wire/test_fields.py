"""What a field must be, and what is said when it isn't."""

from __future__ import annotations

from typing import Callable

from hypothesis import given
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.wire import values
from harpcaller.wire.fields import (
    BadField,
    as_boolean,
    as_integer,
    as_object,
    as_seconds,
    as_string,
    as_text,
    as_time,
    kind_of,
)
from harpcaller.wire.values import (
    NotJSON,
    Raw,
)
from tests.wire.strategies import raws, strings


class FieldsTests(SynchronousTestCase):
    """Members of a message, read as what they must be."""

    def refused(self, reader: Callable[..., object], raw: str, **how: int) -> str:
        """Read a field that is wrong; give what is said."""
        return str(self.assertRaises(BadField, reader, Raw(raw.encode()), "field", **how))

    def test_strings(self) -> None:
        """Decoded; anything else is named."""
        self.assertEqual("é\n😀", as_string(Raw('"é\\n\\ud83d\\ude00"'.encode()), "field"))
        for raw, got in [
            ("1", "1"), ("null", "null"), ("true", "true"), ("[1]", "a list"),
            ('{"a":1}', "an object"), ("9" * 41, "a number"),
        ]:  # fmt: skip
            self.assertEqual(f"field: expected a string, got {got}", self.refused(as_string, raw))
        self.assertEqual(
            "field: half of a surrogate pair in a string", self.refused(as_string, '"\\ud800"')
        )

    def test_texts(self) -> None:
        """Text for people may have half surrogates in it; they are shown as escapes."""
        self.assertEqual("é", as_text(Raw('"é"'.encode()), "field"))
        self.assertEqual("caf\\udce9", as_text(Raw(b'"caf\\udce9"'), "field"))
        self.assertIn("expected a string", self.refused(as_text, "1"))

    def test_booleans(self) -> None:
        """True and false, nothing that is like them."""
        self.assertEqual(
            (True, False), (as_boolean(values.TRUE, "f"), as_boolean(values.FALSE, "f"))
        )
        for raw in ("1", "0", '"true"', "null", "[]"):
            self.assertIn("field: expected true or false, got ", self.refused(as_boolean, raw))

    def test_integers(self) -> None:
        """64 bits, no fractions, no true."""
        for raw in ("0", "-0", "7", "9223372036854775807"):
            self.assertEqual(int(raw), as_integer(Raw(raw.encode()), "f"))
        for raw in ("-1", "1.0", "1e3", "true", '"1"', "null", "9223372036854775808", "9" * 5000):
            self.assertIn("expected a non-negative integer", self.refused(as_integer, raw))
        self.assertIn("expected a positive integer, got 0", self.refused(as_integer, "0", least=1))
        self.assertEqual(-3, as_integer(Raw(b"-3"), "f", least=-5))
        self.assertIn("expected an integer", self.refused(as_integer, "-6", least=-5))

    def test_seconds(self) -> None:
        """Positive and finite, in any spelling."""
        for raw, seconds in [("1", 1.0), ("0.5", 0.5), ("1e2", 100.0), ("60.000", 60.0)]:
            self.assertEqual(seconds, as_seconds(Raw(raw.encode()), "f"))
        for raw in ("0", "-1", "1e999", "1e-999", '"1"', "true", "null", "1" * 65, "[]", "0.0"):
            self.assertIn("expected a positive number of seconds", self.refused(as_seconds, raw))

    def test_times(self) -> None:
        """Any finite number."""
        for raw, seconds in [("0", 0.0), ("-1.5", -1.5), ("1455282411.25", 1455282411.25)]:
            self.assertEqual(seconds, as_time(Raw(raw.encode()), "f"))
        for raw in ("1e999", "-1e999", '"now"', "null", "1" * 65):
            self.assertIn("expected a Unix time", self.refused(as_time, raw))

    def test_objects(self) -> None:
        """Split; anything else is named, keys twice are refused."""
        self.assertEqual({"a": b"1"}, as_object(Raw(b'{"a":1}'), "f"))
        self.assertEqual("field: expected an object, got a list", self.refused(as_object, "[]"))
        self.assertRaises(NotJSON, as_object, Raw(b'{"a":1,"a":2}'), "f")

    def test_kinds(self) -> None:
        """In words, for strings of any alphabet."""
        for raw, kind in [
            ('"é😀"', "a string"), ("[]", "a list"), ("{}", "an object"), ("-1.5e3", "a number"),
            ("true", "true"), ("null", "null"),
        ]:  # fmt: skip
            self.assertEqual(kind, kind_of(raw.encode()))

    @given(raws)
    def test_any_value(self, raw: Raw) -> None:
        """Whatever stands in a field, the reader reads it or says BadField."""
        for reader in (as_string, as_text, as_boolean, as_integer, as_seconds, as_time, as_object):
            try:
                reader(raw, "field")
            except BadField as error:
                self.assertTrue(str(error).startswith("field: "))
                str(error).encode()
            except NotJSON:
                self.assertIs(as_object, reader)

    @given(strings)
    def test_long_strings(self, text: str) -> None:
        """They are named by kind and not quoted."""
        raw = Raw(b'"%s"' % (text[1:-1].encode() + b"x" * 41))
        self.assertEqual(
            "field: expected true or false, got a string",
            str(self.assertRaises(BadField, as_boolean, raw, "field")),
        )
