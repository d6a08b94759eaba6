"""The callers' door, with the monitor behind it: what is true without it has to be true with it."""

from __future__ import annotations

from typing import Any, cast

from harpcaller.agent.separation import channel
from harpcaller.agent.separation.channel import Channel, Channels
from harpcaller.agent.separation.conversation import Office
from harpcaller.agent.separation.proxies import (
    MonitorCalls,
    MonitorChecker,
    MonitorKeptCalls,
    Questions,
)
from harpcaller.agent.server import AgentConnection, Door
from harpcaller.errors import SystemUnable
from harpcaller.wire.agent import ListProcedures, encode_list_request, encode_request
from tests.agent import test_idle, test_server
from tests.agent.fakes import asked
from tests.agent.separation.joined import Wire, opener
from tests.agent.test_idle import ANSWER, RESUMABLE
from tests.agent.test_server import ACKNOWLEDGED, LOG, ServerCase, Transport


class SeparatedCase(ServerCase):
    def setUp(self) -> None:
        super().setUp()
        self.breaches: list[str] = []
        self.addCleanup(lambda: self.assertEqual([], self.breaches))
        office = Office(self.checker, self.calls, self.kept_calls, LOG)
        self.channels = Channels(office, self.breaches.append)
        self.wire = Wire()
        self.questions = questions = Questions(opener(self.channels, self.wire))
        self.seen = MonitorKeptCalls(questions)
        self.door = Door(
            MonitorChecker(questions),
            MonitorCalls(questions),
            self.seen,
            self.clock,
            request_seconds=10.0,
            log=LOG,
            idle=self.door.crowd.idle.settings,
        )

    def connect(self, address: str = "10.0.0.1") -> tuple[AgentConnection, Transport]:
        connection, transport = super().connect(address)
        received = connection.dataReceived

        def receive(data: bytes) -> None:
            self.seen.are_kept = self.kept_calls.are_kept
            self.wire.hold(lambda: received(data))

        cast(Any, connection).dataReceived = receive
        return connection, transport


class CallTests(SeparatedCase, test_server.CallTests): ...


class KeptTests(SeparatedCase, test_server.KeptTests): ...


class ListTests(SeparatedCase, test_server.ListTests): ...


class RefusalTests(SeparatedCase, test_server.RefusalTests): ...


class UnknownTests(SeparatedCase, test_server.UnknownTests): ...


class StayingCallsTests(SeparatedCase, test_idle.CallsTests): ...


class ResumableTests(SeparatedCase, test_idle.ResumableTests):
    def test_attach_whose_confirmation_came_already(self) -> None:
        """Who confirms what he can't have heard yet is answered, and then he is to come anew."""
        here = self.connect()
        self.say(here, self.request(1))
        self.lose(here[0])
        self.process().events.answered(ANSWER)
        there = self.connect()
        self.say(there, self.attach(1) + self.cancel(1) + self.request(2))
        self.assertEqual(RESUMABLE + ANSWER, there[1].value())
        self.assertTrue(there[1].disconnecting)
        self.assertEqual((0, 1), (len(self.kept_calls), len(self.template.processes)))
        self.lose(there[0])


class AgainTests(SeparatedCase, test_idle.AgainTests): ...


class IdleTests(SeparatedCase, test_idle.IdleTests):
    def test_reload_before_the_monitor_has_let_go(self) -> None:
        """A connection whose call is being let go of at the reload doesn't stay."""
        here = self.connect()
        self.ask(here, 1)
        self.answer(here)

        def confirm_and_reload() -> None:
            here[0].dataReceived(self.cancel(1))
            self.door.crowd.idle.close()

        self.wire.hold(confirm_and_reload)
        self.assertTrue(here[1].disconnecting)
        self.lose(here[0])


class TooMuchTests(SeparatedCase):
    def test_too_many_channels(self) -> None:
        """Who comes when the monitor takes no more is told so."""
        self.patch(channel, "MOST_NEW", 0)
        connection, transport = self.connect()
        connection.dataReceived(encode_request(asked("ticks")))
        self.assertIn("too much to do", self.error(transport).message)
        self.lose(connection)

    def test_no_channel(self) -> None:
        """Nor can it be asked if the system has nothing left for a channel."""

        def fail(protocol: object) -> None:
            raise OSError(24, "Too many open files")

        self.questions._open_channel = fail
        connection, transport = self.connect()
        connection.dataReceived(encode_request(asked("ticks")))
        self.assertIn("Too many open files", self.error(transport).message)
        self.lose(connection)

    def test_nobody_was_checked(self) -> None:
        """Nothing can be asked for without a channel on which a user was checked."""
        self.assertRaises(SystemUnable, self.questions.take, asked("ticks").credentials)

    def test_monitor_closes_before_the_answer(self) -> None:
        """A call of which nothing was heard is an error."""
        connection, transport = self.connect()
        self.patch(Channel, "dataReceived", lambda channel, data: channel.known())
        connection.dataReceived(encode_request(asked("ticks")))
        self.channels.close()
        self.assertIn("too much to do", self.error(transport).message)
        self.lose(connection)

    def test_monitor_closes_amid_the_answer(self) -> None:
        """One of which something was heard is cut off."""
        connection, transport = self.connect()
        connection.dataReceived(encode_request(asked("ticks")))
        self.channels.close()
        self.assertTrue(transport.aborted)
        self.assertEqual(ACKNOWLEDGED, transport.value())
        self.process().events.exited("by a signal")
        self.lose(connection)

    def test_gone_before_the_list(self) -> None:
        """Who goes before he has the list takes his channel along."""
        connection, _ = self.connect()
        self.patch(Channel, "finish", lambda channel, line: None)
        connection.dataReceived(encode_list_request(ListProcedures(asked("ticks").credentials)))
        self.assertEqual(1, len(self.channels))
        self.lose(connection)
        self.assertEqual(0, len(self.channels))

    def test_list_that_is_cut_off(self) -> None:
        """Who asks for it when the monitor goes is told that there is too much to do."""
        connection, transport = self.connect()
        self.patch(Channel, "finish", lambda channel, line: (channel.tell(b"{"), channel.drop()))
        connection.dataReceived(encode_list_request(ListProcedures(asked("ticks").credentials)))
        self.assertIn("too much to do", self.error(transport).message)
        self.lose(connection)
