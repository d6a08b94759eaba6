"""What multilog's arguments ask for.  No input or output here.

Each argument is an action, told by its first byte.  ``s``, ``n`` and ``!`` are for the
directories that follow, so they end up in those; unknown ones are ignored, as ever.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from typing import NamedTuple

#: What a directory's files hold, in bytes, when nobody says.
DEFAULT_SIZE = 99999
SMALLEST_SIZE = 4096
LARGEST_SIZE = 16777215
#: How many files a directory has, ``current`` included, when nobody says.
DEFAULT_FILES = 10
FEWEST_FILES = 2
#: More than any directory has.
MOST_FILES = 2**63 - 1


class Select(NamedTuple):
    """``+PATTERN``: select deselected lines that match."""

    pattern: bytes


class Deselect(NamedTuple):
    """``-PATTERN``: deselect selected lines that match."""

    pattern: bytes


class Show(NamedTuple):
    """``e``: show selected lines, shortened, on standard error."""


class Keep(NamedTuple):
    """``=FILE``: keep the last selected line in a file, a status file."""

    path: bytes


class Append(NamedTuple):
    """``./dir`` or ``/dir``: append selected lines to a log directory.

    Args:
        path: The directory, as it was given.
        size: What one of its files may hold, in bytes.
        files: How many files it may have, ``current`` included.
        processor: The shell command that old files are passed through; may be empty.
    """

    path: bytes
    size: int = DEFAULT_SIZE
    files: int = DEFAULT_FILES
    processor: bytes | None = None


Action = Select | Deselect | Show | Keep | Append


class Script(NamedTuple):
    """A whole script.

    Args:
        stamped: Lines get a TAI64N label each, before patterns see them.
        actions: What is done with each line, in order.
    """

    stamped: bool
    actions: tuple[Action, ...]


def parse(arguments: Iterable[bytes]) -> Script:
    """Read multilog's arguments.  None is wrong: what it doesn't know it ignores."""
    words = list(arguments)
    return Script(bool(words) and words[0].startswith(b"t"), tuple(_actions(words)))


def parse_file(text: bytes) -> Script:
    """Read a script from a file: what would follow ``multilog`` in a shell script.

    Words may be on several lines, and quoted as for a shell; ``#`` begins a comment.  Nothing is
    expanded.

    Raises:
        ValueError: A quotation has no end.
    """
    words = shlex.split(os.fsdecode(text), comments=True)
    return parse(map(os.fsencode, words))


def _actions(words: list[bytes]) -> Iterator[Action]:
    size, files, processor = DEFAULT_SIZE, DEFAULT_FILES, None
    for word in words:
        rest = word[1:]
        match word[:1]:
            case b"+":
                yield Select(rest)
            case b"-":
                yield Deselect(rest)
            case b"e":
                yield Show()
            case b"=":
                yield Keep(rest)
            case b"s":
                size = min(max(_number(rest), SMALLEST_SIZE), LARGEST_SIZE)
            case b"n":
                files = max(_number(rest), FEWEST_FILES)
            case b"!":
                processor = rest
            case b"." | b"/":
                yield Append(word, size, files, processor)
            case _:
                pass


def _number(text: bytes) -> int:
    """Read the digits that a text begins with; none are zero."""
    digits = text[: len(text) - len(text.lstrip(b"0123456789"))].lstrip(b"0")
    return MOST_FILES if len(digits) > 18 else int(digits or b"0")
