"""Calls that their agents keep, over stops and crashes of the dispatcher."""

from __future__ import annotations

from twisted.internet.defer import Deferred

from harpcaller.errors import MissingResult
from harpcaller.interfaces import Limits
from harpcaller.testing.caller import FakeResumption
from harpcaller.testing.dispatcher import FakeHosts
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Cancelled
from tests.dispatcher.world import DISKS, DONE, WEB01, DispatcherCase


class ResumingCase(DispatcherCase):
    def submit_kept(self, procedure: str = "p", queue: bytes | None = None) -> JobId:
        """Submit a call that its agent keeps."""
        job = self.submit(procedure, queue)
        self.running(procedure).keep()
        return job

    @property
    def resumption(self) -> FakeResumption:
        (resumption,) = self.caller.resumptions
        return resumption

    def stop(self, grace_seconds: float = 10) -> Deferred[None]:
        self.board.close()
        return self.dispatcher.stop(grace_seconds)

    def restart(self) -> None:
        self.successResultOf(self.store.close())
        self.begin_and_recover()


class CrashTests(ResumingCase):
    def test_goes_on_after_a_crash(self) -> None:
        """The next dispatcher goes on with the first record that it doesn't have."""
        job = self.submit_kept()
        self.running().records(b"0", b"1")
        self.clock.advance(20)
        self.crash()
        self.assertEqual(
            (WEB01, job, 2, 20.0, Limits(60, 300)),
            (
                self.resumption.host,
                self.resumption.job_id,
                self.resumption.since,
                self.resumption.elapsed_seconds,
                self.resumption.limits,
            ),
        )
        following = self.dispatcher.follow(job, 0)
        self.assertEqual(2, len(self.result(following.next_page()).records))
        self.resumption.records(b"2")
        self.assertEqual([2], [one.number for one in self.result(following.next_page()).records])
        self.resumption.end(DONE)
        self.assertEqual(DONE, self.ending(job))
        kinds = ["submitted", "started", "resumable", *["recorded"] * 3, "ended"]
        self.assertEqual(kinds, self.kinds(job))
        self.assertEqual([job], self.caller.forgotten)

    def test_crash_before_it_was_stored(self) -> None:
        """That the agent keeps the call counts when it is on disk."""
        job = self.submit()
        self.store.hold()
        self.running().keep()
        self.crash()
        self.assertEqual("missing_result", self.failure_type(job))
        self.assertEqual([], self.caller.resumptions)

    def test_again_and_again(self) -> None:
        """However often it crashes."""
        job = self.submit_kept()
        for number in range(3):
            self.crash()
            self.assertEqual(number, self.resumption.since)
            self.resumption.record(b"1")
        self.resumption.end(DONE)
        self.assertEqual(DONE, self.ending(job))

    def test_agent_does_not_know_it(self) -> None:
        """Then how it ended isn't known, as ever."""
        job = self.submit_kept()
        self.crash()
        self.resumption.fail(MissingResult("the agent can't go on"))
        self.turn()
        self.assertEqual("missing_result", self.failure_type(job))

    def test_host_is_gone(self) -> None:
        """So it is if the registry doesn't know the host any more."""
        job = self.submit_kept()
        self.hosts = FakeHosts()
        self.crash()
        self.assertEqual("missing_result", self.failure_type(job))
        self.assertEqual([], self.caller.resumptions)

    def test_keeps_its_place_in_the_queue(self) -> None:
        """A queue has no more jobs running than it may, and they leave it as ever."""
        first = self.submit_kept("a", queue=DISKS)
        second = self.submit("b", queue=DISKS)
        self.crash()
        self.assertEqual([first, second], list(self.dispatcher.queue_members(DISKS)))
        self.assertEqual([], self.caller.calls)
        self.resumption.end(DONE)
        self.turn(2)
        self.running("b").end(DONE)
        self.turn()
        self.assertEqual((DONE, DONE), (self.ending(first), self.ending(second)))

    def test_cancelled_afterwards(self) -> None:
        """It can be cancelled like any other."""
        job = self.submit_kept()
        self.crash()
        self.assertTrue(self.result(self.dispatcher.cancel(job)))
        self.assertEqual((True, Cancelled()), (self.resumption.cancelled, self.ending(job)))

    def test_clock_was_set_back(self) -> None:
        """A job isn't younger than nothing."""
        self.submit_kept()
        self.store.crash()
        left_over = self.begin()
        self.clock.rightNow -= 1000
        _ = self.dispatcher.recover(left_over)
        self.turn()
        self.assertEqual(0.0, self.resumption.elapsed_seconds)
        self.resumption.end(DONE)


class StopTests(ResumingCase):
    def test_left_running(self) -> None:
        """A stop doesn't wait for it; it is recorded as running, and the next start goes on."""
        job = self.submit_kept()
        self.running().record(b"0")
        self.result(self.stop())
        self.assertEqual((True, False), (self.running().left, self.running().cancelled))
        self.assertEqual("running", self.status(job).state)
        self.restart()
        self.assertEqual(1, self.resumption.since)
        self.resumption.end(DONE)
        self.assertEqual(DONE, self.ending(job))

    def test_others_get_their_grace(self) -> None:
        """What can't be left is waited for, and what can be runs on meanwhile."""
        kept = self.submit_kept("kept")
        bound = self.submit("bound")
        stopped = self.stop()
        self.clock.advance(5)
        self.running("kept").record(b"0")
        self.assertNoResult(stopped)
        self.running("bound").end(DONE)
        self.result(stopped)
        self.assertTrue(self.running("kept").left)
        self.assertEqual(
            (DONE, ["submitted", "started", "resumable", "recorded"]),
            (self.ending(bound), self.kinds(kept)),
        )

    def test_grace_is_over(self) -> None:
        """What can't be left is cancelled then."""
        kept, bound = self.submit_kept("kept"), self.submit("bound")
        stopped = self.stop()
        self.clock.advance(10)
        self.result(stopped)
        self.assertEqual((None, Cancelled()), (self.ending(kept), self.ending(bound)))

    def test_kept_during_the_stop(self) -> None:
        """An agent that answers now doesn't hold the stop up any longer."""
        self.submit()
        stopped = self.stop()
        self.assertNoResult(stopped)
        self.running().keep()
        self.result(stopped)
        self.assertTrue(self.running().left)

    def test_ends_during_the_stop(self) -> None:
        """An end that is being stored is waited for."""
        job = self.submit_kept()
        self.store.hold()
        self.running().end(DONE)
        stopped = self.stop()
        self.turn()
        self.assertNoResult(stopped)
        self.store.release()
        self.turn()
        self.result(stopped)
        self.assertEqual(DONE, self.ending(job))
        self.assertFalse(self.running().left)

    def test_cannot_be_stored(self) -> None:
        """If it can't be written down that the agent keeps a call, it isn't left to it."""
        job = self.submit()
        self.store.fail_next()
        self.running().keep()
        stopped = self.stop()
        self.assertNoResult(stopped)
        self.dispatcher.hurry()
        self.result(stopped)
        self.assertEqual(Cancelled(), self.ending(job))
