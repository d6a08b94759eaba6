"""Real processes under fire: kills, stops, suspensions, lost hosts, dead agents, a full disk.

``HARPCALLER_FIRE_SECONDS`` tells for how long, ``HARPCALLER_FIRE_SEED`` what to do.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.fire.checker import complaints
from tests.system.fire_battle import Battle

_SECONDS = float(os.environ.get("HARPCALLER_FIRE_SECONDS", "8"))
_SEED = int(os.environ.get("HARPCALLER_FIRE_SEED", "1"))


class FireTests(SynchronousTestCase):
    """Clients go on submitting, following, cancelling and reading meanwhile."""

    def test_promises_are_kept(self) -> None:
        """Nothing acknowledged is lost, nothing runs twice, and every answer is true."""
        folder = tempfile.TemporaryDirectory(prefix="harpcaller-fire-", ignore_cleanup_errors=True)
        self.addCleanup(folder.cleanup)
        battle = Battle(Path(folder.name), _SEED)
        self.addCleanup(battle.close)
        battle.fight(_SECONDS)
        found = [*battle.complaints, *complaints(battle.history)]
        again = f"HARPCALLER_FIRE_SEED={_SEED} HARPCALLER_FIRE_SECONDS={_SECONDS:g}"
        self.assertEqual([], found, "\n".join([*found[:30], again]))
        # If hardly anything happened, that wasn't worth much.
        self.assertGreater(len(battle.history.runs), 3)
