"""Long work gives way in time, and the index's log stays short meanwhile."""

from __future__ import annotations

import os

from twisted.internet.defer import Deferred, succeed

from harpcaller.store import catalogue
from harpcaller.store.background import MOST_SECONDS, MOST_STEPS, Pace
from harpcaller.store.layout import INDEX
from tests.house import HouseCase
from tests.store.filecase import FileCase


class PaceTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.turns = 0
        self.pace = Pace(self.clock, self.turn)

    def turn(self) -> Deferred[None]:
        self.turns += 1
        return succeed(None)

    def step(self) -> None:
        self.successResultOf(Deferred.fromCoroutine(self.pace.step()))

    def test_many_steps(self) -> None:
        """After some steps the reactor has its turn, however short they were."""
        for _ in range(2 * MOST_STEPS - 1):
            self.step()
        self.assertEqual(1, self.turns)
        self.step()
        self.assertEqual(2, self.turns)

    def test_slow_steps(self) -> None:
        """Where steps are slow, as on a busy disk, it has its turn sooner."""
        for _ in range(4):
            self.clock.advance(MOST_SECONDS / 2)
            self.step()
        self.assertEqual(2, self.turns)

    def test_clock_set_back(self) -> None:
        """A clock that is set back doesn't keep the reactor waiting."""
        self.clock.rightNow = -1000.0
        for _ in range(MOST_STEPS):
            self.step()
        self.assertEqual(1, self.turns)


class LogTests(FileCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(catalogue, "MOST_LOG", 20_000)
        self.open()
        self.let_turn()

    def log_size(self) -> int:
        """Tell how long the index's log is."""
        return os.path.getsize(f"{self.directory}/{INDEX}-wal")

    def test_rebuilding(self) -> None:
        """Making the index anew doesn't leave a log many times as long as the index."""
        for number in range(1, 1000):
            self.run_job(number)
        self.close()
        self.drop_index()
        self.open()
        self.let_turn()
        self.assertEqual(999, len(self.listing()))
        self.assertTrue(self.log_size() < 400_000, self.log_size())

    def test_pruning(self) -> None:
        """Nor does pruning."""
        for number in range(1, 1000):
            self.run_job(number)
        before = self.log_size()
        self.assertEqual(999, self.finish(self.store.prune(2000.0)).removed)
        self.assertEqual([], self.listing())
        self.assertTrue(self.log_size() < before + 100_000, (before, self.log_size()))
