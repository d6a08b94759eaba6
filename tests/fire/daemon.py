"""A dispatcher as one process: everything that is real of it, on what can be simulated.

What :mod:`harpcaller.service` joins on a reactor is joined here on a clock, in the same order, and
can be killed: nothing that still runs of a dead process reaches the outside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IDelayedCall,
    IReactorFromThreads,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.call.caller import Caller
from harpcaller.call.connections import Connections
from harpcaller.call.pool import PoolSettings
from harpcaller.dispatcher.dispatcher import CallSettings, Dispatcher
from harpcaller.hosts.registry import Registry, Table
from harpcaller.interfaces import Host
from harpcaller.listener.protocol import ClientFactory, ClientSettings
from harpcaller.queues.board import Board
from harpcaller.store.filestore import FileJobStore
from harpcaller.store.sizes import Durability, Sizes
from tests.fire.disk import SimulatedDisk
from tests.fire.plain import plain

_T = TypeVar("_T")

#: So small that a short life sees checkpoints, filed tails and pages.
SIZES = Sizes(segment=6000, job_tail=500, all_tails=3000, page=300, page_records=7, list_jobs=5)


@implementer(IReactorTime, IReactorFromThreads)
class ProcessClock:
    """The world's clock as a process sees it while it lives."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._calls: dict[IDelayedCall, None] = {}
        self.is_dead = False

    def seconds(self) -> float:
        """See :class:`IReactorTime`."""
        return self._clock.seconds()

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kwargs: object
    ) -> IDelayedCall:
        """See :class:`IReactorTime`."""
        if self.is_dead:
            # One that will never come, on a clock that nobody turns.
            return Clock().callLater(delay, callable, *args, **kwargs)

        def run() -> None:
            del self._calls[call]
            callable(*args, **kwargs)

        call: IDelayedCall = self._clock.callLater(delay, run)
        self._calls[call] = None
        return call

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Never called: there is no thread."""
        raise AssertionError

    def getDelayedCalls(self) -> list[IDelayedCall]:
        """Give what the process still means to do."""
        return [call for call in self._calls if call.active()]

    def kill(self) -> None:
        """Forget everything."""
        self.is_dead = True
        for call in self.getDelayedCalls():
            call.cancel()


class ClockLane:
    """A lane that does its work after a time, and tells of it some time later.

    Args:
        clock: The process's.
        seconds: How long the next step takes.
    """

    def __init__(self, clock: ProcessClock, seconds: Callable[[], float]) -> None:
        self._clock = clock
        self._seconds = seconds
        self._waiting: deque[tuple[Callable[[], Any], Callable[[Any], None]]] = deque()
        self._busy = False

    def run(self, work: Callable[[], _T], done: Callable[[_T | Failure], None]) -> None:
        """See :class:`~harpcaller.store.lane.Lane`."""
        self._waiting.append((work, done))
        self._next()

    def stop(self) -> None:
        """See :class:`~harpcaller.store.lane.Lane`."""
        assert self._clock.is_dead or not self._waiting

    def _next(self) -> None:
        if self._waiting and not self._busy:
            self._busy = True
            self._clock.callLater(self._seconds(), self._work)

    def _work(self) -> None:
        work, done = self._waiting.popleft()
        try:
            outcome = work()
        except Exception:  # noqa: BLE001 - as the real one
            outcome = Failure()
        self._clock.callLater(self._seconds(), self._tell, done, outcome)

    def _tell(self, done: Callable[[Any], None], outcome: object) -> None:
        # The thread is at its next work already when the reactor hears of this one.
        self._busy = False
        self._next()
        done(outcome)


@attrs.define
class Settings:
    """What an operator can set; a reload replaces it."""

    durability: Durability = "full"
    calls: CallSettings = attrs.Factory(lambda: CallSettings(8, 20))
    clients: ClientSettings = attrs.Factory(lambda: ClientSettings(4096, 30))
    connect_timeout_seconds: float = 3.0
    pool: PoolSettings = attrs.Factory(lambda: PoolSettings(5.0, 20.0, 2, 4))
    shutdown_grace_seconds: float = 4.0


class _NoScript:
    def refresh(self) -> Deferred[str | None]:
        return succeed(None)


class Daemon:
    """One process.

    Args:
        clock: The world's.
        disk: As this process sees it.
        lane_seconds: How long the disk takes for a step.
        now: The wall clock.
        random: Where job ids are from.
        endpoint: The way to the agents.
        settings: To begin with.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        disk: SimulatedDisk,
        lane_seconds: Callable[[], float],
        now: Callable[[], float],
        random: Random,
        endpoint: Callable[[Daemon, Host], IStreamClientEndpoint],
        settings: Settings,
    ) -> None:
        self.clock = ProcessClock(clock)
        self.disk = disk
        self.table = Table(lambda hosts: self._connections.keep_only(hosts))
        self.accepts = False
        self.is_stopping = False
        self._settings = settings
        self._store = FileJobStore(
            "/store",
            disk=disk,
            clock=self.clock,
            reactor=self.clock,
            durability=settings.durability,
            sizes=SIZES,
            lane=lambda _name, _reactor: ClockLane(self.clock, lane_seconds),
        )
        self._board = Board(self.clock)
        self._connections = Connections(
            plain(),
            settings.connect_timeout_seconds,
            lambda host, _limit: endpoint(self, host),
            self.clock,
            settings.pool,
        )
        self._caller = Caller(self._connections, self.clock)
        self.dispatcher = Dispatcher(
            store=self._store,
            board=self._board,
            hosts=Registry(self.table, _NoScript()),
            caller=self._caller,
            clock=self.clock,
            now=now,
            random_bytes=random.randbytes,
            settings=settings.calls,
        )
        self.clients = ClientFactory(self.dispatcher, settings.clients, self.clock)

    def alive(self) -> bool:
        """Tell whether it hasn't been killed."""
        return not self.clock.is_dead

    def kill(self) -> None:
        """Let it be dead from this moment on."""
        self.accepts = False
        self.clock.kill()
        self.disk.kill()

    def start(self) -> Deferred[None]:
        """Start as the service does; fires when it is ready, fails if it can't start."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        left_over = await self._store.open()
        self.accepts = True
        await self.dispatcher.recover(left_over)

    def stop(self) -> Deferred[None]:
        """Stop as the service does; fires when the process may end."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.is_stopping = True
        self.accepts = False
        self._board.close()
        await self.dispatcher.stop(self._settings.shutdown_grace_seconds)
        await deferLater(self.clock, 0.05)
        self._caller.stop()
        self.clients.close()
        await self._store.close()

    def reload(self, settings: Settings) -> None:
        """Put other settings in force, as a reload does."""
        self._settings = settings
        self._connections.connect_timeout_seconds = settings.connect_timeout_seconds
        self._connections.pool.settings = settings.pool
        self.dispatcher.settings = settings.calls
        self.clients.settings = settings.clients
