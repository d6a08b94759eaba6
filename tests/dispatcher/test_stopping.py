"""Stopping: what runs may end, what doesn't is cancelled, what waits stays."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from harpcaller.errors import Shutdown
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Cancelled
from tests.dispatcher.world import DISKS, DONE, PEER, DispatcherCase, call


class StopTests(DispatcherCase):
    def stop(self, grace_seconds: float = 10) -> Deferred[None]:
        self.board.close()
        return self.dispatcher.stop(grace_seconds)

    def test_nothing_runs(self) -> None:
        """Then it is done at once."""
        self.successResultOf(self.stop())

    def test_takes_no_new_calls(self) -> None:
        """Whoever submits is told; nothing is stored."""
        self.successResultOf(self.stop())
        self.failureResultOf(self.dispatcher.submit(call(), PEER), Shutdown)
        self.assertEqual([], self.store.facts)

    def test_running_job_ends_in_time(self) -> None:
        """What runs is waited for, and its real end is stored."""
        job = self.submit()
        stopped = self.stop()
        self.clock.advance(9)
        self.assertNoResult(stopped)
        self.running().end(DONE)
        self.result(stopped)
        self.assertEqual(DONE, self.ending(job))

    def test_grace_over(self) -> None:
        """All that still runs is cancelled, recorded so, and those who wait are told."""
        jobs = [self.submit(str(number)) for number in range(5)]
        waiting = self.dispatcher.ending(jobs[0], True)
        stopped = self.stop()
        self.clock.advance(9.9)
        self.assertNoResult(stopped)
        self.clock.advance(0.1)
        self.result(stopped)
        self.assertEqual([Cancelled()] * 5, [self.ending(job) for job in jobs])
        self.assertTrue(all(call.cancelled for call in self.caller.calls))
        self.assertEqual(Cancelled(), self.successResultOf(waiting))

    def test_no_grace(self) -> None:
        """With a grace of nothing it is as if it were over."""
        job = self.submit()
        stopped = self.stop(0)
        self.turn()
        self.result(stopped)
        self.assertEqual(Cancelled(), self.ending(job))

    def test_hurry(self) -> None:
        """A second SIGTERM cuts the grace short; a third does no harm."""
        job = self.submit()
        stopped = self.stop()
        self.clock.advance(1)
        self.dispatcher.hurry()
        self.result(stopped)
        self.assertEqual(Cancelled(), self.ending(job))
        self.dispatcher.hurry()

    def test_hurry_before_the_grace(self) -> None:
        """A second SIGTERM counts, even if what stops first isn't done yet."""
        self.submit()
        self.dispatcher.hurry()
        self.result(self.stop())
        self.assertTrue(self.running().cancelled)

    def test_waiting_jobs_stay_queued(self) -> None:
        """They don't start when the running one leaves, and the next dispatcher takes them up."""
        self.submit("0", queue=DISKS)
        jobs = [self.submit(str(number), queue=DISKS) for number in (1, 2)]
        stopped = self.stop()
        self.running("0").end(DONE)
        self.result(stopped)
        self.assertEqual(["0"], self.caller.called())
        self.assertEqual(["queued", "queued"], [self.status(job).state for job in jobs])
        self.successResultOf(self.store.close())
        self.begin_and_recover()
        self.assertEqual(["1"], self.caller.called())
        self.running("1").end(DONE)
        self.turn()
        self.running("2").end(DONE)
        self.turn()

    def test_call_that_is_being_stored(self) -> None:
        """It is acknowledged and not started; the next dispatcher runs it."""
        self.store.hold()
        submitted = self.dispatcher.submit(call(), PEER)
        queued = self.dispatcher.submit(call("q", DISKS), PEER)
        self.successResultOf(self.stop())
        self.successResultOf(self.store.close())
        jobs = [self.successResultOf(submitted), self.successResultOf(queued)]
        self.assertEqual([], self.caller.calls)
        self.begin_and_recover()
        self.assertEqual(jobs, list(self.dispatcher.living()))
        for procedure in ("p", "q"):
            self.running(procedure).end(DONE)
        self.turn()

    def test_waits_for_an_end_that_is_being_stored(self) -> None:
        """It isn't done before those ends are durable that came in time."""
        job = self.submit()
        self.store.hold()
        self.running().end(DONE)
        stopped = self.stop()
        self.dispatcher.hurry()
        self.turn()
        self.assertNoResult(stopped)
        self.store.release()
        self.turn()
        self.result(stopped)
        self.assertEqual(DONE, self.ending(job))

    def test_waits_for_a_cancel_that_is_being_stored(self) -> None:
        """Also of a job that only waited in a queue."""
        self.submit(queue=DISKS)
        job = self.submit("q", queue=DISKS)
        self.running().end(DONE)
        self.store.hold()
        cancelled = self.dispatcher.cancel(job)
        stopped = self.stop()
        self.turn()
        self.assertNoResult(stopped)
        self.store.release()
        self.result(stopped)
        self.assertTrue(self.successResultOf(cancelled))

    def test_last_chance_for_an_end(self) -> None:
        """An end that couldn't be stored is tried once more before the dispatcher goes."""
        job = self.submit()
        self.store.fail_next()
        self.running().end(DONE)
        stopped = self.stop()
        self.dispatcher.hurry()
        self.result(stopped)
        self.assertEqual(DONE, self.ending(job))

    def test_end_that_cannot_be_stored(self) -> None:
        """After the last attempt nothing is left on the clock, and the next start says so."""
        jobs = [self.submit(), self.submit("q")]
        self.store.fail_next(100)
        self.running().end(DONE)
        stopped = self.stop()
        self.dispatcher.hurry()
        self.result(stopped)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.store.fail_next(0)
        self.successResultOf(self.store.close())
        self.begin_and_recover()
        self.assertEqual(["missing_result"] * 2, [self.failure_type(job) for job in jobs])

    def test_cancel_that_fails_after_the_stop(self) -> None:
        """Is not tried again: after the stop the clock is left alone."""
        self.submit(queue=DISKS)
        job: JobId = self.submit("q", queue=DISKS)
        self.running().end(DONE)
        self.successResultOf(self.stop())
        self.store.fail_next()
        cancelled = self.dispatcher.cancel(job)
        self.failureResultOf(cancelled)
        self.assertEqual([], self.clock.getDelayedCalls())
