"""The caller in memory keeps the rules of the real one."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, succeed
from zope.interface import implementer
from zope.interface.verify import verifyObject

from harpcaller.errors import LeftRunning, StorageError
from harpcaller.interfaces import Host, ICaller, ICallSink, Limits
from harpcaller.testing.caller import FakeCall, FakeCaller, Stage
from harpcaller.wire.agent import Credentials
from harpcaller.wire.client import Call, JobId
from harpcaller.wire.ending import Ending, Failed, Returned
from harpcaller.wire.procedures import ProcedureList
from harpcaller.wire.values import Raw
from tests.house import HouseCase

WEB01 = Host("web01", "10.0.0.1", 4306, Credentials("rpc", "caixaudakuPus6yo"))
JOB = JobId("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda")
DONE = Returned(Raw(b"1"))


@implementer(ICallSink)
class Sink:
    """Takes records, which are stored when the test fires them."""

    def __init__(self) -> None:
        self.taken: list[tuple[bytes, Deferred[None]]] = []
        self.kept = 0

    def resumable(self) -> None:
        self.kept += 1

    def record(self, *data: Raw) -> Deferred[None]:
        self.taken.append((b"".join(data), Deferred()))
        return self.taken[-1][1]


class FakeCallerTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.caller = FakeCaller(connects=False)
        self.sink = Sink()

    def begin(self, clearance: Deferred[None] | None = None) -> tuple[FakeCall, Deferred[Ending]]:
        outcome = self.caller.call(
            WEB01,
            JOB,
            Call("web01", "p", Raw(b"[]")),
            Limits(1, 2),
            self.sink,
            succeed(None) if clearance is None else clearance,
        )
        return self.caller.last(), outcome

    def test_provides_the_interface(self) -> None:
        """Every method is there, with the right arguments."""
        verifyObject(ICaller, self.caller)

    def test_connects_by_itself(self) -> None:
        """Unless told otherwise, for most tests don't care."""
        self.caller.connects = True
        call, _ = self.begin()
        self.assertEqual((Stage.ASKED, [call]), (call.stage, self.caller.open()))
        self.assertIn("p on web01: asked", repr(call))

    def test_no_request_before_the_clearance(self) -> None:
        """Connecting isn't enough, and neither is the clearance alone."""
        for order in ("connected first", "cleared first"):
            clearance: Deferred[None] = Deferred()
            call, _ = self.begin(clearance)
            if order == "connected first":
                call.connected()
                self.assertEqual((False, Stage.AWAITS_CLEARANCE), (call.asked, call.stage))
                clearance.callback(None)
            else:
                clearance.callback(None)
                self.assertEqual((False, Stage.CONNECTING), (call.asked, call.stage))
                call.connected()
            self.assertTrue(call.asked, order)

    def test_refused_clearance_fails_the_call(self) -> None:
        """With the error that kept it from being given."""
        clearance: Deferred[None] = Deferred()
        call, outcome = self.begin(clearance)
        clearance.errback(StorageError("full"))
        call.connected()
        self.failureResultOf(outcome, StorageError)
        self.assertFalse(call.asked)

    def test_ending_waits_for_records(self) -> None:
        """What was streamed is stored before the call is over."""
        call, outcome = self.begin()
        call.connected()
        call.records(b"1", b"2")
        call.end(DONE)
        self.sink.taken[0][1].callback(None)
        self.assertNoResult(outcome)
        self.assertEqual(1, call.unstored)
        self.sink.taken[1][1].callback(None)
        self.assertEqual(DONE, self.successResultOf(outcome))

    def test_record_that_is_not_stored_fails_the_call(self) -> None:
        """Once; the records behind it don't matter any more."""
        call, outcome = self.begin()
        call.connected()
        call.records(b"1", b"2")
        for _, stored in self.sink.taken:
            stored.errback(StorageError("full"))
        self.failureResultOf(outcome, StorageError)

    def test_agent_vanishes(self) -> None:
        """That is an ending, as for the real caller."""
        call, outcome = self.begin()
        call.vanish()
        ending = self.successResultOf(outcome)
        assert isinstance(ending, Failed)
        self.assertEqual("network_error", ending.type)

    def test_caller_fails(self) -> None:
        """A bug in the caller is what the test says."""
        call, outcome = self.begin()
        call.fail(ValueError("bug"))
        self.failureResultOf(outcome, ValueError)

    def test_cancelling_is_noticed(self) -> None:
        """At whatever stage, the clearance included."""
        clearance: Deferred[None] = Deferred()
        call, outcome = self.begin(clearance)
        call.connected()
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        self.assertTrue(call.cancelled and clearance.called)
        call, outcome = self.begin()
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        self.assertEqual((True, [], False), (call.cancelled, self.caller.open(), call.asked))

    def test_late_storing_after_cancelling(self) -> None:
        """Nothing comes of a record that is stored when the call is over."""
        call, outcome = self.begin()
        call.connected()
        call.record(b"1")
        call.end(DONE)
        outcome.cancel()
        self.failureResultOf(outcome, CancelledError)
        self.sink.taken[0][1].callback(None)

    def test_leaving(self) -> None:
        """Only a call that its agent keeps can be left to it, and only while it runs."""
        call, outcome = self.begin()
        call.connected()
        self.assertFalse(self.caller.leave(JOB))
        call.keep()
        self.assertEqual(1, self.sink.kept)
        self.assertTrue(self.caller.leave(JOB))
        self.failureResultOf(outcome, LeftRunning)
        self.assertEqual((True, False), (call.left, call.cancelled))
        self.assertFalse(self.caller.leave(JOB))

    def test_going_on(self) -> None:
        """With a call of an earlier dispatcher; nothing has to be cleared, and it is kept."""
        outcome = self.caller.resume(WEB01, JOB, 7, Limits(1, 2), 5.0, self.sink)
        (resumption,) = self.caller.resumptions
        self.assertEqual((7, 5.0), (resumption.since, resumption.elapsed_seconds))
        resumption.connected()
        self.assertIn("asked", repr(resumption))
        resumption.end(DONE)
        self.assertEqual(DONE, self.successResultOf(outcome))
        self.caller.connects = True
        outcome = self.caller.resume(WEB01, JOB, 7, Limits(1, 2), 5.0, self.sink)
        self.assertTrue(self.caller.leave(JOB))
        self.failureResultOf(outcome, LeftRunning)

    def test_forgetting(self) -> None:
        """Is noted."""
        self.caller.forget(JOB)
        self.assertEqual([JOB], self.caller.forgotten)

    def test_finding_calls(self) -> None:
        """By procedure, the latest first."""
        first, _ = self.begin()
        second, _ = self.begin()
        self.assertIs(second, self.caller.of("p"))
        self.assertEqual(["p", "p"], self.caller.called())
        self.assertRaises(LookupError, self.caller.of, "q")
        self.assertEqual([first, second], self.caller.open())

    def test_list_of_procedures(self) -> None:
        """What the test said; other hosts can't be reached."""
        unreachable = self.successResultOf(self.caller.procedures(WEB01))
        self.assertIsInstance(unreachable, Failed)
        listed = self.caller.listed["web01"] = ProcedureList(())
        self.assertEqual(listed, self.successResultOf(self.caller.procedures(WEB01)))
