"""multilog and the filters beside daemontools' own, in one run: lines per second.

``python -m benchmarks.multilog`` takes about two minutes, with ``--quick`` half of one.  It needs
Debian's package ``daemontools``.
"""

from __future__ import annotations

import argparse
import json
import os
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
from harpcaller.supervise.multilog.log import Log
from harpcaller.supervise.multilog.processor import starter
from harpcaller.supervise.multilog.script import parse

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
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
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
        figures["memory"] = {
            "theirs_private_kib": weigh_process(folder, str(ORIGINAL / "multilog")),
            "ours_private_kib": weigh_process(folder, str(folder / "bin" / "multilog")),
            "ours_within_svscan_kib": weigh_logs(folder, 500),
        }
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


def weigh_process(folder: Path, program: str) -> float:
    """Give the private memory of a logger that has rotated, in KiB."""
    work = folder / "work"
    work.mkdir()
    command = [program, "t", "./log"]
    process = subprocess.Popen(command, cwd=work, stdin=subprocess.PIPE)
    assert process.stdin is not None
    try:
        process.stdin.write(b"a line that is of no use\n" * 20_000)
        process.stdin.flush()
        while len(list(work.glob("log/@*"))) < 5:
            time.sleep(0.01)
        return private(process.pid)
    finally:
        process.stdin.close()
        process.wait()
        shutil.rmtree(work)


def weigh_logs(folder: Path, count: int) -> float:
    """Give what a log costs in a process that has many, in KiB."""
    at = os.open(folder, os.O_RDONLY)
    logs = []
    before = 0.0
    for number in range(count + 10):
        if number == 10:
            before = private(os.getpid())
        log = Log(
            parse([b"t", b"-*", b"+* *error*", b"n5", b"./log%d" % number]),
            at=at,
            clock=time.time_ns,
            monotonic=time.monotonic,
            start=starter({}),
        )
        log.open()
        log.feed(b"a line with an error\n" * 3000)
        log.feed(b"half a line")
        logs.append(log)
    each = (private(os.getpid()) - before) / count
    for log in logs:
        log.release()
    os.close(at)
    return each


def private(pid: int) -> float:
    """Give a process's private memory, in KiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return float(sum(int(line.split()[1]) for line in lines if line.startswith("Private_")))


def show(figures: dict[str, dict[str, float]], count: int, rounds: int) -> None:
    """Print a table and a line that says it all."""
    print(f"{count} lines of {LENGTH} bytes from a file, medians of {rounds}\n")
    head = f"{'':26}{'theirs MB/s':>12}{'ours MB/s':>12}{'theirs us':>12}{'ours us':>10}"
    print(f"{head}{'ratio':>8}   (us: processor time a line)")
    for name in CASES:
        one = figures[name]
        megabytes = LENGTH / 1e6
        print(
            f"{name:26}{megabytes * one['theirs_lines_per_second']:12.1f}"
            f"{megabytes * one['ours_lines_per_second']:12.1f}"
            f"{one['theirs_processor_us_per_line']:12.2f}{one['ours_processor_us_per_line']:10.2f}"
            f"{one['ratio']:8.2f}"
        )
    memory = figures["memory"]
    print(
        f"\nprivate memory: theirs {memory['theirs_private_kib']:.0f} KiB,"
        f" ours {memory['ours_private_kib']:.0f} KiB as a process,"
        f" {memory['ours_within_svscan_kib']:.1f} KiB in a process that has many"
    )
    words = [
        f"{name}: {figures[name]['ratio']:.2f} of the original's lines per second"
        f" (goal {goal}, {'met' if figures[name]['ratio'] >= goal else 'missed'})"
        for name, goal in GOALS.items()
    ]
    print(f"\n{'; '.join(words)}")


if __name__ == "__main__":
    main()
