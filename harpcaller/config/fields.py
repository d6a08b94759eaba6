"""What a setting's value may be: one reader for each kind.  Pure.

A reader takes a value as ``tomllib`` gives it, and returns what the settings hold or raises
a :class:`Mistake`, or a group of them.  A ``true`` is not a number here, though Python thinks so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from harpcaller.wire.values import encode

#: Reads a value, or raises a :class:`Mistake` or a group of them.
Reader = Callable[[Any], Any]

#: The longest time that a setting may ask for; some thirty years.
MOST_SECONDS = 1_000_000_000


class Mistake(ValueError):
    """A value that can't be used.

    Args:
        message: What was expected, and what was found.
        index: Which item of a list it is about, from 0; None for the whole value.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


#: The longest number that is written out.
_MOST_BITS = 128


def unexpected(expected: str, value: object, index: int | None = None) -> Mistake:
    """Make the mistake that tells what was expected and what was found."""
    return Mistake(f"expected {expected}, got {shown(value)}", index)


def shown(value: object) -> str:
    """A value as messages quote it: short ones as the file has them, the rest by kind."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        # Python doesn't write out any number.
        return f"a number of {value.bit_length()} bits"
    text = encode(value).decode() if isinstance(value, (bool, str)) else str(value)
    return text if len(text) <= 60 else f"{text[:56]}..."


def _number(value: object, least: float, expected: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise unexpected(expected, value)
    # Not a number compares false with everything.
    if not least <= value or value > MOST_SECONDS:
        raise unexpected(f"{expected} up to {MOST_SECONDS}" if value > 0 else expected, value)
    return float(value)


def seconds(value: object) -> float:
    """Read a positive number of seconds."""
    return _number(value, 1e-9, "a positive number of seconds")


def seconds_or_zero(value: object) -> float:
    """Read a number of seconds that may be zero."""
    return _number(value, 0, "a number of seconds")


def hours(value: object) -> float:
    """Read a positive number of hours, as seconds."""
    return _number(value, 1e-9, "a positive number of hours") * 3600


def size(least: int, most: int) -> Reader:
    """Make a reader of a number of bytes between two bounds."""

    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise unexpected(f"a whole number of bytes from {least} to {most}", value)
        return value

    return read


def boolean(value: object) -> bool:
    """Read ``true`` or ``false``."""
    if not isinstance(value, bool):
        raise unexpected("true or false", value)
    return value


def text(value: object) -> str:
    """Read a string that isn't empty."""
    if not isinstance(value, str) or not value:
        raise unexpected("a string that isn't empty", value)
    return value


def choice(*allowed: str) -> Reader:
    """Make a reader of one word out of a few."""
    names = _either(allowed)

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise unexpected(names, value)
        return value

    return read


def path(folder: Path) -> Reader:
    """Make a reader of a path; a relative one starts at ``folder``."""

    def read(value: object) -> Path:
        if not isinstance(value, str) or not value:
            raise unexpected("a path", value)
        if "\0" in value:
            raise Mistake("expected a path, got one with a NUL character in it")
        return folder / value

    return read


def each(what: str, read_item: Reader) -> Reader:
    """Make a reader of a list, read item by item; bad items make a group of mistakes."""

    def read(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise unexpected(f"a list of {what}", value)
        items = []
        mistakes = []
        for index, item in enumerate(value):
            try:
                items.append(read_item(item))
            except Mistake as mistake:
                mistakes.append(Mistake(str(mistake), index))
        if mistakes:
            raise ExceptionGroup("bad items", mistakes)
        return tuple(items)

    return read


def renamed(names: dict[str, str]) -> Reader:
    """Make a reader of one word out of a few, each standing for another."""
    chosen = choice(*names)

    def read(value: object) -> str:
        return names[chosen(value)]

    return read


def _either(words: Sequence[str]) -> str:
    quoted = [f'"{word}"' for word in words]
    return ", ".join(quoted[:-1]) + (" or " if quoted[:-1] else "") + quoted[-1]


@attrs.frozen
class Setting:
    """A key of the file: what the settings call it, and how its value is read."""

    attribute: str
    read: Reader
    mandatory: bool = False
