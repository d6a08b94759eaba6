"""Questions about jobs that have ended, on kept connections; beside a bare server of lines.

Fifty clients ask for results and for states of jobs, each the next thing when it has its answer:
of some jobs over and over, as clients that wait do, or of jobs from all over the store.  In the
dispatcher's place a Twisted program that answers any line with a fixed one, as long as the
dispatcher's.
"""

from __future__ import annotations

from itertools import islice, product
from pathlib import Path

from benchmarks import original
from benchmarks.beside import US, Beside, by_turns, spending
from benchmarks.makestore import job_ids, make_store
from benchmarks.probe import Asking
from benchmarks.processes import run, serving
from benchmarks.report import Finding, Report, parser, reporting
from benchmarks.world import World, world

CONCURRENCY = 50
#: How many jobs are asked for over and over.
FEW = 50


def main() -> None:
    """Measure both by turns, for either question."""
    with reporting("polls", parser(__doc__)) as report:
        count = report.pick(10_000, 5_000, 100)
        words = []
        with world(prepare=lambda store: make_store(store, count)) as here:
            for operation, some in product(("get_result", "get_status"), (FEW, count)):
                ids = here.folder / "ids"
                ids.write_text("\n".join(islice(job_ids(), some)))
                found = measure(report, here, f"{operation} of {some:,} ended jobs", ids)
                report.table(found.what, found.table())
                found.find(report, per_second=10_000, least=0.5)
                rate = found.rates[US]
                report.find(
                    Finding(found.what, rate, "/s", original.THAN, original.READS, least=12.9)
                )
                words.append(str(found))
        report.sum_up("; ".join(words))


def measure(report: Report, here: World, what: str, ids: Path) -> Beside:
    """Ask either, some times."""
    seconds = report.pick(5.0, 1.0, 0.1)
    operation = what.partition(" ")[0]
    asking = Asking(here.port)
    asking.send(**{operation: next(job_ids())})
    length = len(asking.raw_line())
    asking.close()
    with serving("benchmarks.bare", "lines", length) as bare:

        def ask(port: int) -> dict[str, float]:
            return run("benchmarks.load", "polls", port, CONCURRENCY, seconds, operation, ids)

        return by_turns(
            what,
            "bare Twisted line server",
            report.pick(5, 2, 1),
            lambda: spending(here.processor_seconds, lambda: ask(here.port)),
            lambda: spending(bare.processor_seconds, lambda: ask(bare.port)),
        )


if __name__ == "__main__":
    main()
