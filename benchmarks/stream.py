"""A job with very many stream records: its last ten, some from the middle, ten readers at once.

With 10,000, 100,000 and 1,000,000 records.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

from benchmarks.makestore import job_ids, make_stream
from benchmarks.probe import Asking, probing
from benchmarks.report import parser, reporting
from benchmarks.world import world

SIZES = (10_000, 100_000, 1_000_000)
QUICK_SIZES = (1_000, 10_000)
TINY_SIZES = (100,)
READERS = 10
#: How many records each reads at most; they begin at different places.
MOST = 50_000
_MIB = 1024 * 1024


def main() -> None:
    """Measure all sizes."""
    with reporting("stream", parser(__doc__)) as report:
        rows = [measure(count) for count in report.pick(SIZES, QUICK_SIZES, TINY_SIZES)]
        report.table("records of one job", rows, turned=True)
        first, last = rows[0], rows[-1]
        report.sum_up(
            f"the last 10 of {first['records']:,.0f} records in {first['recent_ms']:.1f} ms,"
            f" of {last['records']:,.0f} in {last['recent_ms']:.1f} ms; {READERS} readers"
            f" {last['read_per_s']:,.0f} records a second, memory {last['resident_mib']:.0f}, at"
            f" most {last['peak_mib']:.0f} MiB"
        )


def measure(count: int) -> dict[str, float]:
    """Measure one size."""
    row: dict[str, float] = {"records": count}
    job_id = next(job_ids())

    def prepare(directory: Path) -> None:
        make_stream(directory, job_id, count)

    with world(prepare=prepare) as here:
        row["resident_mib"] = round(here.usage().resident_bytes / _MIB, 1)
        row["recent_ms"] = _some(here.port, 11, follow_stream=job_id, recent=10)
        row["middle_ms"] = _some(here.port, 1, read_stream=job_id, since=count // 2)
        each = min(count, MOST)
        threads = [
            threading.Thread(
                target=_many, args=(here.port, job_id, (count - each) * number // READERS, each)
            )
            for number in range(READERS)
        ]
        started = time.perf_counter()
        with probing(here.port) as waits:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        took = time.perf_counter() - started
        row["read_s"] = round(took, 2)
        row["read_per_s"] = round(READERS * each / took)
        row.update(waits.as_fields("read"))
        row["peak_mib"] = round(here.peak_bytes() / _MIB, 1)
    return row


def _some(port: int, lines: int, **members: object) -> float:
    """Ask ten times, and give the milliseconds until so many lines of the answer have come."""
    took = []
    for _ in range(10):
        asking = Asking(port)
        started = time.perf_counter()
        asking.ask(**members)
        for _ in range(lines - 1):
            asking.line()
        took.append(time.perf_counter() - started)
        asking.close()
    return round(1000 * sorted(took)[len(took) // 2], 2)


def _many(port: int, job_id: str, since: int, count: int) -> None:
    """Read so many records."""
    asking = Asking(port)
    asking.send(follow_stream=job_id, since=since)
    assert asking.skip(b'{"packet":%d,' % (since + count - 1)) == count - 1
    asking.close()


if __name__ == "__main__":
    main()
