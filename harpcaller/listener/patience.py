"""Waiting for a client, and for how long."""

from __future__ import annotations

from enum import Enum, auto

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Wanted(Enum):
    """What a connection waits for, one at a time."""

    #: More of a request.
    MORE = auto()
    #: Room for more of an answer.
    ROOM = auto()


class Patience:
    """Waits for one client, which has so long each time.

    No clock is set for each request: there is one for the connection, and when it rings, that
    looks who is waited for and since when.

    Args:
        clock: Where it is set.
        seconds: How long the client has.
    """

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._wanted: Wanted | None = None
        self._waiting: Deferred[None] | None = None
        self._due = 0.0
        self._alarm: IDelayedCall | None = None

    def wait(self, wanted: Wanted, *, anew: bool = True) -> Deferred[None]:
        """Wait until :meth:`came` is called; fails with TimeoutError when it takes too long.

        Args:
            wanted: What is waited for.
            anew: Whether the time begins now; if not, it goes on as it did.
        """
        if anew:
            self._due = self._clock.seconds() + self._seconds
            if self._alarm is None:
                self._alarm = self._clock.callLater(self._seconds, self._rang)
        self._wanted = wanted
        waiting = self._waiting = Deferred(self._given_up)
        return waiting

    def came(self, what: Wanted) -> bool:
        """Hear that something came, and tell whether it was waited for."""
        if self._wanted is not what:
            return False
        self._end().callback(None)
        return True

    def stop(self) -> None:
        """Wait no more."""
        alarm, self._alarm = self._alarm, None
        if alarm is not None and alarm.active():
            alarm.cancel()

    def _end(self) -> Deferred[None]:
        waiting, self._waiting = self._waiting, None
        self._wanted = None
        assert waiting is not None
        return waiting

    def _given_up(self, _cancelled: Deferred[None]) -> None:
        _ = self._end()

    def _rang(self) -> None:
        self._alarm = None
        if self._wanted is None:
            return
        left = self._due - self._clock.seconds()
        if left > 0:
            self._alarm = self._clock.callLater(left, self._rang)
        else:
            self._end().errback(TimeoutError())
