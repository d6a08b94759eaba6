"""What a call does when the store is slower than the agent, or fails."""

from __future__ import annotations

from twisted.python.failure import Failure

from harpcaller.errors import StorageError
from harpcaller.interfaces import Limits
from harpcaller.testing.agent import (
    HANG_UP,
    Flood,
    Say,
    Script,
    Step,
    Wait,
    end,
    record,
)
from harpcaller.wire.ending import Failed
from tests.call.calling import FINE, STREAM, CallingCase


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
