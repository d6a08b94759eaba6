"""One call, from the request to its ending."""

from __future__ import annotations

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from harpcaller.interfaces import ICaller, ICallSink, Limits
from harpcaller.testing.agent import (
    BREAK_OFF,
    HANG_UP,
    Flood,
    Say,
    Script,
    Step,
    Wait,
    acknowledge,
    end,
    record,
    slowly,
)
from harpcaller.wire.agent import ProcedureCall
from harpcaller.wire.ending import Failed, Raised, Returned
from harpcaller.wire.values import Raw
from tests.call.calling import CALL, FINE, HOST, STREAM, CallingCase, FakeSink


class AnsweredTests(CallingCase):
    def test_interfaces(self) -> None:
        """Caller and sink are what the seams say."""
        verifyObject(ICaller, self.caller)
        verifyObject(ICallSink, self.sink)

    def test_result(self) -> None:
        """The agent is asked what the call says, and its result is the ending."""
        self.run_call()
        self.assertEqual(FINE, self.result)
        wanted = ProcedureCall(CALL.procedure, CALL.arguments, HOST.credentials, self.jobs[0])
        self.assertEqual([wanted], self.agent.requests)
        self.assertEqual([HOST], self.network.hosts)
        self.assertClosed()

    def test_exception(self) -> None:
        """What the procedure raised is the ending, its data as it came."""
        raised = Raised("ValueError", "no", Raw(b'{"a": 1.50}'))
        self.run_call([acknowledge(), end(raised), HANG_UP])
        self.assertEqual(raised, self.result)

    def test_error_before_acknowledgement(self) -> None:
        """The agent may refuse the call at once, with an error of any type."""
        refused = Failed("no_such_thing", "never heard of it", Raw(b"[1]"))
        self.run_call([end(refused), HANG_UP])
        self.assertEqual(refused, self.result)
        self.assertClosed()

    def test_records(self) -> None:
        """Records go to the sink in order, however they are cut into pieces."""
        wanted = [b"%d" % number for number in range(20)]
        said = b"".join(record(one).data for one in wanted)
        script = [STREAM, *slowly(Say(said), pieces=7, seconds=1), end(FINE), HANG_UP]
        self.run_call(script)
        for _ in range(7):
            self.assertEqual([], self.results)
            self.advance(1)
        self.assertEqual(wanted, self.sink.records)
        self.assertEqual(FINE, self.result)
        self.assertClosed()

    def test_long_line(self) -> None:
        """A result of many megabytes comes through whole."""
        long = Returned(Raw(b'"%s"' % (b"x" * 5_000_000)))
        self.run_call([acknowledge(), end(long), HANG_UP])
        self.assertEqual(long, self.result)

    def test_agent_that_does_not_close(self) -> None:
        """The ending is told at once; an agent that never closes its side is cut off later."""
        self.run_call([acknowledge(), Wait(1), end(FINE)])
        self.near.other.paused = True
        self.advance(1)
        self.assertEqual(FINE, self.result)
        self.advance(4.9)
        self.assertFalse(self.near.gone)
        self.advance(0.1)
        self.assertClosed()

    def test_talk_after_the_end(self) -> None:
        """What comes after the ending is passed over."""
        self.run_call([acknowledge(), end(FINE), record(b"1"), Say(b"garbage\n"), HANG_UP])
        self.assertEqual(FINE, self.result)
        self.assertEqual([], self.sink.records)
        self.assertClosed()

    def test_calls_do_not_mix(self) -> None:
        """Two calls at once have a connection each."""
        first, second = FakeSink(), FakeSink()
        self.agent.script = [STREAM, record(b"1"), Wait(1), end(FINE), HANG_UP]
        self.sink = first
        _ = self.start()
        self.sink = second
        _ = self.start()
        self.network.connect()
        self.assertEqual(([b"1"], [b"1"]), (first.records, second.records))
        self.advance(1)
        self.assertEqual([FINE, FINE], self.results)
        self.assertClosed()


class MisbehavingAgentTests(CallingCase):
    def assertBreach(self, script: Script, message: str) -> None:
        self.run_call(script)
        self.assertFailed("protocol_error", message)

    def test_talks_before_being_asked(self) -> None:
        """An agent that speaks first doesn't get the request."""
        self.clearance = Deferred()
        self.agent.unasked = [acknowledge(), end(FINE)]
        self.run_call()
        self.clearance.callback(None)
        self.network.settle()
        self.assertFailed("protocol_error", "the agent talked before it was asked")
        self.assertEqual(b"", self.far.heard)

    def test_garbage(self) -> None:
        """What isn't JSON ends the call."""
        self.run_call([Say(b"HTTP/1.1 400 Bad Request\n")])
        assert isinstance(self.result, Failed)
        self.assertEqual("protocol_error", self.result.type)
        self.assertIn("the agent's message: not JSON", self.result.message)
        self.assertClosed()

    def test_result_without_acknowledgement(self) -> None:
        """A result before the acknowledgement is a breach."""
        self.assertBreach([end(FINE)], "the agent answered before it acknowledged the call")

    def test_acknowledges_twice(self) -> None:
        """So are two acknowledgements."""
        self.assertBreach([acknowledge(), acknowledge()], "the agent acknowledged the call twice")

    def test_record_of_a_procedure_that_does_not_stream(self) -> None:
        """So is a record that wasn't announced."""
        self.assertBreach(
            [acknowledge(), record(b"1")],
            "the agent sent a record of a procedure that doesn't stream",
        )
        self.assertEqual([], self.sink.records)

    def test_records_before_a_breach_are_kept(self) -> None:
        """What came before the breach is stored."""
        self.run_call([STREAM, record(b"1"), Say(b"{}\n"), record(b"2")])
        self.assertFailed("protocol_error", "the agent's message is of no known kind")
        self.assertEqual([b"1"], self.sink.records)

    def test_line_too_long(self) -> None:
        """A line longer than allowed ends the call before it is read."""
        self.assertBreach(
            [acknowledge(), Say(b'{"result":"'), Flood(b"x" * 60_000)],
            "the agent sent a line longer than 67108864 bytes",
        )
        self.assertLess(self.far.said, 66 * 2**20)

    def test_closes_without_a_word(self) -> None:
        """Closing before any answer is a network error."""
        self.run_call([HANG_UP])
        self.assertFailed("network_error", "the agent closed the connection without an answer")

    def test_closes_before_the_end(self) -> None:
        """So is closing before the end, half a line being nothing."""
        self.run_call([STREAM, record(b"1"), Say(b'{"result":1}'), HANG_UP])
        self.assertFailed("network_error", "the agent closed the connection before the end result")
        self.assertEqual([b"1"], self.sink.records)

    def test_breaks_off(self) -> None:
        """So is a reset connection."""
        self.run_call([acknowledge(), Wait(1), BREAK_OFF])
        self.advance(1)
        self.assertFailed("network_error", "the agent closed the connection before the end result")


class TimeTests(CallingCase):
    def test_silence(self) -> None:
        """An agent that says nothing for the call's timeout is given up."""
        self.run_call([acknowledge()], Limits(30, 600))
        self.advance(29.9)
        self.assertEqual([], self.results)
        self.advance(0.1)
        self.assertFailed("timeout", "nothing was heard from the agent for 30 s")

    def test_silence_before_acknowledgement(self) -> None:
        """The silence counts from the request on."""
        self.run_call([], Limits(30, 600))
        self.advance(30)
        self.assertFailed("timeout", "nothing was heard from the agent for 30 s")

    def test_each_message_begins_the_silence_anew(self) -> None:
        """An agent that talks now and then may take longer than the timeout in all."""
        talk: Script = [Wait(20), record(b"1")]
        script: Script = [STREAM, *talk, *talk, *talk, Wait(20), end(FINE), HANG_UP]
        self.run_call(script, Limits(30, 600))
        for _ in range(4):
            self.advance(20)
        self.assertEqual(FINE, self.result)

    def test_part_of_a_message_is_silence(self) -> None:
        """Bytes that make no message don't count."""
        script: Script = [STREAM, *slowly(Say(b"x" * 40), pieces=40, seconds=1)]
        self.run_call(script, Limits(30, 600))
        for _ in range(30):
            self.advance(1)
        self.assertFailed("timeout", "nothing was heard from the agent for 30 s")

    def test_whole_run(self) -> None:
        """The whole run counts from the start of connecting, however much is said."""
        chatter: list[Step] = [Wait(5), record(b"1")]
        _ = self.start([STREAM, *chatter * 20], Limits(30, 60))
        self.advance(8)
        self.network.connect()
        for _ in range(10):
            self.advance(5)
        self.assertEqual([], self.results)
        self.advance(2)
        self.assertFailed("timeout", "the maximum execution time of 60 s is over")

    def test_silence_and_whole_run_alike(self) -> None:
        """When both are over at once, it's the whole run."""
        self.run_call([acknowledge()], Limits(60, 60))
        self.advance(60)
        self.assertFailed("timeout", "the maximum execution time of 60 s is over")

    def test_time_after_the_end_is_ours(self) -> None:
        """Once the agent ended, nothing but the store is waited for, and no clock runs."""
        self.sink.held = True
        self.run_call([STREAM, record(b"1"), end(FINE), HANG_UP], Limits(30, 60))
        self.advance(100)
        self.assertEqual([], self.results)
        self.sink.store()
        self.assertEqual(FINE, self.result)


class CancellingTests(CallingCase):
    def assertCancelled(self) -> None:
        assert isinstance(self.result, Failure)
        self.assertIsInstance(self.result.value, CancelledError)
        self.assertClosed()

    def test_while_connecting(self) -> None:
        """Nobody connects any more."""
        self.start().cancel()
        self.assertEqual([], self.network.attempts)
        self.assertCancelled()

    def test_while_looking_a_name_up(self) -> None:
        """So it is with endpoints that say then that the name isn't found."""
        call = self.start()
        self.network.attempts[0].cancelled_as = error.DNSLookupError()
        call.cancel()
        self.assertCancelled()

    def test_during_the_handshake(self) -> None:
        """The half-made connection is closed."""
        call = self.start()
        self.network.accept()
        call.cancel()
        self.assertCancelled()

    def test_while_waiting_for_clearance(self) -> None:
        """The agent, connected already, isn't asked."""
        self.clearance = Deferred()
        call = self.start()
        self.network.connect()
        call.cancel()
        self.assertCancelled()
        self.assertEqual(b"", self.far.heard)

    def test_once_asked(self) -> None:
        """The connection is closed, which is what ends the procedure."""
        call = self.start([STREAM, record(b"1")])
        self.network.connect()
        call.cancel()
        self.assertCancelled()
        self.assertIsNotNone(self.far.lost)

    def test_while_held_back(self) -> None:
        """So it is for an agent that is held back; what is stored late does no harm."""
        self.sink.held = True
        call = self.start([STREAM, Flood(record(b'"xxxxxxxxxx"').data)])
        self.network.connect()
        call.cancel()
        self.assertCancelled()
        self.sink.store()

    def test_while_the_ending_waits_for_the_store(self) -> None:
        """Even an ending that came already is too late then."""
        self.sink.held = True
        call = self.start([STREAM, record(b"1"), end(FINE)])
        self.network.connect()
        call.cancel()
        self.assertCancelled()
        self.sink.store()

    def test_after_the_end(self) -> None:
        """Cancelling what has ended does nothing."""
        call = self.start()
        self.network.connect()
        call.cancel()
        self.assertEqual(FINE, self.result)


class SecretTests(CallingCase):
    def test_password_is_told_to_the_agent_only(self) -> None:
        """No result, error or representation shows the password."""
        scripts: list[Script] = [[acknowledge(), HANG_UP], [Say(b"nonsense\n")], [end(FINE)]]
        for script in scripts:
            self.results.clear()
            self.run_call(script)
            shown = f"{self.result!r} {self.near.protocol!r} {self.caller!r} {HOST!r}"
            self.assertNotIn("pa55word", shown)
            self.assertIn(b"pa55word", self.far.heard)
