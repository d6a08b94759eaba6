"""Commands at a terminal: their processor time; beside a Python that does nothing.

Each command of ``harp`` and ``harpcallerd`` is run some times with 5,000 ended jobs in the store,
by turns with ``python -I -S -c pass``.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import attrs

from benchmarks import original
from benchmarks.makestore import job_ids, make_store
from benchmarks.report import Cell, Finding, Report, parser, reporting
from benchmarks.world import World, world

BARE = "python -I -S -c pass"
LIST_ALL = "harpcallerd list --all"
#: What any other command may take, in seconds.
MOST_SECONDS = 0.1
#: What the whole list may take, here and in the daemon, in seconds.
MOST_LIST_SECONDS = 0.5


@attrs.define
class Runs:
    """What a command took each time, in seconds: as it seems, its own and the daemon's."""

    seconds: list[float] = attrs.Factory(list)
    own: list[float] = attrs.Factory(list)
    daemons: list[float] = attrs.Factory(list)

    def as_row(self, name: str) -> dict[str, Cell]:
        """Give the medians."""
        return {
            "": name,
            "ms": 1000 * statistics.median(self.seconds),
            "processor ms": 1000 * statistics.median(self.own),
            "daemon's ms": 1000 * statistics.fmean(self.daemons),
        }


def main() -> None:
    """Measure everything."""
    with reporting("commands", parser(__doc__)) as report:
        jobs = report.pick(5_000, 5_000, 50)
        with world(prepare=lambda store: make_store(store, jobs)) as here:
            measure(report, here, jobs)


def measure(report: Report, here: World, jobs: int) -> None:
    """Run all commands by turns."""
    runs = {name: Runs() for name in commands(here)}
    for command in commands(here).values():
        # Modules are compiled by then, as an installation has them.
        take(here, command, Runs())
    for _ in range(report.pick(15, 5, 1)):
        for name, command in commands(here).items():
            take(here, command, runs[name])
    report.table(f"commands, {jobs:,} ended jobs", [one.as_row(name) for name, one in runs.items()])
    bare = statistics.median(runs[BARE].own)
    slowest, most = "", 0.0
    for name, one in runs.items():
        own = statistics.median(one.own)
        if name == LIST_ALL:
            own += statistics.fmean(one.daemons)
            what = f"{name}, {jobs:,} jobs"
            report.find(Finding(what, own, "processor s", most=MOST_LIST_SECONDS))
            there = original.LIST_ALL_SECONDS
            report.find(Finding(what, own, "s", original.THAN, there, most=MOST_LIST_SECONDS / 4))
        elif name != BARE and own > most:
            slowest, most = name, own
    report.find(
        Finding(f"slowest other, {slowest}", most, "processor s", most=MOST_SECONDS),
    )
    report.find(Finding(f"slowest other, {slowest}", most, "processor s", BARE, bare))
    report.sum_up(
        f"{slowest} takes {1000 * most:.0f} ms of processor time, the others less,"
        f" {BARE} {1000 * bare:.0f} ms"
    )


def commands(here: World) -> dict[str, list[str]]:
    """Give the commands by their names."""
    folder = Path(sys.executable).parent
    job = next(job_ids())
    found = {BARE: [sys.executable, "-I", "-S", "-c", "pass"]}
    for words in (
        ("status",),
        ("list",),
        ("list", "--all"),
        ("info", job),
        ("cancel", job),
        ("queue-list",),
        ("queue-cancel", "{}"),
        ("hosts-list",),
        ("--help",),
    ):
        socket = [] if words == ("--help",) else [f"--socket={here.folder / 'control'}"]
        found[f"harpcallerd {named(words, job)}"] = [str(folder / "harpcallerd"), *socket, *words]
    for asked in (
        ("result", job),
        ("status", job),
        ("call", "agent", "ping"),
        ("hosts",),
        ("--help",),
    ):
        found[f"harp {named(asked, job)}"] = [str(folder / "harp"), *asked]
    return found


def named(words: tuple[str, ...], job: str) -> str:
    """Give a command's words as a table shows them."""
    return " ".join("JOB" if word == job else word for word in words)


def take(here: World, command: list[str], runs: Runs) -> None:
    """Run a command once."""
    environ = {**os.environ, "HARPCALLER": f"127.0.0.1:{here.port}"}
    environ["PYTHONPYCACHEPREFIX"] = str(here.folder / "compiled")
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    daemons = here.processor_seconds()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    # Some end with another code than 0, as their job has ended long ago.
    done = subprocess.run(
        command, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    runs.seconds.append(time.perf_counter() - started)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode not in (0, 1) or b"Traceback" in done.stderr:
        raise SystemExit(f"{command}: {done.stderr.decode()}")
    runs.own.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    runs.daemons.append(here.processor_seconds() - daemons)


if __name__ == "__main__":
    main()
