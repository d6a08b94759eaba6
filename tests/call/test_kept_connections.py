"""One call after the other on a connection, and what happens when that has died meanwhile."""

from __future__ import annotations

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.call.context import AgentContext
from harpcaller.call.pool import PoolSettings
from harpcaller.call.trust import Trust
from harpcaller.errors import LeftRunning, StorageError
from harpcaller.interfaces import Limits
from harpcaller.testing.agent import (
    BREAK_OFF,
    HANG_UP,
    Linger,
    Say,
    Script,
    Wait,
    acknowledge,
    end,
    record,
)
from harpcaller.wire.agent import CancelJob, Credentials, ProcedureCall
from harpcaller.wire.ending import Ending, Failed, Raised
from tests.call.calling import CALL, FINE, HOST, CallingCase
from tests.call.network import MemoryTransport

KEEPS = acknowledge(keeps=True)
RESUMES = acknowledge(resumable=True, keeps=True)
PLAIN: Script = [KEEPS, end(FINE)]
RESUMABLE: Script = [RESUMES, end(FINE)]


class KeepingCase(CallingCase):
    """Calls of an agent that keeps its connections."""

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        self.caller.stop()
        self.network.settle()

    def call(self, script: Script | None = None, limits: Limits | None = None) -> Ending | Failure:
        """Make a call of which the end is stored at once; give what came of it."""
        self.results.clear()
        self.run_call(script, limits)
        self.caller.forget(self.jobs[-1])
        self.network.settle()
        return self.result

    def begin(self, script: Script | None = None) -> None:
        """Let a call be asked for; nothing has left yet."""
        self.results.clear()
        self.work = self.start(script)
        self.assertEqual([], self.network.attempts)

    def open(self) -> list[MemoryTransport]:
        return [near for near in self.network.connections if not near.gone]

    def assertCount(self, made: int, waiting: int) -> None:
        """So many connections were made, and so many wait."""
        self.network.settle()
        self.assertEqual(made, len(self.network.connections))
        self.assertEqual(waiting, len(self.connections.pool))
        self.assertEqual(waiting, len(self.open()))

    def cut(self, reason: Exception, *, heard: bool = False) -> None:
        """Let the last connection break, before or after the request has come through."""
        if heard:
            self.network.settle()
        self.near.outgoing.clear()
        self.near.close(reason, reason)
        self.network.settle()

    def come_back(self) -> None:
        for _ in range(1000):
            if self.network.attempts:
                break
            self.advance(0.05)
        self.network.connect()

    def asked(self) -> list[tuple[str, bool]]:
        """Tell which jobs the agent was asked for, and whether again."""
        return [(str(request.job), request.again is not None) for request in self.agent.requests]


class CallsTests(KeepingCase):
    def test_one_after_the_other(self) -> None:
        """They take one connection, whether they can be resumed or not."""
        for script in (PLAIN, RESUMABLE, PLAIN, RESUMABLE, RESUMABLE):
            self.assertEqual(FINE, self.call(script))
            self.assertCount(1, 1)
        self.assertEqual(5, len(self.agent.requests))
        confirmed = [CancelJob(self.jobs[number], HOST.credentials) for number in (1, 3, 4)]
        self.assertEqual(confirmed, self.agent.cancelled)
        self.assertEqual([False], self.tls.resumed)

    def test_end_that_is_not_stored_yet(self) -> None:
        """The agent waits to hear that it is safe; another call takes another connection."""
        self.run_call(RESUMABLE)
        self.assertEqual([FINE], self.results)
        self.assertCountOpen(1, 0)
        self.assertEqual(FINE, self.call(RESUMABLE))
        self.assertCountOpen(2, 1)
        self.caller.forget(self.jobs[0])
        self.assertCount(2, 2)

    def assertCountOpen(self, made: int, waiting: int) -> None:
        self.assertEqual(made, len(self.open()))
        self.assertEqual(waiting, len(self.connections.pool))

    def test_at_once(self) -> None:
        """Each of them has a connection, and all of these are used again."""
        for _ in range(2):
            self.results.clear()
            for _ in range(3):
                _ = self.start([KEEPS, Wait(1), end(FINE)])
            self.network.connect()
            self.assertEqual([], self.results)
            self.advance(1)
            self.assertEqual([FINE] * 3, self.results)
            self.assertCount(3, 3)

    def test_agents_of_old(self) -> None:
        """One that doesn't say that it keeps the connection gets one for each call."""
        scripts: list[Script] = [
            [acknowledge(), end(FINE), HANG_UP],
            [acknowledge(), end(FINE)],
            [acknowledge(resumable=True), end(FINE)],
        ]
        for number, script in enumerate(scripts):
            self.assertEqual(FINE, self.call(script))
            self.assertCount(number + 1, 0)

    def test_every_way_to_end(self) -> None:
        """An exception and an error of the procedure's are ends as good as a result."""
        for ending in (Raised("E", "no"), Failed("timeout", "too long")):
            self.assertEqual(ending, self.call([KEEPS, end(ending)]))
            self.assertEqual(ending, self.call([RESUMES, end(ending)]))
        self.assertCount(1, 1)

    def test_records(self) -> None:
        """Those of the second call are its own."""
        for number in range(3):
            streaming = acknowledge(streaming=True, resumable=True, keeps=True)
            self.call([streaming, record(b"%d" % number, 0), end(FINE)])
        self.assertEqual([b"0", b"1", b"2"], self.sink.records)
        self.assertEqual(3, self.sink.kept)

    def test_error_before_the_acknowledgement(self) -> None:
        """Is followed by closing, as ever."""
        self.call(PLAIN)
        failed = Failed("no_such_procedure", "no")
        self.assertEqual(failed, self.call([end(failed), HANG_UP]))
        self.assertCount(1, 0)

    def test_cancelled(self) -> None:
        """The connection never serves another call, also if the agent leaves it open."""
        for script in ([KEEPS], [RESUMES]):
            self.assertEqual(FINE, self.call(PLAIN))
            self.begin(script)
            self.network.settle()
            self.work.cancel()
            assert isinstance(self.result, Failure)
            self.assertIsInstance(self.result.value, CancelledError)
            self.network.settle()
            self.assertEqual([], self.open())
        self.assertCount(2, 0)

    def test_too_slow(self) -> None:
        """The connection is closed with the call."""
        self.call(PLAIN)
        self.begin([KEEPS])
        self.network.settle()
        self.advance(30)
        assert isinstance(self.result, Failed)
        self.assertEqual("timeout", self.result.type)
        self.assertCount(1, 0)

    def test_left(self) -> None:
        """A call that is left to its agent takes the connection along."""
        self.call(RESUMABLE)
        self.begin([RESUMES])
        self.network.settle()
        self.assertTrue(self.caller.leave(self.jobs[-1]))
        assert isinstance(self.result, Failure)
        self.assertIsInstance(self.result.value, LeftRunning)
        self.assertCount(1, 0)

    def test_store_fails(self) -> None:
        """So does one whose records can't be stored."""
        self.call(PLAIN)
        self.sink.fault = StorageError("disk full")
        self.begin([acknowledge(streaming=True, keeps=True), record(b"1"), end(FINE)])
        self.network.settle()
        self.assertIsInstance(self.result, Failure)
        self.assertCount(1, 0)

    def test_talk_after_the_end(self) -> None:
        """Whatever comes between two calls costs the connection."""
        for more in (Say(b"x"), Say(b"x\n"), end(FINE)):
            for wait in (Wait(0), Wait(1)):
                for acknowledged in (KEEPS, RESUMES):
                    made = len(self.network.connections)
                    self.assertEqual(FINE, self.call([acknowledged, end(FINE), wait, more]))
                    self.advance(1)
                    self.assertCount(made + 1, 0)

    def test_next_acknowledgement_says_otherwise(self) -> None:
        """The agent may change its mind with each call."""
        self.call(PLAIN)
        self.assertEqual(FINE, self.call([acknowledge(), end(FINE)]))
        self.assertCount(1, 0)


class ClearanceTests(KeepingCase):
    """The connection is taken before the start of the job is stored."""

    def setUp(self) -> None:
        super().setUp()
        self.call(PLAIN)
        self.clearance = Deferred()

    def test_not_cleared(self) -> None:
        """It waits for another call then, as nothing was said on it."""
        self.begin()
        self.clearance.errback(StorageError("disk full"))
        self.assertIsInstance(self.result, Failure)
        self.assertCount(1, 1)

    def test_cancelled(self) -> None:
        """So it does after a call that was cancelled meanwhile."""
        self.begin()
        self.work.cancel()
        self.assertIsInstance(self.result, Failure)
        self.assertCount(1, 1)

    def test_closed_meanwhile(self) -> None:
        """Nothing was sent, so another connection is made."""
        for talk in (False, True):
            self.begin(PLAIN)
            if talk:
                self.far.transport.write(b"x")
            else:
                self.far.transport.loseConnection()
            self.network.settle()
            made = len(self.network.connections)
            self.clearance.callback(None)
            self.assertEqual([], self.results)
            self.network.connect()
            self.assertEqual(FINE, self.result)
            self.assertCount(made + 1, 1)
            self.clearance = Deferred()
        self.assertEqual(3, len(self.agent.requests))

    def test_closed_meanwhile_and_cannot_be_reached(self) -> None:
        """Then that is how the call ends."""
        self.begin()
        self.cut(ConnectionLost())
        self.clearance.callback(None)
        self.network.refuse(ConnectionRefusedError())
        assert isinstance(self.result, Failed)
        self.assertEqual("connection to 192.0.2.1 port 4306 refused", self.result.message)

    def test_not_cleared_and_not_needed_any_more(self) -> None:
        """A connection of a trust that is no longer in force is closed."""
        self.begin()
        self.connections.context = self.make_context(Trust(known=frozenset()))
        self.clearance.errback(StorageError("disk full"))
        self.assertIsInstance(self.result, Failure)
        self.assertCount(1, 0)


class DeadTests(KeepingCase):
    """A connection that has died while nobody used it."""

    def test_noticed_before_use(self) -> None:
        """A connection that the agent has closed isn't used."""
        for close in (HANG_UP, BREAK_OFF):
            self.call([KEEPS, end(FINE), Wait(1), close])
            self.advance(1)
            self.assertEqual(0, len(self.connections.pool))
        self.call(PLAIN)
        self.assertCount(3, 1)

    def test_closed_before_the_request_came(self) -> None:
        """The agent closes in order while the request is on its way: it is sent on another."""
        for script in (PLAIN, RESUMABLE):
            made = len(self.network.connections)
            self.call([script[0], end(FINE), Linger(5)])
            self.clock.advance(5)
            # It has closed, but nobody has heard of that.
            self.begin(script)
            asked = len(self.agent.requests)
            self.network.connect()
            self.network.settle()
            self.network.connect()
            self.assertEqual(FINE, self.result)
            self.assertEqual(asked + 1, len(self.agent.requests))
            self.caller.forget(self.jobs[-1])
            self.assertCount(made + 2, 1)
            self.assertFalse(any(again for _, again in self.asked()))
            self.stop()
            self.caller = self.make_caller(Trust())

    def test_closed_instead_of_an_answer(self) -> None:
        """That is the same: an agent that closes in order says that it hasn't begun the call."""
        self.call(PLAIN)
        scripts = iter([[HANG_UP], PLAIN])
        self.begin()
        self.agent.script = lambda _: next(scripts)
        self.network.settle()
        self.network.connect()
        self.assertEqual(FINE, self.result)
        self.assertCount(2, 1)

    def test_closed_and_cannot_be_reached(self) -> None:
        """An agent that was stopped, say."""
        self.call(PLAIN)
        self.begin([HANG_UP])
        self.network.settle()
        self.network.refuse(ConnectionRefusedError())
        assert isinstance(self.result, Failed)
        self.assertIn("refused", self.result.message)

    def test_closed_on_the_new_connection_too(self) -> None:
        """Nobody goes on like that for ever."""
        self.call(PLAIN)
        self.begin([HANG_UP])
        self.network.settle()
        self.network.connect()
        self.assertEqual(
            Failed("network_error", "the agent closed the connection without an answer"),
            self.result,
        )
        self.assertCount(2, 0)

    def test_closed_in_the_middle_of_an_answer(self) -> None:
        """Isn't what an agent does that hasn't begun the call."""
        self.call(PLAIN)
        self.begin([Say(b'{"harp":1,'), HANG_UP])
        self.network.settle()
        self.assertEqual("network_error", getattr(self.result, "type", None))
        self.assertCount(1, 0)

    def test_broken(self) -> None:
        """A call that can't be asked for again isn't sent again: it may have been begun."""
        for reason in (ConnectionLost(), ConnectionDone()):
            for heard in (False, True):
                self.call(PLAIN)
                # An end without TLS's own could be anybody's.
                self.begin([])
                self.cut(reason, heard=heard)
                assert isinstance(self.result, Failed)
                self.assertEqual("network_error", self.result.type)
                self.assertEqual([], self.network.attempts)
        self.assertCount(4, 0)

    def test_others_are_closed_too(self) -> None:
        """When one is found dead, those that wait for the same host probably are, too."""
        for _ in range(3):
            _ = self.start([KEEPS, Wait(1), end(FINE)])
        self.network.connect()
        self.advance(1)
        self.assertCount(3, 3)
        self.begin([])
        self.network.connections[-1].close(ConnectionLost(), ConnectionLost())
        self.assertCount(3, 0)

    def test_answer_that_is_none(self) -> None:
        """Is a breach of the protocol as on any connection."""
        self.call(PLAIN)
        self.begin([Say(b"nonsense\n")])
        self.network.settle()
        self.assertEqual("protocol_error", getattr(self.result, "type", None))
        self.assertCount(1, 0)


class TrustTests(KeepingCase):
    """What a connection is good for."""

    def test_trust_is_replaced(self) -> None:
        """Connections that wait are closed, and those under way after their calls."""
        for _ in range(2):
            _ = self.start([KEEPS, Wait(1), end(FINE)])
        self.network.connect()
        self.advance(1)
        self.begin([KEEPS, Wait(1), end(FINE)])
        self.network.settle()
        self.connections.context = self.make_context(Trust(known=frozenset()))
        self.network.settle()
        self.assertEqual(1, len(self.open()))
        self.advance(1)
        self.assertEqual(FINE, self.result)
        self.assertCount(2, 0)
        self.assertEqual("tls_error", getattr(self.call(PLAIN), "type", None))

    def test_registry_says_something_else(self) -> None:
        """A host with another password, address or certificate is another."""
        self.call(PLAIN)
        self.connections.keep_only({HOST})
        self.assertCount(1, 1)
        self.connections.keep_only({HOST.__class__("a", "b", 1, Credentials("user", "other"))})
        self.assertCount(1, 0)

    def test_other_entry(self) -> None:
        """Until those are closed, they aren't used either."""
        self.call(PLAIN)
        other = HOST.__class__(HOST.hostname, HOST.address, HOST.port, Credentials("user", "new"))
        self.assertIsNone(self.connections.kept(other))
        self.assertIsNotNone(agent := self.connections.kept(HOST))
        assert agent is not None
        self.connections.unused(agent)
        self.assertCount(1, 1)

    def test_certificate_runs_out(self) -> None:
        """A connection doesn't outlive what it was believed for."""
        now = [1_700_000_000.0]
        self.connections.context = AgentContext(Trust(), lambda: now[0])
        self.call(PLAIN)
        self.assertCount(1, 1)
        now[0] = 10_000_000_000.0
        self.call(PLAIN)
        self.assertCount(2, 0)


@implementer(IStreamClientEndpoint)
@attrs.frozen
class _Failing:
    """An endpoint that can't even be tried."""

    error: Exception

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        raise self.error


class NewTests(KeepingCase):
    """How new connections can fail besides all that the network does."""

    def fail_with(self, error: Exception) -> None:
        self.connections._endpoint = lambda host, limit: _Failing(error)

    def test_address_that_is_none(self) -> None:
        """Isn't found."""
        self.fail_with(ValueError("embedded null byte"))
        _ = self.start()
        assert isinstance(self.result, Failed)
        self.assertEqual("network_error", self.result.type)

    def test_bug(self) -> None:
        """A mistake of ours is nobody's fault but ours, and leaves nothing behind."""
        self.fail_with(RuntimeError("a bug"))
        _ = self.start()
        assert isinstance(self.result, Failure)
        self.assertIsInstance(self.result.value, RuntimeError)

    def test_context(self) -> None:
        """The trust in force can be asked for."""
        self.assertIsNone(self.connections.context.trust.known)


class LimitTests(KeepingCase):
    def test_idle_for_too_long(self) -> None:
        """It is closed."""
        self.call(PLAIN)
        self.advance(59.5)
        self.assertCount(1, 1)
        self.call(PLAIN)
        self.advance(59.5)
        self.assertCount(1, 1)
        self.advance(0.5)
        self.assertClosed()
        self.assertCount(1, 0)

    def test_too_old(self) -> None:
        """It isn't used any more."""
        self.connections.pool.settings = PoolSettings(age_seconds=10)
        self.call(PLAIN)
        self.advance(9)
        self.call(PLAIN)
        self.assertCount(1, 1)
        self.advance(1)
        self.call(PLAIN)
        self.assertCount(2, 2)
        self.advance(60)
        self.assertCount(2, 0)

    def test_too_old_after_the_call(self) -> None:
        """It doesn't wait for another."""
        self.connections.pool.settings = PoolSettings(age_seconds=10)
        self.run_call([KEEPS, Wait(11), end(FINE)])
        self.advance(11)
        self.assertEqual(FINE, self.result)
        self.assertCount(1, 0)

    def test_none(self) -> None:
        """Where they aren't wanted there are none."""
        self.connections.pool.settings = PoolSettings(idle_seconds=0)
        self.call(PLAIN)
        self.call(RESUMABLE)
        self.assertCount(2, 0)

    def test_settings_change(self) -> None:
        """Those that wait are closed; the next will wait as is said now."""
        self.call(PLAIN)
        self.connections.pool.settings = PoolSettings()
        self.assertCount(1, 1)
        self.connections.pool.settings = PoolSettings(idle_seconds=5)
        self.assertCount(1, 0)
        self.call(PLAIN)
        self.advance(5)
        self.assertCount(2, 0)

    def test_agent_that_does_not_close(self) -> None:
        """One that is to be closed is broken off in the end."""
        self.call(PLAIN)
        self.near.other.paused = True
        self.connections.keep_only(())
        self.assertEqual(1, len(self.open()))
        self.advance(5)
        self.assertCount(1, 0)

    def test_stop(self) -> None:
        """All are closed, whatever the agent does, and none is kept any more."""
        self.call(PLAIN)
        self.begin([KEEPS, Wait(1), end(FINE)])
        _ = self.start([KEEPS, Wait(1), end(FINE)])
        self.network.connect()
        self.advance(1)
        self.assertCount(2, 2)
        self.begin([KEEPS, Wait(1), end(FINE)])
        self.network.settle()
        self.caller.stop()
        self.advance(1)
        self.assertEqual(FINE, self.result)
        self.assertClosed()
        self.assertCount(2, 0)


class RequestTests(KeepingCase):
    def test_request_is_the_same(self) -> None:
        """Nothing in it tells that the connection was kept."""
        self.call(RESUMABLE)
        self.call(RESUMABLE)
        self.assertEqual(
            [
                ProcedureCall(CALL.procedure, CALL.arguments, HOST.credentials, job)
                for job in self.jobs
            ],
            self.agent.requests,
        )
