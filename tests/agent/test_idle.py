"""Connections that stay for the next call."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from harpcaller.agent import kept_calls
from harpcaller.agent.idle import IdleSettings
from harpcaller.agent.kept_calls import KeepSettings
from harpcaller.agent.server import FLUSH_SECONDS, AgentConnection
from harpcaller.wire.agent import (
    MAX_REQUEST_SIZE,
    Attach,
    CancelJob,
    ListProcedures,
    encode_attach,
    encode_cancel,
    encode_list_request,
    encode_request,
)
from harpcaller.wire.client import JobId
from tests.agent.fakes import asked
from tests.agent.test_server import ServerCase, Transport

ACKNOWLEDGED = b'{"harp":1,"stream_result":true,"keep":true}\n'
RESUMABLE = b'{"harp":1,"stream_result":true,"resume":true,"keep":true}\n'
ANSWER = b'{"result":2}\n'


def job(number: int) -> JobId:
    return JobId(f"job {number}")


class StayingCase(ServerCase):
    """The agent keeps connections for a minute, two at most."""

    def setUp(self) -> None:
        super().setUp()
        self.door.crowd.idle.settings = IdleSettings(60.0, 2)
        self.kept_calls.settings = KeepSettings(60.0, self.mktemp(), keeps_connections=True)
        self.addCleanup(self.end_all)

    def end_all(self) -> None:
        self.kept_calls.close()
        for process in self.template.processes:
            process.events.exited("in the end")

    def request(self, number: int, again: float | None = None) -> bytes:
        return encode_request(replace(asked("ticks"), job=job(number), again=again))

    def cancel(self, number: int) -> bytes:
        return encode_cancel(CancelJob(job(number), asked("ticks").credentials))

    def attach(self, number: int) -> bytes:
        return encode_attach(Attach(job(number), 0, asked("ticks").credentials))

    def say(self, to: tuple[AgentConnection, Transport], *lines: bytes) -> bytes:
        """Send lines, and give what is said to them."""
        connection, transport = to
        transport.clear()
        for line in lines:
            connection.dataReceived(line)
        return bytes(transport.value())

    def ask(self, to: tuple[AgentConnection, Transport], number: int | None = None) -> bytes:
        """Ask for a call, by default one that isn't kept; give what is said."""
        if number is not None:
            return self.say(to, self.request(number))
        settings, self.kept_calls.settings = self.kept_calls.settings, KeepSettings(0.0)
        said = self.say(to, self.request(0))
        self.kept_calls.settings = settings
        return said

    def answer(self, of: tuple[AgentConnection, Transport]) -> bytes:
        """Let the last call end, and give what is said."""
        of[1].clear()
        self.process().events.answered(ANSWER)
        return bytes(of[1].value())

    def call(self, to: tuple[AgentConnection, Transport], number: int | None = None) -> None:
        """Let a call go all its way."""
        said = self.ask(to, number)
        self.assertEqual(ACKNOWLEDGED if number is None else RESUMABLE, said)
        self.assertEqual(ANSWER, self.answer(to))
        if number is not None:
            self.assertEqual(b"", self.say(to, self.cancel(number)))
        self.assertOpen(to)

    def assertOpen(self, *those: tuple[AgentConnection, Transport]) -> None:
        for _, transport in those:
            self.assertFalse(transport.disconnecting or transport.aborted)
            self.assertIsNone(transport.producer)

    def lose_all(self, those: Iterable[tuple[AgentConnection, Transport]]) -> None:
        for connection, _ in those:
            self.lose(connection)


class CallsTests(StayingCase):
    def test_one_after_the_other(self) -> None:
        """Calls come on one connection, of whichever kind; each has its user checked."""
        here = self.connect()
        for number in (None, None, 1, 2, None, 3):
            self.call(here, number)
        self.assertEqual(6, len(self.checker.peers))
        self.assertEqual(1, len(self.door.crowd.idle))
        self.lose(here[0])
        self.assertEqual((0, 0), (len(self.door.crowd.idle), len(self.kept_calls)))
        self.assertEqual([], self.process().ends)

    def test_closing_cancels(self) -> None:
        """Also the second call of a connection."""
        here = self.connect()
        self.call(here)
        self.ask(here)
        self.lose(here[0])
        self.assertEqual(1, len(self.process().ends))

    def test_process_that_ends_late(self) -> None:
        """What is left of a call when its connection goes on is no matter of the next one's."""
        here = self.connect()
        self.call(here)
        late = self.process()
        self.ask(here)
        late.events.exited("late")
        self.assertEqual(ANSWER, self.answer(here))
        self.lose(here[0])

    def test_other_user(self) -> None:
        """A wrong password is refused, whoever called before, and the connection closed."""
        here = self.connect()
        self.call(here)
        said = self.say(here, self.request(99).replace(b"let me in", b"a guess"))
        self.assertIn(b"auth_error", said)
        self.assertTrue(here[1].disconnecting)
        self.lose(here[0])

    def test_errors_close(self) -> None:
        """An error before the acknowledgement, the list, and a cancel that is answered."""
        user = ListProcedures(asked("ticks").credentials)
        for line in (
            b"nonsense\n",
            b"x" * (MAX_REQUEST_SIZE + 1),
            self.request(99).replace(b"ticks", b"nix"),
            encode_list_request(user),
            self.cancel(7),
            self.attach(7),
        ):
            here = self.connect()
            self.call(here)
            self.assertIn(b'"harp":1', self.say(here, line))
            self.assertTrue(here[1].disconnecting)
            self.lose(here[0])

    def test_talking_out_of_turn(self) -> None:
        """What comes while a call runs is passed over, and the connection doesn't stay."""
        for number, pieces in (
            (None, [self.request(99)]),
            (None, [b"x"] * 3),
            (1, [self.request(2)]),
            (3, [b"nonsense\n"]),
            (4, [self.cancel(5)]),
            (6, [b"x" * 1000] * 1100),
        ):
            here = self.connect()
            started = len(self.template.processes)
            self.ask(here, number)
            self.assertEqual(b"", self.say(here, *pieces))
            self.assertLessEqual(here[0]._lines.pending(), MAX_REQUEST_SIZE)
            self.assertEqual(ANSWER, self.answer(here))
            if number is None:
                self.assertTrue(here[1].disconnecting)
            else:
                self.assertEqual(b"", self.say(here, self.cancel(number), self.request(99)))
            self.assertEqual(started + 1, len(self.template.processes))
            self.lose(here[0])

    def test_request_right_behind_a_request(self) -> None:
        """The acknowledgement tells at once that the connection won't stay."""
        here = self.connect()
        self.kept_calls.settings = KeepSettings(0.0)
        said = self.say(here, self.request(1) * 2)
        self.assertEqual(b'{"harp":1,"stream_result":true}\n', said)
        self.assertEqual(ANSWER, self.answer(here))
        self.assertTrue(here[1].disconnecting)
        self.lose(here[0])

    def test_call_without_a_name(self) -> None:
        """Who sends one may wait for the connection to close, and it does."""
        here = self.connect()
        self.call(here)
        said = self.say(here, encode_request(asked("ticks")))
        self.assertEqual(b'{"harp":1,"stream_result":true}\n', said)
        self.assertEqual(ANSWER, self.answer(here))
        self.assertTrue(here[1].disconnecting)
        self.lose(here[0])

    def test_not_wanted(self) -> None:
        """Where the operator doesn't want it, connections are for one call."""
        self.door.crowd.idle.settings = IdleSettings(0.0)
        self.kept_calls.settings = KeepSettings(60.0, self.mktemp())
        for number in (None, 1):
            here = self.connect()
            self.assertNotIn(b"keep", self.ask(here, number))
            self.answer(here)
            if number is not None:
                self.say(here, self.cancel(number))
            self.assertTrue(here[1].disconnecting)
            self.lose(here[0])


class ResumableTests(StayingCase):
    def test_next_request_behind_the_confirmation(self) -> None:
        """It is served at once, in whatever pieces it comes."""
        here = self.connect()
        self.say(here, self.request(1))
        self.answer(here)
        self.assertEqual(RESUMABLE, self.say(here, self.cancel(1) + self.request(2)))
        self.answer(here)
        both = self.cancel(2) + self.request(3)
        pieces = [both[place : place + 7] for place in range(0, len(both), 7)]
        self.assertEqual(RESUMABLE, self.say(here, *pieces))
        self.assertEqual(ANSWER, self.answer(here))
        self.lose(here[0])

    def test_without_confirmation(self) -> None:
        """There is no next request, and the end can be asked for again."""
        here = self.connect()
        self.say(here, self.request(1))
        self.answer(here)
        self.assertEqual(b"", self.say(here, self.request(2), self.cancel(1)))
        self.clock.advance(FLUSH_SECONDS)
        self.assertTrue(here[1].aborted)
        self.lose(here[0])
        there = self.connect()
        self.assertEqual(RESUMABLE + ANSWER, self.say(there, self.attach(1)))
        self.assertEqual(b"", self.say(there, self.cancel(1)))
        self.assertOpen(there)
        self.call(there, 2)
        self.lose(there[0])

    def test_cancel_while_it_runs(self) -> None:
        """Ends the call, and the connection, since nobody could tell what is whose."""
        here = self.connect()
        self.call(here)
        self.say(here, self.request(1), self.cancel(1), self.request(2))
        self.assertEqual(1, len(self.process().ends))
        self.assertTrue(here[1].disconnecting)
        self.lose(here[0])

    def test_attach_whose_confirmation_came_already(self) -> None:
        """It is gone on with the next request, also if all comes at once."""
        for number, slow in ((1, False), (2, True)):
            here = self.connect()
            self.say(here, self.request(number))
            self.lose(here[0])
            self.process().events.answered(ANSWER)
            there = self.connect()
            self.checker.slow = slow
            lines = self.attach(number) + self.cancel(number) + self.request(10 + number)
            self.say(there, lines)
            while self.checker.waiting:
                self.checker.waiting.pop().callback(None)
            self.checker.slow = False
            self.assertEqual(RESUMABLE + ANSWER + RESUMABLE, there[1].value())
            self.lose(there[0])


class AgainTests(StayingCase):
    """A caller that doesn't know whether his request was heard asks again."""

    def test_not_heard(self) -> None:
        """A job that nobody has begun is begun now."""
        self.clock.advance(100)
        here = self.connect()
        self.assertEqual(RESUMABLE, self.say(here, self.request(1, again=99)))
        self.assertEqual(1, len(self.template.processes))
        self.lose(here[0])

    def test_heard(self) -> None:
        """One that was begun is gone on with, from its first record; it isn't begun twice."""
        self.clock.advance(100)
        here = self.connect()
        self.say(here, self.request(1))
        self.process().events.said(b'{"stream":1}\n')
        there = self.connect()
        said = self.say(there, self.request(1, again=1))
        self.assertEqual(RESUMABLE + b'{"stream":1,"n":0}\n', said)
        self.assertTrue(here[1].aborted)
        self.lose(here[0])
        self.assertEqual(ANSWER, self.answer(there))
        self.assertEqual(1, len(self.template.processes))
        self.say(there, self.cancel(1))
        self.assertIn(b"no_such_job", self.say(there, self.request(1, again=1)))
        self.lose(there[0])

    def test_heard_late(self) -> None:
        """The first request, should it be read yet, begins nothing any more."""
        self.clock.advance(100)
        here, there = self.connect(), self.connect()
        self.say(there, self.request(1, again=1))
        self.assertIn(b"invalid_request", self.say(here, self.request(1)))
        self.assertEqual(1, len(self.template.processes))
        self.lose_all([here, there])

    def test_restarted_since(self) -> None:
        """An agent that is younger than the first request doesn't know."""
        self.clock.advance(100)
        here = self.connect()
        self.assertIn(b"no_such_job", self.say(here, self.request(1, again=100)))
        self.assertEqual([], self.template.processes)
        self.lose(here[0])

    def test_restarted_while_it_was_on_its_way(self) -> None:
        """It is reckoned from when the connection came, which was before it was asked again."""
        here = self.connect()
        self.clock.advance(5)
        self.assertIn(b"no_such_job", self.say(here, self.request(1, again=1)))
        self.lose(here[0])

    def test_forgotten_since(self) -> None:
        """An agent remembers so many jobs that are over; before those it knows nothing."""
        self.patch(kept_calls, "MOST_REMEMBERED", 2)
        self.clock.advance(100)
        here = self.connect()
        for number in range(4):
            self.call(here, number)
            self.clock.advance(10)
        self.assertIn(b"no_such_job", self.say(here, self.request(1, again=31)))
        self.lose(here[0])
        here = self.connect()
        self.assertEqual(RESUMABLE, self.say(here, self.request(7, again=29)))
        self.lose(here[0])

    def test_where_calls_are_not_kept(self) -> None:
        """Nothing is known there, nor of the time when it was so."""
        self.clock.advance(100)
        settings = self.kept_calls.settings
        self.kept_calls.settings = KeepSettings(0.0)
        here = self.connect()
        self.assertIn(b"no_such_job", self.say(here, self.request(1, again=1)))
        self.lose(here[0])
        self.kept_calls.settings = settings
        self.clock.advance(10)
        for again, said in ((11, b"no_such_job"), (9, RESUMABLE)):
            here = self.connect()
            self.assertIn(said, self.say(here, self.request(1, again=again)))
            self.lose(here[0])


class IdleTests(StayingCase):
    def test_too_long(self) -> None:
        """An idle connection is closed in order, which says that nothing was begun."""
        here = self.connect()
        self.call(here)
        self.clock.advance(59.5)
        self.assertOpen(here)
        self.clock.advance(0.5)
        self.assertEqual((True, False), (here[1].disconnecting, here[1].aborted))
        self.assertEqual(b"", self.say(here, self.request(99)))
        self.clock.advance(FLUSH_SECONDS)
        self.assertTrue(here[1].aborted)
        self.lose(here[0])

    def test_request_that_comes_slowly(self) -> None:
        """Once it begins to come it has the time that the first one had."""
        here = self.connect()
        self.call(here)
        self.clock.advance(59.5)
        self.say(here, b'{"harp":')
        self.clock.advance(9.5)
        self.say(here, b"1,")
        self.assertOpen(here)
        self.clock.advance(0.5)
        self.assertTrue(here[1].aborted)
        self.lose(here[0])

    def test_call_takes_its_time(self) -> None:
        """No limit of before counts while a call runs."""
        here = self.connect()
        self.call(here)
        self.ask(here)
        self.clock.advance(1000)
        self.assertFalse(here[1].disconnecting or here[1].aborted)
        self.lose(here[0])

    def test_too_many(self) -> None:
        """The one that has waited longest goes, also if a request has begun to come there."""
        connections = [self.connect() for _ in range(4)]
        for here in connections[:2]:
            self.call(here)
        self.say(connections[0], b'{"harp"')
        self.call(connections[2])
        self.assertTrue(connections[0][1].disconnecting)
        self.assertOpen(*connections[1:3])
        self.call(connections[1])
        self.call(connections[3])
        self.assertTrue(connections[2][1].disconnecting)
        self.assertOpen(connections[1], connections[3])
        self.assertEqual(2, len(self.door.crowd.idle))
        self.lose_all(connections)

    def test_too_many_being_checked(self) -> None:
        """Those whose users are being checked count, and stay."""
        connections = [self.connect() for _ in range(3)]
        for here in connections[:2]:
            self.call(here)
        self.ask(connections[2])
        self.checker.slow = True
        for here in connections[:2]:
            self.say(here, self.request(99))
        self.answer(connections[2])
        self.assertTrue(connections[2][1].disconnecting)
        for waiting in self.checker.waiting:
            waiting.callback(None)
        self.assertEqual(RESUMABLE, connections[0][1].value())
        self.assertEqual(0, len(self.door.crowd.idle))
        self.lose_all(connections)

    def test_reload(self) -> None:
        """Closes those that wait, and others after their calls; whoever comes then may stay."""
        idle, busy, checked = (self.connect() for _ in range(3))
        self.call(idle)
        self.call(checked)
        self.ask(busy)
        self.checker.slow = True
        self.say(checked, self.request(99))
        self.door.crowd.idle.close()
        self.assertTrue(idle[1].disconnecting)
        self.assertFalse(busy[1].disconnecting or checked[1].disconnecting)
        self.assertEqual(ANSWER, self.answer(busy))
        self.assertTrue(busy[1].disconnecting)
        self.checker.waiting.pop().callback(None)
        self.assertEqual(ANSWER, self.answer(checked))
        self.say(checked, self.cancel(99))
        self.assertTrue(checked[1].disconnecting)
        self.checker.slow = False
        new = self.connect()
        self.call(new)
        self.lose_all([idle, busy, checked, new])

    def test_stop(self) -> None:
        """None stays from then on."""
        here, there = self.connect(), self.connect()
        self.call(here)
        self.say(there, self.request(1))
        self.door.crowd.idle.stop()
        self.assertTrue(here[1].disconnecting)
        self.assertEqual(ANSWER, self.answer(there))
        self.say(there, self.cancel(1))
        self.assertTrue(there[1].disconnecting)
        late = self.connect()
        self.assertNotIn(b"keep", self.ask(late))
        self.lose_all([here, there, late])
