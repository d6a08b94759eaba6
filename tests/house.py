"""The base class of our unit tests."""

from __future__ import annotations

import gc
import warnings

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase


class HouseCase(SynchronousTestCase):
    """A test with a clock of its own that leaves nothing behind.

    At its end no delayed call may be left on ``self.clock`` and no coroutine unawaited;
    trial itself fails a test that leaves a logged error.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self._catcher = warnings.catch_warnings(record=True)
        self._caught = self._catcher.__enter__() or []
        warnings.simplefilter("always", RuntimeWarning)
        self.addCleanup(self._leaves_nothing)

    def _leaves_nothing(self) -> None:
        gc.collect(0)
        self._catcher.__exit__(None, None, None)
        unawaited = [str(w.message) for w in self._caught if "never awaited" in str(w.message)]
        self.assertEqual([], unawaited)
        self.assertEqual([], self.clock.getDelayedCalls(), "work left on the clock")
