"""What the agent runs under fire: each leaves notes of when it ran."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from harpd.proc import Result, procedure, streaming_procedure


def _note(notes: str, marker: int, what: str) -> None:
    line = f"{marker} {what} {time.monotonic()}\n".encode()
    handle = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(handle, line)
    finally:
        os.close(handle)


@procedure
def works(marker: int, notes: str, seconds: float) -> object:
    _note(notes, marker, "begins")
    time.sleep(seconds)
    _note(notes, marker, "ends")
    return [marker, "done"]


@procedure
def fails(marker: int, notes: str) -> None:
    _note(notes, marker, "begins")
    raise ValueError(f"call {marker}")


@procedure
def dies(marker: int, notes: str) -> None:
    _note(notes, marker, "begins")
    os._exit(3)


@procedure
def hangs(marker: int, notes: str) -> None:
    _note(notes, marker, "begins")
    time.sleep(20)


@streaming_procedure
def tells(marker: int, notes: str, count: int, pause: float) -> Iterator[object]:
    _note(notes, marker, "begins")
    for number in range(count):
        yield [marker, number]
        time.sleep(pause)
    _note(notes, marker, "ends")
    yield Result([marker, "done"])
