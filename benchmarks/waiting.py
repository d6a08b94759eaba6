"""Many jobs that wait in one queue: taking them in, a restart with them, cancelling them all.

``python -m benchmarks.waiting`` does it with 10,000 and 100,000 jobs; ``--quick`` with 1,000.
``--json`` prints an object a line instead of a table.
"""

from __future__ import annotations

import argparse
import json
import time

from benchmarks.probe import Asking, probing
from benchmarks.world import run, world

SIZES = (10_000, 100_000)
QUICK_SIZES = (1_000,)
_QUEUE = '{"for":"benchmark"}'
_MIB = 1024 * 1024


def main() -> None:
    """Measure all sizes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="take some seconds only")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    rows = []
    for count in QUICK_SIZES if options.quick else SIZES:
        rows.append(measure(count))
        if options.json:
            print(json.dumps(rows[-1]), flush=True)
    if not options.json:
        for name in rows[0]:
            print(f"{name:28}" + "".join(f"{row[name]:14,.6g}" for row in rows))
    last = rows[-1]
    print(
        f"waiting: {last['jobs']:,.0f} jobs, {last['submit_per_s']:,.0f} submitted a second,"
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
        row["list_s"] = round(here.ask("list"), 2)
        row["stop_s"] = round(here.stop(), 2)
        row["start_s"] = round(here.start(), 2)
        asking = Asking(here.port)
        started = time.perf_counter()
        asking.ask(get_status="00000000-0000-4000-8000-000000000000")
        row["first_answer_ms"] = round(1000 * (time.perf_counter() - started), 1)
        asking.close()
        row["again_mib"] = round(here.usage().resident_bytes / _MIB, 1)
        with probing(here.port) as waits:
            row["cancel_s"] = round(here.ask("queue-cancel", _QUEUE), 2)
        row.update(waits.as_fields("cancel"))
        row["peak_mib"] = round(here.peak_bytes() / _MIB, 1)
    return row


if __name__ == "__main__":
    main()
