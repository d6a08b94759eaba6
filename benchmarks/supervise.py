"""Supervision beside daemontools' own programs, in one run: starts, restarts, memory.

``python -m benchmarks.supervise`` takes about two minutes, with ``--quick`` half of one.  It needs
Debian's package ``daemontools``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from harpcaller.supervise import harpsv, links

#: How long anything may take before the measurement is worth nothing, in seconds.
PATIENCE = 120.0
#: Where the original's programs are.
ORIGINAL = Path("/usr/bin")
#: A service may start once a second: so long it has to be up before it is ended.
SETTLED = 1.3

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
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    parser.add_argument("--only", choices=("starts", "restarts", "memory"), help="one of the three")
    given = parser.parse_args()
    if not (ORIGINAL / "svscan").exists():
        sys.exit("daemontools isn't installed here: apt-get install daemontools")
    folder = Path(tempfile.mkdtemp(prefix="bench-supervise-"))
    try:
        ours = folder / "bin"
        links.make_links(str(ours), harpsv.LINKED)
        (ours / "run-as").symlink_to(links.SCRIPT)
        if given.only in (None, "starts"):
            starts(folder, ours, rounds=15 if given.quick else 60)
        if given.only in (None, "restarts"):
            restarts(folder, ours, rounds=5 if given.quick else 20)
        if given.only in (None, "memory"):
            memory(folder, ours, more=40 if given.quick else 200)
    finally:
        shutil.rmtree(folder)


def starts(folder: Path, ours: Path, rounds: int) -> None:
    """Time each exec-chain tool in front of ``true``, all in turn so that noise hits all alike."""
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
    print(f"starts (median of {rounds}, with /bin/true after it; bare = python -I -S -c pass)\n")
    print(f"{'':22}{'theirs ms':>10}{'ours ms':>10}{'to bare':>10}{'to theirs':>10}")
    print(f"{'bare':22}{'':10}{1000 * bare:10.1f}{1:10.2f}")
    for tool in (*CHAIN, "three in a row", "the same by run-as"):
        mine = statistics.median(taken[tool, "ours"])
        row = "three in a row" if tool.startswith("the same") else tool
        other = statistics.median(taken[row, "theirs"])
        figures = f"{1000 * other:10.1f}{1000 * mine:10.1f}{mine / bare:10.2f}{mine / other:10.1f}"
        print(f"{tool:22}{figures}")
    print()


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
        for name in self.names:
            self.wait_up(name)
        self.all_up_seconds = time.perf_counter() - started

    def pid(self, name: str) -> int:
        """Give the pid of a service as its status tells it, 0 if it is down."""
        try:
            status = (self.services / name / "supervise" / "status").read_bytes()
        except FileNotFoundError:
            return 0
        return int(struct.unpack_from("<I", status, 12)[0]) if len(status) >= 16 else 0

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


def restarts(folder: Path, ours: Path, rounds: int) -> None:
    """Time how long a service is away when it is killed, and how long a command takes."""
    rows: dict[str, dict[str, list[float]]] = {}
    own: list[float] = []
    for side, programs in (("theirs", ORIGINAL), ("ours", ours)):
        tree = Tree(folder / f"restarts-{side}", programs, 1)
        (name,) = tree.names
        control = tree.services / name / "supervise" / "control"
        killed, terminated, started = [], [], []
        supervisor = tree.supervisors()[-1]
        spent = _processor_seconds(supervisor)
        for _ in range(rounds):
            time.sleep(SETTLED)
            old = tree.pid(name)
            os.kill(old, signal.SIGKILL)
            killed.append(tree.wait_up(name, old))
            time.sleep(SETTLED)
            old = tree.pid(name)
            control.open("wb").write(b"t")
            terminated.append(tree.wait_up(name, old))
            time.sleep(SETTLED)
            control.open("wb").write(b"d")
            tree.wait_down(name)
            control.open("wb").write(b"u")
            started.append(tree.wait_up(name))
        own.append(1000 * (_processor_seconds(supervisor) - spent) / (3 * rounds))
        tree.close()
        rows[side] = {"kill -9 to new pid": killed, "t to new pid": terminated, "u to pid": started}
    print(f"one service under svscan (median and worst of {rounds})\n")
    print(f"{'':22}{'theirs ms':>18}{'ours ms':>18}{'ratio':>10}")
    for what, theirs in rows["theirs"].items():
        mine = rows["ours"][what]
        ratio = statistics.median(mine) / statistics.median(theirs)
        print(f"{what:22}{_ms(theirs):>18}{_ms(mine):>18}{ratio:10.2f}")
    print(f"{'processor each':22}{own[0]:18.2f}{own[1]:18.2f}{own[1] / own[0]:10.2f}")
    print()


def _processor_seconds(pid: int) -> float:
    """Give the processor time that a process has taken, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 10**9


def _ms(seconds: Iterable[float]) -> str:
    every = sorted(seconds)
    return f"{1000 * statistics.median(every):.1f} / {1000 * every[-1]:.1f}"


def memory(folder: Path, ours: Path, more: int) -> None:
    """Weigh what one more service costs, the service itself left out."""
    few = 10
    print(f"memory of what supervises, KiB ({more} services more than {few})\n")
    print(f"{'':22}{'private':>10}{'PSS':>10}{'private each':>14}{'PSS each':>10}{'up in s':>10}")
    for side, programs in (("theirs", ORIGINAL), ("ours", ours)):
        weights = []
        for count in (few, few + more):
            tree = Tree(folder / f"memory-{side}-{count}", programs, count)
            time.sleep(SETTLED)
            private, shared = map(sum, zip(*map(_weigh, tree.supervisors()), strict=True))
            weights.append((private, shared))
            seconds = tree.all_up_seconds
            tree.close()
            each = ""
            if len(weights) == 2:
                (private0, shared0), _ = weights
                each = f"{(private - private0) / more:14.1f}{(shared - shared0) / more:10.1f}"
            print(
                f"{side + ', ' + str(count):22}{private:10}{shared:10}{each or ' ' * 24}"
                f"{seconds:10.2f}"
            )
    print()


def _weigh(pid: int) -> tuple[int, int]:
    """Give a process's private memory and its share of what it shares (PSS), in KiB."""
    private = shared = 0
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name in ("Private_Clean", "Private_Dirty"):
            private += int(rest.split()[0])
        elif name == "Pss":
            shared = int(rest.split()[0])
    return private, shared


if __name__ == "__main__":
    main()
