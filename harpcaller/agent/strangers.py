"""The connections whose user isn't known yet: how many there may be, and who has to go."""

from __future__ import annotations

from collections import Counter
from typing import Protocol

from twisted.internet.interfaces import IReactorTime

from harpcaller.logs.events import EventLog

#: How many there may be.  One more drives out the oldest idle one of the address that has the
#: most, so that nobody can keep others out by just connecting.
MAX_UNKNOWN = 256
#: How much they may have sent of requests that aren't whole yet, all together, in bytes.  More
#: drives out the one that has sent most, of the address that has sent most.
MAX_HELD = 32 * 1024 * 1024


class Stranger(Protocol):
    """One of them."""

    @property
    def is_being_checked(self) -> bool:
        """Whether it has said who it is, and waits to hear what comes of that."""

    @property
    def peer(self) -> str:
        """Where it is from, for the log."""

    @property
    def source(self) -> str:
        """Whom it is counted for."""

    def drop(self) -> None:
        """Close at once."""


class Strangers:
    """All of them.

    Args:
        clock: For telling of it not too often.
        log: Where it is told that there are too many.
    """

    def __init__(self, clock: IReactorTime, log: EventLog) -> None:
        self._clock = clock
        self._log = log
        #: What each has sent; in the order of their coming.
        self._unknown: dict[Stranger, int] = {}
        self._held = 0
        self._untold = 0
        self._tell_again_at = 0.0

    def let_in(self, connection: Stranger) -> bool:
        """Take one more; tells whether there is room for it."""
        if len(self._unknown) >= MAX_UNKNOWN and not self._drive_one_out():
            self._tell_of_too_many("agent.too_many_unknown_connections", connection.peer)
            return False
        self._unknown[connection] = 0
        return True

    def hold(self, connection: Stranger, size: int) -> None:
        """Take note of how much of its request one has sent, if it is one."""
        if connection in self._unknown:
            self._held += size - self._unknown[connection]
            self._unknown[connection] = size
            while self._held > MAX_HELD:
                self._relieve()

    def discard(self, connection: Stranger) -> None:
        """Forget one that is known now, or gone."""
        self._held -= self._unknown.pop(connection, 0)

    def _drive_one_out(self) -> bool:
        """Close one that says nothing, or that was refused; tells whether there was one."""
        idle = [connection for connection in self._unknown if not connection.is_being_checked]
        if not idle:
            return False
        ((source, _),) = Counter(connection.source for connection in idle).most_common(1)
        self._drive_out(next(connection for connection in idle if connection.source == source))
        return True

    def _relieve(self) -> None:
        """Close one that has sent much."""
        sizes: Counter[str] = Counter()
        for connection, size in self._unknown.items():
            sizes[connection.source] += size
        ((source, _),) = sizes.most_common(1)
        theirs = [connection for connection in self._unknown if connection.source == source]
        self._drive_out(max(theirs, key=self._unknown.__getitem__))

    def _drive_out(self, connection: Stranger) -> None:
        self._tell_of_too_many("agent.unknown_connections_driven_out", connection.peer)
        self.discard(connection)
        connection.drop()

    def _tell_of_too_many(self, kind: str, peer: str) -> None:
        """Log it, but no more often than it can be read."""
        now = self._clock.seconds()
        self._untold += 1
        if now >= self._tell_again_at:
            self._log.warn(kind, peer=peer, times=self._untold)
            self._untold, self._tell_again_at = 0, now + 1.0
