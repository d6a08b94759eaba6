"""One reading path for stored and live records: no gap, no repeat, no waiting for the past."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred

from harpcaller.errors import InvalidJobId, MissingResult
from harpcaller.interfaces import IFollower, LeftOver, Page, Requester, Submitted
from harpcaller.testing.store import MemoryJobStore
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Cancelled, Ending
from tests.dispatcher.world import DONE, NOBODY, DispatcherCase, call


class _Reader:
    """Reads on and on, as a client's connection does."""

    def __init__(self, follower: IFollower) -> None:
        self.numbers: list[int] = []
        self.endings: list[Ending] = []
        self.pages = 0
        self.failure: BaseException | None = None
        self._follower = follower
        _ = Deferred.fromCoroutine(self._read()).addErrback(self._failed)

    async def _read(self) -> None:
        while not self.endings:
            page: Page = await self._follower.next_page()
            self.pages += 1
            self.numbers += [record.number for record in page.records]
            if page.ending is not None:
                self.endings.append(page.ending)

    def _failed(self, failure: object) -> None:
        self.failure = getattr(failure, "value", None)


class FollowCase(DispatcherCase):
    def follow(self, job: JobId, *, since: int | None = None, recent: int = 0) -> _Reader:
        if since is None:
            since = self.successResultOf(self.dispatcher.position(job, recent))
        return _Reader(self.dispatcher.follow(job, since))


class PrunedTests(FollowCase):
    """A job that is forgotten while it is read: nobody is left waiting for what won't come."""

    def test_between_two_pages(self) -> None:
        """The reader is told that there is no such job any more."""
        job = self.submit()
        self.running().records(*[b"1"] * 5)
        self.running().end(DONE)
        self.turn()
        follower = self.dispatcher.follow(job, 0)
        self.assertEqual(3, len(self.successResultOf(follower.next_page()).records))
        self.assertEqual(1, self.successResultOf(self.dispatcher.prune(0)).removed)
        self.failureResultOf(follower.next_page(), InvalidJobId)

    def test_between_end_and_reading(self) -> None:
        """So are those who waited for its end, if it is forgotten as soon as it has ended."""
        job = self.submit()
        reader = self.follow(job)
        ending = self.dispatcher.ending(job, True)
        self.running().end(DONE)
        self.assertEqual(1, self.successResultOf(self.dispatcher.prune(0)).removed)
        self.turn(5)
        self.assertIsInstance(reader.failure, InvalidJobId)
        self.failureResultOf(ending, InvalidJobId)

    def test_has_not_ended(self) -> None:
        """A job that is still running isn't forgotten, however old it is."""
        job = self.submit()
        reader = self.follow(job)
        self.clock.advance(200)
        self.assertEqual(0, self.successResultOf(self.dispatcher.prune(0)).removed)
        self.running().record(b"1")
        self.running().end(DONE)
        self.turn(5)
        self.assertEqual(([0], [DONE]), (reader.numbers, reader.endings))


class FollowTests(FollowCase):
    def test_from_everywhere_across_the_seam(self) -> None:
        """Since N, the last N, or from now: each reader gets its records, all of them, once."""
        job = self.submit()
        self.running().records(*[b"1"] * 10)
        readers = {
            0: self.follow(job, since=0),
            4: self.follow(job, since=4),
            7: self.follow(job, recent=3),
            10: self.follow(job),
            -1: self.follow(job, recent=99),
            15: self.follow(job, since=15),
        }
        for _ in range(10):
            self.running().record(b"2")
            self.turn()
        self.running().end(DONE)
        self.turn()
        for first, reader in readers.items():
            self.assertEqual(list(range(max(0, first), 20)), reader.numbers, first)
            self.assertEqual([DONE], reader.endings)

    def test_joining_at_every_moment(self) -> None:
        """Whenever one joins, also between a record's coming and its being stored: no gap."""
        job = self.submit()
        readers = []
        self.store.hold()
        for _ in range(12):
            readers.append(self.follow(job, since=0))
            self.running().record(b"1")
            readers.append(self.follow(job, since=0))
            self.store.release_one()
            readers.append(self.follow(job, since=0))
            self.turn()
        self.running().end(DONE)
        readers.append(self.follow(job, since=0))
        self.store.release()
        readers.append(self.follow(job, since=0))
        self.turn()
        for reader in readers:
            self.assertEqual((list(range(12)), [DONE]), (reader.numbers, reader.endings))

    def test_undurable_records_are_not_seen(self) -> None:
        """Neither by followers, nor by readers, nor counted: a crash could lose them."""
        job = self.submit()
        reader = self.follow(job, since=0)
        self.store.hold()
        self.running().records(b"0", b"1")
        self.turn()
        self.assertEqual([], reader.numbers)
        self.assertEqual(Page((), None), self.successResultOf(self.dispatcher.read(job, 0)))
        self.assertEqual(0, self.successResultOf(self.dispatcher.position(job, 0)))
        self.store.release_one()
        self.turn()
        self.assertEqual([0], reader.numbers)
        self.store.release()
        self.turn()
        self.assertEqual([0, 1], reader.numbers)
        self.running().end(DONE)
        self.turn()

    def test_ended_job(self) -> None:
        """A job that has ended is read to its end, page by page, without any waiting."""
        job = self.submit()
        self.running().records(*[b"1"] * 10)
        self.running().end(DONE)
        for since in (0, 3, 10, 11, 1000):
            reader = self.follow(job, since=since)
            self.assertEqual(list(range(since, 10)), reader.numbers)
            self.assertEqual([DONE], reader.endings)
        self.assertEqual([], self.follow(job).numbers)

    def test_before_the_first_record(self) -> None:
        """One may follow a job that still waits for its turn."""
        self.submit(queue=b"{}")
        job = self.submit("q", queue=b"{}")
        reader = self.follow(job)
        self.running().end(DONE)
        self.turn()
        self.running("q").record(b"0")
        self.running("q").end(DONE)
        self.turn()
        self.assertEqual(([0], [DONE]), (reader.numbers, reader.endings))

    def test_cancelled_while_followed(self) -> None:
        """Followers get the records so far and then that it was cancelled."""
        job = self.submit()
        reader = self.follow(job)
        self.running().record(b"0")
        self.successResultOf(self.dispatcher.cancel(job))
        self.turn()
        self.assertEqual(([0], [Cancelled()]), (reader.numbers, reader.endings))

    def test_unknown_job(self) -> None:
        """Says so at once."""
        self.assertIsInstance(_Reader(self.dispatcher.follow(NOBODY, 0)).failure, InvalidJobId)
        self.failureResultOf(self.dispatcher.position(NOBODY, 5), InvalidJobId)

    def test_job_that_is_nobodys(self) -> None:
        """One that neither lives nor ended isn't waited for for ever."""
        job = self.submit()
        self.store.crash()
        self.begin()  # and nothing is recovered
        reader = self.follow(job, since=0)
        self.assertIsInstance(reader.failure, MissingResult)
        self.failureResultOf(self.dispatcher.ending(job, True), MissingResult)

    def test_giving_up(self) -> None:
        """A follower that goes away is forgotten; the others are told."""
        job = self.submit()
        gone = self.dispatcher.follow(job, 0).next_page()
        reader = self.follow(job, since=0)
        gone.cancel()
        self.failureResultOf(gone, CancelledError)
        waiting = self.dispatcher.ending(job, True)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.running().record(b"0")
        self.running().end(DONE)
        self.turn()
        self.assertEqual(([0], [DONE]), (reader.numbers, reader.endings))

    def test_slow_follower(self) -> None:
        """One that reads a page a minute sees everything, and holds up nobody."""
        job = self.submit()
        slow = self.dispatcher.follow(job, 0)
        fast = self.follow(job, since=0)
        for _ in range(8):
            self.running().record(b"1")
            self.turn()
        self.assertEqual(list(range(8)), fast.numbers)
        self.running().end(DONE)
        self.turn()
        pages = [self.successResultOf(slow.next_page()) for _ in range(3)]
        self.assertEqual([3, 3, 2], [len(page.records) for page in pages])
        self.assertEqual([None, None, DONE], [page.ending for page in pages])


class SlowReadingTests(FollowCase):
    """A store whose reading takes a while, as one behind a network does."""

    def setUp(self) -> None:
        super().setUp()
        self.store = self.slow = _SlowReads(page_records=3)
        self.begin()

    def test_record_stored_while_reading(self) -> None:
        """What is stored between the look and the waiting isn't waited for."""
        job = self.submit()
        reader = self.follow(job, since=0)
        self.running().record(b"0")
        self.turn()
        self.slow.answer()
        self.assertEqual([], reader.numbers)
        self.slow.answer()
        self.assertEqual([0], reader.numbers)
        self.running().end(DONE)
        self.turn()
        self.slow.answer()
        self.slow.answer()
        self.assertEqual([DONE], reader.endings)

    def test_end_stored_while_reading(self) -> None:
        """Neither is an end, though the job lives no more when the page comes."""
        job = self.submit()
        reader = self.follow(job, since=0)
        self.running().end(DONE)
        self.turn()
        self.slow.answer()
        self.assertEqual([], reader.endings)
        self.slow.answer()
        self.assertEqual([DONE], reader.endings)

    def test_giving_up_while_reading(self) -> None:
        """The answer that comes then is nobody's."""
        page = self.dispatcher.follow(self.submit(), 0).next_page()
        page.cancel()
        self.failureResultOf(page, CancelledError)
        self.slow.answer()
        self.running().end(DONE)


class _SlowReads(MemoryJobStore):
    """Looks when it is asked, and tells later what it saw."""

    def __init__(self, *, page_records: int) -> None:
        super().__init__(page_records=page_records)
        self._seen: list[tuple[Deferred[Page], Deferred[Page]]] = []

    def read(self, job_id: JobId, since: int) -> Deferred[Page]:
        told: Deferred[Page] = Deferred()
        self._seen.append((super().read(job_id, since), told))
        return told

    def answer(self) -> None:
        """Tell the oldest answer."""
        if self._seen:
            seen, told = self._seen.pop(0)
            _ = seen.chainDeferred(told)


class CrowdTests(FollowCase):
    def test_ten_thousand_followers(self) -> None:
        """All of them are told of all, each once."""
        job = self.submit()
        readers = [self.follow(job, since=0) for _ in range(10_000)]
        waiting = [self.dispatcher.ending(job, True) for _ in range(10_000)]
        self.running().record(b"0")
        self.turn()
        self.assertEqual({1}, {reader.pages for reader in readers})
        self.running().end(DONE)
        self.turn()
        self.assertEqual({(1, 1)}, {(len(r.numbers), len(r.endings)) for r in readers})
        self.assertEqual({DONE}, {self.successResultOf(each) for each in waiting})

    def test_records_in_one_turn_are_told_together(self) -> None:
        """A burst wakes a follower once."""
        job = self.submit()
        reader = self.follow(job, since=0)
        self.running().records(b"0", b"1", b"2")
        self.turn()
        self.assertEqual(([0, 1, 2], 1), (reader.numbers, reader.pages))
        self.running().end(DONE)
        self.turn()


class RecoverTests(DispatcherCase):
    def test_queued_jobs_wait_again(self) -> None:
        """After kill -9 they run, in the old order, with their queue's old concurrency."""
        jobs = [self.submit(str(n), queue=b'{"q":1}', concurrency=2) for n in range(6)]
        other = self.submit("other", queue=b'{"q":2}')
        self.crash()
        self.assertEqual(["missing_result"] * 2, [self.failure_type(job) for job in jobs[:2]])
        self.assertEqual("missing_result", self.failure_type(other))
        self.assertEqual(["2", "3"], self.caller.called())
        self.assertEqual(jobs[2:], list(self.dispatcher.living()))
        late = self.submit("late", queue=b'{"q":1}', concurrency=9)
        self.assertEqual(["2", "3"], self.caller.called())
        for procedure in ("3", "2", "4", "5", "late"):
            self.running(procedure).end(DONE)
            self.turn()
        self.assertEqual(["2", "3", "4", "5", "late"], self.caller.called())
        self.assertEqual(DONE, self.ending(late))

    def test_running_jobs_are_missing(self) -> None:
        """How they ended isn't known; what they streamed stays readable; they don't run again."""
        job = self.submit()
        self.running().records(b"0", b"1")
        self.clock.advance(60)
        self.crash()
        self.assertEqual("missing_result", self.failure_type(job))
        self.assertEqual([b"0", b"1"], [record.data for record in self.all_records(job)])
        self.assertEqual([], self.caller.calls)
        self.assertEqual(self.now(), self.status(job).ended_at)

    def test_start_that_was_not_durable(self) -> None:
        """Its request can't have been sent, so the job runs now, for the first time."""
        self.store.hold()
        submitted = self.dispatcher.submit(call(), Requester("peer"))
        self.store.release_one()
        job = self.successResultOf(submitted)
        self.assertFalse(self.running().asked)
        self.crash()
        self.assertTrue(self.running().asked)
        self.running().end(DONE)
        self.assertEqual(DONE, self.ending(job))

    def test_without_queue_at_once(self) -> None:
        """A job of no queue that hadn't started does so."""
        self.successResultOf(self.dispatcher.stop(0))
        job = JobId("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda")
        self.successResultOf(self.store.add(job, Submitted(call(), 5.0)))
        self.crash()
        self.assertEqual(["p"], self.caller.called())
        self.running().end(DONE)
        self.assertEqual(DONE, self.ending(job))

    def test_twice(self) -> None:
        """A crash after the recovery changes nothing more."""
        jobs = [self.submit(str(n), queue=b"{}") for n in range(3)]
        self.crash()
        self.crash()
        self.assertEqual(["2"], self.caller.called())
        self.running("2").end(DONE)
        self.turn()
        self.assertEqual(["missing_result"] * 2, [self.failure_type(job) for job in jobs[:2]])
        self.assertEqual(DONE, self.ending(jobs[2]))

    def test_fires_when_the_ends_are_stored(self) -> None:
        """Until then nobody is told of them."""
        job = self.submit()
        self.store.crash()
        left_over = self.begin()
        self.store.hold()
        recovered = self.dispatcher.recover(left_over)
        waiting = self.dispatcher.ending(job, True)
        self.turn()
        self.assertNoResult(recovered)
        self.assertNoResult(waiting)
        self.store.release()
        self.turn()
        self.successResultOf(recovered)
        self.assertIsNotNone(self.successResultOf(waiting))

    def test_end_that_cannot_be_stored(self) -> None:
        """The dispatcher comes up all the same, and tries again."""
        job = self.submit()
        self.store.crash()
        left_over = self.begin()
        self.store.fail_next()
        self.successResultOf(self.dispatcher.recover(left_over))
        self.assertIsNone(self.ending(job))
        self.clock.advance(5)
        self.turn()
        self.assertEqual("missing_result", self.failure_type(job))

    def test_stopped_while_recovering(self) -> None:
        """The ends that are on their way into the store get there."""
        job = self.submit()
        self.store.crash()
        left_over: list[LeftOver] = self.begin()
        self.store.hold()
        recovered = self.dispatcher.recover(left_over)
        recovered.cancel()
        self.failureResultOf(recovered, CancelledError)
        stopped = self.dispatcher.stop(0)
        self.assertNoResult(stopped)
        self.store.release()
        self.turn()
        self.successResultOf(stopped)
        self.assertEqual("missing_result", self.failure_type(job))

    def test_waiters_of_recovered_jobs(self) -> None:
        """Whoever asks again after the restart gets the result of the job that waited."""
        self.submit(queue=b"{}")
        job = self.submit("q", queue=b"{}")
        self.crash()
        waiting = self.dispatcher.ending(job, True)
        self.running("q").end(DONE)
        self.assertEqual(DONE, self.result(waiting))
