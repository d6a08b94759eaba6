"""The garbage collector rests while the daemon starts."""

from __future__ import annotations

import gc

from harpcaller.service.collecting import collector_at_rest
from tests.house import HouseCase


class CollectorTests(HouseCase):
    """What a start makes is none of the collector's business."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(gc.enable if gc.isenabled() else gc.disable)
        self.addCleanup(gc.unfreeze)

    def test_rests(self) -> None:
        """It rests meanwhile, and what was made is left alone afterwards."""
        gc.enable()
        gc.unfreeze()
        with collector_at_rest():
            self.assertFalse(gc.isenabled())
            made: list[list[int]] = [[] for _ in range(1000)]
        self.assertTrue(gc.isenabled())
        self.assertGreaterEqual(gc.get_freeze_count(), len(made))

    def test_failed_start(self) -> None:
        """A start that fails leaves it as it was, also where it was off."""
        gc.disable()
        with self.assertRaises(OSError), collector_at_rest():
            raise OSError
        self.assertFalse(gc.isenabled())
