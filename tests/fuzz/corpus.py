"""The inputs that are kept: a file for each target, an input a line, written as Python's bytes."""

from __future__ import annotations

import sys
from ast import literal_eval
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.target import Target

FOLDER = Path(__file__).parent / "corpus"
#: How much of it is kept for one target, in inputs and in bytes.
MOST, MOST_BYTES = 100, 24 * 1024


def kept(name: str) -> list[bytes]:
    """Give the inputs of a target."""
    file = FOLDER / f"{name}.txt"
    if not file.exists():
        return []
    return [literal_eval(line) for line in file.read_text("ascii").splitlines()]


def keep(name: str, inputs: Iterable[bytes]) -> None:
    """Keep these in place of what was kept."""
    (FOLDER / f"{name}.txt").write_text("".join(f"{one!r}\n" for one in inputs), "ascii")


def worth_keeping(target: Target, inputs: Iterable[bytes]) -> list[bytes]:
    """Choose those that take a step from line to line that no smaller one takes, while there is
    room."""
    best: list[bytes] = []
    reached: set[tuple[object, ...]] = set()
    size = 0
    for one in sorted(set(inputs), key=lambda one: (len(one), one)):
        steps = _steps(target, one)
        if not steps <= reached and len(best) < MOST and size + len(one) <= MOST_BYTES:
            reached |= steps
            best.append(one)
            size += len(one)
    return best


def _steps(target: Target, data: bytes) -> set[tuple[object, ...]]:
    """Follow an input through our code."""
    steps: set[tuple[object, ...]] = set()

    def follow(frame: FrameType, _event: str, _argument: object) -> Any:
        code = frame.f_code
        if "harpcaller/" not in code.co_filename:
            return None
        last = 0

        def step(frame: FrameType, _event: str, _argument: object) -> Any:
            nonlocal last
            steps.add((code, last, frame.f_lineno))
            last = frame.f_lineno
            return step

        return step

    before = sys.gettrace()
    sys.settrace(follow)
    try:
        target.look_at(data)
    finally:
        sys.settrace(before)
    return steps
