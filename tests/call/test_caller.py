"""One call, from connecting to its ending."""

from __future__ import annotations

import errno

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from harpcaller.call.trust import Trust
from harpcaller.errors import StorageError
from harpcaller.interfaces import ICaller, ICallSink, Limits
from harpcaller.testing.agent import (
    BREAK_OFF,
    HANG_UP,
    AgentTLS,
    Flood,
    Say,
    Script,
    Step,
    Wait,
    acknowledge,
    end,
    over_tls,
    record,
    slowly,
)
from harpcaller.wire.agent import ProcedureCall
from harpcaller.wire.ending import Failed, Raised, Returned
from harpcaller.wire.values import Raw
from tests.call.calling import CALL, CERTIFICATE, FINE, HOST, CallingCase, FakeSink

STREAM = acknowledge(streaming=True)


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


class ClearanceTests(CallingCase):
    def setUp(self) -> None:
        super().setUp()
        self.clearance = Deferred()

    def test_nothing_is_asked_before(self) -> None:
        """The agent hears nothing until the job's start is stored."""
        self.run_call()
        self.assertEqual([True], [not one.heard for one in self.agent.connections])
        self.clearance.callback(None)
        self.network.settle()
        self.assertEqual(FINE, self.result)

    def test_start_cannot_be_stored(self) -> None:
        """If the start can't be stored the agent is never asked, and the storage error is told."""
        self.run_call()
        self.clearance.errback(Failure(StorageError("disk full")))
        self.network.settle()
        assert isinstance(self.result, Failure)
        self.assertIsInstance(self.result.value, StorageError)
        self.assertEqual(b"", self.far.heard)
        self.assertClosed()

    def test_start_fails_before_connecting(self) -> None:
        """So it is when the start's failure is known while still connecting."""
        _ = self.start()
        self.clearance.errback(Failure(StorageError("disk full")))
        self.network.connect()
        assert isinstance(self.result, Failure)
        self.assertIsInstance(self.result.value, StorageError)
        self.assertClosed()

    def test_bug_while_storing_the_start(self) -> None:
        """A bug comes out as it is, after the connection was closed."""
        self.run_call()
        self.clearance.errback(Failure(ZeroDivisionError()))
        assert isinstance(self.result, Failure)
        self.assertIsInstance(self.result.value, ZeroDivisionError)
        self.assertClosed()

    def test_connection_fails_before(self) -> None:
        """A connection that fails ends the call without waiting; a late failure is harmless."""
        _ = self.start()
        self.network.refuse(error.ConnectionRefusedError())
        self.assertFailed("network_error", "connection to 192.0.2.1 port 4306 refused")
        self.clearance.errback(Failure(StorageError("disk full")))

    def test_agent_leaves_meanwhile(self) -> None:
        """An agent that closes while the start is being stored is a network error."""
        self.agent.unasked = [Wait(1), HANG_UP]
        self.run_call()
        self.advance(1)
        self.assertEqual([], self.results)
        self.clearance.callback(None)
        self.assertFailed("network_error", "the agent closed the connection before the request")

    def test_time_is_over_before(self) -> None:
        """If storing the start took all the time there was, the agent isn't asked any more."""
        self.run_call(limits=Limits(30, 60))
        self.advance(60)
        self.clearance.callback(None)
        self.network.settle()
        self.assertEqual(b"", self.far.heard)
        self.assertFailed("timeout", "the maximum execution time of 60 s is over")


class ConnectingTests(CallingCase):
    def refused(self, reason: Exception) -> None:
        _ = self.start()
        self.network.refuse(reason)

    def test_refused(self) -> None:
        """Nobody listens there."""
        self.refused(error.ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"))
        self.assertFailed("network_error", "connection to 192.0.2.1 port 4306 refused")

    def test_name_not_resolved(self) -> None:
        """The address is a name that nobody knows."""
        self.refused(error.DNSLookupError("no such name"))
        self.assertFailed("network_error", "the address 192.0.2.1 of web01.example is not resolved")

    def test_no_route(self) -> None:
        """The system's words for why there is no way."""
        self.refused(error.NoRouteError(errno.EHOSTUNREACH, "No route to host"))
        self.assertFailed(
            "network_error", "cannot connect to 192.0.2.1 port 4306: No route to host"
        )

    def test_out_of_descriptors(self) -> None:
        """That the dispatcher has no descriptors left isn't the network's fault."""
        self.refused(error.ConnectBindError(errno.EMFILE, "Too many open files"))
        self.assertFailed("os_error", "cannot connect to 192.0.2.1 port 4306: Too many open files")

    def test_plain_os_error(self) -> None:
        """A bare OSError is understood as well."""
        self.refused(OSError(errno.ENETUNREACH, "Network is unreachable"))
        self.assertFailed(
            "network_error", "cannot connect to 192.0.2.1 port 4306: Network is unreachable"
        )

    def test_connection_that_failed_somehow(self) -> None:
        """Twisted's other failures keep their words."""
        self.refused(error.ConnectError(string="odd"))
        self.assertFailed(
            "network_error",
            "cannot connect to 192.0.2.1 port 4306: An error occurred while connecting: odd.",
        )

    def test_bug(self) -> None:
        """What isn't the network's doing comes out as it is."""
        self.refused(ZeroDivisionError())
        assert isinstance(self.result, Failure)
        self.assertIsInstance(self.result.value, ZeroDivisionError)

    TOO_SLOW = "connecting to 192.0.2.1 port 4306 took longer than 10 s"

    def test_too_slow(self) -> None:
        """Connecting has a limit of its own, and a message that names it."""
        _ = self.start()
        self.advance(9.9)
        self.assertEqual([], self.results)
        self.advance(0.1)
        self.assertFailed("timeout", self.TOO_SLOW)
        self.assertEqual([], self.network.attempts)

    def test_looking_up_too_slow(self) -> None:
        """Looking the name up is part of connecting."""
        _ = self.start()
        self.network.attempts[0].cancelled_as = error.DNSLookupError()
        self.advance(10)
        self.assertFailed("timeout", self.TOO_SLOW)

    def test_endpoint_gives_up(self) -> None:
        """The endpoint's own limit is told in the same words."""
        self.refused(error.TimeoutError())
        self.assertFailed("timeout", self.TOO_SLOW)

    def test_system_gives_up(self) -> None:
        """When the system gives up earlier than that, its words are told."""
        self.refused(error.TCPTimedOutError(errno.ETIMEDOUT, "Connection timed out"))
        self.assertFailed("timeout", "connecting to 192.0.2.1 port 4306 took too long")

    def test_handshake_too_slow(self) -> None:
        """The handshake is part of connecting."""
        _ = self.start()
        self.clock.advance(4)
        self.network.accept()
        self.clock.advance(6)
        self.assertEqual([], self.agent.requests)
        self.assertFailed("timeout", self.TOO_SLOW)

    def test_whole_run_is_shorter(self) -> None:
        """Where the whole run may take less, that's what is over."""
        _ = self.start(limits=Limits(30, 5))
        self.advance(5)
        self.assertFailed("timeout", "the maximum execution time of 5 s is over")

    def test_silence_is_not_counted(self) -> None:
        """Connecting is no part of the silence."""
        _ = self.start(limits=Limits(1, 600))
        self.advance(9)
        self.network.connect()
        self.assertEqual(FINE, self.result)


class HandshakeTests(CallingCase):
    def serve(self, tls: AgentTLS) -> None:
        self.network.server = over_tls(self.agent, tls, self.clock)

    def test_refused_agent_hears_nothing(self) -> None:
        """An agent that isn't believed gets not one byte of the request."""
        self.caller = self.make_caller(Trust(known=frozenset()))
        self.run_call()
        self.assertFailed("tls_error", "the agent's certificate is not one of the known ones")
        self.assertEqual(b"", self.far.heard)

    def test_agent_closes(self) -> None:
        """An agent that closes instead of a handshake is a network error."""
        _ = self.start()
        self.network.accept()
        self.near.other.loseConnection()
        self.network.settle()
        self.assertFailed(
            "network_error",
            "192.0.2.1 port 4306 closed the connection during the TLS handshake",
        )

    def test_not_tls(self) -> None:
        """Something that doesn't speak TLS is a TLS error, and hears nothing of the request."""
        self.agent.unasked = [Say(b"220 mail.example ESMTP\r\n")]
        self.network.server = self.agent
        self.run_call()
        self.assertFailed(
            "tls_error", "the TLS handshake with 192.0.2.1 port 4306 failed: wrong version number"
        )
        self.assertNotIn(b"pa55word", self.far.heard)

    def test_old_tls(self) -> None:
        """An agent that only speaks TLS 1.1 is refused."""
        self.serve(AgentTLS(CERTIFICATE, newest=SSL.TLS1_1_VERSION))
        self.run_call()
        assert isinstance(self.result, Failed)
        self.assertEqual("tls_error", self.result.type)
        self.assertIn("192.0.2.1 port 4306 failed: ", self.result.message)
        self.assertClosed()

    def test_second_call_resumes(self) -> None:
        """The second call to an agent saves the full handshake, with every check in force."""
        for _ in range(2):
            self.run_call()
        self.assertEqual([FINE, FINE], self.results)
        self.assertEqual([False, True], self.tls.resumed)

    def test_new_trust_does_not_resume(self) -> None:
        """When the trust is replaced the sessions go with it."""
        self.run_call()
        self.connections.context = self.make_context(Trust(known=frozenset()))
        self.run_call()
        self.assertEqual(
            [FINE, Failed("tls_error", "the agent's certificate is not one of the known ones")],
            self.results,
        )
        self.assertEqual(1, len(self.agent.requests))

    def test_call_under_way_keeps_its_trust(self) -> None:
        """Replacing the trust leaves calls alone that are under way."""
        self.run_call([acknowledge(), Wait(1), end(FINE), HANG_UP])
        self.connections.context = self.make_context(Trust(known=frozenset()))
        self.advance(1)
        self.assertEqual(FINE, self.result)


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


class StoringTests(CallingCase):
    """What happens when the store is slower than the agent."""

    BIG = b'"%s"' % (b"x" * 50_000)

    def setUp(self) -> None:
        super().setUp()
        self.sink.held = True

    def test_ending_waits_for_the_records(self) -> None:
        """The ending is told only when every record is stored."""
        self.run_call([STREAM, record(b"1"), Wait(1), record(b"2"), end(FINE), HANG_UP])
        self.advance(1)
        self.sink.store(1)
        self.assertEqual([], self.results)
        self.sink.store(1)
        self.assertEqual(FINE, self.result)
        self.assertClosed()

    def test_stored_together(self) -> None:
        """What the agent says at once is stored together, in however many pieces it comes."""
        self.run_call([STREAM, record(b"1"), record(b"2"), Wait(1), record(b"3")])
        self.assertEqual(1, len(self.sink.waiting))
        self.advance(1)
        self.assertEqual(2, len(self.sink.waiting))
        self.assertEqual([b"1", b"2", b"3"], self.sink.records)
        self.sink.store()
        self.near.abortConnection()
        self.assertClosed()

    def test_cut_off_before_the_turn(self) -> None:
        """Nothing that was heard is lost when the agent breaks the protocol in the same moment."""
        self.run_call([STREAM, record(b"1"), Say(b"nonsense\n")])
        self.assertEqual([b"1"], self.sink.records)
        self.assertIsInstance(self.result, Failed)
        self.sink.store()
        self.assertClosed()

    def test_agent_is_held_back(self) -> None:
        """An agent that is far ahead of the store is held back, and let go on later."""
        script: Script = [STREAM, *[record(self.BIG)] * 20, end(FINE), HANG_UP]
        self.run_call(script)
        taken = len(self.sink.records)
        self.assertLess(taken, 10)
        self.assertTrue(self.near.paused)
        self.sink.store(1)
        self.network.settle()
        self.assertEqual(taken, len(self.sink.records))
        while not self.results:
            self.sink.store()
            self.network.settle()
        self.assertEqual([self.BIG] * 20, self.sink.records)
        self.assertEqual(FINE, self.result)
        self.assertClosed()

    def test_held_back_is_not_silent(self) -> None:
        """While the agent is held back its silence is ours."""
        self.run_call([STREAM, *[record(self.BIG)] * 20], Limits(30, 600))
        for _ in range(10):
            self.advance(29)
        while self.sink.waiting:
            self.sink.store()
            self.network.settle()
        self.advance(29)
        self.assertEqual([], self.results)
        self.advance(1)
        self.assertFailed("timeout", "nothing was heard from the agent for 30 s")

    def test_held_back_is_part_of_the_whole_run(self) -> None:
        """The whole run goes on counting."""
        self.run_call([STREAM, *[record(self.BIG)] * 20], Limits(30, 60))
        self.advance(60)
        self.assertFailed("timeout", "the maximum execution time of 60 s is over")

    def test_endless_stream_stays_bounded(self) -> None:
        """An agent that streams without end into a store that hangs costs bounded memory."""
        self.run_call([STREAM, Flood(record(b'"%s"' % (b"x" * 1000)).data)])
        self.assertLess(self.far.said, 2**20)
        call = self.results
        self.advance(10)
        self.assertEqual([], call)
        self.assertLess(self.far.said, 2**20)
        self.near.abortConnection()
        self.assertClosed()

    def test_tiny_records_stay_bounded(self) -> None:
        """Each record counts for more than its bytes, since each costs memory of its own."""
        self.run_call([STREAM, Flood(record(b"1").data)])
        self.assertLess(len(self.sink.records), 10_000)
        self.near.abortConnection()
        self.assertClosed()

    def test_talk_after_the_end_stays_bounded(self) -> None:
        """What an agent says after its end isn't kept while the records are being stored."""
        chatter: list[Step] = [Say(b"x" * 100_000)]
        self.run_call([STREAM, record(b"1"), end(FINE), *chatter * 200])
        protocol = self.near.protocol.wrappedProtocol  # type: ignore[attr-defined]  # TLS
        self.assertLess(protocol._lines.pending(), 100_000)
        self.sink.store()
        self.assertEqual(FINE, self.result)
        self.near.abortConnection()
        self.assertClosed()

    def test_record_cannot_be_stored(self) -> None:
        """A record that can't be stored ends the call with the storage error."""
        self.run_call([STREAM, record(b"1"), Wait(1), record(b"2")])
        self.advance(1)
        self.sink.fail(StorageError("disk full"))
        assert isinstance(self.result, Failure)
        self.assertIsInstance(self.result.value, StorageError)
        self.assertClosed()
        self.sink.fail(StorageError("disk full"))

    def test_nothing_is_stored_after_what_could_not_be(self) -> None:
        """What has come meanwhile has no place any more; the first error is the one that counts."""
        self.run_call([STREAM, record(b"1"), Wait(1), record(b"2")])
        self.clock.advance(1)
        self.near.other.deliver()
        self.sink.fail(StorageError("disk full"))
        assert isinstance(self.result, Failure)
        self.assertEqual("disk full", self.result.value.message)  # type: ignore[union-attr]
        self.network.settle()
        self.assertEqual([b"1"], self.sink.records)
        self.assertClosed()

    def test_bug_while_storing(self) -> None:
        """A bug in the store is logged, and the call ends as the dispatcher's fault."""
        self.run_call([STREAM, record(b"1"), Wait(1), record(b"2")])
        self.advance(1)
        self.sink.fail(ZeroDivisionError())
        self.assertFailed("os_error", "the dispatcher failed; its log tells more")
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.sink.fail(ZeroDivisionError())

    def test_bug_before_storing(self) -> None:
        """So is one that comes as a plain exception."""
        self.sink.fault = ZeroDivisionError()
        self.run_call([STREAM, record(b"1")])
        self.assertFailed("os_error", "the dispatcher failed; its log tells more")
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    def test_connection_closed_while_storing(self) -> None:
        """A connection that closes before the end ends the call, whatever is being stored."""
        self.run_call([STREAM, record(b"1"), HANG_UP])
        self.assertFailed("network_error", "the agent closed the connection before the end result")
        self.sink.store()

    def test_connection_lost_while_held_back(self) -> None:
        """Being let go on finds the connection gone, and that's all."""
        self.run_call([STREAM, *[record(self.BIG)] * 20])
        self.near.abortConnection()
        self.network.settle()
        self.sink.store()
        self.assertFailed("network_error", "the agent closed the connection before the end result")


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
