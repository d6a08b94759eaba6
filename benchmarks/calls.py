"""Calls through the dispatcher, connections kept or not; beside what bare TLS costs.

The agent is a stub that answers at once, and keeps its connections like the clients, or not.
Bare TLS is the standard library's ``ssl`` in a loop against the stub: connect, handshake, the
same request and answer, close.
"""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import original
from benchmarks.agents import keeping_stub
from benchmarks.processes import run
from benchmarks.report import Cell, Finding, Report, parser, reporting
from benchmarks.world import World, world

#: By clients' connections: how many times the original's calls there should be.
GOALS = {
    "kept": (10.0, "calls, connections kept"),
    "new": (2.0, "calls, a connection for each request"),
}


def main() -> None:
    """Measure everything in one run."""
    options = parser(__doc__)
    options.add_argument("--profile", type=Path, metavar="FILE", help="profile the daemon's calls")
    with reporting("calls", options) as report:
        seconds = report.pick(5.0, 1.0, 0.1)
        several = report.pick((1, 10, 50), (1, 10, 50), (2,))
        rows: list[dict[str, Cell]] = []
        with world(agent=keeping_stub, profile=report.options.profile) as here:
            idle = measure_idle(here, seconds)
            best = measure_calls(report, here, seconds, several, "kept", rows)
        if report.options.profile is None:
            with world() as here:
                bare = measure_bare(report, here, seconds, several)
                measure_calls(report, here, seconds, several, "new", rows)
            for row, rate in zip(rows, (*bare.values(), *bare.values()), strict=True):
                row["to bare TLS"] = float(row["calls/s"] or 0) / rate
        report.table("calls, from submission to result", rows)
        report.find(Finding("processor use at rest", idle, "%", most=0))
        report.sum_up(
            f"{best[0]:,.0f} a second, {best[1]:.2f} ms of the dispatcher's processor time each"
        )


def measure_idle(here: World, seconds: float) -> float:
    """Tell how busy the daemon is with nothing, in per cent of a processor."""
    # What the start leaves is done by then.
    time.sleep(1)
    before = here.processor_seconds()
    time.sleep(seconds)
    return 100 * (here.processor_seconds() - before) / seconds


def measure_bare(
    report: Report, here: World, seconds: float, several: tuple[int, ...]
) -> dict[int, float]:
    """Measure bare TLS; gives the best handshakes per second, by concurrency."""
    rates = dict.fromkeys(several, 0.0)
    rows: list[dict[str, Cell]] = []
    for kind in ("full", "resumed"):
        for concurrency in several:
            place = (here.agent_port, here.ca)
            found = run("benchmarks.handshakes", *place, concurrency, seconds, kind)
            rates[concurrency] = max(rates[concurrency], found["per_second"])
            rows.append(
                {
                    "bare TLS": kind,
                    "clients": concurrency,
                    "a second": found["per_second"],
                    "own ms each": found["ms_each"],
                }
            )
    report.table("connections to the agent", rows)
    report.table(
        "on the store's file system",
        [{"": "a folder and a file", "own ms each": measure_files(here.folder)}],
    )
    return rates


def measure_files(folder: Path) -> float:
    """Tell what a new folder and a new file cost here, in milliseconds of processor time."""
    count = 500
    started = time.process_time()
    for number in range(count):
        place = folder / f"{number:04x}"
        place.mkdir()
        place.joinpath("file").write_bytes(b"x" * 400)
    return 1000 * (time.process_time() - started) / count


def measure_calls(
    report: Report,
    here: World,
    seconds: float,
    several: tuple[int, ...],
    kind: str,
    rows: list[dict[str, Cell]],
) -> tuple[float, float]:
    """Measure calls from submission to result; gives rate and cost of the last, in milliseconds."""
    rate = spent = 0.0
    for concurrency in several:
        before = here.processor_seconds()
        found = run("benchmarks.load", "calls", here.port, concurrency, seconds, kind)
        rate = found["per_second"]
        spent = 1000 * (here.processor_seconds() - before) / found["total"]
        rows.append(
            {
                "connections": kind,
                "at once": concurrency,
                "calls/s": rate,
                "p50 ms": found["whole_p50_ms"],
                "p99 ms": found["whole_p99_ms"],
                "daemon ms each": spent,
            }
        )
    times, words = GOALS[kind]
    report.find(Finding(words, rate, "/s", original.THAN, original.CALLS, least=times))
    return rate, spent


if __name__ == "__main__":
    main()
