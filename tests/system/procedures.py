"""What the agent runs in the system tests."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

from harpd.proc import Result, procedure, streaming_procedure


@procedure
def echo(value: object) -> object:
    return value


@procedure
def note(path: str, line: str) -> str:
    """Leave a line behind, so that a test can count how often this ran."""
    with open(path, "a") as notes:
        notes.write(f"{line}\n")
    return line


@procedure
def fail(message: str) -> None:
    raise ValueError(message)


@procedure
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@procedure
def die() -> None:
    os._exit(3)


@streaming_procedure
def count(number: int, pause: float = 0.0) -> Iterator[object]:
    for i in range(number):
        yield {"i": i}
        time.sleep(pause)
    yield Result(number)


@streaming_procedure
def gated(gate: str, before: int, after: int, size: int = 0) -> Iterator[object]:
    """Tell who we are and some numbers, wait until there is such a file, and go on."""
    yield os.getpid()
    for i in range(before + after):
        if i == before:
            while not os.path.exists(gate):
                time.sleep(0.02)
        yield [i, "x" * size]
    yield Result("through")


@streaming_procedure
def family() -> Iterator[object]:
    """Have a child, tell who we are, and stay."""
    child = subprocess.Popen(["sleep", "600"])  # whichever there is
    yield [os.getpid(), child.pid]
    time.sleep(600)
