"""All connections of callers: who is let in, who waits, and when nobody is left."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.defer import Deferred

from harpcaller.agent.idle import Idle, IdleConnections
from harpcaller.agent.strangers import Stranger, Strangers


class Guest(Stranger, Idle, Protocol):
    """One of them."""


class Crowd:
    """All of them.

    Args:
        strangers: Those whose user isn't known yet.
        idle: Those that wait between two calls.
    """

    def __init__(self, strangers: Strangers, idle: IdleConnections) -> None:
        self.idle = idle
        self._strangers = strangers
        self._all: set[Guest] = set()
        self._empty: list[Deferred[None]] = []

    def let_in(self, guest: Guest) -> bool:
        """Take a connection; tells whether there is room for another unknown one."""
        if not self._strangers.let_in(guest):
            return False
        self._all.add(guest)
        return True

    def hold(self, guest: Guest, size: int) -> None:
        """The connection has sent so much that isn't a whole request yet."""
        self._strangers.hold(guest, size)

    def known(self, guest: Guest) -> None:
        """The connection's user is known."""
        self._strangers.discard(guest)
        self.idle.discard(guest)

    def let_out(self, guest: Guest) -> None:
        """The connection is closed."""
        self._all.discard(guest)
        self._strangers.discard(guest)
        self.idle.discard(guest)
        if not self._all:
            empty, self._empty = self._empty, []
            for waiter in empty:
                waiter.callback(None)

    def empty(self) -> Deferred[None]:
        """Wait until all connections are closed; cancelling gives the waiting up."""
        waiting: Deferred[None] = Deferred(self._gave_up)
        if self._all:
            self._empty.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    def _gave_up(self, waiting: Deferred[None]) -> None:
        self._empty.remove(waiting)
