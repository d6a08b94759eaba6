"""The only JSON door: strict on the way in, exact for what is only carried.

A value that nobody here needs to understand (arguments, info, results, records) is
checked once and travels as the bytes that came: :data:`Raw`.  So ``1e5`` comes back as
``1e5`` and a 40-digit integer keeps its digits.  What isn't standard JSON (RFC 8259) is
refused: NaN and its like, bytes that aren't UTF-8, nesting deeper than
:data:`MAX_DEPTH`.  Keys that stand twice are refused in objects that we read ourselves, and
carried as they came otherwise.

This is the standard library's parser and not a faster one because the client library
may use nothing else, and because the faster ones pass over bad UTF-8 in carried values.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from itertools import accumulate
from json.decoder import scanstring  # type: ignore[attr-defined]  # typeshed lacks it
from json.encoder import encode_basestring as _quoted
from math import isfinite
from typing import Any, NewType, NoReturn

#: A JSON value, checked, as the bytes that came (or that :func:`encode` made); on one line.
Raw = NewType("Raw", bytes)

#: How deep arrays and objects may nest, the outermost counted.
MAX_DEPTH = 500

NULL = Raw(b"null")
TRUE = Raw(b"true")
FALSE = Raw(b"false")
EMPTY_LIST = Raw(b"[]")

#: The largest integer that we write, and its negative the smallest.
LARGEST = 2**63 - 1
_space = re.compile(r"[ \t\r\n]*").match
_opening = re.compile(r"[ \t\r\n]*\{[ \t\r\n]*").match
# A key as nearly all are, without escapes; and its value and what follows that, if it is as
# simple and short.
_simple_member = re.compile(
    r'"([^"\\\x00-\x1f]*)"[ \t\r\n]*:[ \t\r\n]*'
    r'(?:("[^"\\\x00-\x1f]{0,200}"|0|[1-9][0-9]{0,20}|true|false|null)'
    r"[ \t\r\n]*([,}])[ \t\r\n]*)?"
).match
_following = re.compile(r"[ \t\r\n]*([,}])[ \t\r\n]*").match
_tokens = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{},:]|[^ \t\r\n\[\]{},:"]+').finditer
_neither = bytes(set(range(256)) - set(b'[]{}"'))
_one_kind = bytes.maketrans(b"{}", b"[]")
_OPENING = ord("[")
_MANY_BRACKETS = 1000
# Some of the parser's messages end with one, expecting a place to follow.
_preposition = re.compile(r"( starting)? at$|: *$")


class NotJSON(ValueError):
    """The bytes aren't one JSON value in the sense of this module."""


def _refuse_constant(name: str) -> NoReturn:
    raise NotJSON(f"{name} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        [(key, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise NotJSON(f"the key {json.dumps(key)} stands twice")
    return result


# In the checking pass numbers and objects are forgotten as soon as they are read: a number of any
# length costs only its reading, and a line of small objects not 25 times its size in memory.
_checker = json.JSONDecoder(
    parse_int=len, parse_float=len, parse_constant=_refuse_constant, object_pairs_hook=len
)
_scan = _checker.scan_once  # type: ignore[attr-defined]  # typeshed lacks it
_reader = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_unique)
_writer = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_ascii_writer = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
_sorting_writer = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def text_of(data: bytes, *, max_depth: int = MAX_DEPTH) -> str:
    """Decode, refusing bad UTF-8 and deep nesting before the parser meets them.

    Raises:
        NotJSON: It has one of them.
    """
    if (
        len(data) > max_depth
        and data.count(b"[") + data.count(b"{") > max_depth
        and _depth(data) > max_depth
    ):
        raise NotJSON(f"nested deeper than {max_depth} levels")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotJSON(f"not UTF-8 at byte {error.start}") from None


def _depth(data: bytes) -> int:
    """Tell how deep the brackets of a text nest, or more if they aren't paired.

    All but the last step is done in C: a text of 60 MiB may come.
    """
    # Escaped quotes go, then all but quotes and brackets, then what was strings.
    quoted = data.replace(rb"\\", b"").replace(rb"\"", b"").translate(_one_kind, _neither)
    brackets = b"".join(quoted.replace(b'""', b"").split(b'"')[::2])
    taken = 0
    while len(brackets) > _MANY_BRACKETS:
        # The innermost pairs go, a level at a time, as long as that makes it much shorter.
        fewer = brackets.replace(b"[]", b"")
        if len(fewer) > len(brackets) // 2:
            break
        brackets = fewer
        taken += 1
    steps = (1 if bracket == _OPENING else -1 for bracket in brackets)
    return taken + max(accumulate(steps), default=0)


def _not_json(error: json.JSONDecodeError) -> NotJSON:
    what = _preposition.sub("", error.msg)
    return NotJSON(f"not JSON: {what} at character {error.pos}")


def _parse(decoder: json.JSONDecoder, text: str, position: int) -> tuple[Any, int]:
    try:
        return decoder.raw_decode(text, position)
    except json.JSONDecodeError as error:
        raise _not_json(error) from None
    except RecursionError:
        raise NotJSON("nested too deeply") from None
    except ValueError as error:
        if isinstance(error, NotJSON):
            raise
        # int() refuses texts of more than 4,300 digits.
        raise NotJSON("a number has too many digits") from None


def members(line: bytes, *, max_depth: int = MAX_DEPTH) -> dict[str, Raw]:
    """Split one JSON object into its members, the values left as bytes.

    Raises:
        NotJSON: It isn't one object, or a key stands twice in it.
    """
    text = text_of(line, max_depth=max_depth)
    opening = _opening(text)
    if opening is None:
        _parse(_checker, text, _space(text, 0).end())  # type: ignore[union-attr]  # it matches always
        raise NotJSON("expected a JSON object")
    found: dict[str, Raw] = {}
    position = opening.end()
    if text[position : position + 1] == "}":
        position += 1
    else:
        # As a rule the text has as many characters as bytes, and what is carried is cut out of
        # the bytes.
        is_plain = len(text) == len(line) and "\n" not in text
        position = _members(text, position, found, line if is_plain else None)
    if position != len(text):
        position = _space(text, position).end()  # type: ignore[union-attr]  # likewise
        if position != len(text):
            raise NotJSON(f"not JSON: more text after the object, at character {position}")
    return found


def _members(text: str, position: int, found: dict[str, Raw], plain: bytes | None) -> int:
    """Read ``"key": value, ...}`` into ``found``; return the position after it."""
    while True:
        simple = _simple_member(text, position)
        if simple is not None:
            key, value, follows = simple.groups()
            position = simple.end()
        else:
            key, position = _key(text, position)
            value = follows = None
        if value is not None:
            raw = Raw(value.encode("utf-8"))
        else:
            end = _end_of(text, position)
            raw = _on_one_line(text[position:end]) if plain is None else Raw(plain[position:end])
            following = _following(text, end)
            if following is None:
                position = _space(text, end).end()  # type: ignore[union-attr]  # it matches always
                raise NotJSON(f"not JSON: expected ',' or '}}' at character {position}")
            follows = following[1]
            position = following.end()
        if key in found:
            raise NotJSON(f"the key {json.dumps(key)} stands twice")
        found[key] = raw
        if follows == "}":
            return position


def _end_of(text: str, position: int) -> int:
    """Check the value that begins here, and tell where it ends."""
    try:
        _, end = _scan(text, position)
    except (StopIteration, ValueError, RecursionError):
        _, end = _parse(_checker, text, position)  # which tells what is wrong
    return int(end)


def _key(text: str, position: int) -> tuple[str, int]:
    """Read a key, with escapes or wrong, and the colon; return the position after it."""
    if text[position : position + 1] != '"':
        raise NotJSON(f"not JSON: expected a key at character {position}")
    try:
        key, position = scanstring(text, position + 1, True)
    except json.JSONDecodeError as error:
        raise _not_json(error) from None
    position = _space(text, position).end()  # type: ignore[union-attr]  # it matches always
    if text[position : position + 1] != ":":
        raise NotJSON(f"not JSON: expected ':' at character {position}")
    return key, _space(text, position + 1).end()  # type: ignore[union-attr]  # likewise


def _on_one_line(checked: str) -> Raw:
    # Newlines are space here, since a string with one in it isn't JSON; and what is
    # carried must never end the line that it is put into.
    return Raw(checked.replace("\n", " ").encode("utf-8"))


def value_at(text: str, position: int) -> tuple[Raw, int]:
    """Check the value that begins here in what :func:`text_of` gave, and tell where it ends.

    Raises:
        NotJSON: None does.
    """
    _, end = _parse(_checker, text, position)
    return _on_one_line(text[position:end]), end


def check(data: bytes, *, max_depth: int = MAX_DEPTH) -> Raw:
    """Check that the bytes are one JSON value and give them back, outer space cut off.

    Newlines in it become spaces, so that it fits into a line.

    Raises:
        NotJSON: They aren't.
    """
    text = text_of(data, max_depth=max_depth).strip(" \t\r\n")
    end = _end_of(text, 0)
    if end != len(text):
        raise NotJSON(f"not JSON: more text after the value, at character {end}")
    return _on_one_line(text)


def decode(data: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Read a JSON value into Python's own types.

    Raises:
        NotJSON: It isn't one value, or a key stands twice in one of its objects.
    """
    text = text_of(data, max_depth=max_depth).strip(" \t\r\n")
    value, end = _parse(_reader, text, 0)
    if end != len(text):
        raise NotJSON(f"not JSON: more text after the value, at character {end}")
    return value


def encode(value: object) -> Raw:
    """Write a Python value as compact JSON.

    Raises:
        NotJSON: It has no JSON form (NaN, a set, a circle, nesting too deep).
    """
    # What is written most goes around the encoder, which is made anew for each value.
    if type(value) is str:
        quoted = _quoted(value)
        if quoted.isascii():
            return Raw(quoted.encode("ascii"))
    elif value is None:
        return NULL
    elif type(value) is float and isfinite(value):
        return Raw(b"%a" % value)
    elif type(value) is int and -LARGEST <= value <= LARGEST:
        return Raw(b"%d" % value)
    try:
        try:
            data = _writer.encode(value).encode("utf-8")
        except UnicodeEncodeError:
            # Half a surrogate pair has no UTF-8, but it has an escape.
            data = _ascii_writer.encode(value).encode("ascii")
    except (TypeError, ValueError) as error:
        raise NotJSON(str(error)) from None
    except RecursionError:
        raise NotJSON("nested too deeply") from None
    text_of(data)
    return Raw(data)


def encode_object(values: Mapping[str, object]) -> Raw:
    """Write an object, sooner than :func:`encode` does where most of its values are text.

    Raises:
        NotJSON: One of them has no JSON form.
    """
    members = [
        f"{_quoted(key)}:{_quoted(value) if type(value) is str else encode(value).decode()}"
        for key, value in values.items()
    ]
    try:
        return Raw(f"{{{','.join(members)}}}".encode())
    except UnicodeEncodeError:
        return encode(dict(values))  # see there


def build(fields: dict[str, Raw]) -> Raw:
    """Write an object of values that are bytes already, in the order given.

    The keys are ours: plain ASCII without quotes or backslashes.
    """
    return Raw(
        b"{%s}"
        % b",".join([b'"%s":%s' % (key.encode("ascii"), raw) for key, raw in fields.items()])
    )


def indented(raw: Raw) -> str:
    """Lay a value out for people, a member a line; what it is made of stays as it came."""
    laid: list[str] = []
    depth = 0
    opened = False  # the last piece was a bracket, and nothing is in it yet
    for match in _tokens(raw.decode("utf-8")):
        piece = match.group()
        closing = piece in ("]", "}")
        depth -= closing
        if opened != closing:
            laid.append("\n" + "  " * depth)
        laid.append(piece)
        opened = piece in ("[", "{")
        depth += opened
        if piece == ":":
            laid.append(" ")
        elif piece == ",":
            laid.append("\n" + "  " * depth)
    return "".join(laid)


def canonical(data: bytes) -> bytes:
    """Give a text that is the same for two values exactly when they are equal as JSON.

    Key order is irrelevant, numbers go by value (``1``, ``1.0`` and ``10e-1`` are one),
    and ``true`` is not 1.

    Raises:
        NotJSON: It isn't one value, or a key stands twice in one of its objects.
    """
    # Of a hundred thousand jobs in one queue each has the same name, and is asked more than once.
    return (_short_canonical if len(data) <= _SHORT else _canonical)(data)


def _canonical(data: bytes) -> bytes:
    text = text_of(data).strip(" \t\r\n")
    value, end = _parse(_canonical_reader, text, 0)
    if end != len(text):
        raise NotJSON(f"not JSON: more text after the value, at character {end}")
    return _sorting_writer.encode(value).encode("ascii")


_SHORT = 256
_short_canonical = lru_cache(maxsize=128)(_canonical)


def _canonical_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {"o" + key: value for key, value in _unique(pairs).items()}


def _canonical_number(text: str) -> dict[str, str]:
    """Digits without zeros at either end, and the power of ten they are multiplied by.

    They go into an object, which no other object equals: the keys of those begin with "o".
    """
    mantissa, _, exponent = text.lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    sign = "-" if whole.startswith("-") else ""
    digits = (whole.lstrip("-") + fraction).lstrip("0")
    stripped = digits.rstrip("0")
    if not stripped:
        return {"n": "0"}
    exponent_sign = "-" if exponent.startswith("-") else ""
    exponent = exponent.lstrip("+-").lstrip("0") or "0"
    if len(exponent) > 20:
        raise NotJSON("a number has too many digits in its exponent")
    power = int(exponent_sign + exponent) - len(fraction) + len(digits) - len(stripped)
    return {"n": f"{sign}{stripped}e{power}"}


# A value is made comparable while it is read, and its keys sorted while it is written: both
# in C, so that the deepest value allowed doesn't fill Python's stack.
_canonical_reader = json.JSONDecoder(
    parse_int=_canonical_number,
    parse_float=_canonical_number,
    parse_constant=_refuse_constant,
    object_pairs_hook=_canonical_object,
)


def text_in(string: Raw) -> str:
    """Read what is known to be a string; halves of surrogate pairs may be in it."""
    text = string.decode("utf-8")
    if "\\" not in text:
        return text[1:-1]
    return str(scanstring(text, 1, True)[0])


def shown_key(key: str) -> str:
    """A key as messages show it: not too long of it, and nothing in it that disturbs a terminal."""
    start = key[:60]
    return start if start.isprintable() else json.dumps(start)
