"""Asking an agent which procedures it has."""

from __future__ import annotations

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from harpcaller.call.trust import Trust
from harpcaller.testing.agent import HANG_UP, FakeAgent, Say, Script, end
from harpcaller.testing.agent_tls import over_tls
from harpcaller.wire.agent import MAX_LIST_SIZE, Procedure, ProcedureList
from harpcaller.wire.ending import Failed
from tests.call.calling import HOST, CallingCase
from tests.call.network import MemoryNetwork

TOLD = Procedure("restart", "(service)", "Restart a service.", False)


class FrankAgent(FakeAgent):
    """An agent that may answer anything.

    Attributes:
        answer: What it does whatever it is asked; None for what a fake agent does.
    """

    answer: Script | None = None

    def asked(self, line: bytes) -> Script:
        return super().asked(line) if self.answer is None else self.answer


class ListingTests(CallingCase):
    def setUp(self) -> None:
        super().setUp()
        self.agent = self.frank = FrankAgent([], self.clock, procedures=[TOLD])
        self.network = MemoryNetwork(over_tls(self.agent, self.tls, self.clock), self.clock)
        self.caller = self.make_caller(Trust())
        self.told: list[ProcedureList | Failed | Failure] = []

    def begin(self) -> Deferred[ProcedureList | Failed]:
        """Begin to ask; nothing is connected yet."""
        asked = self.caller.procedures(HOST)
        _ = asked.addBoth(self.told.append)
        return asked

    def ask(self) -> ProcedureList | Failed | Failure:
        """Ask, and give the answer that came without waiting."""
        _ = self.begin()
        self.network.connect()
        return self.answer()

    def answer(self) -> ProcedureList | Failed | Failure:
        """Give the one answer; nothing is left to be done by then."""
        (told,) = self.told
        self.assertClosed()
        return told

    def test_list(self) -> None:
        """What the agent tells, and it was asked as this host's user."""
        self.assertEqual(ProcedureList((TOLD,)), self.ask())
        self.assertEqual([HOST], self.network.hosts)
        self.assertIn(b'"user":"user","password":"pa55word"', bytes(self.far.heard))

    def test_agent_of_old(self) -> None:
        """It doesn't understand; that is told in words that a person does."""
        self.agent.procedures = None
        expected = Failed("not_supported", "the agent cannot list its procedures")
        self.assertEqual(expected, self.ask())

    def test_agents_error(self) -> None:
        """It is passed on."""
        self.frank.answer = [end(Failed("auth_error", "no")), HANG_UP]
        self.assertEqual(Failed("auth_error", "no"), self.ask())

    def test_agent_closes(self) -> None:
        """Without an answer it's a network error."""
        self.frank.answer = [HANG_UP]
        said = "the agent closed the connection without an answer"
        self.assertEqual(Failed("network_error", said), self.ask())

    def test_nonsense(self) -> None:
        """It's a protocol error."""
        self.frank.answer = [Say(b"nonsense\n")]
        told = self.ask()
        assert isinstance(told, Failed)
        self.assertEqual("protocol_error", told.type)

    def test_list_that_is_too_long(self) -> None:
        """It isn't gathered in memory."""
        self.frank.answer = [Say(b"x" * (MAX_LIST_SIZE + 1))]
        told = self.ask()
        assert isinstance(told, Failed)
        self.assertEqual("protocol_error", told.type)
        self.assertIn("line longer than", told.message)

    def test_silence(self) -> None:
        """After a few seconds nobody waits any longer."""
        self.frank.answer = []
        _ = self.begin()
        self.network.connect()
        self.advance(4.9)
        self.assertEqual([], self.told)
        self.advance(0.1)
        said = "nothing was heard from the agent for 5 s"
        self.assertEqual(Failed("timeout", said), self.answer())

    def test_not_connected_in_time(self) -> None:
        """The configured time holds."""
        _ = self.begin()
        self.advance(self.CONNECT_TIMEOUT)
        told = self.answer()
        assert isinstance(told, Failed)
        self.assertEqual("timeout", told.type)
        self.assertIn("connecting to 192.0.2.1 port 4306 took longer than 10 s", told.message)

    def test_refused(self) -> None:
        """As for a call."""
        _ = self.begin()
        self.network.refuse(error.ConnectionRefusedError())
        said = "connection to 192.0.2.1 port 4306 refused"
        self.assertEqual(Failed("network_error", said), self.answer())

    def test_not_believed(self) -> None:
        """Whoever isn't trusted hears no password."""
        self.caller = self.make_caller(Trust(known=frozenset()))
        told = self.ask()
        assert isinstance(told, Failed)
        self.assertEqual("tls_error", told.type)
        self.assertEqual(b"", bytes(self.far.heard))

    def test_talks_before_it_is_asked(self) -> None:
        """That's no agent."""
        self.agent.unasked = [Say(b"hello\n"), HANG_UP]
        told = self.ask()
        assert isinstance(told, Failed)
        self.assertIn(told.type, {"protocol_error", "network_error"})

    def test_given_up(self) -> None:
        """The client has gone: the connection is closed."""
        self.frank.answer = []
        asked = self.begin()
        self.network.connect()
        asked.cancel()
        told = self.answer()
        assert isinstance(told, Failure)
        self.assertIsInstance(told.value, CancelledError)
