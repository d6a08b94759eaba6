"""The callers' door."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from harpcaller.agent import strangers
from harpcaller.agent.calls import Calls
from harpcaller.agent.kept_calls import KeepSettings, KeptCalls
from harpcaller.agent.library import Library
from harpcaller.agent.orders import Load
from harpcaller.agent.server import FLUSH_SECONDS, AgentConnection, Door
from harpcaller.logs.events import EventLog
from harpcaller.wire.agent import (
    MAX_REQUEST_SIZE,
    Attach,
    CancelJob,
    Credentials,
    ListProcedures,
    Procedure,
    ProcedureList,
    decode_message,
    decode_procedures,
    encode_attach,
    encode_cancel,
    encode_list_request,
    encode_request,
)
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Failed
from tests.agent.fakes import PASSWORD, FakeChecker, FakeProcess, FakeTemplate, asked, described
from tests.house import HouseCase

LOG = EventLog("agent")
ACKNOWLEDGED = b'{"harp":1,"stream_result":true}\n'


class Transport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.undelayed = enabled

    def setTcpKeepAlive(self, enabled: bool) -> None:
        self.kept_alive = enabled


class ServerCase(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.template = FakeTemplate({"ticks": described("ticks", streaming=True)})
        library = Library(self.start, self.clock, LOG)
        self.successResultOf(Deferred.fromCoroutine(library.load(Load("x"))))
        self.calls = Calls(library, self.clock, most=10, grace_seconds=5.0, log=LOG)
        self.checker = FakeChecker()
        self.kept_calls = KeptCalls(KeepSettings(60.0, self.mktemp()), self.clock, LOG)
        self.door = Door(
            self.checker,
            self.calls,
            self.kept_calls,
            self.clock,
            request_seconds=10.0,
            log=LOG,
        )

    async def start(self, order: Load, lost: object) -> FakeTemplate:
        return self.template

    def connect(self, address: str = "10.0.0.1") -> tuple[AgentConnection, Transport]:
        connection = self.door.buildProtocol(None)
        transport = Transport()
        transport.peerAddr = IPv4Address("TCP", address, 5000)
        connection.makeConnection(transport)
        return connection, transport

    def lose(self, connection: AgentConnection) -> None:
        connection.connectionLost()

    def error(self, transport: Transport) -> Failed:
        self.assertTrue(transport.disconnecting)
        message = decode_message(transport.value().splitlines()[-1])
        assert isinstance(message, Failed)
        return message

    def process(self) -> FakeProcess:
        return self.template.processes[-1]


class CallTests(ServerCase):
    def test_whole_call(self) -> None:
        """Acknowledgement, records and ending are sent, then the connection is closed."""
        connection, transport = self.connect()
        line = encode_request(asked("ticks"))
        connection.dataReceived(line[:20])
        connection.dataReceived(line[20:])
        self.assertEqual(ACKNOWLEDGED, transport.value())
        producer = cast(IPushProducer, transport.producer)
        producer.pauseProducing()
        self.assertTrue(self.process().paused)
        producer.resumeProducing()
        self.assertFalse(self.process().paused)
        self.process().events.said(b'{"stream":1}\n')
        self.assertFalse(transport.disconnecting)
        self.process().events.answered(b'{"result":2}\n')
        self.assertEqual(ACKNOWLEDGED + b'{"stream":1}\n{"result":2}\n', transport.value())
        self.assertTrue(transport.disconnecting)
        self.assertIsNone(transport.producer)
        self.lose(connection)
        self.process().events.exited("normally")

    def test_closing_cancels(self) -> None:
        """A caller that closes the connection ends the call."""
        connection, _ = self.connect()
        connection.dataReceived(encode_request(asked("ticks")))
        self.lose(connection)
        self.assertEqual(1, len(self.process().ends))
        self.process().events.exited("by a signal")

    def test_more_than_a_request(self) -> None:
        """What follows the request is passed over, not kept."""
        connection, transport = self.connect()
        connection.dataReceived(encode_request(asked("ticks")) * 2)
        connection.dataReceived(b"x" * 10_000_000)
        self.assertEqual(1, len(self.template.processes))
        self.assertEqual(ACKNOWLEDGED, transport.value())
        self.process().events.exited("dead")
        self.lose(connection)

    def test_slow_reader_at_the_end(self) -> None:
        """A caller that doesn't read its last line is cut off in the end."""
        connection, transport = self.connect()
        connection.dataReceived(b"nonsense\n")
        self.clock.advance(FLUSH_SECONDS)
        self.assertTrue(transport.aborted)
        self.lose(connection)


class KeptTests(ServerCase):
    """A call that goes on when its connection breaks."""

    KEPT = b'{"harp":1,"stream_result":true,"resume":true}\n'
    JOB = JobId("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda")

    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(self.end_all)
        self.user = asked("ticks").credentials
        self.request = encode_request(replace(asked("ticks"), job=self.JOB))
        self.cancel = encode_cancel(CancelJob(self.JOB, self.user))

    def end_all(self) -> None:
        self.kept_calls.close()
        for process in self.template.processes:
            process.events.exited("in the end")

    def send(self, *lines: bytes) -> tuple[AgentConnection, Transport]:
        connection, transport = self.connect()
        for line in lines:
            connection.dataReceived(line)
        return connection, transport

    def attach(self, since: int) -> tuple[AgentConnection, Transport]:
        return self.send(encode_attach(Attach(self.JOB, since, self.user)))

    def test_goes_on(self) -> None:
        """Another connection goes on where the first one broke, and hears the end."""
        connection, transport = self.send(self.request)
        self.process().events.said(b'{"stream":1}\n')
        self.assertEqual(self.KEPT + b'{"stream":1,"n":0}\n', transport.value())
        self.lose(connection)
        self.process().events.said(b'{"stream":2}\n')
        self.assertEqual([], self.process().ends)
        connection, transport = self.attach(1)
        self.assertIsNotNone(transport.producer)
        self.process().events.answered(b'{"result":3}\n')
        self.assertEqual(self.KEPT + b'{"stream":2,"n":1}\n{"result":3}\n', transport.value())
        self.assertIsNone(transport.producer)
        self.assertFalse(transport.disconnecting)
        connection.dataReceived(self.cancel)
        self.assertTrue(transport.disconnecting)
        self.lose(connection)
        self.assertEqual(0, len(self.kept_calls))

    def test_end_that_is_not_confirmed(self) -> None:
        """Who doesn't say that the end is safe is cut off, and may ask again."""
        connection, transport = self.send(self.request)
        self.process().events.answered(b'{"result":3}\n')
        self.clock.advance(FLUSH_SECONDS)
        self.assertTrue(transport.aborted)
        self.lose(connection)
        connection, transport = self.attach(0)
        self.assertEqual(self.KEPT + b'{"result":3}\n', transport.value())
        self.lose(connection)

    def test_cancel_on_its_connection(self) -> None:
        """Ends the call, and isn't answered."""
        connection, transport = self.send(self.request, self.cancel)
        self.assertEqual(1, len(self.process().ends))
        self.assertEqual((self.KEPT, True), (transport.value(), transport.disconnecting))
        self.lose(connection)

    def test_cancel_right_behind_the_request(self) -> None:
        """Counts, also if the user isn't known yet."""
        self.checker.slow = True
        connection, _ = self.send(self.request + self.cancel[:10], self.cancel[10:])
        self.assertEqual([], self.template.processes)
        self.checker.waiting.pop().callback(None)
        self.assertEqual(1, len(self.process().ends))
        self.lose(connection)

    def test_cancel_as_the_last_word(self) -> None:
        """Counts, also if the caller is gone before it is known who he is."""
        first, _ = self.send(self.request)
        self.lose(first)
        self.checker.slow = True
        for last_word, ends in ((b"nonsense\n", 0), (self.cancel[:-1], 0), (self.cancel, 1)):
            connection, transport = self.attach(0)
            connection.dataReceived(last_word)
            self.lose(connection)
            while self.checker.waiting:
                self.checker.waiting.pop().callback(None)
            self.assertEqual(ends, len(self.process().ends))
            self.assertEqual(b"", transport.value())

    def test_cancel_of_what_was_not_begun(self) -> None:
        """A call that is cancelled before it is known whose it is isn't begun."""
        self.checker.slow = True
        connection, _ = self.send(self.request, self.cancel)
        self.lose(connection)
        while self.checker.waiting:
            self.checker.waiting.pop().callback(None)
        self.assertEqual([], self.template.processes)

    def test_last_word_of_a_stranger(self) -> None:
        """Who isn't known ends nothing."""
        first, _ = self.send(self.request)
        self.lose(first)
        self.checker.slow = True
        stranger = replace(self.user, password="wrong")
        connection, _ = self.send(
            encode_attach(Attach(self.JOB, 0, stranger)),
            encode_cancel(CancelJob(self.JOB, stranger)),
        )
        self.lose(connection)
        while self.checker.waiting:
            self.checker.waiting.pop().callback(None)
        self.assertEqual([], self.process().ends)

    def test_cancel_on_another_connection(self) -> None:
        """Tells whether there was something to end."""
        connection, _ = self.send(self.request)
        self.lose(connection)
        for expected in (b'{"harp":1,"cancelled":true}\n', b"no_such_job"):
            connection, transport = self.send(self.cancel)
            self.assertIn(expected, transport.value())
            self.assertTrue(transport.disconnecting)
            self.lose(connection)

    def test_something_else_than_a_cancel(self) -> None:
        """Is passed over, and so is all that follows."""
        other = encode_cancel(CancelJob(JobId("other"), self.user))
        for line in (b"nonsense\n", other, self.request, b"x" * (MAX_REQUEST_SIZE + 1)):
            self.request = encode_request(
                replace(asked("ticks"), job=JobId(str(len(self.template.processes))))
            )
            connection, transport = self.send(self.request, line, self.cancel)
            self.assertEqual(self.KEPT, transport.value())
            self.assertEqual([], self.process().ends)
            self.lose(connection)

    def test_too_much_before_the_user_is_known(self) -> None:
        """Isn't kept in memory; the call is run all the same."""
        self.checker.slow = True
        connection, transport = self.send(self.request, *[b"x" * 100_000] * 100)
        self.assertLess(connection._lines.pending(), 2 * MAX_REQUEST_SIZE)
        self.checker.waiting.pop().callback(None)
        self.assertEqual(self.KEPT, transport.value())
        self.lose(connection)

    def test_unknown_job(self) -> None:
        """Who attaches to it hears so."""
        connection, transport = self.attach(0)
        self.assertEqual("no_such_job", self.error(transport).type)
        self.lose(connection)

    def test_taken_over(self) -> None:
        """The connection that had the call before is closed."""
        first, transport = self.send(self.request)
        second, _ = self.attach(0)
        self.assertTrue(transport.aborted)
        self.assertIsNone(transport.producer)
        self.lose(first)
        self.assertEqual([], self.process().ends)
        self.lose(second)

    def test_not_wanted(self) -> None:
        """Where the operator has turned it off, a call ends with its connection."""
        self.kept_calls.settings = KeepSettings(0.0)
        connection, transport = self.send(self.request)
        self.assertEqual(ACKNOWLEDGED, transport.value())
        self.lose(connection)
        self.assertEqual(1, len(self.process().ends))


class ListTests(ServerCase):
    def ask(self, password: str = PASSWORD) -> ProcedureList | Failed:
        connection, transport = self.connect()
        connection.dataReceived(encode_list_request(ListProcedures(Credentials("u", password))))
        self.assertTrue(transport.disconnecting)
        self.lose(connection)
        return decode_procedures(transport.value())

    def test_list_of_procedures(self) -> None:
        """A known user is told what there is to call."""
        self.assertEqual(ProcedureList((Procedure("ticks", "()", "", True),)), self.ask())

    def test_unknown_user(self) -> None:
        """Nobody else is."""
        found = self.ask("wrong")
        assert isinstance(found, Failed)
        self.assertEqual("auth_error", found.type)

    def test_while_stopping(self) -> None:
        """An agent that stops says so."""
        self.calls.refuse_more()
        self.assertEqual(Failed("shutdown", "the agent is stopping"), self.ask())


class RefusalTests(ServerCase):
    def refused(self, line: bytes) -> Failed:
        connection, transport = self.connect()
        connection.dataReceived(line)
        found = self.error(transport)
        self.lose(connection)
        self.assertEqual([], self.template.processes)
        return found

    def test_bad_requests(self) -> None:
        """What isn't a request gets the error that says why."""
        self.assertEqual("parse_error", self.refused(b"nonsense\n").type)
        self.assertEqual("invalid_protocol", self.refused(b"{}\n").type)
        self.assertEqual("invalid_request", self.refused(b'{"harp":1}\n').type)
        self.assertEqual("no_such_procedure", self.refused(encode_request(asked("nix"))).type)
        wrong = self.refused(encode_request(asked("ticks", b"[1]")))
        self.assertEqual("invalid_argument_list", wrong.type)

    def test_line_too_long(self) -> None:
        """A line that gets too long is refused before it has an end."""
        found = self.refused(b"x" * (MAX_REQUEST_SIZE + 1))
        self.assertEqual("invalid_request", found.type)
        self.assertIn("longer than 1048576 bytes", found.message)

    def test_wrong_password(self) -> None:
        """A wrong password gets an error that doesn't tell more."""
        found = self.refused(encode_request(asked("nix", b"[]", "wrong")))
        self.assertEqual(Failed("auth_error", "unknown user or wrong password"), found)


class UnknownTests(ServerCase):
    def test_silent_connection(self) -> None:
        """A connection that doesn't say who it is gets closed."""
        connection, transport = self.connect()
        connection.dataReceived(b'{"harp"')
        self.clock.advance(9.9)
        self.assertFalse(transport.aborted)
        self.clock.advance(0.1)
        self.assertTrue(transport.aborted)
        self.lose(connection)

    def test_known_connection_may_take_long(self) -> None:
        """Once the user is known, a call takes what it takes."""
        connection, transport = self.connect()
        connection.dataReceived(encode_request(asked("ticks")))
        self.clock.advance(1000)
        self.assertFalse(transport.aborted)
        self.process().events.exited("dead")
        self.lose(connection)

    def test_gone_while_checked(self) -> None:
        """A caller that goes while its password is checked starts nothing."""
        self.checker.slow = True
        connection, _ = self.connect()
        connection.dataReceived(encode_request(asked("ticks")))
        self.lose(connection)
        self.assertEqual([], self.template.processes)

    def test_too_many(self) -> None:
        """Unknown connections are bounded: the oldest has to go; known ones don't count."""
        self.patch(strangers, "MAX_UNKNOWN", 2)
        connections = [self.connect() for _ in range(3)]
        self.assertEqual([True, False, False], [transport.aborted for _, transport in connections])
        connections[1][0].dataReceived(encode_request(asked("ticks")))
        connections.append(self.connect())
        self.assertFalse(any(transport.aborted for _, transport in connections[1:]))
        for connection, _ in connections:
            self.lose(connection)
        self.process().events.exited("by a signal")

    def test_one_address_does_not_drive_others_out(self) -> None:
        """Who has most connections loses one of his own, however old those of others are."""
        self.patch(strangers, "MAX_UNKNOWN", 3)
        addresses = ["10.0.0.1", "10.6.6.6", "10.6.6.6", "10.6.6.6"]
        connections = [self.connect(address) for address in addresses]
        self.assertEqual(
            [False, True, False, False], [transport.aborted for _, transport in connections]
        )
        for connection, _ in connections:
            self.lose(connection)

    def test_unfinished_requests_are_bounded(self) -> None:
        """Who has sent the most of requests that don't end loses the largest of his connections;
        others send theirs to the end."""
        self.patch(strangers, "MAX_HELD", 1000)
        honest, kept = self.connect("10.0.0.1")
        honest.dataReceived(encode_request(asked("ticks"))[:-1])
        evil = [self.connect("10.6.6.6") for _ in range(4)]
        for connection, _ in evil:
            for _ in range(3):
                connection.dataReceived(b" " * 100)
        self.assertEqual([True, False, False, False], [transport.aborted for _, transport in evil])
        self.assertFalse(kept.aborted)
        honest.dataReceived(b"\n")
        self.assertEqual(1, len(self.template.processes))
        for connection, _ in (*evil, (honest, kept)):
            self.lose(connection)
        self.process().events.exited("by a signal")

    def test_refused_ones_are_driven_out_too(self) -> None:
        """A caller that was refused but doesn't close takes nobody's place."""
        self.patch(strangers, "MAX_UNKNOWN", 1)
        first, one = self.connect()
        first.dataReceived(encode_request(asked("ticks", password="wrong")))
        second, two = self.connect()
        self.assertEqual((True, False), (one.aborted, two.aborted))
        self.lose(first)
        self.lose(second)

    def test_all_being_checked(self) -> None:
        """Those whose password is being checked stay; then there's no room for more."""
        self.patch(strangers, "MAX_UNKNOWN", 1)
        self.checker.slow = True
        first, one = self.connect()
        first.dataReceived(encode_request(asked("ticks")))
        seen: list[LogEvent] = []
        self.door.log._logger.observer = cast(ILogObserver, seen.append)
        self.addCleanup(setattr, self.door.log._logger, "observer", globalLogPublisher)
        for _ in range(3):
            connection, transport = self.connect()
            self.assertTrue(transport.aborted)
            self.lose(connection)
        self.clock.advance(1)
        self.lose(self.connect()[0])
        self.assertFalse(one.aborted)
        # A flood of connections isn't one of log lines.
        self.assertEqual([1, 3], [event["context"]["times"] for event in seen])
        self.lose(first)

    def test_nobody_left(self) -> None:
        """The door knows when nobody is left."""
        self.successResultOf(self.door.crowd.empty())
        connection, _ = self.connect()
        waiting, given_up = self.door.crowd.empty(), self.door.crowd.empty()
        given_up.cancel()
        self.failureResultOf(given_up)
        self.assertNoResult(waiting)
        self.lose(connection)
        self.successResultOf(waiting)
