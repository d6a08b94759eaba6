"""The whole daemon under fire, simulated: some hundred lives of it, each from a seed.

``HARPCALLER_STORIES`` tells how many, and ``HARPCALLER_STORY`` which is the first; without
them these are the same in each run.  ``python -m tests.fire`` plays them by hand.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.effort import tries
from tests.fire.__main__ import report
from tests.fire.disk import Dead
from tests.fire.simulation import play

_ROOT = Path(__file__).parent.parent.parent
_STORIES = int(os.environ.get("HARPCALLER_STORIES", tries(160)))
_FIRST = int(os.environ.get("HARPCALLER_STORY", "0"))


class SimulationTests(SynchronousTestCase):
    """Kills, power cuts, bad disks, networks and clocks, in any order."""

    def tearDown(self) -> None:
        # What the dead of these stories leave behind may be logged whenever it is collected.
        gc.collect()
        self.flushLoggedErrors(Dead)

    def test_promises_are_kept(self) -> None:
        """Nothing acknowledged is lost, nothing runs twice, every answer is true, nothing leaks."""
        outcomes = [play(seed) for seed in range(_FIRST, _FIRST + _STORIES)]
        bad = [report(outcome) for outcome in outcomes if outcome.complaints]
        self.assertEqual([], bad, "\n".join(bad))
        # If hardly anything happened, that wasn't worth much.
        self.assertGreater(sum(outcome.jobs for outcome in outcomes), 10 * _STORIES)
        self.assertGreater(sum(outcome.resumed for outcome in outcomes), _STORIES // 8)

    def test_same_seed_same_story(self) -> None:
        """A seed gives the same story again, in another process with other hashes, too."""
        seeds = [0, 57, 127, 31]  # some of these have hung on the order of a set
        here = {str(seed): play(seed).digest for seed in seeds}
        for hashes in ("1", "2"):
            done = subprocess.run(
                [sys.executable, "-m", "tests.fire", "--digests", *here],
                cwd=_ROOT,
                env={**os.environ, "PYTHONHASHSEED": hashes},
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            lines = done.stdout.splitlines()[: len(seeds)]
            self.assertEqual(here, dict(line.split() for line in lines), done.stderr)
