"""The JSON door: strict on the way in, exact for what is only carried."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from fractions import Fraction
from typing import Any, Callable

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.wire.values import (
    MAX_DEPTH,
    NotJSON,
    Raw,
    build,
    canonical,
    check,
    decode,
    encode,
    encode_object,
    indented,
    members,
)
from tests.wire.strategies import mangled, numbers, plain, raws, texts

#: Every reader of a whole text.
READERS: list[Callable[[bytes], object]] = [members, check, decode, canonical]

#: What isn't JSON, or isn't here, whoever reads it.
REFUSED = {
    "nothing": b"",
    "space only": b" \n",
    "a word": b"nil",
    "not a number": b"NaN",
    "infinity": b"Infinity",
    "negative infinity": b"-Infinity",
    "not a number, inside": b'{"a":[NaN]}',
    "a leading zero": b"01",
    "a leading plus": b"+1",
    "a point without digits": b"1.",
    "a lonely minus": b"-",
    "a hexadecimal number": b"0x1",
    "single quotes": b"'a'",
    "an unterminated string": b'"a',
    "an unterminated list": b"[1",
    "an unterminated object": b'{"a":1',
    "a comma too many": b"[1,]",
    "a comma too many in an object": b'{"a":1,}',
    "a key without quotes": b"{a:1}",
    "a key without a value": b'{"a"}',
    "an unknown escape": b'"\\x"',
    "a short escape": b'"\\u12"',
    "a raw newline in a string": b'"a\nb"',
    "two values": b"1 2",
    "two objects": b"{} {}",
    "a comment": b"1 // one",
    "bytes that aren't UTF-8": b'"\xff"',
    "a surrogate as UTF-8": b'"\xed\xa0\x80"',
    "an overlong form": b'"\xc0\x80"',
    "UTF-16": '"a"'.encode("utf-16"),
    "a byte order mark": "\ufeff1".encode(),
    "a zero byte": b"1\0",
    "10,000 brackets": b"[" * 10_000 + b"]" * 10_000,
    "10,000 open brackets": b"[" * 10_000,
    "10,000 closing brackets": b"]" * 10_000,
    "10,000 objects": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
}


def nested(levels: int) -> bytes:
    """Give an object of that many levels, lists and objects by turns."""
    opened = b"".join(b'{"a":' if i % 2 == 0 else b"[" for i in range(levels - 1))
    closed = b"".join(b"}" if i % 2 == 0 else b"]" for i in reversed(range(levels - 1)))
    return opened + (b"{}" if levels % 2 else b"[]") + closed


class RefusedTests(SynchronousTestCase):
    """What doesn't come in."""

    def test_nothing_but_json(self) -> None:
        """Each sort of nonsense is NotJSON to every reader, and nothing else."""
        for what, data in REFUSED.items():
            for reader in READERS:
                try:
                    found = reader(data)
                except NotJSON as error:
                    self.assertTrue(str(error), what)
                else:
                    self.fail(f"{reader.__name__} took {what}: {found!r}")

    def test_messages(self) -> None:
        """They say what was found and where."""
        for reader, data, said in [
            (decode, b"NaN", "NaN is not JSON"),
            (decode, b'"a\xff"', "not UTF-8 at byte 2"),
            (decode, b"[1, x]", "not JSON: Expecting value at character 4"),
            (decode, b"1 2", "not JSON: more text after the value, at character 1"),
            (check, b"1 2", "not JSON: more text after the value, at character 1"),
            (canonical, b"1 2", "not JSON: more text after the value, at character 1"),
            (decode, b"9" * 5000, "a number has too many digits"),
            (decode, nested(501), "nested deeper than 500 levels"),
            (decode, b'{"a":1,"a":2}', 'the key "a" stands twice'),
            (members, b'{"\\ud800":1,"\\ud800":2}', 'the key "\\ud800" stands twice'),
            (members, b"[1]", "expected a JSON object"),
            (members, b"{} x", "not JSON: more text after the object, at character 3"),
            (members, b"{x:1}", "not JSON: expected a key at character 1"),
            (members, b'{"a', "not JSON: Unterminated string at character 1"),
            (members, b'{"a":"b\nc"}', "not JSON: Invalid control character at character 7"),
            (check, b'"\\x"', "not JSON: Invalid \\escape at character 1"),
            (members, b'{"a" 1}', "not JSON: expected ':' at character 5"),
            (members, b'{"a":1 "b":2}', "not JSON: expected ',' or '}' at character 7"),
            (members, b'{"a":1,}', "not JSON: expected a key at character 7"),
        ]:
            error = self.assertRaises(NotJSON, reader, data)
            self.assertEqual(said, str(error))

    def test_depth(self) -> None:
        """The deepest allowed comes in everywhere, one level more nowhere."""
        for reader in READERS:
            reader(nested(MAX_DEPTH))
            self.assertRaises(NotJSON, reader, nested(MAX_DEPTH + 1))
        self.assertRaises(NotJSON, members, b'{"a":[]}', max_depth=1)
        self.assertRaises(NotJSON, decode, b"[[]]", max_depth=1)
        self.assertEqual([], decode(b"[]", max_depth=1))

    def test_depth_is_exact_in_large_texts(self) -> None:
        """Whatever stands before and after, the one level too many is found."""
        for filler in (b"[],", b'{"a":[{}]},', b"[[[]]],[]," * 3, b'"[[[\\"[[",'):
            for levels in (MAX_DEPTH - 1, MAX_DEPTH):
                data = b"[" + filler * 2000 + nested(levels) + b"," + filler * 2000 + b"0]"
                if levels < MAX_DEPTH:
                    check(data)
                else:
                    self.assertRaises(NotJSON, check, data)

    def test_depth_that_the_parser_cannot_reach(self) -> None:
        """Where more levels are allowed than it can do, that is told like ours."""
        error = self.assertRaises(NotJSON, decode, b"[" * 300_000, max_depth=10**6)
        self.assertEqual("nested too deeply", str(error))

    def test_keys_that_stand_twice(self) -> None:
        """Refused where we read, however they are spelled; carried where we don't."""
        data = b'{"a":{"x":1,"\\u0078":2}}'
        self.assertEqual({"a": b'{"x":1,"\\u0078":2}'}, members(data))
        self.assertEqual(data, check(data))
        self.assertRaises(NotJSON, decode, data)
        self.assertRaises(NotJSON, canonical, data)
        self.assertRaises(NotJSON, members, b'{"x":1,"\\u0078":2}')

    @given(mangled(texts.map(str.encode)))
    def test_any_bytes(self, data: bytes) -> None:
        """NotJSON is all that can come of them."""
        for reader in READERS:
            with contextlib.suppress(NotJSON):
                reader(data)

    @given(mangled(texts.map(str.encode)))
    def test_readers_agree_with_the_standard(self, data: bytes) -> None:
        """What is checked is what Python's own parser reads, but for its leniencies."""
        try:
            checked = check(data)
        except NotJSON:
            return
        json.loads(checked)


class CarriedTests(SynchronousTestCase):
    """Values that are only passed on come back as their bytes."""

    def test_checking_takes_little_memory(self) -> None:
        """A line of many small objects or numbers costs a few times its size, not 25 times."""
        for item in (b'{"a":1}', b"123456", b"0.5", b'{"a":{"b":{}}}'):
            line = b'{"x":[' + b",".join([item] * 20_000) + b"]}"
            tracemalloc.start()
            try:
                _ = members(line)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            self.assertLess(peak, 8 * len(line), item)

    @given(texts, st.text(" \t\r\n", max_size=3))
    def test_checked_values(self, text: str, space: str) -> None:
        """The space around is cut off, and nothing else changes."""
        expected = text.replace("\n", " ").encode()
        self.assertEqual(expected, check((space + text + space).encode()))

    def test_newlines(self) -> None:
        """What came on several lines goes on in one; a newline in a string never came in."""
        self.assertEqual(b'{ "a": [1,  2] }', check(b'{\n"a": [1,\n 2]\n}'))
        self.assertEqual({"a": b"[1,  2]"}, members(b'{\n"a":\n[1,\n 2]\n}'))
        self.assertEqual(b'"a\\nb"', check(b'"a\\nb"'))
        self.assertRaises(NotJSON, check, b'"a\nb"')

    @given(st.dictionaries(st.text(max_size=4), texts, max_size=4), st.text(" \t\r\n", max_size=2))
    def test_members(self, fields: dict[str, str], space: str) -> None:
        """Each value of an object is the bytes that stood there."""
        inside = f",{space}".join(
            f"{json.dumps(key)}{space}:{space}{text}{space}" for key, text in fields.items()
        )
        found = members(f"{space}{{{space}{inside}}}{space}".encode())
        expected = {key: text.replace("\n", " ").encode() for key, text in fields.items()}
        self.assertEqual(expected, found)

    def test_spellings_that_python_would_change(self) -> None:
        """Exponents, zeros, digits beyond floats, escapes, emoji, half surrogates."""
        for text in (
            "1e5", "1.0", "-0", "1E+05", "0.10", "9" * 5000, "1e999999999999", '"\\/"',
            '"\\u0041"', '"\\ud83d\\ude00"', '"😀"', '"\\ud800"', '"\x7f\u2028"', '{"b":1, "a":1}',
        ):  # fmt: skip
            self.assertEqual(text.encode(), check(text.encode()))
            self.assertEqual({"x": text.encode()}, members(f'{{"x":{text}}}'.encode()))

    @given(st.dictionaries(st.text("abc_", min_size=1, max_size=5), raws, max_size=4))
    def test_built_objects(self, fields: dict[str, Raw]) -> None:
        """Building and splitting undo each other."""
        self.assertEqual(fields, members(build(fields)))

    @given(texts)
    def test_laying_out(self, text: str) -> None:
        """Only space is added: without the space outside strings both are the same."""
        raw = check(text.encode())
        laid = indented(raw)
        self.assertEqual(self.squeezed(text), self.squeezed(laid))
        check(laid.encode())

    @staticmethod
    def squeezed(text: str) -> str:
        """Take out the space that stands outside strings."""
        outside, kept = True, []
        escaped = False
        for character in text:
            if outside and character in " \t\r\n":
                continue
            if character == '"' and not escaped:
                outside = not outside
            escaped = character == "\\" and not escaped
            kept.append(character)
        return "".join(kept)

    def test_laid_out_value(self) -> None:
        """A member a line; what is empty stays on one."""
        self.assertEqual(
            '{\n  "a": [\n    1,\n    {}\n  ],\n  "b": "[,]"\n}',
            indented(Raw(b'{"a":[1,{}],"b":"[,]"}')),
        )


class PythonValuesTests(SynchronousTestCase):
    """Values that we read and write ourselves."""

    @given(plain)
    def test_round_trip(self, value: Any) -> None:
        """What is written is read back, surrogates included."""
        again = decode(encode(value))
        self.assertEqual((value, repr(value)), (again, repr(again)))

    @given(plain)
    def test_written_values_are_valid(self, value: Any) -> None:
        """They pass our own check unchanged."""
        self.assertEqual(encode(value), check(encode(value)))

    @given(st.dictionaries(texts, plain))
    @example({"\x7f": ["\ud800"]})
    def test_objects_of_texts(self, values: dict[str, Any]) -> None:
        """What is written around the encoder reads as what it would have written.

        Where a part has no UTF-8, the encoder alone escapes more than it must of the rest.
        """
        self.assertEqual(decode(encode(values)), decode(encode_object(values)))

    def test_object_without_a_json_form(self) -> None:
        """One value is enough."""
        self.assertRaises(NotJSON, encode_object, {"a": "b", "c": {1}})

    def test_compact(self) -> None:
        """No space, and UTF-8 as it is; escapes only where UTF-8 has no form."""
        self.assertEqual('{"é":[1,2]}'.encode(), encode({"é": (1, 2)}))
        self.assertEqual(b'"\\ud800\\u00e9"', encode("\ud800é"))

    def test_values_without_a_json_form(self) -> None:
        """Each is NotJSON: numbers that aren't, foreign types, circles, depths."""
        circle: list[Any] = []
        circle.append(circle)
        deep: list[Any] = []
        for _ in range(MAX_DEPTH):
            deep = [deep]
        deepest: list[Any] = []
        for _ in range(100_000):
            deepest = [deepest]
        wrong = [float("nan"), float("inf"), {1}, b"", object(), {(1,): 1}, circle, deep, deepest]
        for value in [*wrong, 10**5000, {float("nan"): 1}, ["\ud800", {1}]]:
            self.assertRaises(NotJSON, encode, value)

    def test_number_beyond_floats(self) -> None:
        """As Python reads it: infinite, and so it can't be written again."""
        self.assertEqual(float("inf"), decode(b"1e999"))


class CanonicalTests(SynchronousTestCase):
    """One text for all spellings of one value."""

    def same(self, *spellings: str) -> None:
        """All of these are one value."""
        found = {canonical(spelling.encode()) for spelling in spellings}
        self.assertEqual(1, len(found), f"{spellings}: {found}")

    def test_spellings_of_one_value(self) -> None:
        """Key order, space, escapes, numbers by value."""
        self.same('{"a":1,"b":[2]}', ' { "b" : [ 2.0 ] , "\\u0061" : 10e-1 } ')
        self.same("1", "1.0", "1e0", "10E-1", "0.1e1", "1.000e+00", "1e00000000000000000000000")
        self.same("0", "-0", "0.0", "0e5", "-0.00e-7", "0e99999999999999999999999")
        self.same("120", "1.2e2", "12e1", "1200e-1")
        self.same("-5e-3", "-0.005")
        self.same('"é😀/"', '"\\u00e9\\ud83d\\ude00\\/"')
        self.same("1" + "0" * 30, "1e30")

    def test_different_values(self) -> None:
        """No two of these are the same, near as they are."""
        different = [
            "null", "true", "false", "1", "-1", "10", "0.1", "11", "0", '"1"', '"true"', '""',
            "[]", "{}", "[[]]", "[{}]", "[1]", '["1"]', "[1,2]", "[2,1]", "[12]", '{"a":1}',
            '{"a":"1"}', '{"a":[1]}', '{"b":1}', '{"a":1,"b":1}', '{"a":{"b":1}}', '{"n":"1e0"}',
            '{"a":null}', '{"":1}', '{"":{"":1}}', '{"number":1}', '["number","1"]', '"\\ud800"',
            "1e9999", "1e-9999", "9007199254740993", "9007199254740992", "0.1000000000000000001",
        ]  # fmt: skip
        self.assertEqual(len(different), len({canonical(text.encode()) for text in different}))

    def test_deepest_value(self) -> None:
        """Any value that comes in can be compared; the stack is no limit."""
        for data in (nested(MAX_DEPTH), b"[" * MAX_DEPTH + b"1" + b"]" * MAX_DEPTH):
            self.assertEqual(canonical(data), canonical(b" " + data))

    def test_exponents_without_end(self) -> None:
        """Arithmetic with them is refused, leading zeros apart."""
        self.assertRaises(NotJSON, canonical, b"1e" + b"9" * 21)
        self.same("1e" + "0" * 30 + "5", "1e+5")

    @given(st.lists(numbers, min_size=2, max_size=2))
    def test_numbers_go_by_value(self, pair: list[str]) -> None:
        """Two numbers have one text exactly when they are equal."""
        one, other = pair
        equal = Fraction(one) == Fraction(other)
        self.assertEqual(equal, canonical(one.encode()) == canonical(other.encode()))

    @given(plain, plain)
    @example({"a": 1}, {"a": 1.0})
    @example([True], [1])
    def test_values_go_by_equality(self, one: Any, other: Any) -> None:
        """Two values have one text exactly when JSON calls them equal."""
        equal = self.typed(one) == self.typed(other)
        self.assertEqual(equal, canonical(encode(one)) == canonical(encode(other)))

    def typed(self, value: Any) -> Any:
        """Make Python's equality that of JSON: true is not 1, 1 is 1.0."""
        if isinstance(value, dict):
            return {key: self.typed(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.typed(inner) for inner in value]
        if isinstance(value, bool) or value is None or isinstance(value, str):
            return (type(value).__name__, value)
        return ("number", Fraction(str(value)))

    @given(plain)
    def test_space_and_order(self, value: Any) -> None:
        """Written with its keys turned round, spaced and escaped, it is the same value."""
        other = json.dumps(self.turned(value), indent=1)
        self.assertEqual(canonical(encode(value)), canonical(other.encode()))

    def turned(self, value: Any) -> Any:
        """Turn the order of all keys round."""
        if isinstance(value, dict):
            return {key: self.turned(value[key]) for key in reversed(list(value))}
        if isinstance(value, list):
            return [self.turned(inner) for inner in value]
        return value
