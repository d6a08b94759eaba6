"""``python -m tests.fire [SEED | FIRST-LAST]...``: play stories by hand."""

from __future__ import annotations

import argparse
import sys
import time

from twisted.logger import globalLogBeginner

from tests.fire.simulation import Outcome, play


def _seeds(text: str) -> range:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def report(outcome: Outcome) -> str:
    """Say what is wrong with a story, and how to see it again."""
    lines = [f"seed {outcome.seed}: {len(outcome.complaints)} complaints"]
    lines += [f"  {complaint}" for complaint in outcome.complaints[:10]]
    lines.append(f"  alone, with all that happened: python -m tests.fire {outcome.seed} --trace")
    return "\n".join(lines)


def main() -> int:
    """Play the seeds of the command line; 1 if any story has a complaint."""
    parser = argparse.ArgumentParser(prog="python -m tests.fire", description=__doc__)
    parser.add_argument("seeds", nargs="*", type=_seeds, default=[range(1000)])
    parser.add_argument("--trace", action="store_true", help="print all that happened")
    parser.add_argument("--digests", action="store_true", help="print what tells stories apart")
    options = parser.parse_args()
    # What is logged of bugs is among the complaints.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    begun = time.process_time()
    count = bad = jobs = answers = resumed = again = shared = 0
    for seed in (seed for seeds in options.seeds for seed in seeds):
        outcome = play(seed)
        count, jobs, answers = count + 1, jobs + outcome.jobs, answers + outcome.answers
        resumed += outcome.resumed
        again, shared = again + outcome.again, shared + outcome.shared
        if options.trace:
            for at, *what in outcome.events:
                if what != ["event"]:
                    print(f"{at:12.6f} ", *what)
        if options.digests:
            print(seed, outcome.digest)
        if outcome.complaints:
            bad += 1
            print(report(outcome), flush=True)
    seconds = time.process_time() - begun
    print(
        f"{count} stories, {bad} with complaints; {jobs} jobs ({resumed} times gone on with,"
        f" {again} asked for again, {shared} on a connection of another),"
        f" {answers} answers; {seconds:.1f} s, {60 * count / seconds:.0f} a minute"
    )
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
