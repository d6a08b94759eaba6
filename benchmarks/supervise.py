"""Supervision beside daemontools' own programs, in one run: starts, restarts, memory.

It needs Debian's package ``daemontools``.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from benchmarks import weigh
from benchmarks.report import Cell, Finding, Report, fail, parser, reporting
from harpcaller.supervise import harpsv, links

#: How long anything may take before the measurement is worth nothing, in seconds.
PATIENCE = 120.0
#: Where the original's programs are.
ORIGINAL = Path("/usr/bin")
#: A service may start once a second: so long it has to be up before it is ended.
SETTLED = 1.3
FIRST = "kill -9 to new pid"

CHAIN: dict[str, list[str]] = {
    "envdir": ["env"],
    "envuidgid": ["root"],
    "setuidgid": ["root"],
    "softlimit": ["-o", "100"],
    "setlock": ["lock"],
    "pgrphack": [],
    "fghack": [],
}


def main() -> None:
    """Measure everything."""
    options = parser(__doc__)
    options.add_argument("--only", choices=tuple(PARTS), help="one of the three")
    with reporting("supervise", options) as report:
        if not (ORIGINAL / "svscan").exists():
            raise fail("daemontools isn't installed here: apt-get install daemontools")
        folder = Path(tempfile.mkdtemp(prefix="bench-supervise-"))
        try:
            ours = folder / "bin"
            links.make_links(str(ours), harpsv.LINKED)
            (ours / "run-as").symlink_to(links.SCRIPT)
            only = report.options.only
            said = [PARTS[part](report, folder, ours) for part in PARTS if only in (None, part)]
        finally:
            shutil.rmtree(folder)
        report.sum_up("; ".join(said))


def starts(report: Report, folder: Path, ours: Path) -> str:
    """Time each exec-chain tool in front of ``true``, all in turn so that noise hits all alike."""
    rounds = report.pick(60, 15, 1)
    work = folder / "chain"
    (work / "env").mkdir(parents=True)
    (work / "env" / "A").write_text("value\n")
    commands = {("python -I -S -c pass", ""): [sys.executable, "-I", "-S", "-c", "pass"]}
    three = [["envdir", "env"], ["setuidgid", "root"], ["softlimit", "-o", "100"]]
    for side, where in (("theirs", ORIGINAL), ("ours", ours)):
        for tool, words in CHAIN.items():
            commands[tool, side] = [str(where / tool), *words, "/bin/true"]
        chain = [word for tool, *words in three for word in (str(where / tool), *words)]
        commands["three in a row", side] = [*chain, "/bin/true"]
    words = [str(ours / "run-as"), "-e", "env", "-u", "root", "-o", "100", "/bin/true"]
    commands["the same by run-as", "ours"] = words
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in commands}
    for _ in range(rounds):
        for key, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, cwd=work, check=True)
            taken[key].append(time.perf_counter() - start)
    bare = statistics.median(taken["python -I -S -c pass", ""])
    rows: list[dict[str, Cell]] = []
    worst = 0.0
    for tool in (*CHAIN, "three in a row", "the same by run-as"):
        mine = statistics.median(taken[tool, "ours"])
        row = "three in a row" if tool.startswith("the same") else tool
        other = statistics.median(taken[row, "theirs"])
        rows.append(
            {
                "": tool,
                "theirs ms": 1000 * other,
                "ours ms": 1000 * mine,
                "to bare": mine / bare,
                "to theirs": mine / other,
            }
        )
        if tool in CHAIN:
            worst = max(worst, mine)
    report.table(
        f"starts, with /bin/true after it; bare is python -I -S -c pass, {1000 * bare:.1f} ms", rows
    )
    report.find(
        Finding(
            "slowest start of a chain tool",
            1000 * worst,
            "ms",
            "python -I -S -c pass",
            1000 * bare,
            most=3,
        )
    )
    return f"a chain tool starts in {worst / bare:.2f} of a bare Python's time at most"


class Tree:
    """An svscan, ours or theirs, over services that sleep.

    Args:
        folder: Where to make them.
        programs: Whose programs.
        count: How many services.
    """

    def __init__(self, folder: Path, programs: Path, count: int) -> None:
        self.services = folder / "services"
        self.services.mkdir(parents=True)
        self.names = [f"s{number:04}" for number in range(count)]
        for name in self.names:
            directory = folder / "sv" / name
            directory.mkdir(parents=True)
            (directory / "run").write_text("#!/bin/sh\nexec sleep 100000\n")
            (directory / "run").chmod(0o755)
            (self.services / name).symlink_to(directory)
        self._programs = programs
        path = f"{programs}:{os.environ['PATH']}"
        started = time.perf_counter()
        self._process = subprocess.Popen(
            [str(programs / "svscan"), str(self.services)], env={**os.environ, "PATH": path}
        )
        try:
            for name in self.names:
                self.wait_up(name)
        except BaseException:
            self._process.kill()
            raise
        self.all_up_seconds = time.perf_counter() - started

    def pid(self, name: str) -> int:
        """Give the pid of a service as its status tells it, 0 if it is down."""
        try:
            status = (self.services / name / "supervise" / "status").read_bytes()
        except FileNotFoundError:
            return 0
        return int(struct.unpack_from("<I", status, 12)[0]) if len(status) >= 16 else 0

    def tell(self, name: str, letters: bytes) -> None:
        """Tell a service what to do, without a program that has to start for it."""
        (self.services / name / "supervise" / "control").write_bytes(letters)

    def wait_up(self, name: str, old: int = 0) -> float:
        """Wait until a service is up with another pid; gives the seconds."""
        return self._wait(name, lambda pid: pid not in (0, old))

    def wait_down(self, name: str) -> None:
        """Wait until a service is down."""
        self._wait(name, lambda pid: pid == 0)

    def _wait(self, name: str, good: Callable[[int], bool]) -> float:
        start = time.perf_counter()
        while not good(self.pid(name)):
            if time.perf_counter() > start + PATIENCE:
                sys.exit(f"{self._programs}: {name} has not done what it should")
            time.sleep(0.0002)
        return time.perf_counter() - start

    def supervisors(self) -> list[int]:
        """Give the processes that do the supervising."""
        mine = self._process.pid
        found = subprocess.run(
            ["pgrep", "-P", str(mine), "-x", "supervise"], stdout=subprocess.PIPE
        )
        return [mine, *map(int, found.stdout.split())]

    def close(self) -> None:
        """End everything that was started."""
        svc = str(self._programs / "svc")
        self._process.send_signal(signal.SIGSTOP)  # or it would begin anew what ends
        theirs = self.supervisors()[1:]
        if theirs:
            subprocess.run([svc, "-dx", *(str(self.services / name) for name in self.names)])
            for name in self.names:
                self.wait_down(name)
            self._process.kill()
        else:
            self._process.send_signal(signal.SIGCONT)
            subprocess.run([svc, "-d", *(str(self.services / name) for name in self.names)])
            for name in self.names:
                self.wait_down(name)
            self._process.terminate()
        self._process.wait(PATIENCE)


def _killed(tree: Tree) -> int:
    """End the only service; gives the pid that it had."""
    old = tree.pid(tree.names[0])
    os.kill(old, signal.SIGKILL)
    return old


def _terminated(tree: Tree) -> int:
    old = tree.pid(tree.names[0])
    tree.tell(tree.names[0], b"t")
    return old


def _brought_up(tree: Tree) -> int:
    (name,) = tree.names
    tree.tell(name, b"d")
    tree.wait_down(name)
    tree.tell(name, b"u")
    return 0


#: What makes a service start, in the order of trying.
RESTARTS: dict[str, Callable[[Tree], int]] = {
    FIRST: _killed,
    "t to new pid": _terminated,
    "u to pid": _brought_up,
}


def restarts(report: Report, folder: Path, ours: Path) -> str:
    """Time how long a service is away when it is killed, and how long a command takes.

    By turns, so that what else the machine does hits both.
    """
    rounds = report.pick(20, 5, 1)
    rows: dict[str, dict[str, list[float]]] = {}
    with ExitStack() as opened:
        trees = {
            side: opened.enter_context(closing(Tree(folder / f"restarts-{side}", programs, 1)))
            for side, programs in (("theirs", ORIGINAL), ("ours", ours))
        }
        rows = {side: {what: [] for what in RESTARTS} for side in trees}
        pids = {side: tree.supervisors()[-1] for side, tree in trees.items()}
        spent = {side: weigh.fine_processor_seconds(pid) for side, pid in pids.items()}
        for _ in range(rounds):
            for what, begin in RESTARTS.items():
                time.sleep(SETTLED)
                for side, tree in trees.items():
                    rows[side][what].append(tree.wait_up(tree.names[0], begin(tree)))
        own = [
            1000 * (weigh.fine_processor_seconds(pid) - spent[side]) / (len(RESTARTS) * rounds)
            for side, pid in pids.items()
        ]
    table: list[dict[str, Cell]] = []
    for what, theirs in rows["theirs"].items():
        mine = rows["ours"][what]
        pair = 1000 * statistics.median(mine), 1000 * statistics.median(theirs)
        table.append(
            {
                "": what,
                "theirs ms": pair[1],
                "worst": 1000 * max(theirs),
                "ours ms": pair[0],
                "ours' worst": 1000 * max(mine),
                "ratio": pair[0] / pair[1],
            }
        )
        report.find(Finding(what, pair[0], "ms", "daemontools", pair[1], most=3))
    table.append(
        {
            "": "processor each",
            "theirs ms": own[0],
            "worst": None,
            "ours ms": own[1],
            "ours' worst": None,
            "ratio": own[1] / own[0],
        }
    )
    report.table("one service under svscan", table)
    return f"a killed service is back in {1000 * statistics.median(rows['ours'][FIRST]):.1f} ms"


def memory(report: Report, folder: Path, ours: Path) -> str:
    """Weigh what one more service costs, the service itself left out."""
    few, more = 10, report.pick(200, 40, 2)
    rows: list[dict[str, Cell]] = []
    each = {}
    for side, programs in (("theirs", ORIGINAL), ("ours", ours)):
        weights = []
        for count in (few, few + more):
            with closing(Tree(folder / f"memory-{side}-{count}", programs, count)) as tree:
                time.sleep(SETTLED)
                weights.append([weigh.memory(pid) for pid in tree.supervisors()])
            rows.append(
                {
                    "": f"{side}, {count}",
                    "private": sum(one.private for one in weights[-1]) / 1024,
                    "PSS": sum(one.shared for one in weights[-1]) / 1024,
                    "up in s": tree.all_up_seconds,
                }
            )
        less, last = (sum(one.private for one in some) for some in weights)
        each[side] = (last - less) / more / 1024
    report.table(f"memory of what supervises, KiB ({more} services more than {few})", rows)
    report.find(Finding("private memory of one more service", each["ours"], "KiB", most=150))
    return f"one more service is {each['ours']:.1f} KiB (theirs {each['theirs']:.0f})"


PARTS: dict[str, Callable[[Report, Path, Path], str]] = {
    "starts": starts,
    "restarts": restarts,
    "memory": memory,
}

if __name__ == "__main__":
    main()
