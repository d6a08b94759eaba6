"""Many jobs that wait in one queue: taking them in, a restart with them, cancelling them all.

With 10,000 and 100,000 jobs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.probe import Asking, probing
from benchmarks.processes import run
from benchmarks.report import parser, reporting
from benchmarks.world import World, world

SIZES = (10_000, 100_000)
QUICK_SIZES = (1_000,)
TINY_SIZES = (50,)
_QUEUE = '{"for":"benchmark"}'
_MIB = 1024 * 1024


def main() -> None:
    """Measure all sizes."""
    with reporting("waiting", parser(__doc__)) as report:
        rows = [measure(count) for count in report.pick(SIZES, QUICK_SIZES, TINY_SIZES)]
        report.table("jobs that wait in one queue", rows, turned=True)
        last = rows[-1]
        report.sum_up(
            f"{last['jobs']:,.0f} jobs, {last['submit_per_s']:,.0f} submitted a second,"
            f" {last['bytes_each']:,.0f} bytes each; start with them {last['start_s']:.1f} s,"
            f" cancelling all {last['cancel_s']:.1f} s, longest wait meanwhile"
            f" {last['cancel_max_ms']:.0f} ms"
        )


def measure(count: int) -> dict[str, float]:
    """Measure one size."""
    row: dict[str, float] = {"jobs": count}
    with world() as here:
        empty = here.usage().resident_bytes
        found = run("benchmarks.load", "submit", here.port, 10, count)
        row["submit_per_s"] = round(found["per_second"])
        row["early_per_s"] = round(found["early"])
        row["late_per_s"] = round(found["late"])
        row["bytes_each"] = round((here.usage().resident_bytes - empty) / count)
        with _processor(here, row, "list"):
            row["list_s"] = round(here.ask("list"), 2)
        row["stop_s"] = round(here.stop(), 2)
        row["start_s"] = round(here.start(), 2)
        asking = Asking(here.port)
        started = time.perf_counter()
        asking.ask(get_status="00000000-0000-4000-8000-000000000000")
        row["first_answer_ms"] = round(1000 * (time.perf_counter() - started), 1)
        asking.close()
        row["start_cpu_s"] = round(here.usage().processor_seconds, 2)
        row["again_mib"] = round(here.usage().resident_bytes / _MIB, 1)
        with probing(here.port) as waits, _processor(here, row, "cancel"):
            row["cancel_s"] = round(here.ask("queue-cancel", _QUEUE), 2)
        row.update(waits.as_fields("cancel"))
        row["peak_mib"] = round(here.peak_bytes() / _MIB, 1)
    return row


@contextmanager
def _processor(here: World, row: dict[str, float], what: str) -> Iterator[None]:
    """Note what the daemon takes meanwhile, which depends least on what else runs."""
    before = here.usage().processor_seconds
    yield
    row[f"{what}_cpu_s"] = round(here.usage().processor_seconds - before, 2)


if __name__ == "__main__":
    main()
