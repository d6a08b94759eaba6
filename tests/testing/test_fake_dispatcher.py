"""The dispatcher in memory does what the interface says."""

from __future__ import annotations

from zope.interface.verify import verifyObject

from harpcaller.errors import InvalidJobId, StorageError, UnknownHost
from harpcaller.interfaces import Host, IDaemon, IDispatcher, IFollower, IHosts, Page, Requester
from harpcaller.testing.dispatcher import Bell, FakeDaemon, FakeDispatcher, FakeHosts
from harpcaller.wire.agent import Credentials
from harpcaller.wire.client import Call, JobId, QueueSpec
from harpcaller.wire.client_answers import Record
from harpcaller.wire.ending import Cancelled, Failed, Returned
from harpcaller.wire.procedures import Procedure, ProcedureList
from harpcaller.wire.values import Raw
from tests.house import HouseCase

NOBODY = JobId("00000000-0000-4000-8000-00000000abcd")
DONE = Returned(Raw(b"1"))


class DispatcherTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.dispatcher = FakeDispatcher(self.clock.seconds, page_size=2)

    def job(self, queue: bytes | None = None) -> JobId:
        place = None if queue is None else QueueSpec(Raw(queue))
        call = Call("web01", "p", Raw(b"[]"), queue=place)
        return self.successResultOf(self.dispatcher.submit(call, Requester("127.0.0.1")))

    def test_provides_the_interface(self) -> None:
        """Every method is there, with the right arguments."""
        verifyObject(IDispatcher, self.dispatcher)
        verifyObject(IFollower, self.dispatcher.follow(NOBODY, 0))

    def test_refuses_on_demand(self) -> None:
        """A full disk, say."""
        self.dispatcher.refusal = StorageError("disk full")
        call = Call("web01", "p", Raw(b"[]"))
        self.failureResultOf(self.dispatcher.submit(call, Requester("x")), StorageError)
        self.assertEqual([], self.dispatcher.submitted)

    def test_life_of_a_job(self) -> None:
        """Queued, running, ended, with the clock's times."""
        job = self.job()
        self.clock.advance(1)
        self.dispatcher.start(job)
        self.assertEqual("running", self.successResultOf(self.dispatcher.status(job)).state)
        self.clock.advance(1)
        ending = self.dispatcher.ending(job, True)
        self.assertNoResult(ending)
        self.assertIsNone(self.successResultOf(self.dispatcher.ending(job, False)))
        self.dispatcher.end(job, DONE)
        self.assertEqual(DONE, self.successResultOf(ending))
        status = self.successResultOf(self.dispatcher.status(job))
        times = (status.submitted_at, status.started_at, status.ended_at)
        self.assertEqual((0.0, 1.0, 2.0), times)
        self.assertEqual([], self.dispatcher.living())
        self.assertEqual(Requester("127.0.0.1"), self.dispatcher.job(job).client)

    def test_waiting_for_an_ending_can_be_given_up(self) -> None:
        """A client that goes leaves nobody waiting."""
        job = self.job()
        ending = self.dispatcher.ending(job, True)
        ending.cancel()
        self.failureResultOf(ending)
        self.assertEqual(0, len(self.dispatcher.job(job).changed))

    def test_cancel_once(self) -> None:
        """A living job is ended; an ended or unknown one isn't."""
        job = self.job()
        for cancelled in (True, False):
            self.assertEqual(cancelled, self.successResultOf(self.dispatcher.cancel(job)))
        self.assertFalse(self.successResultOf(self.dispatcher.cancel(NOBODY)))

    def test_following(self) -> None:
        """Page by page, then what comes live, and the ending last."""
        job = self.job()
        for number in range(3):
            self.dispatcher.say(job, b"%d" % number)
        follower = self.dispatcher.follow(job, 0)
        records = tuple(Record(n, Raw(b"%d" % n), 0.0) for n in range(4))
        self.assertEqual(Page(records[:2], None), self.successResultOf(follower.next_page()))
        self.assertEqual(Page(records[2:3], None), self.successResultOf(follower.next_page()))
        live = follower.next_page()
        self.assertNoResult(live)
        self.dispatcher.say(job, b"3")
        self.assertEqual(Page(records[3:], None), self.successResultOf(live))
        self.dispatcher.end(job, DONE)
        self.assertEqual(Page((), DONE), self.successResultOf(follower.next_page()))
        self.assertEqual(
            Page(records[2:], DONE), self.successResultOf(self.dispatcher.read(job, 2))
        )
        self.assertEqual(3, self.successResultOf(self.dispatcher.position(job, 1)))
        self.assertEqual(0, self.successResultOf(self.dispatcher.position(job, 9)))

    def test_unknown_and_damaged_jobs(self) -> None:
        """Each has its own error, wherever it is asked for."""
        job = self.job()
        self.dispatcher.damage(job)
        for job_id, error in ((NOBODY, InvalidJobId), (job, StorageError)):
            for asked in (
                self.dispatcher.status(job_id),
                self.dispatcher.read(job_id, 0),
                self.dispatcher.position(job_id, 0),
                self.dispatcher.ending(job_id, True),
                self.dispatcher.follow(job_id, 0).next_page(),
            ):
                self.failureResultOf(asked, error)
        self.assertEqual(([], 0), self.successResultOf(self.dispatcher.jobs(0, 10)))

    def test_listing_goes_on_from_a_position(self) -> None:
        """All jobs, a page at a time."""
        jobs = [self.job() for _ in range(3)]
        page, position = self.successResultOf(self.dispatcher.jobs(0, 2))
        self.assertEqual(jobs[:2], [stored.job_id for stored in page])
        page, position = self.successResultOf(self.dispatcher.jobs(position, 2))
        self.assertEqual(jobs[2:], [stored.job_id for stored in page])
        self.assertEqual(([], position), self.successResultOf(self.dispatcher.jobs(position, 2)))

    def test_what_there_is_to_call(self) -> None:
        """What the test said, by host; others aren't known."""
        listed = ProcedureList((Procedure("p", "()", "", False),))
        self.dispatcher.listed = {"web01": listed, "db01": Failed("auth_error", "no")}
        self.assertEqual(["db01", "web01"], self.successResultOf(self.dispatcher.hosts()))
        self.assertEqual(listed, self.successResultOf(self.dispatcher.procedures("web01")))
        self.failureResultOf(self.dispatcher.procedures("web99"), UnknownHost)

    def test_queues(self) -> None:
        """By the name's value, the running jobs first."""
        waiting, running = self.job(b'{"a":1}'), self.job(b'{"a":1.0}')
        self.dispatcher.start(running)
        self.job()
        self.assertEqual([b'{"a":1}'], self.dispatcher.queues())
        self.assertEqual([running, waiting], self.dispatcher.queue_members(Raw(b'{"a":1}')))
        self.assertEqual(2, self.successResultOf(self.dispatcher.cancel_queue(Raw(b'{"a":1}'))))
        self.assertEqual([], self.dispatcher.queues())

    def test_pruning(self) -> None:
        """Only what ended long enough ago."""
        old, young, living = self.job(), self.job(), self.job()
        self.dispatcher.end(old, Cancelled())
        self.clock.advance(10)
        self.dispatcher.end(young, Cancelled())
        self.assertEqual(1, self.successResultOf(self.dispatcher.prune(5.0)).removed)
        listed, _ = self.successResultOf(self.dispatcher.jobs(0, 9))
        self.assertEqual([young, living], [stored.job_id for stored in listed])


class HostsTests(HouseCase):
    def test_registry(self) -> None:
        """It is what the script prints, from the next refresh on."""
        web01 = Host("web01", "::1", 1, Credentials("u", "p"))
        web02 = Host("web02", "::1", 2, Credentials("u", "p"))
        hosts = FakeHosts(web02)
        verifyObject(IHosts, hosts)
        self.assertEqual(web02, self.successResultOf(hosts.find("web02")))
        self.failureResultOf(hosts.find("web01"), UnknownHost)
        hosts.printed = [web02, web01]
        hosts.problem = "exit code 1"
        self.assertEqual("exit code 1", self.successResultOf(hosts.refresh()))
        self.assertEqual([web02], hosts.all())
        hosts.problem = None
        self.assertIsNone(self.successResultOf(hosts.refresh()))
        self.assertEqual([web01, web02], hosts.all())


class DaemonTests(HouseCase):
    def test_start_up(self) -> None:
        """Everyone who waits is told, and later ones need not wait."""
        daemon = FakeDaemon(started=False)
        verifyObject(IDaemon, daemon)
        first, second = daemon.ready(), daemon.ready()
        self.assertNoResult(first)
        daemon.started()
        for waiter in (first, second, daemon.ready()):
            self.successResultOf(waiter)


class BellTests(HouseCase):
    def test_waiter_cancelled_while_it_rings(self) -> None:
        """One waiter may give up because another was told."""
        bell = Bell()
        first, second = bell.wait(), bell.wait()
        _ = first.addCallback(lambda _: second.cancel())
        self.assertEqual(2, len(bell))
        bell.ring()
        self.assertEqual(0, len(bell))
        self.failureResultOf(second)
