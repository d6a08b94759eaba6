"""Inputs that are nearly good, for hypothesis; and long ones, made of what inputs are made of."""

from __future__ import annotations

from collections.abc import Iterator

from hypothesis import strategies as st

from tests.fuzz.corpus import kept
from tests.fuzz.target import Target


def changed(target: Target) -> st.SearchStrategy[bytes]:
    """Inputs of the corpus with some pieces exchanged for words, bytes and pieces of others."""
    good = st.sampled_from([*target.seeds, *kept(target.name)])
    piece = st.binary(max_size=6) | st.builds(_piece, good, st.integers(0), st.integers(0, 40))
    if target.words:
        piece |= st.sampled_from(target.words)
    change = st.tuples(st.integers(0), st.integers(0, 12), piece, st.integers(1, 3))
    return st.builds(_apply, good, st.lists(change, max_size=4))


def _piece(data: bytes, place: int, length: int) -> bytes:
    place %= len(data) + 1
    return data[place : place + length]


def _apply(data: bytes, changes: list[tuple[int, int, bytes, int]]) -> bytes:
    for place, length, new, times in changes:
        place %= len(data) + 1
        data = data[:place] + new * times + data[place + length :]
    return data


def pumped(target: Target, size: int) -> Iterator[bytes]:
    """Inputs of about this size, in which one thing stands again and again.

    Whatever takes more than linear work for some input does for one of these, mostly.
    """
    things = [*target.words, *target.seeds, b"a", b" ", b"\n", b"\xff"]
    for thing in things:
        many = thing * (size // len(thing))
        yield many
        for seed in target.seeds[:2]:
            half = len(seed) // 2
            yield seed[:half] + many + seed[half:]
