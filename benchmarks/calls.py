"""Calls through dispatcher and agent stub, next to bare TLS; and jobs that wait.

``python -m benchmarks.calls`` prints two tables; see ``benchmarks/README.md`` for how to read
them.  ``--quick`` takes some seconds, for trying it out; its numbers are rough.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from benchmarks.world import World, run, world

CONCURRENCIES = (1, 10, 50)


def main() -> None:
    """Measure everything in one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="take some seconds only")
    parser.add_argument("--profile", type=Path, metavar="FILE", help="profile the daemon's calls")
    options = parser.parse_args()
    seconds = 1.0 if options.quick else 5.0
    waiting = (1_000,) if options.quick else (1_000, 20_000)
    with world(profile=options.profile) as here:
        idle = measure_idle(here, seconds)
        bare = measure_bare(here, seconds)
        measure_calls(here, seconds, bare)
    print(f"\nidle: {idle:.2f} % of a processor\n")
    if options.profile is None:
        with world() as here:
            measure_waiting(here, waiting, seconds)


def measure_idle(here: World, seconds: float) -> float:
    """Tell how busy the daemon is with nothing, in per cent of a processor."""
    before = here.usage()
    time.sleep(seconds)
    return 100 * (here.usage().processor_seconds - before.processor_seconds) / seconds


def measure_bare(here: World, seconds: float) -> dict[int, float]:
    """Measure what nobody can go below; gives the best handshakes per second, by concurrency."""
    print("bare TLS                clients   per second   own ms each")
    rates = dict.fromkeys(CONCURRENCIES, 0.0)
    for kind in ("full", "resumed"):
        for concurrency in CONCURRENCIES:
            found = run(
                "benchmarks.handshakes", here.agent_port, here.ca, concurrency, seconds, kind
            )
            rates[concurrency] = max(rates[concurrency], found["per_second"])
            print(
                f"{kind:20} {concurrency:10} {found['per_second']:12.0f} {found['ms_each']:13.2f}"
            )
    print(f"{'folder and file':44}{measure_files(here.folder):13.2f}")
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


def measure_calls(here: World, seconds: float, bare: dict[int, float]) -> None:
    """Measure calls from submission to result, with and without kept client connections."""
    print(
        "\ncalls, by clients'"
        "\nconnections             clients   per second   p50 ms   p99 ms   daemon ms each"
        "   to bare TLS"
    )
    for kind in ("kept", "new"):
        for concurrency in CONCURRENCIES:
            before = here.usage()
            found = run("benchmarks.load", "calls", here.port, concurrency, seconds, kind)
            spent = here.usage().processor_seconds - before.processor_seconds
            print(
                f"{kind:20} {concurrency:10} {found['per_second']:12.0f} {found['p50_ms']:8.1f}"
                f" {found['p99_ms']:8.1f} {1000 * spent / found['calls']:16.2f}"
                f" {found['per_second'] / bare[concurrency]:13.2f}"
            )


def measure_waiting(here: World, counts: tuple[int, ...], seconds: float) -> None:
    """Measure jobs that wait in a queue: how fast they are taken, and what they weigh."""
    print(
        "jobs that wait     per second    early     late   daemon ms each   bytes each"
        "   idle with them"
    )
    empty = here.usage()
    so_far = 0
    for count in counts:
        before = here.usage()
        found = run("benchmarks.load", "submit", here.port, 10, count - so_far)
        after = here.usage()
        spent = after.processor_seconds - before.processor_seconds
        so_far += int(found["count"])
        time.sleep(1)
        weight = (here.usage().resident_bytes - empty.resident_bytes) / so_far
        idle = measure_idle(here, seconds)
        print(
            f"{so_far:14,} {found['per_second']:14.0f} {found['early']:8.0f} {found['late']:8.0f}"
            f" {1000 * spent / found['count']:16.2f} {weight:12.0f} {idle:14.2f} %"
        )


if __name__ == "__main__":
    main()
