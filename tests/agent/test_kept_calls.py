"""The kept calls by their jobs' ids."""

from __future__ import annotations

from harpcaller.agent import kept_calls
from harpcaller.agent.kept_calls import KeepSettings, KeptCalls
from harpcaller.agent.running import Core, RunningCall, make_running_call
from harpcaller.agent.seams import ICaller
from harpcaller.errors import InvalidRequest, NoSuchJob, NoSuchProcedure
from harpcaller.logs.events import EventLog
from harpcaller.wire.agent import Attach, CancelJob, Credentials, ProcedureCall
from harpcaller.wire.client import JobId
from harpcaller.wire.values import EMPTY_LIST
from tests.agent.fakes import FakeLink, FakeProcess
from tests.house import HouseCase

JOB = JobId("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda")
ANSWER = b'{"result":1}\n'


class KeptCallsTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.calls = KeptCalls(KeepSettings(60.0, "/nonexistent"), self.clock, EventLog("agent"))
        self.processes: list[FakeProcess] = []
        self.running: list[RunningCall] = []
        self.addCleanup(self.calls.close)

    def start(self, caller: ICaller) -> RunningCall:
        core = Core(caller, self.clock, None, 5.0, lambda how: None, lambda: None)
        call = make_running_call(core)
        process = FakeProcess(call)
        caller.acknowledge(False)
        core.attach(process)
        call.free_to_run()
        self.processes.append(process)
        self.running.append(call)
        self.addCleanup(call.exited, "in the end")
        return call

    def begin(self, job: str = JOB, user: str = "u") -> FakeLink:
        link = FakeLink()
        request = ProcedureCall("p", EMPTY_LIST, Credentials(user, "p"), JobId(job))
        self.kept = self.calls.begin(request, link, self.start)
        return link

    def attach(self, job: str = JOB, user: str = "u", since: int = 0) -> FakeLink:
        link = FakeLink()
        self.kept = self.calls.attach(
            Attach(JobId(job), since, Credentials(user, "p")), link, "peer"
        )
        return link

    def cancel(self, job: str = JOB, user: str = "u") -> bool:
        return self.calls.cancel(CancelJob(JobId(job), Credentials(user, "p")))

    def end_unheard(self, job: str) -> None:
        link = self.begin(job)
        self.kept.lost(link)
        self.running[-1].answered(ANSWER)

    def test_are_kept(self) -> None:
        """Unless the operator doesn't want it."""
        self.assertTrue(self.calls.are_kept)
        self.calls.settings = KeepSettings(0.0)
        self.assertFalse(self.calls.are_kept)

    def test_goes_on(self) -> None:
        """Whoever has the same user name can go on with a call, and end it."""
        link = self.begin()
        self.kept.lost(link)
        self.assertIn(b"resume", self.attach().told)
        self.assertTrue(self.cancel())
        self.assertEqual(1, len(self.processes[0].ends))

    def test_somebody_elses(self) -> None:
        """Others neither hear nor end a call, nor do they learn that it is there."""
        self.begin()
        for user, job in [("other", JOB), ("u", "another job")]:
            attached = self.assertRaises(NoSuchJob, self.attach, job, user)
            cancelled = self.assertRaises(NoSuchJob, self.cancel, job, user)
            self.assertEqual(attached.message, cancelled.message)
        self.begin(JOB, "other")
        self.assertEqual(2, len(self.processes))

    def test_never_twice(self) -> None:
        """A job isn't begun again, be it running, ended or forgotten."""
        self.begin()
        self.assertRaises(InvalidRequest, self.begin)
        self.running[0].answered(ANSWER)
        self.assertRaises(InvalidRequest, self.begin)
        self.assertFalse(self.cancel())
        self.assertRaises(InvalidRequest, self.begin)
        self.assertRaises(NoSuchJob, self.attach)
        self.assertRaises(NoSuchJob, self.cancel)
        self.assertEqual(1, len(self.processes))

    def test_not_begun(self) -> None:
        """What couldn't be begun can be tried again."""

        def refuse(caller: ICaller) -> RunningCall:
            raise NoSuchProcedure("no")

        request = ProcedureCall("p", EMPTY_LIST, Credentials("u", "p"), JOB)
        self.assertRaises(NoSuchProcedure, self.calls.begin, request, FakeLink(), refuse)
        self.begin()

    def test_records_that_are_not_there(self) -> None:
        """Are told apart, for who reads the log of it."""
        self.begin()
        error = self.assertRaises(NoSuchJob, self.attach, since=1)
        self.assertIn("records from 1 on", error.message)

    def test_some_are_remembered(self) -> None:
        """So many jobs that are over aren't begun again; what is older is forgotten."""
        self.patch(kept_calls, "MOST_REMEMBERED", 3)
        for number in range(4):
            self.begin(str(number))
            self.running[-1].answered(ANSWER)
            self.cancel(str(number))
        self.assertRaises(InvalidRequest, self.begin, "1")
        self.begin("0")

    def test_too_many_ends_that_nobody_asks_for(self) -> None:
        """The oldest are forgotten first; one that is listened to doesn't count."""
        self.patch(kept_calls, "MOST_UNHEARD", 2)
        self.end_unheard("0")
        self.attach("0")
        for number in range(1, 4):
            self.end_unheard(str(number))
        self.assertRaises(NoSuchJob, self.attach, "1")
        for job in ("0", "2", "3"):
            self.attach(job)

    def test_too_large_ends_that_nobody_asks_for(self) -> None:
        """Likewise if they take too much room, but the last one stays."""
        self.patch(kept_calls, "MOST_UNHEARD_BYTES", 2 * len(ANSWER) - 1)
        for number in range(3):
            self.end_unheard(str(number))
        self.assertRaises(NoSuchJob, self.attach, "1")
        self.attach("2")

    def test_agent_stops(self) -> None:
        """Nothing is left of them."""
        self.begin("running")
        self.end_unheard("ended")
        self.calls.close()
        self.assertEqual(0, len(self.calls))
        for call in self.running:
            call.exited("in the end")
        self.assertEqual([], self.clock.getDelayedCalls())
