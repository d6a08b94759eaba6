"""What comes before an agent is asked: storing the start, connecting, the handshake."""

from __future__ import annotations

import errno

from OpenSSL import SSL
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from harpcaller.call.trust import Trust
from harpcaller.errors import StorageError
from harpcaller.interfaces import Limits
from harpcaller.testing.agent import HANG_UP, Say, Wait, acknowledge, end
from harpcaller.testing.agent_tls import AgentTLS, over_tls
from harpcaller.wire.ending import Failed
from tests.call.calling import CERTIFICATE, FINE, CallingCase


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
