"""Many ended jobs: start, lists, look-ups, pruning, and an index that is lost; growth shown.

With 10,000, 100,000 and 1,000,000 jobs in the store.
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks.makestore import job_ids, make_store
from benchmarks.probe import Asking, probing
from benchmarks.report import Finding, parser, reporting
from benchmarks.world import World, world

SIZES = (10_000, 100_000, 1_000_000)
QUICK_SIZES = (1_000, 10_000)
TINY_SIZES = (50,)
WORDS = {"start_s": "start to first answer", "resident_mib": "memory after a start"}
_LOOK_UPS = 300
_MIB = 1024 * 1024


def main() -> None:
    """Measure all sizes."""
    with reporting("million", parser(__doc__)) as report:
        sizes = report.pick(SIZES, QUICK_SIZES, TINY_SIZES)
        rows = [measure(count, pause=report.pick(5.0, 2.0, 0.1)) for count in sizes]
        report.table("ended jobs in the store", rows, turned=True)
        first, last = rows[0], rows[-1]
        if len(rows) > 1:
            for name, unit in (("start_s", "s"), ("resident_mib", "MiB")):
                report.find(
                    Finding(
                        f"{WORDS[name]} with {last['jobs']:,} ended jobs",
                        last[name],
                        unit,
                        f"with {first['jobs']:,}",
                        first[name],
                        most=1.25,
                    )
                )
        report.sum_up(
            f"{first['jobs']:,.0f} to {last['jobs']:,.0f} jobs: start {first['start_s']:.2f}"
            f" to {last['start_s']:.2f} s, memory {first['resident_mib']:.0f} to"
            f" {last['resident_mib']:.0f} MiB; longest wait while pruning"
            f" {last['prune_max_ms']:.0f} ms, while the index is made"
            f" {last['rebuild_max_ms']:.0f} ms"
        )


def measure(count: int, pause: float) -> dict[str, float]:
    """Measure one size."""
    row: dict[str, float] = {"jobs": count}

    def prepare(directory: Path) -> None:
        started = time.perf_counter()
        make_store(directory, count)
        row["write_s"] = round(time.perf_counter() - started, 1)

    with world(prepare=prepare) as here:
        here.stop()
        row["start_s"] = round(min(_restarted(here) for _ in range(3)), 3)
        row["resident_mib"] = round(here.usage().resident_bytes / _MIB, 1)
        with probing(here.port) as waits:
            time.sleep(pause)
        # What the machine itself makes an honest client wait.
        row.update(waits.as_fields("idle"))
        row.update(_lists(here))
        row.update(_look_ups(here, count))
        with probing(here.port) as waits:
            row["prune_s"] = round(here.ask("prune-jobs", "--age=5"), 1)
        row.update(waits.as_fields("prune"))
        row["prune_peak_mib"] = round(here.peak_bytes() / _MIB, 1)
        row.update(_rebuild(here))
    return row


def _restarted(here: World) -> float:
    """Start the daemon and have an answer; it is left running."""
    here.stop()
    took = here.start()
    started = time.perf_counter()
    asking = Asking(here.port)
    asking.ask(get_status="00000000-0000-4000-8000-000000000000")
    asking.close()
    return took + time.perf_counter() - started


def _lists(here: World) -> dict[str, float]:
    found: dict[str, float] = {}
    started = time.perf_counter()
    with subprocess.Popen(here.tool("list", "--all"), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found["first_line_s"] = round(time.perf_counter() - started, 3)
    with probing(here.port) as waits:
        found["list_all_s"] = round(here.ask("list", "--all"), 2)
    found.update(waits.as_fields("list"))
    found["list_peak_mib"] = round(here.peak_bytes() / _MIB, 1)
    return found


def _look_ups(here: World, count: int) -> dict[str, float]:
    """Ask for jobs from all over the store."""
    step = max(1, count // _LOOK_UPS)
    some = [job_id for number, job_id in zip(range(count), job_ids(), strict=False)
            if number % step == 0]  # fmt: skip
    asking = Asking(here.port)
    found = {}
    for operation in ("get_status", "get_result"):
        started = time.perf_counter()
        for job_id in some:
            answer = asking.ask(**{operation: job_id})
            assert "error" not in answer, answer
        found[f"{operation}_ms"] = round(1000 * (time.perf_counter() - started) / len(some), 3)
    asking.close()
    found["info_s"] = round(here.ask("info", some[-1]), 3)
    return found


def _rebuild(here: World) -> dict[str, float]:
    """Lose the index, start, and wait until there is another one."""
    here.stop()
    for path in here.store.glob("index.sqlite*"):
        path.unlink()
    log = here.folder / "log"
    log.write_bytes(b"")
    found = {"rebuild_start_s": round(_restarted(here), 3)}
    started = time.perf_counter()
    index_log = here.store / "index.sqlite-wal"
    largest = 0
    with probing(here.port) as waits:
        while b"store.index_complete" not in log.read_bytes():
            time.sleep(0.1)
            largest = max(largest, index_log.stat().st_size if index_log.exists() else 0)
    found["rebuild_s"] = round(time.perf_counter() - started, 1)
    found.update(waits.as_fields("rebuild"))
    found["rebuild_peak_mib"] = round(here.peak_bytes() / _MIB, 1)
    found["index_log_mib"] = round(largest / _MIB, 1)
    return found


if __name__ == "__main__":
    main()
