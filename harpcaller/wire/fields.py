"""What a message's fields must be: each reader takes a value as it came, and names what is wrong.

What JSON is, is :mod:`~harpcaller.wire.values`' business.
"""

from __future__ import annotations

import re

from harpcaller.wire.values import FALSE, LARGEST, TRUE, Raw, members, text_in

_integer = re.compile(rb"-?[0-9]+").fullmatch
_number = re.compile(rb"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?").fullmatch


class BadField(ValueError):
    """A field has the wrong type or value; the message names it."""


def kind_of(raw: bytes) -> str:
    """Say in words what sort of value this is: "a string", "an object"..."""
    if _number(raw):
        return "a number"
    kind = {b'"': "a string", b"[": "a list", b"{": "an object"}.get(raw[:1])
    return kind or raw.decode("ascii")


def _shown(raw: bytes) -> str:
    """A value as messages quote it: short scalars as they are, the rest by kind."""
    if raw[:1] in (b"[", b"{") or len(raw) > 40:
        return kind_of(raw)
    return raw.decode("utf-8")


def _short_number(raw: bytes) -> bool:
    # Reading a million digits as a float takes more than linear time.
    return len(raw) <= 64 and _number(raw) is not None


def as_string(raw: Raw, field: str) -> str:
    """Read a string that can be written as UTF-8.

    Raises:
        BadField: It is something else.
    """
    text = _string(raw, field)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise BadField(f"{field}: half of a surrogate pair in a string") from None
    return text


def as_text(raw: Raw, field: str) -> str:
    """Read a string that is meant for people; half a surrogate pair becomes its escape.

    Raises:
        BadField: It is something else than a string.
    """
    return _string(raw, field).encode("utf-8", "backslashreplace").decode("utf-8")


def _string(raw: Raw, field: str) -> str:
    if raw[:1] != b'"':
        raise BadField(f"{field}: expected a string, got {_shown(raw)}")
    return text_in(raw)


def as_boolean(raw: Raw, field: str) -> bool:
    """Read ``true`` or ``false``.

    Raises:
        BadField: It is something else.
    """
    if raw not in (TRUE, FALSE):
        raise BadField(f"{field}: expected true or false, got {_shown(raw)}")
    return raw == TRUE


def as_integer(raw: Raw, field: str, *, least: int = 0) -> int:
    """Read an integer of at most 64 bits; ``1.0`` and ``true`` are none.

    Raises:
        BadField: It is something else, or smaller than ``least``.
    """
    what = {0: "a non-negative integer", 1: "a positive integer"}.get(least, "an integer")
    if not _integer(raw) or len(raw) > 20 or not least <= int(raw) <= LARGEST:
        raise BadField(f"{field}: expected {what}, got {_shown(raw)}")
    return int(raw)


def as_seconds(raw: Raw, field: str) -> float:
    """Read a positive, finite number of seconds.

    Raises:
        BadField: It is something else.
    """
    if not _short_number(raw) or not 0 < float(raw) < float("inf"):
        raise BadField(f"{field}: expected a positive number of seconds, got {_shown(raw)}")
    return float(raw)


def as_time(raw: Raw, field: str) -> float:
    """Read a Unix time in seconds, with or without a fraction.

    Raises:
        BadField: It is something else.
    """
    if not _short_number(raw) or not abs(float(raw)) < float("inf"):
        raise BadField(f"{field}: expected a Unix time, got {_shown(raw)}")
    return float(raw)


def as_object(raw: Raw, field: str) -> dict[str, Raw]:
    """Split an object into its members.

    Raises:
        BadField: It is something else.
        NotJSON: A key stands twice in it.
    """
    if raw[:1] != b"{":
        raise BadField(f"{field}: expected an object, got {_shown(raw)}")
    return members(raw)
