"""Durable submissions to a queue that grows; beside the same listener before a bare journal.

Fifty clients submit jobs to one queue, each the next one when its job is acknowledged.  In the
dispatcher's place its own listener, with nothing behind it that appends calls to a file, with one
sync for all that came meanwhile; and a bare Twisted server that does so with lines it doesn't read.
"""

from __future__ import annotations

from benchmarks import original, weigh
from benchmarks.beside import US, Beside, by_turns, spending
from benchmarks.processes import run, serving
from benchmarks.report import Cell, Finding, number, parser, reporting
from benchmarks.world import World, world

CONCURRENCY = 50
#: What the dispatcher is held against, by how ``bare.py`` calls it.
THAN = {
    "submissions": "bare journal behind the same listener",
    "journal": "bare journal of lines",
}
#: What a job that waits may weigh, in bytes.
MOST_BYTES = 4096


def main() -> None:
    """Measure both by turns, then what the jobs that wait weigh."""
    with reporting("submissions", parser(__doc__)) as report, world() as here:
        lengths = report.pick((1_000, 10_000, 50_000), (500, 5_000), (100,))
        batch = report.pick(5_000, 2_000, 100)
        run("benchmarks.load", "submit", here.port, 1, 1)
        start = here.usage().resident_bytes, weigh.descriptors(here.daemon_pid)
        rows: list[dict[str, Cell]] = []
        found = []
        waiting = 1
        for length in lengths:
            if length > waiting:
                run("benchmarks.load", "submit", here.port, CONCURRENCY, length - waiting)
            rounds = report.pick(3, 2, 1)
            beside = measure(here, length, batch, rounds, "submissions")
            bare = measure(here, length, batch, rounds, "journal")
            waiting = length + 2 * rounds * batch
            found.append((beside, bare))
            rows.append(
                {
                    "jobs that wait": length,
                    "submissions/s": beside.rates[US],
                    "listener and journal/s": beside.rates[beside.than],
                    "bare lines/s": bare.rates[bare.than],
                    "processor µs each": 1e6 * beside.each[US],
                    "listener's": 1e6 * beside.each[beside.than],
                    "bare lines'": 1e6 * bare.each[bare.than],
                }
            )
        report.table(f"submissions by {CONCURRENCY} clients", rows)
        each = (here.usage().resident_bytes - start[0]) / waiting
        open_now = weigh.descriptors(here.daemon_pid) - start[1]
        first, (last, bare) = found[0][0], found[-1]
        last.find(report, per_second=2_000, least=0.5)
        bare.find(report, per_second=None, least=None)
        if len(found) > 1:
            rates = last.rates[US], first.rates[US]
            report.find(Finding(last.what, rates[0], "/s", first.what, rates[1], least=0.8))
        report.find(Finding(f"each of {waiting:,} that wait", each, "bytes", most=MOST_BYTES))
        than = original.THAN
        report.find(Finding(last.what, last.rates[US], "/s", than, original.SUBMISSIONS, least=6.9))
        report.find(Finding("each that waits", each, "bytes", than, original.WAITING_BYTES))
        report.find(Finding("descriptors of all that wait", open_now, most=0))
        report.sum_up(f"{last}; {number(each)} bytes for each that waits")


def measure(here: World, waiting: int, batch: int, rounds: int, kind: str) -> Beside:
    """Submit to the dispatcher and to a bare program of this kind, some times."""
    with serving("benchmarks.bare", kind, here.folder / "appended") as bare:

        def submit(port: int) -> dict[str, float]:
            return run("benchmarks.load", "submit", port, CONCURRENCY, batch)

        return by_turns(
            f"submissions after {waiting:,}",
            THAN[kind],
            rounds,
            lambda: spending(here.processor_seconds, lambda: submit(here.port)),
            lambda: spending(bare.processor_seconds, lambda: submit(bare.port)),
        )


if __name__ == "__main__":
    main()
