"""multilog and the filters beside daemontools' own, in one run: lines per second.

It needs Debian's package ``daemontools``.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.report import Finding, Report, fail, parser, reporting
from benchmarks.weigh import memory
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
    """Measure everything."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with reporting("multilog", parser(__doc__)) as report:
        if not (ORIGINAL / "multilog").exists():
            raise fail("daemontools isn't installed here: apt-get install daemontools")
        folder = Path(tempfile.mkdtemp(prefix="bench-multilog-"))
        try:
            links.make_links(str(folder / "bin"), harpsv.LINKED)
            lines(report, folder)
            weights(report, folder)
        finally:
            shutil.rmtree(folder)


def lines(report: Report, folder: Path) -> None:
    """Measure lines per second."""
    count = report.pick(300_000, 100_000, 1_000)
    rounds = report.pick(5, 3, 1)
    figures = {name: measure(folder, name, count, rounds) for name in CASES}
    report.table(
        f"{count:,} lines of {LENGTH} bytes from a file, medians of {rounds}",
        [{"": name, **one} for name, one in figures.items()],
    )
    for name, goal in GOALS.items():
        own, theirs = figures[name]["ours lines/s"], figures[name]["theirs lines/s"]
        report.find(Finding(f"multilog {name}", own, "lines/s", "daemontools", theirs, least=goal))
    report.sum_up(
        ", ".join(f"{name}: {figures[name]['ratio']:.2f}" for name in GOALS)
        + " of the original's lines per second"
    )


def weights(report: Report, folder: Path) -> None:
    """Measure memory."""
    within = weigh_logs(folder, report.pick(500, 500, 20))
    report.table(
        "private memory, KiB",
        [
            {
                "theirs": weigh_process(folder, str(ORIGINAL / "multilog")),
                "ours": weigh_process(folder, str(folder / "bin" / "multilog")),
                "ours within svscan": within,
            }
        ],
    )
    report.find(Finding("a log within svscan", within, "KiB", most=150))


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
        "theirs lines/s": count / seconds["theirs"],
        "ours lines/s": count / seconds["ours"],
        "theirs processor µs each": 1e6 * spent["theirs"] / count,
        "ours processor µs each": 1e6 * spent["ours"] / count,
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
    return memory(pid).private / 1024


if __name__ == "__main__":
    main()
