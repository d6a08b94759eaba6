"""Many things that wait: followers, calls that run, jobs in a queue; what each weighs.

10,000 connections that follow a call that has nothing to say; 10,000 such calls at once; 100,000
jobs in one queue.  Of each: memory, descriptors, what the dispatcher does with them at rest, and
the time until they are all ended.
"""

from __future__ import annotations

import resource
import select
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from benchmarks import weigh
from benchmarks.agents import streamer
from benchmarks.probe import Asking
from benchmarks.processes import run
from benchmarks.report import Cell, Finding, Report, parser, reporting
from benchmarks.world import World, world

CONCURRENCY = 50
IDLE = {"host": "agent", "procedure": "idle", "arguments": []}
#: Descriptors that are needed besides those of what is measured.
SPARE = 500
#: How long calls may take to start, each, in seconds.
PATIENCE_EACH = 0.5
#: How long work may go on after the last of them is there, before it counts as none's, in seconds.
SETTLED_SECONDS = 120.0
#: For how many pauses in a row nothing must have been done.
RESTS = 4


@attrs.define
class Weights:
    """What some of one kind weigh."""

    count: int
    bytes_each: float
    descriptors_each: float
    idle: float
    end_seconds: float
    end_processor_seconds: float

    def as_row(self, name: str) -> dict[str, Cell]:
        """Give it as a row."""
        return {
            "": name,
            "number": self.count,
            "bytes each": self.bytes_each,
            "descriptors each": self.descriptors_each,
            "% of a processor at rest": self.idle,
            "s to end all": self.end_seconds,
            "processor ms each": 1000 * self.end_processor_seconds / self.count,
        }


def main() -> None:
    """Measure all three, each in a world of its own."""
    with reporting("scale", parser(__doc__)) as report:
        # The daemon and the agent inherit it.
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        count = report.pick(10_000, 1_000, 20)
        if count > hard - SPARE:
            count = hard - SPARE
            report.note(f"only {hard:,} descriptors may be open here: {count:,} of each")
        queued = report.pick(100_000, 5_000, 50)
        seconds = report.pick(10.0, 4.0, 0.5)
        found = {
            "connected followers": followers(count, seconds),
            "calls that run": running(count, seconds),
            "jobs in one queue": waiting(queued, seconds),
        }
        report.table(
            "things that wait, in the dispatcher", [one.as_row(name) for name, one in found.items()]
        )
        for name, one in found.items():
            report.find(
                Finding(f"processor at rest with {one.count:,} {name}", one.idle, "%", most=0)
            )
            show(report, name, one)
        report.sum_up(
            "; ".join(
                f"{one.count:,} {name}: {one.bytes_each:,.0f} bytes each, all ended in"
                f" {one.end_seconds:.1f} s"
                for name, one in found.items()
            )
        )


def show(report: Report, name: str, weights: Weights) -> None:
    """Keep what each of them weighs."""
    report.find(Finding(f"each of {weights.count:,} {name}", weights.bytes_each, "bytes"))


@contextmanager
def weighing(here: World, count: int, seconds: float) -> Iterator[Weights]:
    """Weigh what is made in the block; the daemon has had some before."""
    before = here.usage().resident_bytes, weigh.descriptors(here.daemon_pid)
    weights = Weights(count, 0, 0, 0, 0, 0)
    yield weights
    settle(here, seconds / 4)
    weights.bytes_each = (here.usage().resident_bytes - before[0]) / count
    weights.descriptors_each = (weigh.descriptors(here.daemon_pid) - before[1]) / count
    spent = here.processor_seconds()
    time.sleep(seconds)
    weights.idle = 100 * (here.processor_seconds() - spent) / seconds


def settle(here: World, pause: float) -> None:
    """Wait until what making them leaves to do is done, such as folding the journal.

    That begins a while after the last of them, so nothing must have been done for some pauses.
    """
    deadline = time.perf_counter() + SETTLED_SECONDS
    spent, rests = -1.0, 0
    while rests < RESTS and time.perf_counter() < deadline:
        before, spent = spent, here.processor_seconds()
        rests = rests + 1 if spent == before else 0
        time.sleep(pause)


@contextmanager
def ending(here: World, weights: Weights) -> Iterator[None]:
    """Note what ending all of them takes."""
    started, spent = time.perf_counter(), here.processor_seconds()
    yield
    weights.end_seconds = time.perf_counter() - started
    weights.end_processor_seconds = here.processor_seconds() - spent


def followers(count: int, seconds: float) -> Weights:
    """Have many follow one call."""
    with world(agent=streamer) as here:
        asking = Asking(here.port)
        job = str(asking.ask(**IDLE)["job_id"])
        request = b'{"harpcaller":1,"follow_stream":"%s","since":0}\n' % job.encode()
        connections = []
        with weighing(here, count, seconds) as weights:
            for _ in range(count):
                connection = socket.create_connection(("127.0.0.1", here.port), 60)
                connection.sendall(request)
                assert connection.recv(65536).startswith(b'{"packet":0')
                connections.append(connection)
        with ending(here, weights):
            assert asking.ask(cancel=job) == {"cancelled": True}
            heard(connections)
        asking.close()
        return weights


def heard(connections: list[socket.socket]) -> None:
    """Wait until each has heard of the end, and close it."""
    by_number = {one.fileno(): one for one in connections}
    poll = select.poll()
    for number in by_number:
        poll.register(number, select.POLLIN)
    while by_number:
        for number, _ in poll.poll(60_000):
            connection = by_number.pop(number)
            assert connection.recv(65536).startswith(b'{"cancelled"')
            poll.unregister(number)
            connection.close()


def running(count: int, seconds: float) -> Weights:
    """Have many calls run that have nothing to say."""
    with world(agent=streamer) as here:
        asking = Asking(here.port)
        jobs = []
        with weighing(here, count, seconds) as weights:
            for _ in range(0, count, CONCURRENCY):
                some = [str(asking.ask(**IDLE)["job_id"]) for _ in range(CONCURRENCY)]
                wait_for_first_records(asking, some)
                jobs += some
        ids = here.folder / "ids"
        ids.write_text("\n".join(jobs))
        with ending(here, weights):
            run("benchmarks.load", "cancel", here.port, CONCURRENCY, ids)
        asking.close()
        return weights


def wait_for_first_records(asking: Asking, jobs: list[str]) -> None:
    """Wait until each of them runs and has said something."""
    deadline = time.perf_counter() + 10 + PATIENCE_EACH * len(jobs)
    for job in jobs:
        while True:
            line = asking.ask(read_stream=job, since=0)
            if "packet" in line:
                asking.line()
                break
            if "continue" not in line or time.perf_counter() > deadline:
                raise SystemExit(f"a call doesn't run: {line}")
            time.sleep(0.005)


def waiting(count: int, seconds: float) -> Weights:
    """Have many jobs wait in one queue."""
    with world() as here:
        with weighing(here, count, seconds) as weights:
            run("benchmarks.load", "submit", here.port, CONCURRENCY, count)
        with ending(here, weights):
            here.ask("queue-cancel", '{"for":"benchmark"}')
        return weights


if __name__ == "__main__":
    main()
