"""Where the command line tool prints: results to one place, complaints to the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, TextIO


class ReaderGone(Exception):
    """Nobody reads our standard output any more (``list --all | head -1``)."""


class Screen:
    """A standard output and a standard error.

    Args:
        out: For results, in UTF-8 whatever the locale.
        err: For the rest.
    """

    def __init__(self, out: BinaryIO, err: TextIO) -> None:
        self._out = out
        self._err = err
        self._fresh = True
        self._people = out.isatty()

    def result(self, line: bytes) -> None:
        """Print a line of the result; the first is seen at once, however many follow.

        Raises:
            ReaderGone: Nobody would see it.
        """
        with _reader():
            self._out.write(line + b"\n")
            if self._fresh or self._people:
                self._out.flush()
        self._fresh = False

    def finish(self) -> None:
        """Have every result printed.

        Raises:
            ReaderGone: Nobody would see it.
        """
        with _reader():
            self._out.flush()

    def complain(self, message: str) -> None:
        """Say what isn't as it should be."""
        print(f"harpcallerd: {message}", file=self._err)

    def explain(self, text: str) -> None:
        """Say something that needs no name before it."""
        print(text, file=self._err)


@contextmanager
def _reader() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise ReaderGone from None
