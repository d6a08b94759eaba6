"""multilog and the filters beside daemontools' own, in one run: lines per second.

``python -m benchmarks.multilog`` takes about two minutes, with ``--quick`` half of one.  It needs
Debian's package ``daemontools``.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from harpcaller.supervise import harpsv, links

#: Where the original's programs are.
ORIGINAL = Path("/usr/bin")
LENGTH = 100

#: What is measured: the tool with its script; the first two have goals.
CASES = {
    "t, large files": ["multilog", "t", "s16000000", "n5", "./log"],
    "t, each 100 kB rotated": ["multilog", "t", "s100000", "n10", "./log"],
    "large files, no stamps": ["multilog", "s16000000", "n5", "./log"],
    "t, one line in ten kept": ["multilog", "t", "-*", "+* *7 line*", "s16000000", "n5", "./log"],
    "tai64n": ["tai64n"],
    "tai64nlocal": ["tai64nlocal"],
}
GOALS = {"t, large files": 0.5, "t, each 100 kB rotated": 0.5}


class Taken(NamedTuple):
    """What one run took."""

    seconds: float
    processor_seconds: float


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer lines, fewer rounds")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    given = parser.parse_args()
    if not (ORIGINAL / "multilog").exists():
        sys.exit("daemontools isn't installed here: apt-get install daemontools")
    count, rounds = (100_000, 3) if given.quick else (300_000, 5)
    folder = Path(tempfile.mkdtemp(prefix="bench-multilog-"))
    try:
        links.make_links(str(folder / "bin"), harpsv.LINKED)
        figures = {name: measure(folder, name, count, rounds) for name in CASES}
    finally:
        shutil.rmtree(folder)
    if given.json:
        print(json.dumps(figures))
    else:
        show(figures, count, rounds)


def measure(folder: Path, name: str, count: int, rounds: int) -> dict[str, float]:
    """Run both by turns; gives medians."""
    tool, *script = CASES[name]
    lines = folder / "input"
    with lines.open("wb") as file:
        for number in range(count):
            stamp = (
                b"@4000000%09x%08x " % (number // 1000, number) if tool == "tai64nlocal" else b""
            )
            file.write((stamp + b"%d line " % number).ljust(LENGTH - 1, b"x") + b"\n")
    runs: dict[str, list[Taken]] = {"theirs": [], "ours": []}
    for _ in range(rounds):
        for side, where in (("theirs", ORIGINAL), ("ours", folder / "bin")):
            runs[side].append(run([str(where / tool), *script], lines, folder))
    seconds = {side: statistics.median(one.seconds for one in runs[side]) for side in runs}
    spent = {side: statistics.median(one.processor_seconds for one in runs[side]) for side in runs}
    # Neighbours in time have the same noise, so their ratio has less of it than the medians'.
    pairs = zip(runs["theirs"], runs["ours"], strict=True)
    return {
        "theirs_lines_per_second": count / seconds["theirs"],
        "ours_lines_per_second": count / seconds["ours"],
        "theirs_processor_us_per_line": 1e6 * spent["theirs"] / count,
        "ours_processor_us_per_line": 1e6 * spent["ours"] / count,
        "ratio": statistics.median(a.seconds / b.seconds for a, b in pairs),
    }


def run(command: list[str], lines: Path, folder: Path) -> Taken:
    """Run one to the end of its input, with start and end."""
    work = folder / "work"
    work.mkdir()
    try:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        with lines.open("rb") as source:
            subprocess.run(command, cwd=work, stdin=source, stdout=subprocess.DEVNULL, check=True)
        seconds = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    finally:
        shutil.rmtree(work)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(seconds, spent)


def show(figures: dict[str, dict[str, float]], count: int, rounds: int) -> None:
    """Print a table and a line that says it all."""
    print(f"{count} lines of {LENGTH} bytes from a file, medians of {rounds}\n")
    head = f"{'':26}{'theirs MB/s':>12}{'ours MB/s':>12}{'theirs us':>12}{'ours us':>10}"
    print(f"{head}{'ratio':>8}   (us: processor time a line)")
    for name, one in figures.items():
        megabytes = LENGTH / 1e6
        print(
            f"{name:26}{megabytes * one['theirs_lines_per_second']:12.1f}"
            f"{megabytes * one['ours_lines_per_second']:12.1f}"
            f"{one['theirs_processor_us_per_line']:12.2f}{one['ours_processor_us_per_line']:10.2f}"
            f"{one['ratio']:8.2f}"
        )
    words = [
        f"{name}: {figures[name]['ratio']:.2f} of the original's lines per second"
        f" (goal {goal}, {'met' if figures[name]['ratio'] >= goal else 'missed'})"
        for name, goal in GOALS.items()
    ]
    print(f"\n{'; '.join(words)}")


if __name__ == "__main__":
    main()
