"""A call that its agent keeps, over connections that break."""

from __future__ import annotations

from itertools import pairwise

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionLost, ConnectionRefusedError
from twisted.python.failure import Failure

from harpcaller.errors import LeftRunning, StorageError
from harpcaller.interfaces import Limits
from harpcaller.testing.agent import (
    HANG_UP,
    Script,
    Wait,
    acknowledge,
    end,
    record,
)
from harpcaller.wire.agent import Attach, CancelJob
from harpcaller.wire.ending import Failed
from tests.call.calling import FINE, HOST, CallingCase, job_number

KEPT = acknowledge(streaming=True, resumable=True)
JOB = job_number(0)
ONE, TWO, THREE = (record(b"%d" % number, number) for number in range(3))


class ResumingCase(CallingCase):
    """The network is connected to by hand: each attempt is the test's to let or to refuse."""

    def begin(self, *script: Script, limits: Limits | None = None) -> None:
        """Begin a call that follows these scripts, on one connection after another."""
        first, *others = script
        self.agent.resumed = lambda _: others.pop(0)
        self.call = self.start([KEPT, *first], limits)
        self.network.connect()

    def cut(self) -> None:
        """Let the connection break."""
        self.near.close(ConnectionLost(), ConnectionLost())
        self.network.settle()

    def come_back(self) -> None:
        """Let the caller come back, and connect."""
        self.until_it_comes()
        self.network.connect()

    def until_it_comes(self) -> None:
        for _ in range(1000):
            if self.network.attempts:
                return
            self.advance(0.05)
        raise AssertionError("nobody comes back")

    def attached(self, *since: int) -> None:
        """Check from which records on it was gone on."""
        asked = [Attach(self.jobs[0], number, HOST.credentials) for number in since]
        self.assertEqual(asked, self.agent.attached)

    def assertEnded(self, times: int = 1) -> None:
        """The agent was told that the call needn't be kept."""
        said = CancelJob(self.jobs[0], HOST.credentials)
        self.assertEqual([said] * times, self.agent.cancelled)


class GoingOnTests(ResumingCase):
    def test_no_break(self) -> None:
        """The agent is told that the end is safe once it is; until then it is kept open."""
        self.begin([ONE, end(FINE)])
        self.assertEqual((FINE, 1), (self.result, self.sink.kept))
        self.assertFalse(self.near.gone)
        self.assertEqual([], self.clock.getDelayedCalls())
        self.caller.forget(self.jobs[0])
        self.assertClosed()
        self.assertEnded()

    def test_goes_on(self) -> None:
        """With the first record that isn't there, and no record comes twice or never."""
        self.begin([ONE, HANG_UP], [KEPT, TWO, THREE, end(FINE)])
        self.come_back()
        self.assertEqual((FINE, [b"0", b"1", b"2"]), (self.result, self.sink.records))
        self.assertEqual(1, self.sink.kept)
        self.attached(1)
        self.caller.forget(self.jobs[0])
        self.assertClosed()

    def test_breaks_again_and_again(self) -> None:
        """However often, and wherever."""
        self.begin([HANG_UP], [HANG_UP], [KEPT, ONE, HANG_UP], [HANG_UP], [KEPT, end(FINE)])
        for _ in range(4):
            self.come_back()
        self.assertEqual((FINE, [b"0"]), (self.result, self.sink.records))
        self.attached(0, 0, 1, 1)
        self.caller.forget(self.jobs[0])
        self.assertClosed()

    def test_cannot_be_reached_for_a_while(self) -> None:
        """It is tried again, less and less often."""
        self.begin([HANG_UP], [KEPT, end(FINE)], limits=Limits(600, 600))
        times = []
        for _ in range(12):
            self.until_it_comes()
            times.append(self.clock.seconds())
            self.network.refuse(ConnectionRefusedError())
        pauses = [round(later - earlier) for earlier, later in pairwise(times)]
        self.assertLess(times[0], 0.2)
        self.assertEqual(sorted(pauses), pauses)
        self.assertTrue(4 < pauses[-1] <= 10.1, pauses)
        self.come_back()
        self.assertEqual(FINE, self.result)

    def test_records_are_stored_first(self) -> None:
        """It isn't gone on before what was heard is stored: it says what is there."""
        self.sink.held = True
        self.begin([ONE, Wait(1), TWO, HANG_UP], [KEPT, THREE, end(FINE)])
        self.advance(1)
        self.sink.store(1)
        self.advance(5)
        self.assertEqual([], self.network.attempts)
        self.sink.store()
        self.sink.held = False
        self.come_back()
        self.attached(2)
        self.assertEqual(FINE, self.result)

    def test_record_cannot_be_stored(self) -> None:
        """Then the call is over, and its agent is told so, though by another connection."""
        self.sink.held = True
        self.begin([ONE, HANG_UP])
        self.sink.fail(StorageError("disk full"))
        assert isinstance(self.result, Failure)
        self.assertIsInstance(self.result.value, StorageError)
        self.come_back()
        self.assertEnded()
        self.assertClosed()

    def test_agent_does_not_know_the_job(self) -> None:
        """It was restarted, say: how the call ended is not known."""
        self.begin([HANG_UP])
        self.agent.resumed = None
        self.come_back()
        assert isinstance(self.result, Failed)
        self.assertEqual("missing_result", self.result.type)
        self.assertIn("no call of this user has this job id", self.result.message)
        self.assertClosed()

    def test_agents_own_error(self) -> None:
        """An error that ends the procedure after the break is what it is."""
        failed = Failed("timeout", "the procedure took longer than its limit")
        self.begin([HANG_UP], [KEPT, end(failed)])
        self.come_back()
        self.assertEqual(failed, self.result)

    def test_breach_after_the_break(self) -> None:
        """Ends the call, and the agent is told to end it."""
        self.begin([ONE, HANG_UP], [KEPT, ONE])
        self.come_back()
        assert isinstance(self.result, Failed)
        self.assertEqual("protocol_error", self.result.type)
        self.assertEnded()
        self.assertClosed()

    def test_old_agent(self) -> None:
        """One that doesn't keep calls isn't asked twice, and closing is all that it's told."""
        self.run_call([acknowledge(streaming=True), record(b"1"), HANG_UP])
        self.assertFailed("network_error", "the agent closed the connection before the end result")
        self.assertEqual(([], 0), (self.network.attempts, self.sink.kept))
        self.caller.forget(self.jobs[0])


class TimeTests(ResumingCase):
    def test_patience_ends(self) -> None:
        """A silence goes on over the break, and then it is a network error."""
        self.begin([Wait(20), HANG_UP], limits=Limits(30, 600))
        self.advance(20)
        self.assertEqual([], self.results)
        for _ in range(100):
            self.advance(0.5)
            if self.network.attempts:
                self.network.refuse(ConnectionRefusedError())
            if self.results:
                break
        assert isinstance(self.result, Failed)
        self.assertEqual("network_error", self.result.type)
        self.assertIn("nothing was heard from the agent for 30 s", self.result.message)
        self.assertTrue(30 <= self.clock.seconds() <= 31, self.clock.seconds())
        self.caller.stop()
        self.assertClosed()

    def test_coming_back_is_no_sign_of_life(self) -> None:
        """Who hears nothing but that it goes on has heard nothing of the procedure."""
        self.begin([Wait(20), HANG_UP], [KEPT], limits=Limits(30, 600))
        self.advance(20)
        self.come_back()
        self.advance(9)
        self.assertEqual([], self.results)
        self.advance(1)
        self.assertEqual(
            Failed("timeout", "nothing was heard from the agent for 30 s"), self.result
        )
        self.assertEnded()
        self.assertClosed()

    def test_whole_run(self) -> None:
        """Its limit holds over breaks, too."""
        self.begin([Wait(20), HANG_UP], [KEPT], limits=Limits(30, 25))
        self.advance(20)
        self.come_back()
        self.advance(5)
        assert isinstance(self.result, Failed)
        self.assertIn("maximum execution time", self.result.message)
        self.assertEnded()

    def test_too_slow_an_agent(self) -> None:
        """An agent that keeps calls is told to end one that took too long."""
        self.begin([ONE], limits=Limits(30, 600))
        self.advance(30)
        self.assertEqual("timeout", getattr(self.result, "type", None))
        self.assertEnded()
        self.assertClosed()

    def test_no_word_at_all(self) -> None:
        """One that hasn't said anything might keep the call, and is told so, too."""
        self.run_call([], Limits(30, 600))
        self.advance(30)
        self.assertEqual("timeout", getattr(self.result, "type", None))
        self.assertEnded()
        self.assertClosed()


class CancellingTests(ResumingCase):
    def assertCancelled(self) -> None:
        assert isinstance(self.result, Failure)
        self.assertIsInstance(self.result.value, CancelledError)
        self.assertEnded()
        self.assertClosed()

    def test_connected(self) -> None:
        """The agent is told on the call's own connection."""
        self.begin([ONE])
        self.call.cancel()
        self.network.settle()
        self.assertCancelled()
        self.assertEqual(1, len(self.agent.connections))

    def test_held_back(self) -> None:
        """Also one that has much to say yet."""
        self.sink.held = True
        self.begin([record(b'"%s"' % (b"x" * 10_000), number) for number in range(200)])
        self.assertLess(len(self.sink.records), 200)
        self.call.cancel()
        self.network.settle()
        self.assertCancelled()
        self.sink.store()

    def test_before_a_word(self) -> None:
        """One that hasn't answered yet may have begun all the same."""
        self.call = self.start([])
        self.network.connect()
        self.call.cancel()
        self.network.settle()
        self.assertCancelled()

    def test_waiting_to_come_back(self) -> None:
        """The agent is told on a connection of its own, which is tried until it hears."""
        self.begin([HANG_UP])
        self.call.cancel()
        assert isinstance(self.result, Failure)
        self.network.refuse(ConnectionRefusedError())
        self.come_back()
        self.assertCancelled()

    def test_coming_back(self) -> None:
        """So it is when the next connection is being made."""
        self.begin([HANG_UP])
        self.until_it_comes()
        self.call.cancel()
        self.come_back()
        self.assertCancelled()

    def test_break_that_waits_for_the_store(self) -> None:
        """And when what was heard is being stored."""
        self.sink.held = True
        self.begin([ONE, HANG_UP])
        self.call.cancel()
        self.come_back()
        self.assertCancelled()
        self.sink.store()

    def test_connection_breaks_meanwhile(self) -> None:
        """What can't be told on the call's connection is told on another."""
        self.begin([ONE])
        self.far.dataReceived = lambda data: None  # type: ignore[method-assign]  # it is deaf
        self.call.cancel()
        self.cut()
        self.come_back()
        self.assertCancelled()

    def test_not_for_ever(self) -> None:
        """After a minute it is the agent's business alone; so it is at the stop."""
        self.begin([HANG_UP])
        self.call.cancel()
        for _ in range(200):
            self.advance(0.5)
            if self.network.attempts:
                self.network.refuse(ConnectionRefusedError())
        self.assertEqual([], self.clock.getDelayedCalls())
        self.begin([HANG_UP])
        self.call.cancel()
        self.caller.stop()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.results.pop()
        self.results.pop()


class LeavingTests(ResumingCase):
    def assertLeft(self) -> None:
        assert isinstance(self.result, Failure)
        self.assertIsInstance(self.result.value, LeftRunning)
        self.assertEqual([], self.agent.cancelled)
        self.assertClosed()

    def test_connected(self) -> None:
        """The connection is closed, and the agent is told nothing."""
        self.begin([ONE])
        self.assertTrue(self.caller.leave(self.jobs[0]))
        self.assertLeft()
        self.assertFalse(self.caller.leave(self.jobs[0]))

    def test_broken(self) -> None:
        """Nobody comes back."""
        self.begin([ONE, HANG_UP])
        self.assertTrue(self.caller.leave(self.jobs[0]))
        self.assertLeft()

    def test_agent_that_does_not_keep_it(self) -> None:
        """Can't be left with it; nor can one that has told the end."""
        self.run_call([acknowledge()])
        self.assertFalse(self.caller.leave(self.jobs[0]))
        self.near.abortConnection()
        self.network.settle()
        self.results.clear()
        self.begin([end(FINE)])
        self.assertFalse(self.caller.leave(self.jobs[1]))
        self.caller.forget(self.jobs[1])
        self.network.settle()


class LaterTests(ResumingCase):
    """Going on with what an earlier dispatcher began."""

    def resume(self, *script: Script, elapsed: float = 100.0) -> None:
        scripts = list(script)
        self.agent.resumed = lambda _: scripts.pop(0)
        self.jobs.append(JOB)
        call = self.caller.resume(HOST, JOB, 1, Limits(30, 600), elapsed, self.sink)
        _ = call.addBoth(self.results.append)

    def test_goes_on(self) -> None:
        """From the record that is asked for; that it is kept is known already."""
        self.resume([KEPT, TWO, end(FINE)])
        self.come_back()
        self.assertEqual((FINE, [b"1"], 0), (self.result, self.sink.records, self.sink.kept))
        self.attached(1)
        self.caller.forget(JOB)
        self.assertClosed()

    def test_agent_is_away(self) -> None:
        """It is tried until the whole time is over, counted from the job's start."""
        self.resume(elapsed=580.0)
        self.advance(5)
        self.network.refuse(ConnectionRefusedError())
        for _ in range(100):
            self.advance(0.5)
            if self.network.attempts:
                self.network.refuse(ConnectionRefusedError())
            if self.results:
                break
        assert isinstance(self.result, Failed)
        self.assertEqual("network_error", self.result.type)
        self.assertTrue(20 <= self.clock.seconds() <= 21, self.clock.seconds())
        self.caller.stop()

    def test_time_is_over(self) -> None:
        """The agent is told to end it."""
        self.resume(elapsed=600.0)
        self.assertEqual("timeout", getattr(self.result, "type", None))
        self.come_back()
        self.assertEnded()
        self.assertClosed()

    def test_left_again(self) -> None:
        """As often as the dispatcher is restarted."""
        self.resume([KEPT])
        self.assertTrue(self.caller.leave(JOB))
        self.assertClosed()
