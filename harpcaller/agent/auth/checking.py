"""Asking a backend whether a user is who he says, without letting anybody abuse that.

Hashing a password costs up to a second of a core.  So it happens in threads, once for
callers that come at the same time with the same credentials, and not again for a while
once they were found good; and an address from which too many wrong ones come is refused
unheard for a while.  Each question counts as a failure until it was answered well, so that
it is no use to ask many at once, or to go away before the answer.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.agent.seams import IChecker
from harpcaller.errors import AuthError
from harpcaller.logs.events import EventLog
from harpcaller.wire.agent import Credentials

#: How long good credentials are remembered, in seconds, and how many.
REMEMBERED_SECONDS, MOST_REMEMBERED = 60.0, 1024
#: How many failures an address may have before it is refused unheard, how long it takes
#: until one of them is forgotten, in seconds, and how many addresses are remembered.
MOST_FAILURES, FORGOTTEN_SECONDS, MOST_PEERS = 10, 6.0, 1024


class Backend(Protocol):
    """What an authentication module's ``create`` gives."""

    def authenticate(self, user: str, password: str) -> bool:
        """Tell whether this is the user's password; may block."""


#: How many questions may wait for a thread.
MOST_WAITING = 256

#: Runs a function in a thread.
InThread = Callable[[Callable[[], bool]], "Deferred[bool]"]


@attrs.define
class _Failures:
    """A leaky bucket of failures."""

    level: float
    at: float

    def now(self, now: float) -> float:
        """Forget what is long ago; gives how many are left."""
        self.level = max(0.0, self.level - (now - self.at) / FORGOTTEN_SECONDS)
        self.at = now
        return self.level


@implementer(IChecker)
class Checker:
    """Checks users with a backend.

    Args:
        backend: Knows the users.
        in_thread: Runs the backend's blocking method.
        clock: Measures how long things are remembered.
        secret: Random bytes; what is remembered of credentials is of no use without them.
        log: Where failures are told of, never the password.
    """

    def __init__(
        self,
        backend: Backend,
        in_thread: InThread,
        clock: IReactorTime,
        secret: bytes,
        log: EventLog,
    ) -> None:
        self._in_thread = in_thread
        self._clock = clock
        self._secret = secret
        self._log = log
        self._failures: OrderedDict[str, _Failures] = OrderedDict()
        self.replace(backend)

    def replace(self, backend: Backend) -> None:
        """Use another backend from now on."""
        self._backend = backend
        self._good: OrderedDict[bytes, float] = OrderedDict()
        self._waiting: dict[bytes, list[Deferred[bool]]] = {}

    async def check(self, credentials: Credentials, peer: str) -> None:
        """Let known users pass; see :meth:`IChecker.check`."""
        digest = self._digest(credentials)
        if self._good.get(digest, 0.0) > self._clock.seconds():
            return
        if not await (self._same_question(digest) or self._ask(digest, credentials, peer)):
            self._log.warn("agent.user_refused", user=credentials.user, peer=peer)
            raise AuthError("unknown user or wrong password")

    def _digest(self, credentials: Credentials) -> bytes:
        user = credentials.user.encode()
        message = b"%d:%b%b" % (len(user), user, credentials.password.encode())
        return hmac.digest(self._secret, message, hashlib.sha256)

    def _same_question(self, digest: bytes) -> Deferred[bool] | None:
        """Join those who wait for the same answer, if there are any."""
        waiters = self._waiting.get(digest)
        return None if waiters is None else _waiter(waiters)

    def _ask(self, digest: bytes, credentials: Credentials, peer: str) -> Deferred[bool]:
        """Ask the backend.

        Raises:
            AuthError: There were too many failures, or there are too many questions.
        """
        source = source_of(peer)
        if self._failed_too_often(source):
            self._log.warn("agent.user_throttled", user=credentials.user, peer=peer)
            raise AuthError("too many failures from this address; try again in a minute")
        if len(self._waiting) >= MOST_WAITING:
            self._log.warn("agent.too_many_to_check", user=credentials.user, peer=peer)
            raise AuthError("too many users are being checked; try again later")
        self._count_failure(source)
        waiters: list[Deferred[bool]] = []
        backend, waiting, good = self._backend, self._waiting, self._good
        waiting[digest] = waiters

        def work() -> bool:
            # By now they may all have gone away.
            return bool(waiters) and (
                backend.authenticate(credentials.user, credentials.password) is True
            )

        def failed(failure: Failure) -> bool:
            self._log.bug("agent.authentication_failed", failure, user=credentials.user)
            return False

        def answered(verdict: bool) -> None:
            del waiting[digest]
            if verdict:
                self._forgive(source)
                good[digest] = self._clock.seconds() + REMEMBERED_SECONDS
                good.move_to_end(digest)
                while len(good) > MOST_REMEMBERED:
                    good.popitem(last=False)
            for one in waiters[:]:
                one.callback(verdict)

        waiter = _waiter(waiters)
        _ = self._in_thread(work).addErrback(failed).addCallback(answered)
        return waiter

    def _failed_too_often(self, source: str) -> bool:
        failures = self._failures.get(source)
        return failures is not None and failures.now(self._clock.seconds()) > MOST_FAILURES - 1

    def _count_failure(self, source: str) -> None:
        now = self._clock.seconds()
        failures = self._failures.setdefault(source, _Failures(0.0, now))
        failures.level = failures.now(now) + 1
        self._failures.move_to_end(source)
        while len(self._failures) > MOST_PEERS:
            self._failures.popitem(last=False)

    def _forgive(self, source: str) -> None:
        failures = self._failures.get(source)
        if failures is not None:
            failures.level = failures.now(self._clock.seconds()) - 1
            if failures.level <= 0:
                del self._failures[source]


def _waiter(waiters: list[Deferred[bool]]) -> Deferred[bool]:
    """Make one more who waits; cancelling takes it out again."""
    waiter: Deferred[bool] = Deferred(waiters.remove)
    waiters.append(waiter)
    return waiter


def source_of(peer: str) -> str:
    """Tell whom failures are counted for: an IPv4 address, or an IPv6 network of 64 bits."""
    try:
        address = ip_address(peer)
    except ValueError:
        return peer
    if isinstance(address, IPv4Address):
        return peer
    mapped = address.ipv4_mapped
    return str(ip_network((int(address), 64), strict=False) if mapped is None else mapped)
