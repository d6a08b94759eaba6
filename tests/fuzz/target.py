"""What can be fed with bytes, and what must hold whatever they are."""

from __future__ import annotations

from collections.abc import Callable

import attrs


@attrs.frozen
class Target:
    """A parser, or some that belong together.

    Args:
        name: What the command calls it, and its file in ``corpus/``.
        look_at: Reads an input.  It takes the errors that the parser declares, and raises
            whatever else comes out, AssertionError if what was read isn't what was written.
        seeds: Some good inputs.
        words: What good inputs are made of, for those who change them.
    """

    name: str
    look_at: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[bytes, ...] = ()


def pieces(data: bytes) -> list[bytes]:
    """Cut an input into uneven pieces, the same each time, as a network might."""
    cut = []
    size = 1
    while data:
        cut.append(data[:size])
        data = data[size:]
        size = size * 3 % 61 or 1
    return cut


def same(found: object, expected: object) -> None:
    """Insist on what was written being read again.

    Raises:
        AssertionError: It isn't.
    """
    if found != expected:
        raise AssertionError(f"{expected!r:.300} was written, {found!r:.300} was read")
