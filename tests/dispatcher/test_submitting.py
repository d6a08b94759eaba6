"""A job id goes out when the job is durable; the request, when its start is."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail
from zope.interface.verify import verifyObject

from harpcaller.dispatcher.dispatcher import CallSettings
from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.interfaces import Fact, IDispatcher, IFollower, Limits, Recorded, Started, Submitted
from harpcaller.testing.caller import Stage
from harpcaller.testing.store import MemoryJobStore
from harpcaller.wire.client import Call, JobId, QueueSpec
from harpcaller.wire.ending import Failed
from harpcaller.wire.values import Raw
from tests.dispatcher.world import DISKS, DONE, EPOCH, NOBODY, PEER, DispatcherCase, call


class SubmitTests(DispatcherCase):
    def test_interfaces(self) -> None:
        """Every method is there, with the right arguments."""
        verifyObject(IDispatcher, self.dispatcher)
        verifyObject(IFollower, self.dispatcher.follow(NOBODY, 0))

    def test_no_id_before_the_job_is_durable(self) -> None:
        """Until then it has no id, isn't listed, and nobody is called."""
        self.store.hold()
        submitted = self.dispatcher.submit(call(), PEER)
        self.turn()
        self.assertNoResult(submitted)
        self.assertEqual(([], []), (list(self.dispatcher.living()), self.caller.calls))
        self.store.release()
        job = self.successResultOf(submitted)
        self.assertEqual([job], list(self.dispatcher.living()))
        self.assertEqual(Submitted(call(), EPOCH), self.store.facts_of(job)[0])
        self.running().end(DONE)

    def test_call_comes_back_in_the_status(self) -> None:
        """Host, procedure, arguments and info as they came, and how far the job is."""
        self.submit(queue=DISKS)
        self.clock.advance(1)
        job = self.submit("q", queue=DISKS)
        status = self.status(job)
        self.assertEqual(("web01", "q", b'["argument"]'),
                         (status.host, status.procedure, status.arguments))  # fmt: skip
        self.assertEqual((b'{"by":"test"}', DISKS), (status.info, status.queue_name))
        self.assertEqual(("queued", EPOCH + 1), (status.state, status.submitted_at))
        self.clock.advance(1)
        self.running().end(DONE)
        self.turn()
        status = self.status(job)
        self.assertEqual(("running", EPOCH + 2), (status.state, status.started_at))
        self.running("q").end(DONE)
        self.turn()

    def test_store_refuses(self) -> None:
        """The asker is told, and neither job nor queue are left behind."""
        self.store.fail_next(2)
        for queue in (None, DISKS):
            self.failureResultOf(self.dispatcher.submit(call("p", queue), PEER), StorageError)
        self.assertEqual(([], []), (list(self.dispatcher.living()), list(self.board.queues())))
        self.turn()

    def test_asker_goes_away(self) -> None:
        """A call that is on its way into the store becomes a job, heard or not."""
        self.store.hold()
        submitted = self.dispatcher.submit(call("p", DISKS), PEER)
        submitted.cancel()
        self.failureResultOf(submitted, CancelledError)
        self.store.release()
        self.turn()
        self.assertEqual(1, len(self.dispatcher.living()))
        self.running().end(DONE)
        self.turn()

    def test_asker_goes_away_and_the_store_refuses(self) -> None:
        """Then there is nobody to tell, and nothing is left."""
        self.store.hold()
        self.store.fail_next()
        submitted = self.dispatcher.submit(call("p", DISKS), PEER)
        submitted.cancel()
        self.failureResultOf(submitted, CancelledError)
        self.store.release()
        self.assertEqual([], list(self.board.queues()))

    def test_asker_goes_away_and_there_is_a_bug(self) -> None:
        """What nobody is there to be told is in the log at least."""
        self.store = store = _BuggyStore()
        self.begin()
        submitted = self.dispatcher.submit(call("p", DISKS), PEER)
        submitted.cancel()
        self.failureResultOf(submitted, CancelledError)
        store.adding.errback(ZeroDivisionError("bug"))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.assertEqual([], list(self.board.queues()))

    def test_stored_with_the_concurrency_in_force(self) -> None:
        """What a later call asks for isn't what counts, so it isn't what is kept."""
        self.submit(queue=DISKS, concurrency=2)
        job = self.submit("q", queue=DISKS, concurrency=9)
        fact = self.store.facts_of(job)[0]
        assert isinstance(fact, Submitted)
        self.assertEqual(QueueSpec(DISKS, 2), fact.call.queue)
        for procedure in "pq":
            self.running(procedure).end(DONE)
        self.turn()

    def test_queue_lives_while_its_job_is_being_stored(self) -> None:
        """The first call's concurrency counts, also if the second is stored in the same sync."""
        self.store.hold()
        for number in range(4):
            _ = self.dispatcher.submit(call(str(number), DISKS, 2 + number), PEER)
        self.store.release()
        self.turn()
        self.assertEqual(["0", "1"], self.caller.called())
        for number in range(4):
            self.running(str(number)).end(DONE)
            self.turn()

    def test_order_of_submission(self) -> None:
        """Jobs start, and are listed, in the order they were submitted."""
        jobs = [self.submit(str(number), queue=DISKS) for number in range(20)]
        self.assertEqual(jobs, list(self.dispatcher.living()))
        for number in range(20):
            self.assertEqual(str(number), self.caller.last().call.procedure)
            self.running(str(number)).end(DONE)
            self.turn()

    def test_event(self) -> None:
        """The log tells who submitted what where; never the arguments."""
        log = self.log()
        job = self.submit(queue=DISKS)
        self.assertEqual(
            [
                (
                    "job.submitted",
                    {
                        "job": job,
                        "host": "web01",
                        "procedure": "p",
                        "queue": '{"queue":"disks"}',
                        "client": None,
                        "peer": PEER.peer,
                    },
                ),
                ("job.started", {"job": job, "host": "web01", "procedure": "p"}),
            ],
            log,
        )
        self.running().end(DONE)
        self.turn()
        self.assertNotIn("argument", str(log))


class StartTests(DispatcherCase):
    def test_no_request_before_the_start_is_durable(self) -> None:
        """Connecting goes on meanwhile; a job whose start a crash forgets hasn't run."""
        self.store.hold()
        submitted = self.dispatcher.submit(call(), PEER)
        self.store.release_one()
        job = self.successResultOf(submitted)
        self.assertEqual(Stage.AWAITS_CLEARANCE, self.running().stage)
        self.turn()
        self.assertFalse(self.running().asked)
        self.assertEqual("queued", self.status(job).state)
        self.store.release()
        self.assertTrue(self.running().asked)
        self.assertEqual(Started(EPOCH), self.store.facts_of(job)[1])
        self.running().end(DONE)

    def test_start_that_cannot_be_stored(self) -> None:
        """The job ends with storage_error, and the agent never hears of it."""
        self.submit(queue=DISKS)
        job = self.submit("q", queue=DISKS)
        self.running().end(DONE)
        self.store.fail_next()
        self.turn()
        self.assertEqual("storage_error", self.failure_type(job))
        self.assertFalse(self.running("q").asked)
        self.assertEqual(["submitted", "ended"], self.kinds(job))

    def test_limits_are_passed_on(self) -> None:
        """``timeout`` and ``max_exec_time`` are two things, the configured total the most."""
        for asked, limits in (
            ((None, None), Limits(60, 300)),
            ((5.0, 7.0), Limits(5, 7)),
            ((900.0, 900.0), Limits(900, 300)),
        ):
            self.submit(timeout=asked[0], max_exec_time=asked[1])
            self.assertEqual(limits, self.running().limits)
            self.running().end(DONE)

    def test_waiting_does_not_count(self) -> None:
        """A job gets its whole time however long it waited."""
        self.submit(queue=DISKS)
        self.submit("q", queue=DISKS, timeout=5.0)
        self.clock.advance(1000)
        self.running().end(DONE)
        self.turn()
        self.assertEqual(Limits(5, 300), self.running("q").limits)
        self.running("q").end(DONE)
        self.turn()

    def test_settings_change_while_running(self) -> None:
        """Calls that start later get the new ones."""
        self.dispatcher.settings = CallSettings(1, 2)
        self.submit()
        self.assertEqual(Limits(1, 2), self.running().limits)
        self.running().end(DONE)

    def test_call_is_what_was_submitted(self) -> None:
        """From the queue, too, where it comes back from the store."""
        self.submit()
        self.assertEqual((call(), "10.0.0.1"), (self.running().call, self.running().host.address))
        self.running().end(DONE)
        self.submit("q", queue=DISKS)
        self.assertEqual(call("q", DISKS), self.running("q").call)
        self.running("q").end(DONE)
        self.turn()

    def test_host_removed_while_waiting(self) -> None:
        """The registry is asked when the turn comes."""
        self.submit(queue=DISKS)
        job = self.submit("q", queue=DISKS)
        self.hosts.hosts.clear()
        self.running().end(DONE)
        self.turn()
        self.assertEqual("unknown_host", self.failure_type(job))
        self.turn()

    def test_call_that_cannot_be_read_back(self) -> None:
        """A job whose file is damaged ends with storage_error; the next one runs."""
        self.store = store = _DamagedStore()
        self.begin()
        self.submit(queue=DISKS)
        job = self.submit("q", queue=DISKS)
        self.submit("r", queue=DISKS)
        store.damaged = job
        self.running().end(DONE)
        self.turn()
        self.turn()
        self.assertEqual("storage_error", self.failure_type(job))
        self.assertEqual(["p", "r"], self.caller.called())
        self.running("r").end(DONE)
        self.turn()


class RecordTests(DispatcherCase):
    def test_numbered_and_timed(self) -> None:
        """Each record has its absolute number and the time it came."""
        job = self.submit()
        for number in range(7):
            self.clock.advance(0.5)
            self.running().record(b"%d" % number)
        records = self.all_records(job)
        self.assertEqual(
            [(n, b"%d" % n, EPOCH + 0.5 * (n + 1)) for n in range(7)],
            [(record.number, record.data, record.time) for record in records],
        )
        self.running().end(DONE)

    def test_record_that_cannot_be_stored(self) -> None:
        """The job ends with storage_error; what was stored before stays readable."""
        job = self.submit()
        self.running().record(b"0")
        self.store.fail_next()
        self.running().record(b"1")
        self.assertEqual("storage_error", self.failure_type(job))
        self.assertEqual([b"0"], [record.data for record in self.all_records(job)])
        self.assertEqual(["submitted", "started", "recorded", "ended"], self.kinds(job))

    def test_several_that_cannot_be_stored(self) -> None:
        """Records under way behind one that fails fail too, and there is one ending."""
        job = self.submit()
        self.store.hold()
        self.store.fail_next(3)
        self.running().records(b"0", b"1", b"2", b"3")
        self.store.release()
        self.assertEqual(["submitted", "started", "ended"], self.kinds(job))
        self.assertEqual(Failed("storage_error", "the store was told to fail"), self.ending(job))

    def test_end_comes_after_the_records(self) -> None:
        """However close they are, the facts are stored in their order."""
        job = self.submit()
        self.store.hold()
        self.running().records(b"0", b"1")
        self.running().end(DONE)
        self.store.release()
        facts = self.store.facts_of(job)
        self.assertEqual([0, 1], [f.record.number for f in facts if isinstance(f, Recorded)])
        self.assertEqual(["submitted", "started", "recorded", "recorded", "ended"], self.kinds(job))


class ListTests(DispatcherCase):
    def test_jobs_queues_and_members(self) -> None:
        """What operators ask for, in order of submission."""
        first = self.submit(queue=DISKS)
        second = self.submit("q", queue=DISKS)
        third = self.submit("r")
        self.assertEqual([DISKS], list(self.dispatcher.queues()))
        members = self.dispatcher.queue_members(Raw(b'{ "queue" : "disks" }'))
        self.assertEqual([first, second], list(members))
        self.running("p").end(DONE)
        self.turn()
        self.assertEqual([second, third], list(self.dispatcher.living()))
        jobs, position = self.successResultOf(self.dispatcher.jobs(0, 2))
        self.assertEqual([first, second], [job.job_id for job in jobs])
        jobs, position = self.successResultOf(self.dispatcher.jobs(position, 2))
        self.assertEqual([third], [job.job_id for job in jobs])
        self.assertEqual(([], position), self.successResultOf(self.dispatcher.jobs(position, 2)))
        for procedure in "qr":
            self.running(procedure).end(DONE)
        self.turn()

    def test_prune(self) -> None:
        """By the time of the end: a long job isn't gone the moment it ends."""
        old = self.submit()
        long = self.submit("q")
        self.running("p").end(DONE)
        self.clock.advance(250)
        self.running("q").end(DONE)
        self.clock.advance(1)
        living = self.submit("r")
        self.assertEqual(1, self.successResultOf(self.dispatcher.prune(100)).removed)
        self.failureResultOf(self.dispatcher.status(old), InvalidJobId)
        self.assertEqual(["ended", "running"], [self.status(job).state for job in (long, living)])
        self.assertEqual(0, self.successResultOf(self.dispatcher.prune(0.5)).failed)
        self.running("r").end(DONE)

    def test_prune_jobs_of_the_future(self) -> None:
        """A job that ended while the clock was wrong stays until then, or until all are pruned."""
        self.clock.advance(1_000_000)
        job = self.submit()
        self.running("p").end(DONE)
        self.turn()
        self.clock.rightNow = 0.0
        self.assertEqual(0, self.successResultOf(self.dispatcher.prune(10)).removed)
        self.assertEqual(1, self.successResultOf(self.dispatcher.prune(0)).removed)
        self.failureResultOf(self.dispatcher.status(job), InvalidJobId)


class CancelQueueTests(DispatcherCase):
    def test_all_that_are_in_it(self) -> None:
        """Running and waiting ones end; jobs of other queues and of none go on."""
        jobs = [self.submit(str(number), queue=DISKS, concurrency=2) for number in range(5)]
        other = self.submit("other", queue=b'{"q":2}')
        cancelled = self.dispatcher.cancel_queue(DISKS)
        self.turn()
        self.assertEqual(5, self.successResultOf(cancelled))
        self.assertEqual(["cancelled"] * 5, [_outcome(self.ending(job)) for job in jobs])
        self.assertEqual([other], list(self.dispatcher.living()))
        self.assertEqual(["0", "1", "other"], self.caller.called())
        self.running("other").end(DONE)
        self.turn()

    def test_five_thousand(self) -> None:
        """In slices, so that others are served between; none gets a turn only to lose it."""
        jobs = [self.submit("p", queue=DISKS) for _ in range(5_000)]
        cancelled = self.dispatcher.cancel_queue(DISKS)
        left: list[int] = []

        def somebody_else() -> None:
            left.append(len(self.dispatcher.living()))
            if left[-1]:
                self.clock.callLater(0, somebody_else)

        somebody_else()
        self.turn()
        self.assertEqual(5_000, self.successResultOf(cancelled))
        self.assertEqual(list(range(4_950, -1, -50)), left)
        self.assertEqual((1, []), (len(self.caller.calls), list(self.dispatcher.living())))
        self.assertEqual([], list(self.board.queues()))
        self.assertTrue(all(self.kinds(job) == ["submitted", "ended"] for job in jobs[-2:]))

    def test_latecomers_are_left(self) -> None:
        """A job that comes after the command isn't cancelled by it."""
        for number in range(300):
            self.submit(str(number), queue=DISKS)
        cancelled = self.dispatcher.cancel_queue(DISKS)
        late = self.submit("late", queue=DISKS)
        self.turn(3)
        self.assertEqual(300, self.successResultOf(cancelled))
        self.assertEqual([late], list(self.dispatcher.living()))
        self.running("late").end(DONE)
        self.turn()

    def test_counts_what_it_ended(self) -> None:
        """One that ends by itself meanwhile, or can't be stored, isn't counted."""
        for number in range(3):
            self.submit(str(number), queue=DISKS)
        self.store.fail_next()
        cancelled = self.dispatcher.cancel_queue(DISKS)
        self.turn()
        self.assertEqual(2, self.successResultOf(cancelled))
        self.clock.advance(5)
        self.turn()
        self.assertEqual([], list(self.dispatcher.living()))

    def test_operator_goes_away(self) -> None:
        """The command is carried out to its end."""
        for number in range(300):
            self.submit(str(number), queue=DISKS)
        cancelled = self.dispatcher.cancel_queue(DISKS)
        cancelled.cancel()
        self.failureResultOf(cancelled, CancelledError)
        self.turn(3)
        self.assertEqual([], list(self.dispatcher.living()))

    def test_no_such_queue(self) -> None:
        """Nothing to end."""
        cancelled = self.dispatcher.cancel_queue(DISKS)
        self.turn()
        self.assertEqual(0, self.successResultOf(cancelled))


def _outcome(ending: object) -> str:
    return type(ending).__name__.lower()


class _DamagedStore(MemoryJobStore):
    """A store in which one job's file can't be read any more."""

    damaged: JobId | None = None

    def call(self, job_id: JobId) -> Deferred[Call]:
        if job_id == self.damaged:
            return fail(StorageError("the job's file is damaged"))
        return super().call(job_id)


class _BuggyStore(MemoryJobStore):
    """A store that adds nothing, until the test says what goes wrong."""

    def add(self, job_id: JobId, *facts: Fact) -> Deferred[None]:
        self.adding: Deferred[None] = Deferred()
        return self.adding
