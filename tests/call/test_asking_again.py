"""A call that nobody knows of whether its agent has heard it."""

from __future__ import annotations

import itertools

from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.python.failure import Failure

from harpcaller.testing.agent import HANG_UP, Script, Wait, acknowledge, end, record
from harpcaller.wire.ending import Failed
from tests.call.calling import FINE
from tests.call.test_kept_connections import PLAIN, RESUMABLE, RESUMES, KeepingCase


class AgainTests(KeepingCase):
    """Calls that can be resumed are asked for again where nobody knows what became of them."""

    def lose(self, reason: Exception, script: Script, *, heard: bool = False) -> None:
        """Let a connection be kept, and be lost with the next request; then follow a script."""
        self.call(RESUMABLE)
        self.begin([])
        self.cut(reason, heard=heard)
        self.assertEqual([], self.results)
        self.agent.script = script
        self.come_back()

    def test_broken(self) -> None:
        """Whether the first request was heard or not."""
        for number, (reason, heard) in enumerate(
            itertools.product((ConnectionLost(), ConnectionDone()), (False, True))
        ):
            self.lose(reason, RESUMABLE, heard=heard)
            self.assertEqual(FINE, self.result)
            self.assertEqual((str(self.jobs[-1]), True), self.asked()[-1])
            self.caller.forget(self.jobs[-1])
            self.assertCount(number + 2, 1)
            self.assertEqual(self.jobs[-1], self.agent.cancelled[-1].job)
        self.assertEqual(8, self.sink.kept)

    def test_how_long_ago(self) -> None:
        """It is counted from the first time, and rather a bit too much."""
        self.call(RESUMABLE)
        self.begin([])
        self.advance(4)
        self.cut(ConnectionLost())
        self.come_back()
        self.cut(ConnectionLost())
        self.advance(2)
        self.agent.script = RESUMABLE
        self.come_back()
        self.assertEqual(FINE, self.result)
        again = [request.again for request in self.agent.requests if request.again]
        self.assertEqual(2, len(again))
        self.assertTrue(4 < again[0] < 4.1 and 6 < again[1] < 6.5, again)

    def test_records(self) -> None:
        """Come from the first on, and if it breaks once more, from the next one on."""
        streaming = acknowledge(streaming=True, resumable=True, keeps=True)
        self.lose(ConnectionLost(), [streaming, record(b"1", 0), HANG_UP])
        self.agent.resumed = [streaming, record(b"2", 1), end(FINE)]
        self.come_back()
        self.assertEqual(FINE, self.result)
        self.assertEqual([b"1", b"2"], self.sink.records)
        self.assertEqual([1], [attach.since for attach in self.agent.attached])

    def test_not_known(self) -> None:
        """An agent that was restarted since doesn't know, and so nobody does."""
        for type_ in ("no_such_job", "invalid_request"):
            self.lose(ConnectionLost(), [end(Failed(type_, "dunno")), HANG_UP])
            self.assertEqual(
                Failed("missing_result", "whether the agent has begun the call isn't known: dunno"),
                self.result,
            )

    def test_cannot_be_begun(self) -> None:
        """An agent that knows that it wasn't begun may have a reason not to begin it now."""
        failed = Failed("no_such_procedure", "it's gone")
        self.lose(ConnectionLost(), [end(failed), HANG_UP])
        self.assertEqual(failed, self.result)

    def test_silence(self) -> None:
        """Of a connection that a firewall has forgotten nothing is heard but silence."""
        self.call(RESUMABLE)
        self.begin([])
        self.near.other.paused = True
        self.advance(self.CONNECT_TIMEOUT - 0.5)
        self.assertEqual(([], []), (self.results, self.network.attempts))
        self.agent.script = RESUMABLE
        self.advance(0.5)
        self.network.connect()
        self.assertEqual(FINE, self.result)
        self.caller.forget(self.jobs[-1])
        self.assertCount(2, 1)

    def test_silence_of_an_agent_that_does_not_resume(self) -> None:
        """The call has failed, since it may have been begun."""
        self.call(PLAIN)
        self.begin([])
        self.advance(self.CONNECT_TIMEOUT)
        self.assertEqual(
            Failed(
                "network_error",
                "the agent didn't acknowledge the call within 10 s,"
                " on a connection that had been kept",
            ),
            self.result,
        )
        self.assertCount(1, 0)

    def test_new_connections_may_take_their_time(self) -> None:
        """And so may whatever comes after the acknowledgement."""
        scripts: list[Script] = [[Wait(20), *RESUMABLE], [RESUMES, Wait(20), end(FINE)]]
        for script in scripts:
            self.results.clear()
            self.run_call(script)
            self.advance(20)
            self.assertEqual(FINE, self.result)
            self.caller.forget(self.jobs[-1])
        self.assertCount(1, 1)

    def test_patience(self) -> None:
        """All of it counts as silence."""
        self.call(RESUMABLE)
        self.begin([])
        for _ in range(200):
            self.advance(0.5)
            if self.network.attempts:
                self.network.refuse(ConnectionRefusedError())
            if self.results:
                break
        self.assertTrue(30 <= self.clock.seconds() < 31, self.clock.seconds())
        assert isinstance(self.result, Failed)
        self.assertEqual("network_error", self.result.type)
        self.assertIn("nothing was heard from the agent for 30 s", self.result.message)

    def test_cancelled_meanwhile(self) -> None:
        """The agent, should it have begun the call, is told by its name."""
        self.call(RESUMABLE)
        self.begin([])
        self.cut(ConnectionLost())
        self.work.cancel()
        self.assertIsInstance(self.result, Failure)
        self.come_back()
        self.assertEqual(self.jobs[-1], self.agent.cancelled[-1].job)
        self.assertCount(2, 0)

    def test_cancelled_before_the_acknowledgement(self) -> None:
        """It is told on the connection."""
        self.call(RESUMABLE)
        self.begin([])
        self.network.settle()
        self.work.cancel()
        self.network.settle()
        self.assertEqual(self.jobs[-1], self.agent.cancelled[-1].job)
        self.assertCount(1, 0)
