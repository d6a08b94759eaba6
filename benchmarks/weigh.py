"""What the kernel knows of a process: its processor time and its memory."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import attrs

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@attrs.frozen
class Memory:
    """A process's memory, in bytes.

    Attributes:
        private: What it has for itself.
        shared: Its part of what it shares and what it has for itself (PSS).
    """

    private: int
    shared: int


def processor_seconds(pid: int) -> float:
    """Give the processor time of a process and of its children that were waited for.

    It is counted in steps of 10 ms.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


def family_seconds(pid: int) -> float:
    """Give the processor time of a process, all below it, and those of them that have ended."""
    found = 0.0
    for one in (pid, *descendants(pid)):
        with suppress(FileNotFoundError, ProcessLookupError):
            found += processor_seconds(one)
    return found


def fine_processor_seconds(pid: int) -> float:
    """Give the processor time of a process's living threads, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 10**9


def resident_bytes(pid: int) -> int:
    """Give the memory that a process has now."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE


def peak_bytes(pid: int) -> int:
    """Give the most memory that a process has had."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel doesn't tell")


def memory(pid: int) -> Memory:
    """Give a process's memory, what it shares set apart."""
    private = shared = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("Private_Clean", "Private_Dirty"):
            private += int(rest.split()[0]) * 1024
        elif name == "Pss":
            shared = int(rest.split()[0]) * 1024
    return Memory(private, shared)


def descriptors(pid: int) -> int:
    """Give how many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def descendants(pid: int) -> list[int]:
    """Give a process's children, theirs, and so on; who ends meanwhile may be missing."""
    found = []
    with suppress(FileNotFoundError, ProcessLookupError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found += [child, *descendants(child)]
    return found
