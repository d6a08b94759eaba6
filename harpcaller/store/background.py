"""What the store does beside serving, in slices, and what closing waits for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import deferLater

from harpcaller.logs.events import EventLog, forget

_T = TypeVar("_T")


#: So much is done at most between two turns of the reactor: this many steps, or seconds.
MOST_STEPS = 50
MOST_SECONDS = 0.005


class Pace:
    """Long work's measure: it gives way after some steps, or sooner where they take long.

    A step may be a few microseconds or, on a busy disk, milliseconds.

    Args:
        clock: Tells how long steps took.
        turn: Lets the reactor do other things.
    """

    def __init__(self, clock: IReactorTime, turn: Callable[[], Deferred[None]]) -> None:
        self._clock = clock
        self._turn = turn
        self._steps = 0
        self._began = clock.seconds()

    async def step(self) -> None:
        """Say that a step was made; give way if it is time to."""
        self._steps += 1
        if self._steps >= MOST_STEPS or self._clock.seconds() - self._began >= MOST_SECONDS:
            await self.rest()

    async def rest(self) -> None:
        """Give way now."""
        await self._turn()
        self._steps = 0
        self._began = self._clock.seconds()


class Background:
    """Work that gives way to the reactor between its slices.

    Args:
        clock: On which turns are taken.
        log: Where the failure of work is told that nobody waits for.
    """

    def __init__(self, clock: IReactorTime, log: EventLog) -> None:
        self._clock = clock
        self._log = log
        self._count = 0
        self._pauses: dict[Deferred[None], IDelayedCall] = {}
        self._idle: Deferred[None] | None = None
        #: Whether work should end at its next turn.
        self.is_stopping = False

    def turn(self) -> Deferred[None]:
        """Let the reactor do other things first."""
        return deferLater(self._clock, 0, lambda: None)

    def pace(self) -> Pace:
        """Begin a measure of work."""
        return Pace(self._clock, self.turn)

    def pause(self, seconds: float) -> Deferred[None]:
        """Wait so long, or until work should end."""
        pause: Deferred[None] = Deferred()
        if self.is_stopping:
            pause.callback(None)
        else:
            self._pauses[pause] = self._clock.callLater(seconds, self._go_on, pause)
        return pause

    def _go_on(self, pause: Deferred[None]) -> None:
        del self._pauses[pause]
        pause.callback(None)

    def run(self, work: Coroutine[Deferred[Any], Any, _T]) -> Deferred[_T]:
        """Begin work that :meth:`stop` waits for.

        It can't be cancelled: its slices are short, and it ends early when stopping.
        """
        self._count += 1

        async def counted() -> _T:
            try:
                return await work
            finally:
                self._count -= 1
                self._tell()

        return Deferred.fromCoroutine(counted())

    def start(self, work: Coroutine[Deferred[Any], Any, object], what: str) -> None:
        """Begin work that nobody waits for but :meth:`stop`; ``what`` names a failure."""
        forget(self.run(work), self._log, what)

    def stop(self) -> Deferred[None]:
        """Ask all work to end early, and wait until it has."""
        self.is_stopping = True
        for pause, call in list(self._pauses.items()):
            call.cancel()
            self._go_on(pause)
        self._idle = Deferred()
        idle = self._idle
        self._tell()
        return idle

    def _tell(self) -> None:
        if self._idle is not None and self._count == 0:
            idle, self._idle = self._idle, None
            idle.callback(None)
