"""Old jobs are forgotten on a schedule."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed

from harpcaller.interfaces import Pruned
from harpcaller.service.retention import Retention
from harpcaller.testing.dispatcher import FakeDispatcher
from tests.house import HouseCase


class PruningDispatcher(FakeDispatcher):
    """A dispatcher that only notes how it is told to prune."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[float] = []
        self.answer: Deferred[Pruned] | None = None

    def prune(self, max_age_seconds: float) -> Deferred[Pruned]:
        self.asked.append(max_age_seconds)
        answer, self.answer = self.answer, None
        return answer or succeed(Pruned(1, 0))


class RetentionTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.dispatcher = PruningDispatcher()

    def make(self, max_age_seconds: float | None) -> Retention:
        retention = Retention(self.dispatcher, self.clock, max_age_seconds)
        retention.startService()
        return retention

    def test_prunes_every_hour(self) -> None:
        """With max_age set, the store is pruned each hour, the first time after one."""
        retention = self.make(48 * 3600)
        self.assertEqual([], self.dispatcher.asked)
        self.clock.pump([3600, 3600])
        self.assertEqual([48 * 3600] * 2, self.dispatcher.asked)
        self.assertIsNotNone(retention.stopService())

    def test_prunes_more_often_for_a_short_memory(self) -> None:
        """Jobs that are kept for an hour are pruned every six minutes."""
        retention = self.make(3600)
        self.clock.advance(360)
        self.assertEqual([3600], self.dispatcher.asked)
        _ = retention.stopService()

    def test_keeps_for_ever_without_max_age(self) -> None:
        """Without max_age nothing is done at all."""
        retention = self.make(None)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertIsNone(retention.stopService())

    def test_goes_on_after_a_failure(self) -> None:
        """A pruning that fails is logged, and the next one comes all the same."""
        retention = self.make(3600)
        self.dispatcher.answer = fail(RuntimeError("no disk"))
        self.clock.pump([360, 360])
        self.assertEqual(2, len(self.dispatcher.asked))
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        _ = retention.stopService()

    def test_stop_waits_for_a_pruning_under_way(self) -> None:
        """Stopping is done when the pruning that is under way is."""
        retention = self.make(3600)
        under_way: Deferred[Pruned] = Deferred()
        self.dispatcher.answer = under_way
        self.clock.advance(360)
        stopped = retention.stopService()
        assert stopped is not None
        self.assertNoResult(stopped)
        under_way.callback(Pruned(0, 2))
        self.successResultOf(stopped)

    def test_another_age_takes_force(self) -> None:
        """A reload changes the age, starts the schedule and ends it."""
        retention = self.make(None)
        retention.reconfigure(7200)
        self.clock.advance(720)
        self.assertEqual([7200], self.dispatcher.asked)
        retention.reconfigure(7200)
        retention.reconfigure(None)
        self.assertEqual([], self.clock.getDelayedCalls())
        _ = retention.stopService()
        retention.reconfigure(10)
        self.assertEqual([], self.clock.getDelayedCalls())
