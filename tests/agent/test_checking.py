"""Asking who somebody is, without letting anybody abuse it."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from harpcaller.agent.auth import checking
from harpcaller.agent.auth.checking import FORGOTTEN_SECONDS, MOST_FAILURES, REMEMBERED_SECONDS
from harpcaller.errors import AuthError
from harpcaller.logs.events import EventLog
from harpcaller.wire.agent import Credentials
from tests.house import HouseCase

GOOD = Credentials("me", "right")
BAD = Credentials("me", "hunter2")


class Backend:
    def __init__(self, right: str = "right") -> None:
        self.right = right
        self.asked = 0

    def authenticate(self, user: str, password: str) -> bool:
        self.asked += 1
        if password == "boom":
            raise RuntimeError("the database is gone")
        return password == self.right


class CheckerTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.threads: list[tuple[Callable[[], bool], Deferred[bool]]] = []
        self.backend = Backend()
        self.checker = checking.Checker(
            self.backend, self.in_thread, self.clock, b"secret", EventLog("agent")
        )
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def in_thread(self, work: Callable[[], bool]) -> Deferred[bool]:
        self.threads.append((work, Deferred()))
        return self.threads[-1][1]

    def work(self) -> None:
        """Let the threads do their work."""
        threads, self.threads = self.threads, []
        for function, waiter in threads:
            try:
                waiter.callback(function())
            except RuntimeError:
                waiter.errback()

    def ask(self, credentials: Credentials, peer: str = "peer") -> Deferred[None]:
        return Deferred.fromCoroutine(self.checker.check(credentials, peer))

    def refused(self, credentials: Credentials, peer: str = "peer") -> str:
        asking = self.ask(credentials, peer)
        self.work()
        return str(self.failureResultOf(asking, AuthError).value)

    def passes(self, credentials: Credentials, peer: str = "peer") -> None:
        asking = self.ask(credentials, peer)
        self.work()
        self.successResultOf(asking)

    def test_verdicts(self) -> None:
        """Good credentials pass and bad ones don't; the answer comes from a thread."""
        asking = self.ask(GOOD)
        self.assertNoResult(asking)
        self.work()
        self.successResultOf(asking)
        self.assertEqual("unknown user or wrong password", self.refused(BAD))
        self.assertNotIn("hunter2", repr(self.events))

    def test_good_ones_are_remembered(self) -> None:
        """Good credentials aren't checked again for a while; bad ones always are."""
        self.passes(GOOD)
        self.successResultOf(self.ask(GOOD))
        self.refused(BAD)
        self.refused(BAD)
        self.assertEqual(3, self.backend.asked)
        self.clock.advance(REMEMBERED_SECONDS)
        self.passes(GOOD)
        self.assertEqual(4, self.backend.asked)

    def test_same_question_is_asked_once(self) -> None:
        """Callers that come together share one answer; one that goes doesn't spoil it."""
        first, second, third = self.ask(GOOD), self.ask(GOOD), self.ask(GOOD)
        first.cancel()
        third.cancel()
        self.failureResultOf(first, CancelledError)
        self.failureResultOf(third, CancelledError)
        self.work()
        self.successResultOf(second)
        self.assertEqual(1, self.backend.asked)

    def test_too_many_failures(self) -> None:
        """An address with too many failures is refused unheard, others aren't; it passes."""
        for _ in range(MOST_FAILURES):
            self.refused(BAD)
        asked = self.backend.asked
        self.assertIn("too many failures", self.refused(GOOD))
        self.assertEqual(asked, self.backend.asked)
        self.passes(GOOD, "other peer")
        self.successResultOf(self.ask(GOOD))
        self.refused(BAD, "other peer")
        self.clock.advance(FORGOTTEN_SECONDS + 0.1)
        self.assertIn("unknown user", self.refused(BAD))
        self.assertIn("too many", self.refused(BAD))
        self.clock.advance(10 * MOST_FAILURES * FORGOTTEN_SECONDS)
        self.passes(GOOD)

    def test_going_away_is_no_help(self) -> None:
        """Who goes away before the answer is counted all the same, and costs nothing more."""
        for number in range(MOST_FAILURES):
            asking = self.ask(Credentials("me", str(number)))
            asking.cancel()
            self.failureResultOf(asking, CancelledError)
        self.assertIn("too many failures", self.refused(GOOD))
        self.work()
        self.assertEqual(0, self.backend.asked)

    def test_asking_many_at_once_is_no_help(self) -> None:
        """No more questions are heard at once than one after the other."""
        asking = [self.ask(Credentials("me", str(number))) for number in range(20)]
        self.work()
        self.assertEqual(MOST_FAILURES, self.backend.asked)
        for one in asking:
            self.failureResultOf(one, AuthError)

    def test_too_many_questions(self) -> None:
        """Questions that wait for a thread are bounded, whoever asks."""
        self.patch(checking, "MOST_WAITING", 2)
        waiting = [self.ask(Credentials("me", peer), peer) for peer in ("a", "b")]
        third = self.ask(GOOD, "c")
        self.assertIn("try again later", str(self.failureResultOf(third, AuthError).value))
        self.work()
        for one in waiting:
            self.failureResultOf(one, AuthError)
        self.passes(GOOD, "c")

    def test_sources(self) -> None:
        """Failures count for an IPv4 address, however written, or an IPv6 network."""
        for peer, source in (
            ("192.0.2.1", "192.0.2.1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
            ("fe80::1%eth0", "fe80::/64"),
            ("?", "?"),
        ):
            self.assertEqual(source, checking.source_of(peer))

    def test_bounded(self) -> None:
        """What is remembered is bounded; the oldest is forgotten first."""
        self.patch(checking, "MOST_REMEMBERED", 2)
        self.patch(checking, "MOST_PEERS", 2)
        for user in ("a", "b", "c"):
            self.passes(Credentials(user, "right"))
            self.refused(BAD, f"peer of {user}")
        self.assertEqual(2, len(self.checker._good))
        self.assertEqual(["peer of b", "peer of c"], list(self.checker._failures))

    def test_backend_that_fails(self) -> None:
        """A backend's own trouble is a refusal, and is logged."""
        self.refused(Credentials("me", "boom"))
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_other_users(self) -> None:
        """After a reload nothing is remembered, nor is an answer of the old users."""
        self.passes(GOOD)
        asking = self.ask(Credentials("you", "right"))
        self.checker.replace(Backend("new"))
        self.work()
        self.successResultOf(asking)
        self.refused(Credentials("you", "right"))
        self.refused(GOOD)
        self.passes(Credentials("me", "new"))

    def test_user_and_password_are_apart(self) -> None:
        """Credentials that read the same together aren't the same."""
        self.passes(Credentials("me", "right"))
        self.refused(Credentials("mer", "ight"))
