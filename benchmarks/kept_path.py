"""Whole calls: submit, durable, run, end durable, read; beside a bare client of the same agent.

Fifty clients submit a call and wait for its result, on connections that they keep.  Instead of
clients and dispatcher, a Twisted program that makes the same calls to the same agent on fifty TLS
connections, which all keep, and stores nothing.  In the dispatcher's place, the least program
that keeps what it is given: what of the difference is Twisted's and the disk's.  Then calls
at a fixed rate, half of what the dispatcher can do: how long clients wait until their jobs are
durable, beside what a sync of a small file takes meanwhile.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmarks.agents import keeping_stub
from benchmarks.beside import US, Beside, Taken, by_turns, spending
from benchmarks.probe import Waits
from benchmarks.processes import Server, run, serving
from benchmarks.report import Finding, Report, parser, reporting
from benchmarks.world import World, world

CONCURRENCY = 50
THAN = "bare Twisted client"
LEAST = "bare Twisted dispatcher"
#: What a submission may take besides a sync, in milliseconds.
ALLOWANCE_MS = 2.0
#: How much later than it should a call may begin without a word, in milliseconds.
LATE_MS = 10.0


def main() -> None:
    """Measure both by turns, then at a fixed rate."""
    with reporting("kept_path", parser(__doc__)) as report, world(agent=keeping_stub) as here:
        seconds = report.pick(5.0, 2.0, 0.2)
        found = measure(report, here, seconds, THAN, lambda: bare(here, seconds))
        folder = here.folder / "bare"
        folder.mkdir()
        with serving("benchmarks.bare_dispatcher", here.agent_port, here.ca, folder) as least:
            beside = measure(report, here, seconds, LEAST, lambda: calls(least, seconds))
        found.find(report, per_second=None, least=0.35)
        beside.find(report, per_second=None, least=None)
        report.find(Finding("calls", 1 / found.each[US], "/processor s", least=2_000))
        waits = at_half(report, here, found.rates[US])
        report.sum_up(f"{found}; {beside.rate_ratio:.2f} of the {LEAST}; {waits}")


def measure(
    report: Report, here: World, seconds: float, than: str, theirs: Callable[[], Taken]
) -> Beside:
    """Call with the dispatcher and without, some times."""
    found = by_turns("calls", than, report.pick(5, 3, 1), lambda: calls(here, seconds), theirs)
    report.table(f"calls, {CONCURRENCY} at once", found.table())
    return found


def calls(of: World | Server, seconds: float) -> Taken:
    """Have clients call."""
    return spending(
        of.processor_seconds,
        lambda: run("benchmarks.load", "calls", of.port, CONCURRENCY, seconds, "kept"),
    )


def bare(here: World, seconds: float) -> Taken:
    """Call without a dispatcher."""
    place = (here.agent_port, here.ca)
    found = run("benchmarks.bare", "calls", *place, CONCURRENCY, seconds)
    return Taken(found["total"], found["per_second"], found["processor_seconds"])


def at_half(report: Report, here: World, most: float) -> str:
    """Call at half of the highest rate; gives it in words."""
    seconds = report.pick(20.0, 4.0, 0.5)
    with syncing(here) as idle:
        time.sleep(seconds / 4)
    with syncing(here) as syncs:
        found = run("benchmarks.load", "rate", here.port, most / 2, seconds)
    if found["late_ms"] > LATE_MS:
        report.note(
            f"calls began up to {found['late_ms']:.0f} ms late: the clients' process waited"
        )
    report.table(
        f"{most / 2:,.0f} calls a second for {seconds:g} s, milliseconds",
        [
            {"": name, "p50": half, "p99": most_of_them}
            for name, half, most_of_them in (
                ("submitted to acknowledged", found["first_p50_ms"], found["first_p99_ms"]),
                ("submitted to result", found["whole_p50_ms"], found["whole_p99_ms"]),
                ("a sync meanwhile", syncs.at(0.5), syncs.at(0.99)),
                ("a sync while nothing goes on", idle.at(0.5), idle.at(0.99)),
            )
        ],
    )
    report.find(
        Finding(
            "acknowledged, p99",
            found["first_p99_ms"],
            "ms",
            f"a sync's p99 meanwhile and {ALLOWANCE_MS:g} ms",
            syncs.at(0.99) + ALLOWANCE_MS,
            most=1,
        )
    )
    return f"at half of that acknowledged in {found['first_p99_ms']:.1f} ms (p99)"


@contextmanager
def syncing(here: World) -> Iterator[Waits]:
    """Write and sync a little every 20 ms while something else goes on."""
    waits = Waits()
    done = threading.Event()

    def work() -> None:
        handle = os.open(here.folder / "synced", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        while not done.wait(0.02):
            started = time.perf_counter()
            os.write(handle, b"x" * 400)
            os.fdatasync(handle)
            waits.seconds.append(time.perf_counter() - started)
        os.close(handle)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield waits
    finally:
        done.set()
        thread.join()


if __name__ == "__main__":
    main()
