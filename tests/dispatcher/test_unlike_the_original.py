"""What the system that this one re-implements got wrong, and this one must not.

Its behaviour was measured; each test names it, and shows the opposite.
"""

from __future__ import annotations

from harpcaller.interfaces import Limits
from harpcaller.testing.caller import Stage
from harpcaller.wire.ending import Cancelled
from tests.dispatcher.test_following import FollowCase
from tests.dispatcher.world import DISKS, DONE


class TimeLimitTests(FollowCase):
    """There, ``max_exec_time`` was ignored, and ``timeout`` was used for both limits."""

    def limits(self, timeout: float | None, max_exec_time: float | None) -> Limits:
        self.submit(timeout=timeout, max_exec_time=max_exec_time)
        limits = self.running().limits
        self.running().end(DONE)
        return limits

    def test_max_exec_time_counts(self) -> None:
        """A request may shorten its whole run."""
        self.assertEqual(Limits(60, 5), self.limits(None, 5))

    def test_timeout_does_not_limit_the_whole_run(self) -> None:
        """A stream that speaks every half second isn't ended after its ``timeout`` of 1 s."""
        self.assertEqual(Limits(1, 300), self.limits(1, None))

    def test_timeout_may_exceed_the_default(self) -> None:
        """There, ``default_timeout`` was the most that one could have."""
        self.assertEqual(Limits(250, 300), self.limits(250, None))


class ResultRaceTests(FollowCase):
    """There, asking in the last milliseconds before the end gave ``missing_result``."""

    def test_asking_at_any_moment(self) -> None:
        """Before, while and after the end is stored, those who wait get the result."""
        job = self.submit()
        waiting = [self.dispatcher.ending(job, True)]
        self.store.hold()
        self.running().end(DONE)
        waiting.append(self.dispatcher.ending(job, True))
        self.turn()
        waiting.append(self.dispatcher.ending(job, True))
        self.store.release()
        waiting.append(self.dispatcher.ending(job, True))
        self.turn()
        waiting.append(self.dispatcher.ending(job, True))
        self.assertEqual([DONE] * 5, [self.successResultOf(each) for each in waiting])

    def test_forty_readers_of_one_ended_job(self) -> None:
        """There, two at once could fail with file_load_race_condition."""
        job = self.submit()
        self.running().end(DONE)
        for _ in range(40):
            self.assertEqual(DONE, self.ending(job))
            self.assertEqual("ended", self.status(job).state)


class FollowRaceTests(FollowCase):
    """There, a follower that joined a running stream lost a record at the join."""

    def test_forty_join_a_running_stream(self) -> None:
        """Each at its own moment, some while a record is being stored: none misses any."""
        job = self.submit()
        readers = []
        for number in range(40):
            if number % 2:
                self.store.hold()
            self.running().record(b"%d" % number)
            readers.append(self.follow(job, since=0))
            if number % 3:
                self.turn()
            self.store.release()
            if number % 5:
                self.turn()
        self.running().end(DONE)
        self.turn()
        self.assertEqual([list(range(40))] * 40, [reader.numbers for reader in readers])


class StopTests(FollowCase):
    """There, a clean stop recorded nothing for jobs that ran or waited: all were lost."""

    def test_stop_records_what_ran_and_keeps_what_waited(self) -> None:
        """Running ones end properly or are cancelled, waiting ones run after the start."""
        first = self.submit("0", queue=DISKS, concurrency=2)
        second = self.submit("1", queue=DISKS)
        third = self.submit("2", queue=DISKS)
        told = self.dispatcher.ending(second, True)
        self.board.close()
        stopped = self.dispatcher.stop(10)
        self.running("0").end(DONE)
        self.clock.advance(10)
        self.result(stopped)
        self.assertEqual(Cancelled(), self.successResultOf(told))
        self.successResultOf(self.store.close())
        self.begin_and_recover()
        self.assertEqual([DONE, Cancelled()], [self.ending(first), self.ending(second)])
        self.running("2").end(DONE)
        self.assertEqual(DONE, self.ending(third))
        self.turn()


class CrashTests(FollowCase):
    """There, kill -9 made every job unreadable that wasn't over, with all it had streamed."""

    def test_everything_stays_readable(self) -> None:
        """Status, records and the list of all jobs, the ended ones too."""
        ended, streams = self.submit(), self.submit("q", queue=DISKS)
        waits = self.submit("r", queue=DISKS)
        self.running().end(DONE)
        self.running("q").records(b"0", b"1")
        self.crash()
        jobs, _ = self.successResultOf(self.dispatcher.jobs(0, 10))
        self.assertEqual([ended, streams, waits], [job.job_id for job in jobs])
        self.assertEqual([0, 1], [record.number for record in self.all_records(streams)])
        self.assertEqual("running", self.status(waits).state)
        self.running("r").end(DONE)
        self.turn()


class CancelTests(FollowCase):
    """There, a cancel came 100 ms late, or after 5 s with ``missing_result`` stored."""

    def test_stuck_while_connecting(self) -> None:
        """A cancel takes effect inside the asking, and ``cancelled`` is what is stored."""
        self.caller.connects = False
        job = self.submit()
        self.assertEqual(Stage.CONNECTING, self.running().stage)
        self.assertTrue(self.successResultOf(self.dispatcher.cancel(job)))
        self.assertEqual((True, Stage.OVER), (self.running().cancelled, self.running().stage))
        self.assertEqual(Cancelled(), self.ending(job))

    def test_while_it_streams(self) -> None:
        """The same for one in the middle of its work."""
        job = self.submit()
        self.running().record(b"0")
        self.assertTrue(self.successResultOf(self.dispatcher.cancel(job)))
        self.assertEqual((True, Cancelled()), (self.running().cancelled, self.ending(job)))
