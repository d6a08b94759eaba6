"""The same job by Celery and by RQ, with Redis: submit, run a no-op, read the result.

Fifty jobs are under way at any time, ten of each of five clients, and two workers run them.
Redis syncs each write (``appendfsync always``), for that is what the dispatcher does; or none, as
a Redis does that nobody has told otherwise.  Celery and RQ are installed into a virtual
environment of their own in the user's cache folder; Debian's ``redis-server`` and ``redis-tools``
have to be there.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from benchmarks.agents import Agent, harpd, keeping_stub
from benchmarks.beside import Taken
from benchmarks.processes import ROOT, Server, end, run
from benchmarks.report import Cell, Finding, Report, fail, parser, reporting
from benchmarks.world import world
from harpcaller.testing.installation import free_port

WINDOW = 50
WORKERS = 2
#: Their clients are libraries that wait for each answer, so that there are some side by side.
CLIENTS = 5
PACKAGES = ("celery[redis]", "rq")
ALWAYS = "appendfsync always"
NEVER = "no append-only file"
REDIS = {
    ALWAYS: ["--appendonly", "yes", "--appendfsync", "always"],
    NEVER: ["--appendonly", "no"],
}
#: Redis' own clients' rate is held against submissions.
SETS = f"redis-benchmark SET, {ALWAYS}"


@attrs.frozen
class Rival:
    """Who does the job, and how.

    Attributes:
        name: How tables call it.
        client: What its client is called.
        worker: The command that runs jobs.
        at_once: How many of these are run.
        part: How many times fewer jobs it gets, for it is slower by so much.
    """

    name: str
    client: str
    worker: tuple[str, ...]
    at_once: int
    part: int = 1


_MODULE = "benchmarks.rivals_client"
CELERY = Rival(
    "Celery, prefork",
    "celery",
    ("celery", "-A", _MODULE, "worker", "-c", str(WORKERS), "-l", "ERROR"),
    1,
)
FORKING = Rival("RQ, forking", "rq", ("rq", "worker", "--quiet"), WORKERS, 10)
STEADY = Rival(
    "RQ, not forking",
    "rq",
    ("rq", "worker", "--quiet", "--worker-class", "rq.worker.SimpleWorker"),
    WORKERS,
    5,
)
RIVALS = (CELERY, FORKING, STEADY)


def main() -> None:
    """Measure everything."""
    options = parser(__doc__)
    with reporting("rivals", options) as report:
        for program in ("redis-server", "redis-benchmark"):
            if shutil.which(program) is None:
                raise fail(f"{program} isn't here: apt-get install redis-server redis-tools")
        place = installed()
        report.note(versions(place))
        folder = Path(tempfile.mkdtemp(prefix="harpcaller-bench-"))
        try:
            measure(report, place, folder)
        finally:
            shutil.rmtree(folder)


def installed() -> Path:
    """Give the folder of Celery's and RQ's commands; install them if they aren't there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    place = cache / "harpcaller-benchmarks" / "rivals"
    if not (place / ".ready").exists():
        shutil.rmtree(place, ignore_errors=True)
        for command in (
            [sys.executable, "-m", "venv", str(place)],
            [str(place / "bin" / "pip"), "install", "--quiet", *PACKAGES],
        ):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise fail(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
        (place / ".ready").touch()
    return place / "bin"


def versions(place: Path) -> str:
    """Tell what is compared."""
    names = ("celery", "rq", "redis")
    program = f"from importlib.metadata import version as v; print(*map(v, {names}))"
    found = subprocess.run([place / "python", "-c", program], stdout=subprocess.PIPE, check=True)
    server = subprocess.run(["redis-server", "--version"], stdout=subprocess.PIPE, check=True)
    pairs = zip(names, found.stdout.decode().split(), strict=True)
    words = ", ".join(" ".join(pair) for pair in pairs)
    return f"{words}; {server.stdout.decode().split(' sha')[0]}"


def measure(report: Report, place: Path, folder: Path) -> None:
    """Have the same job done by all."""
    count = report.pick(5_000, 500, 50)
    rows: dict[str, Taken] = {}
    seconds = report.pick(5.0, 2.0, 0.2)
    rows["harpcaller, stub agent"], submitted = ours(keeping_stub, seconds, count)
    rows["harpcaller, harpd (forking)"], _ = ours(harpd, seconds, 0)
    sets = 0.0
    settings = report.pick((ALWAYS, NEVER), (ALWAYS, NEVER), (ALWAYS,))
    for setting in settings:
        with redis(folder, setting) as server:
            if setting == ALWAYS:
                sets = redis_benchmark(server, report.pick(50_000, 10_000, 500))
            for rival in RIVALS:
                if rival is not FORKING or setting == ALWAYS:  # it doesn't wait for a disk
                    rows[f"{rival.name}; {setting}"] = theirs(place, server, rival, count)
    table(report, rows)
    light, heavy = list(rows)[:2]
    for setting in settings:
        for us, rival in ((light, CELERY), (heavy, FORKING), (light, STEADY)):
            them = f"{rival.name}; {setting}"
            if them not in rows:
                continue
            report.find(Finding(us, rows[us].per_second, "/s", them, rows[them].per_second))
            own, other = (rows[one].count / rows[one].processor_seconds for one in (us, them))
            report.find(Finding(us, own, "/processor s", them, other))
    report.find(Finding("durable submissions", submitted, "/s", SETS, sets))
    report.sum_up(
        f"{rows[light].per_second:,.0f} a second, with processes {rows[heavy].per_second:,.0f};"
        + "".join(
            f" {rival.name} {rows[f'{rival.name}; {ALWAYS}'].per_second:,.0f};" for rival in RIVALS
        )
        + f" of Redis' own {submitted / sets:.2f}"
    )


def table(report: Report, rows: dict[str, Taken]) -> None:
    """Show what each did."""
    shown: list[dict[str, Cell]] = [
        {
            "": name,
            "jobs/s": one.per_second,
            "processor ms each": 1000 * one.processor_seconds / one.count,
        }
        for name, one in rows.items()
    ]
    report.table(f"jobs, {WINDOW} at a time; the client's processor time isn't counted", shown)


def ours(agent: Agent, seconds: float, submissions: int) -> tuple[Taken, float]:
    """Have it done here; gives submissions a second, too, if there are to be any."""
    with world(agent=agent) as here:
        family = [Server(0, here.daemon_pid), here.agent]
        before = sum(one.processor_seconds() for one in family)
        found = run("benchmarks.load", "calls", here.port, WINDOW, seconds, "kept")
        spent = sum(one.processor_seconds() for one in family) - before
        taken = Taken(found["total"], found["per_second"], spent)
        if not submissions:
            return taken, 0.0
        done = run("benchmarks.load", "submit", here.port, WINDOW, submissions)
        return taken, done["per_second"]


@contextmanager
def redis(folder: Path, setting: str) -> Iterator[Server]:
    """Run a Redis whose data is here."""
    data = Path(tempfile.mkdtemp(dir=folder))
    port = free_port()
    command = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--dir", str(data)]
    command += ["--save", "", *REDIS[setting]]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)):
            if process.poll() is not None:
                raise fail("redis-server doesn't start")
            time.sleep(0.05)
        yield Server(port, process.pid)
    finally:
        end(process)


def redis_benchmark(server: Server, count: int) -> float:
    """Have Redis' own client set values; gives how many a second."""
    command = ["redis-benchmark", "-p", str(server.port), "-t", "set", "-n", str(count)]
    command += ["-c", str(WINDOW), "-d", "200", "-r", str(count), "--csv"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    for row in csv.reader(done.stdout.splitlines()):
        if row[0] == "SET":
            return float(row[1])
    raise fail(f"redis-benchmark said {done.stdout!r}")


def theirs(place: Path, server: Server, rival: Rival, count: int) -> Taken:
    """Have it done by a rival."""
    url = f"redis://127.0.0.1:{server.port}/0"
    environ = {**os.environ, "RIVALS_REDIS": url, "RQ_REDIS_URL": url, "PYTHONPATH": str(ROOT)}
    # It warns of running as root, which it does nowhere but in containers.
    environ.update(C_FORCE_ROOT="1", PYTHONWARNINGS="ignore")
    command = [str(place / rival.worker[0]), *rival.worker[1:]]
    with ExitStack() as stack:
        workers = [stack.enter_context(working(command, environ)) for _ in range(rival.at_once)]
        client = [str(place / "python"), "-m", _MODULE, rival.client]
        each = [str(count // rival.part // CLIENTS), str(WINDOW // CLIENTS)]
        family = [server, *workers]
        # What a start costs isn't counted: this waits until workers are there.
        subprocess.run([*client, "1", "1"], env=environ, stdout=subprocess.DEVNULL, check=True)
        before = sum(one.processor_seconds() for one in family)
        clients = [
            subprocess.Popen([*client, *each], env=environ, stdout=subprocess.PIPE)
            for _ in range(CLIENTS)
        ]
        said = [one.communicate()[0] for one in clients]
        spent = sum(one.processor_seconds() for one in family) - before
        if any(one.returncode for one in clients):
            raise fail(f"a client of {rival.name} failed")
        rate = sum(json.loads(one)["per_second"] for one in said)
        # Clients warm up with as many as are under way at a time.
        return Taken(int(each[0]) * CLIENTS + WINDOW, rate, spent)


@contextmanager
def working(command: list[str], environ: dict[str, str]) -> Iterator[Server]:
    """Run a worker."""
    process = subprocess.Popen(command, env=environ, cwd=ROOT, stdout=subprocess.DEVNULL)
    try:
        yield Server(0, process.pid)
    finally:
        end(process)


if __name__ == "__main__":
    main()
