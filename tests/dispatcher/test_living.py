"""Those who wait for a job are told once, on the next turn, whatever they do then."""

from __future__ import annotations

from functools import partial

from twisted.internet.defer import CancelledError, Deferred

from harpcaller.dispatcher.living import Crowd, LivingJob, NextTurn
from harpcaller.wire.client import JobId
from tests.house import HouseCase


def _note(told: list[int], number: int, _: None) -> None:
    told.append(number)


class NextTurnTests(HouseCase):
    def test_one_timer_for_all(self) -> None:
        """In order; what is added in the turn is done after the rest."""
        done: list[int] = []
        next_turn = NextTurn(self.clock)
        next_turn.call(lambda: next_turn.call(lambda: done.append(3)))
        next_turn.call(lambda: done.append(1))
        next_turn.call(lambda: done.append(2))
        self.assertEqual(1, len(self.clock.getDelayedCalls()))
        self.assertEqual([], done)
        self.clock.advance(0)
        self.assertEqual([1, 2, 3], done)


class CrowdTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.crowd = Crowd(NextTurn(self.clock))

    def test_everybody_is_told_once(self) -> None:
        """On the clock's next turn, in the order they came, however often it was asked."""
        told: list[int] = []
        for number in range(20):
            _ = self.crowd.wait().addCallback(partial(_note, told, number))
        self.crowd.tell()
        self.crowd.tell()
        self.assertEqual([], told)
        self.clock.advance(0)
        self.assertEqual(list(range(20)), told)
        self.crowd.tell()
        self.clock.advance(0)
        self.assertEqual(20, len(told))

    def test_nobody_there(self) -> None:
        """Then there is nothing to do, not even a turn later."""
        self.crowd.tell()
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_latecomers_go_along_or_wait(self) -> None:
        """Who comes before the turn goes with the rest; who comes in it waits for the next."""
        first = self.crowd.wait()
        self.crowd.tell()
        second = self.crowd.wait()
        third: list[Deferred[None]] = []
        _ = first.addCallback(lambda _: third.append(self.crowd.wait()))
        self.clock.advance(0)
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertNoResult(third[0])
        self.crowd.tell()
        self.clock.advance(0)
        self.successResultOf(third[0])

    def test_stepping_out(self) -> None:
        """One that gave up waiting isn't told; the others are."""
        gone, stays = self.crowd.wait(), self.crowd.wait()
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        self.crowd.tell()
        self.clock.advance(0)
        self.successResultOf(stays)

    def test_one_sends_others_away(self) -> None:
        """Who is told may make the next ones give up; those behind them are told all the same."""
        waiting = [self.crowd.wait() for _ in range(10)]

        def send_away(_: None) -> None:
            for each in waiting[1:5]:
                each.cancel()

        _ = waiting[0].addCallback(send_away)
        self.crowd.tell()
        self.clock.advance(0)
        for each in waiting[1:5]:
            self.failureResultOf(each, CancelledError)
        for each in (waiting[0], *waiting[5:]):
            self.successResultOf(each)


class LivingJobTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.next_turn = NextTurn(self.clock)
        self.job = LivingJob(JobId("x"), "web01", "p")

    def test_news_that_came_already(self) -> None:
        """Nobody waits for what has happened since they looked."""
        self.job.stored()
        self.successResultOf(self.job.wait_for_news(self.next_turn, 0))
        waiting = self.job.wait_for_news(self.next_turn, 1)
        self.assertNoResult(waiting)
        self.job.stored()
        self.clock.advance(0)
        self.successResultOf(waiting)

    def test_end_that_came_already(self) -> None:
        """After the end there is nothing to wait for."""
        self.job.ended()
        self.successResultOf(self.job.wait_for_end(self.next_turn))
        self.successResultOf(self.job.wait_for_news(self.next_turn, self.job.version))

    def test_news_are_not_the_end(self) -> None:
        """A record wakes those who follow, not those who want the result; the end wakes both."""
        end = self.job.wait_for_end(self.next_turn)
        news = self.job.wait_for_news(self.next_turn, 0)
        self.job.stored()
        self.clock.advance(0)
        self.successResultOf(news)
        self.assertNoResult(end)
        news = self.job.wait_for_news(self.next_turn, 1)
        self.job.ended()
        self.clock.advance(0)
        self.successResultOf(news)
        self.successResultOf(end)
