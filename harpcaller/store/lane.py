"""Work that would block, done elsewhere, one piece after the other.

A lane is one long-lived thread.  It isn't taken from the reactor's pool, where name look-ups
could keep a commit waiting; and a thread hop through a pool's queue costs more.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, Protocol, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

_T = TypeVar("_T")


class Lane(Protocol):
    """Where work is done in the order in which it was given."""

    def run(self, work: Callable[[], _T], done: Callable[[_T | Failure], None]) -> None:
        """Do work elsewhere, and tell its outcome in the reactor's thread."""

    def stop(self) -> None:
        """End the lane; no work may be under way."""


def in_lane(lane: Lane, work: Callable[[], _T]) -> Deferred[_T]:
    """Do work in a lane; it can't be cancelled, waiting for a disk has no handle for that."""
    outcome: Deferred[_T] = Deferred()

    def done(result: _T | Failure) -> None:
        outcome.callback(result)

    lane.run(work, done)
    return outcome


class ThreadLane:
    """A lane that is a thread.

    Args:
        name: The thread's name, for who looks at the process.
        reactor: Where outcomes are told: one ``callFromThread`` for each piece of work.
    """

    def __init__(self, name: str, reactor: IReactorFromThreads) -> None:
        self._reactor = reactor
        self._work: SimpleQueue[tuple[Callable[[], Any], Callable[[Any], None]] | None] = (
            SimpleQueue()
        )
        # A daemon thread: a process that fails at start-up must not wait for it.
        self._thread = Thread(target=self._loop, name=name, daemon=True)
        self._thread.start()

    def run(self, work: Callable[[], _T], done: Callable[[_T | Failure], None]) -> None:
        """See :class:`Lane`."""
        self._work.put((work, done))

    def stop(self) -> None:
        """See :class:`Lane`."""
        self._work.put(None)
        self._thread.join()

    def _loop(self) -> None:
        while (item := self._work.get()) is not None:
            work, done = item
            try:
                outcome = work()
            except Exception:  # noqa: BLE001 - whatever it is, it belongs to who asked
                outcome = Failure()
            self._reactor.callFromThread(done, outcome)
            # Keep nothing alive while waiting.
            del item, work, done, outcome


class InlineLane:
    """A lane for tools, which have nothing else to do: work is done at once, where it is given."""

    def run(self, work: Callable[[], _T], done: Callable[[_T | Failure], None]) -> None:
        """See :class:`Lane`."""
        try:
            outcome: _T | Failure = work()
        except Exception:  # noqa: BLE001 - as above
            outcome = Failure()
        done(outcome)

    def stop(self) -> None:
        """See :class:`Lane`."""
