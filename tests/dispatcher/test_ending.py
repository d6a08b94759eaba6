"""However a job ends, it ends once, is stored, frees its slot, and is told of after that."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred, fail

from harpcaller.errors import InvalidJobId, MissingResult, StorageError
from harpcaller.interfaces import Ended, Fact, Host, Requester
from harpcaller.testing.dispatcher import FakeHosts
from harpcaller.testing.store import MemoryJobStore
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Cancelled, Failed, Raised
from harpcaller.wire.values import Raw
from tests.dispatcher.world import DISKS, DONE, EPOCH, NOBODY, WEB01, DispatcherCase, call


class EndingTests(DispatcherCase):
    def test_result(self) -> None:
        """What the procedure returned is what is stored and told."""
        job = self.submit()
        waiting = self.dispatcher.ending(job, True)
        self.assertNoResult(waiting)
        self.assertIsNone(self.ending(job))
        self.clock.advance(2)
        self.running().end(DONE)
        self.assertEqual(DONE, self.result(waiting))
        self.assertEqual(DONE, self.ending(job))
        self.assertEqual(["submitted", "started", "ended"], self.kinds(job))
        status = self.status(job)
        self.assertEqual(
            (EPOCH, EPOCH, EPOCH + 2), (status.submitted_at, status.started_at, status.ended_at)
        )
        self.assertEqual([], list(self.dispatcher.living()))

    def test_exception(self) -> None:
        """What the procedure raised comes whole; the log has its type alone."""
        log = self.log()
        job = self.submit()
        raised = Raised("ValueError", "secret argument", Raw(b'{"class":"ValueError"}'))
        self.running().end(raised)
        self.assertEqual(raised, self.ending(job))
        what = {"job": job, "host": "web01", "procedure": "p", "client": None}
        self.assertEqual(
            ("job.ended", {**what, "outcome": "exception", "type": "ValueError"}), log[-1]
        )

    def test_agent_gone(self) -> None:
        """A vanished agent is a network_error, and the log says what happened."""
        log = self.log()
        job = self.submit()
        self.running().vanish()
        self.assertEqual("network_error", self.failure_type(job))
        self.assertEqual("the agent closed the connection", log[-1][1]["reason"])

    def test_agent_error_is_passed_on(self) -> None:
        """An error type that nobody here knows is passed on; its message isn't logged."""
        log = self.log()
        job = self.submit()
        self.running().end(Failed("new_error", "argument 5", Raw(b"[1]")))
        self.assertEqual(Failed("new_error", "argument 5", Raw(b"[1]")), self.ending(job))
        self.assertEqual(
            (job, "error", "new_error"),
            tuple(log[-1][1][key] for key in ("job", "outcome", "type")),
        )

    def test_unknown_host(self) -> None:
        """It never starts: its start is null, its end is set, and nobody was called."""
        job = self.submit(host="nowhere")
        self.assertEqual("unknown_host", self.failure_type(job))
        status = self.status(job)
        self.assertEqual((None, EPOCH), (status.started_at, status.ended_at))
        self.assertEqual([], self.caller.calls)

    def test_bug_in_caller(self) -> None:
        """A bug of ours ends the job with os_error and a traceback in the log."""
        job = self.submit(queue=DISKS)
        behind = self.submit("q", queue=DISKS)
        self.running().fail(ZeroDivisionError("bug"))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual("os_error", self.failure_type(job))
        self.turn()
        self.assertEqual("running", self.status(behind).state)
        self.running("q").end(DONE)

    def test_call_given_up_by_others(self) -> None:
        """A call that something else than our cancel gave up still ends, and frees its slot."""
        job = self.submit(queue=DISKS)
        self.submit("q", queue=DISKS)
        self.running().fail(CancelledError())
        self.turn()
        self.assertEqual("os_error", self.failure_type(job))
        self.assertEqual(["p", "q"], self.caller.called())
        self.running("q").end(DONE)

    def test_every_end_frees_the_slot(self) -> None:
        """Whatever the end, the next in the queue starts."""
        jobs: list[JobId] = []
        ends: tuple[Callable[[], object], ...] = (
            lambda: self.running("0").end(DONE),
            lambda: self.running("1").end(Raised("E", "x")),
            lambda: self.running("2").vanish(),
            lambda: self.successResultOf(self.dispatcher.cancel(jobs[3])),
            lambda: self.running("4").fail(StorageError("full")),
        )
        jobs += [self.submit(str(number), queue=DISKS) for number in range(len(ends) + 1)]
        for number, end in enumerate(ends):
            self.assertEqual(str(number), self.caller.last().call.procedure)
            end()
            self.turn()
        self.running("5").end(DONE)
        self.assertEqual([], list(self.dispatcher.queues()))
        self.turn()

    def test_unknown_host_frees_the_slot(self) -> None:
        """A long line of jobs that can't start doesn't hold up the one that can."""
        for _ in range(500):
            self.submit(queue=DISKS, host="nowhere")
        self.submit("q", queue=DISKS)
        self.turn()
        self.assertEqual(["q"], self.caller.called())
        self.running("q").end(DONE)

    def test_no_such_job(self) -> None:
        """Asking for the end of a job that isn't there says so, waiting or not."""
        for wait in (True, False):
            self.failureResultOf(self.dispatcher.ending(NOBODY, wait), InvalidJobId)


class StoreThenTellTests(DispatcherCase):
    def test_no_end_before_it_is_stored(self) -> None:
        """Neither result, status, follower nor the next in the queue know before the disk does."""
        job = self.submit(queue=DISKS)
        self.submit("q", queue=DISKS)
        waiting = self.dispatcher.ending(job, True)
        page = self.dispatcher.follow(job, 0).next_page()
        self.store.hold()
        self.running().end(DONE)
        self.turn(3)
        self.assertNoResult(waiting)
        self.assertNoResult(page)
        self.assertIsNone(self.ending(job))
        self.assertEqual("running", self.status(job).state)
        self.assertEqual(["p"], self.caller.called())
        self.store.release()
        self.turn()
        self.assertEqual(DONE, self.successResultOf(waiting))
        self.assertEqual(DONE, self.successResultOf(page).ending)
        self.assertEqual(["p", "q"], self.caller.called())
        self.running("q").end(DONE)
        self.turn()

    def test_first_ending_counts(self) -> None:
        """An end that is being stored isn't changed by a cancel."""
        job = self.submit()
        self.store.hold()
        self.running().end(DONE)
        cancelled = self.dispatcher.cancel(job)
        self.store.release()
        self.assertFalse(self.result(cancelled))
        self.assertEqual(DONE, self.ending(job))
        self.assertEqual(["submitted", "started", "ended"], self.kinds(job))


class EndNotStoredTests(DispatcherCase):
    """The disk is full at the worst moment."""

    def test_tried_again_and_told_then(self) -> None:
        """The end is kept, tried every five seconds, and told when it is stored; once."""
        log = self.log()
        job = self.submit(queue=DISKS)
        waiting = self.dispatcher.ending(job, True)
        self.store.fail_next(2)
        self.running().end(DONE)
        self.turn()
        self.assertNoResult(waiting)
        self.assertIsNone(self.ending(job))
        self.clock.advance(5)
        self.turn()
        self.assertNoResult(waiting)
        self.clock.advance(4.9)
        self.assertNoResult(waiting)
        self.clock.advance(0.1)
        self.assertEqual(DONE, self.result(waiting))
        self.assertEqual(EPOCH, self.status(job).ended_at)
        kinds = [kind for kind, _ in log if kind.startswith("job.end")]
        self.assertEqual(["job.end_not_stored", "job.end_not_stored", "job.ended"], kinds)

    def test_slot_is_freed_then(self) -> None:
        """Until the end is stored its queue's slot is taken."""
        self.submit(queue=DISKS)
        self.submit("q", queue=DISKS)
        self.store.fail_next()
        self.running().end(DONE)
        self.turn()
        self.assertEqual(["p"], self.caller.called())
        self.clock.advance(5)
        self.turn()
        self.assertEqual(["p", "q"], self.caller.called())
        self.running("q").end(DONE)

    def test_cancel_is_told_and_tried_again(self) -> None:
        """The asker hears that it can't be stored now; later it is all the same."""
        job = self.submit()
        self.store.fail_next()
        self.failureResultOf(self.dispatcher.cancel(job), StorageError)
        self.assertTrue(self.running().cancelled)
        self.clock.advance(5)
        self.turn()
        self.assertEqual(Cancelled(), self.ending(job))

    def test_bug_in_the_store(self) -> None:
        """A bug of the store's doesn't keep slot, waiters and memory for ever."""
        self.store = _BuggyStore(page_records=3)
        self.begin()
        job = self.submit(queue=DISKS)
        self.submit("q", queue=DISKS)
        waiting = self.dispatcher.ending(job, True)
        self.store.bug = True
        self.running().end(DONE)
        self.turn()
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.failureResultOf(waiting, MissingResult)
        self.assertEqual(["p", "q"], self.caller.called())
        self.assertEqual(1, len(self.dispatcher.living()))
        self.running("q").end(DONE)
        self.turn()


class _BuggyStore(MemoryJobStore):
    """A store whose next end is a bug."""

    bug = False

    def add(self, job_id: JobId, *facts: Fact) -> Deferred[None]:
        if self.bug and isinstance(facts[0], Ended):
            self.bug = False
            return fail(ZeroDivisionError("bug"))
        return super().add(job_id, *facts)


class CancelTests(DispatcherCase):
    def test_waiting_job(self) -> None:
        """It never starts: start null, end set; the others keep their order."""
        jobs = [self.submit(str(number), queue=DISKS) for number in range(3)]
        self.assertTrue(self.successResultOf(self.dispatcher.cancel(jobs[1])))
        self.assertEqual(Cancelled(), self.ending(jobs[1]))
        self.assertIsNone(self.status(jobs[1]).started_at)
        self.running("0").end(DONE)
        self.turn()
        self.assertEqual(["0", "2"], self.caller.called())
        self.running("2").end(DONE)
        self.turn()

    def test_running_job(self) -> None:
        """The call is given up at once, which ends the procedure; followers are told."""
        job = self.submit()
        page = self.dispatcher.follow(job, 0).next_page()
        self.assertTrue(self.successResultOf(self.dispatcher.cancel(job)))
        self.assertTrue(self.running().cancelled)
        self.assertEqual(Cancelled(), self.result(page).ending)

    def test_while_the_host_is_looked_up(self) -> None:
        """A turn that came doesn't make it run any more."""
        self.hosts = _SlowHosts()
        self.begin()
        job = self.submit()
        self.assertTrue(self.successResultOf(self.dispatcher.cancel(job)))
        self.assertEqual(([], ["submitted", "ended"]), (self.caller.calls, self.kinds(job)))

    def test_lookup_that_answers_when_cancelled(self) -> None:
        """A registry that answers all the same doesn't make it run either."""
        self.hosts = hosts = _SlowHosts()
        hosts.answers = True
        self.begin()
        job = self.submit()
        self.assertTrue(self.successResultOf(self.dispatcher.cancel(job)))
        self.assertEqual(([], ["submitted", "ended"]), (self.caller.calls, self.kinds(job)))

    def test_while_connecting(self) -> None:
        """The connection is given up before the request."""
        self.caller.connects = False
        job = self.submit()
        self.assertTrue(self.successResultOf(self.dispatcher.cancel(job)))
        self.assertEqual((True, False), (self.running().cancelled, self.running().asked))

    def test_while_the_start_is_being_stored(self) -> None:
        """No request goes out; start and end are stored in order."""
        job = self.submit(queue=DISKS)
        self.running().end(DONE)
        job = self.submit(queue=b'{"q":2}')
        self.running().end(DONE)
        self.store.hold()
        submitted = self.dispatcher.submit(call(), Requester("peer"))
        self.store.release_one()
        job = self.successResultOf(submitted)
        self.assertFalse(self.running().asked)
        cancelled = self.dispatcher.cancel(job)
        self.assertTrue(self.running().cancelled)
        self.assertNoResult(cancelled)
        self.store.release()
        self.assertTrue(self.successResultOf(cancelled))
        self.assertFalse(self.running().asked)
        self.assertEqual(["submitted", "started", "ended"], self.kinds(job))
        self.turn()

    def test_turn_comes_while_the_end_is_being_stored(self) -> None:
        """A waiting job whose cancel isn't stored yet doesn't start."""
        self.submit("0", queue=DISKS)
        job = self.submit("1", queue=DISKS)
        self.submit("2", queue=DISKS)
        self.running("0").end(DONE)
        self.store.hold()
        cancelled = self.dispatcher.cancel(job)
        self.turn()
        self.assertEqual(["0"], self.caller.called())
        self.store.release()
        self.assertTrue(self.result(cancelled))
        self.assertEqual(["0", "2"], self.caller.called())
        self.assertEqual(["submitted", "ended"], self.kinds(job))
        self.running("2").end(DONE)
        self.turn()

    def test_ended_or_unknown(self) -> None:
        """False, and nothing changes."""
        job = self.submit()
        self.running().end(DONE)
        self.assertFalse(self.successResultOf(self.dispatcher.cancel(job)))
        self.assertFalse(self.successResultOf(self.dispatcher.cancel(NOBODY)))
        self.assertEqual(DONE, self.ending(job))

    def test_second_cancel_waits_for_the_first(self) -> None:
        """Nobody is told that a job has ended while a crash could make it run after all."""
        self.submit(queue=DISKS)
        job = self.submit("q", queue=DISKS)
        self.store.hold()
        first, second = self.dispatcher.cancel(job), self.dispatcher.cancel(job)
        self.turn()
        self.assertNoResult(first)
        self.assertNoResult(second)
        self.store.release()
        self.assertTrue(self.result(first))
        self.assertFalse(self.successResultOf(second))
        self.running().end(DONE)

    def test_second_cancel_while_the_end_cannot_be_stored(self) -> None:
        """It hears the same as the first."""
        job = self.submit()
        self.store.fail_next()
        self.failureResultOf(self.dispatcher.cancel(job), StorageError)
        self.failureResultOf(self.dispatcher.cancel(job), StorageError)
        self.clock.advance(5)
        self.assertFalse(self.result(self.dispatcher.cancel(job)))

    def test_asker_goes_away(self) -> None:
        """The job is cancelled all the same."""
        job = self.submit()
        self.store.hold()
        cancelled = self.dispatcher.cancel(job)
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.store.release()
        self.assertEqual(Cancelled(), self.ending(job))

    def test_record_after_the_cancel_is_dropped(self) -> None:
        """What an agent says when nobody listens any more isn't stored."""
        job = self.submit()
        sink = self.running()._sink
        self.successResultOf(self.dispatcher.cancel(job))
        self.successResultOf(sink.record(Raw(b"1")))
        self.assertEqual(["submitted", "started", "ended"], self.kinds(job))


class _SlowHosts(FakeHosts):
    """A registry that never answers, or only when the asking is cancelled."""

    answers = False

    def find(self, hostname: str) -> Deferred[Host]:
        def give_up(asked: Deferred[Host]) -> None:
            if self.answers:
                asked.callback(WEB01)

        return Deferred(give_up)
