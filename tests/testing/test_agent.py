"""The scripted agent does what its script says."""

from __future__ import annotations

from dataclasses import replace

from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from harpcaller.testing.agent import (
    BREAK_OFF,
    HANG_UP,
    FakeAgent,
    FakeAgentConnection,
    Flood,
    Linger,
    Say,
    Script,
    Wait,
    acknowledge,
    end,
    record,
    slowly,
)
from harpcaller.wire.agent import (
    CancelJob,
    Credentials,
    ListProcedures,
    Procedure,
    ProcedureCall,
    ProcedureList,
    decode_procedures,
    encode_cancel,
    encode_list_request,
    encode_request,
)
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Returned
from harpcaller.wire.values import Raw
from tests.house import HouseCase

REQUEST = ProcedureCall("reload", Raw(b"[]"), Credentials("user", "secret"))
END = end(Returned(Raw(b"1")))


class NarrowTransport(StringTransport):
    """One that pauses its producer once it holds too much."""

    WIDTH = 200_000

    def write(self, data: bytes) -> None:
        super().write(data)
        if len(self.value()) > self.WIDTH:
            assert self.producer is not None
            self.producer.pauseProducing()


class ScriptTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.transport: StringTransport = StringTransport()

    def connect(self, agent: FakeAgent) -> FakeAgentConnection:
        connection = agent.buildProtocol(None)
        connection.makeConnection(self.transport)
        return connection

    def ask(self, script: Script) -> FakeAgentConnection:
        connection = self.connect(FakeAgent(script, self.clock))
        connection.dataReceived(encode_request(REQUEST))
        return connection

    def lose(self, connection: FakeAgentConnection) -> None:
        connection.connectionLost(Failure(ConnectionDone()))
        self.assertIsNotNone(connection.lost)

    def test_script(self) -> None:
        """The steps follow each other once a request came; the connection stays open."""
        connection = self.ask([acknowledge(streaming=True), record(b"[]"), END])
        said = b'{"harp":1,"stream_result":true}\n{"stream":[]}\n{"result":1}\n'
        self.assertEqual(said, self.transport.value())
        self.assertEqual(len(said), connection.said)
        self.assertFalse(self.transport.disconnecting)

    def test_what_was_heard(self) -> None:
        """Tests can look at what was asked, in bytes and as a request."""
        agent = FakeAgent([], self.clock)
        connection = self.connect(agent)
        line = encode_request(REQUEST)
        connection.dataReceived(line[:10])
        self.assertEqual([], agent.requests)
        connection.dataReceived(line[10:])
        self.assertEqual([REQUEST], agent.requests)
        self.assertEqual(line, connection.heard)
        self.assertEqual([connection], agent.connections)

    def test_list_of_procedures(self) -> None:
        """It lists what it was told to, or doesn't know of lists, as agents of old."""
        asked = encode_list_request(ListProcedures(REQUEST.credentials))
        procedure = Procedure("p", "(a)", "Does it.", False)
        self.connect(FakeAgent([], self.clock, procedures=[procedure])).dataReceived(asked)
        self.assertEqual(ProcedureList((procedure,)), decode_procedures(self.transport.value()))
        self.assertTrue(self.transport.disconnecting)
        self.connect(FakeAgent([], self.clock)).dataReceived(asked)
        self.assertIn(b'"type":"invalid_request"', self.transport.value())

    def test_script_by_request(self) -> None:
        """A script may depend on what is asked; each request on a connection is answered."""
        agent = FakeAgent(lambda request: [end(Returned(request.arguments))], self.clock)
        connection = self.connect(agent)
        connection.dataReceived(encode_request(REQUEST) * 2)
        self.assertEqual(b'{"result":[]}\n' * 2, self.transport.value())

    def test_connection_that_stays(self) -> None:
        """A confirmation isn't answered, and the next request is."""
        job = JobId("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda")
        script: Script = [acknowledge(resumable=True, keeps=True), END, Linger(10)]
        agent = FakeAgent(script, self.clock)
        connection = self.connect(agent)
        confirmation = encode_cancel(CancelJob(job, REQUEST.credentials))
        for _ in range(2):
            self.transport.clear()
            connection.dataReceived(encode_request(replace(REQUEST, job=job)))
            said = b'{"harp":1,"stream_result":false,"resume":true,"keep":true}\n{"result":1}\n'
            self.assertEqual(said, self.transport.value())
            self.clock.advance(9)
            connection.dataReceived(confirmation)
            self.assertEqual(said, self.transport.value())
        self.assertEqual([CancelJob(job, REQUEST.credentials)] * 2, agent.cancelled)
        self.clock.advance(1)
        self.assertTrue(self.transport.disconnecting)
        connection.dataReceived(encode_request(REQUEST))
        self.assertEqual(2, len(agent.requests))
        self.lose(connection)

    def test_lost_while_it_lingers(self) -> None:
        """Nothing is left to be done then."""
        self.lose(self.ask([acknowledge(keeps=True), END, Linger(10)]))

    def test_cancel_while_the_script_goes_on(self) -> None:
        """Isn't a confirmation, and closes the connection."""
        job = JobId("8ec71d6b-28d1-4ce2-aa23-f3ea7887beda")
        script: Script = [acknowledge(resumable=True, keeps=True), Wait(1), END]
        connection = self.connect(FakeAgent(script, self.clock))
        connection.dataReceived(encode_request(replace(REQUEST, job=job)))
        connection.dataReceived(encode_cancel(CancelJob(job, REQUEST.credentials)))
        self.clock.advance(1)
        self.assertTrue(self.transport.disconnecting)
        self.lose(connection)

    def test_bad_request(self) -> None:
        """What is no request gets a real agent's error."""
        connection = self.connect(FakeAgent([END], self.clock))
        connection.dataReceived(b'{"harp":2}\n')
        self.assertIn(b'"type":"invalid_protocol"', self.transport.value())
        self.assertTrue(self.transport.disconnecting)

    def test_unasked(self) -> None:
        """An agent can talk before it is asked."""
        self.connect(FakeAgent([], self.clock, unasked=[Say(b"hello")]))
        self.assertEqual(b"hello", self.transport.value())

    def test_waiting(self) -> None:
        """A wait holds up what follows; so a message can come in pieces."""
        self.ask([*slowly(Say(b"abcde"), pieces=2, seconds=3), Wait(1), HANG_UP])
        self.assertEqual(b"", self.transport.value())
        self.clock.advance(3)
        self.assertEqual(b"abc", self.transport.value())
        self.clock.advance(3)
        self.assertEqual(b"abcde", self.transport.value())
        self.clock.advance(1)
        self.assertTrue(self.transport.disconnecting)

    def test_breaking_off(self) -> None:
        """A script can end as a crash does."""
        self.ask([BREAK_OFF])
        self.assertTrue(self.transport.disconnected)

    def test_lost_while_waiting(self) -> None:
        """An agent whose caller has gone stops."""
        self.lose(self.ask([Wait(1), END]))
        self.assertEqual(b"", self.transport.value())

    def test_flood(self) -> None:
        """A flood goes on and on, but for the times when nobody takes it."""
        self.transport = NarrowTransport()
        connection = self.ask([Flood(b"0123456789"), END])
        self.clock.advance(0)
        once = connection.said
        self.assertGreater(once, NarrowTransport.WIDTH)
        self.assertLess(once, NarrowTransport.WIDTH + connection.GULP)
        self.assertEqual([], self.clock.getDelayedCalls())
        connection.resumeProducing()
        connection.resumeProducing()
        self.clock.advance(0)
        self.assertEqual(once + 65_530, connection.said)
        connection.resumeProducing()
        self.lose(connection)
        connection.resumeProducing()
        connection.stopProducing()
        self.assertEqual(connection.said, len(self.transport.value()))
