"""The library's three faces in one form, so that the same tests run on all of them.

A test is a coroutine of trial's; what it does with the library it does through
:meth:`Face.do`, which takes a function that calls the library and waits for what it gives.
"""

from __future__ import annotations

import asyncio
from typing import Any, Callable, Protocol

from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

import harp
import harp.aio
from harpcaller.client import deferred


class Face(Protocol):
    """A way to use the library; what it gives is typed by no common type."""

    def caller(self, host: str, port: int, **options: Any) -> Any:
        """Make a HarpCaller."""

    def agent(self, *args: Any, **options: Any) -> Any:
        """Make a HarpServer."""

    async def do(self, work: Callable[..., Any]) -> Any:
        """Call the library and wait for what it gives."""

    async def next(self, stream: Any) -> Any:
        """Wait for a stream's next item; StopAsyncIteration at its end."""

    async def pause(self, seconds: float) -> None:
        """Let time pass, and an event loop do what it has to."""

    async def close(self) -> None:
        """Close what is kept."""


class EventFace(Face, Protocol):
    """One whose waits can be cancelled."""

    #: What a cancelled wait raises.
    cancelled: type[BaseException]

    def begin(self, work: Callable[..., Any]) -> Any:
        """Begin to wait; the result has ``cancel``, and :meth:`do` can wait for it."""


class BlockingFace:
    """``harp``."""

    def __init__(self) -> None:
        self._callers: list[harp.HarpCaller] = []

    def caller(self, host: str, port: int, **options: Any) -> Any:
        made = harp.HarpCaller(host, port, **options)
        self._callers.append(made)
        return made

    def agent(self, *args: Any, **options: Any) -> Any:
        return harp.HarpServer(*args, **options)

    async def do(self, work: Callable[..., Any]) -> Any:
        return work()

    async def next(self, stream: Any) -> Any:
        for item in stream:
            return item
        raise StopAsyncIteration

    async def pause(self, seconds: float) -> None:
        """There is nothing that would do anything meanwhile."""

    async def close(self) -> None:
        for caller in self._callers:
            with caller:
                pass


class AsyncioFace:
    """``harp.aio``, on a loop that runs while a test waits."""

    cancelled = asyncio.CancelledError

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_debug(True)
        self._callers: list[harp.aio.HarpCaller] = []

    def caller(self, host: str, port: int, **options: Any) -> Any:
        made = harp.aio.HarpCaller(host, port, **options)
        self._callers.append(made)
        return made

    def agent(self, *args: Any, **options: Any) -> Any:
        return harp.aio.HarpServer(*args, **options)

    async def do(self, work: Callable[..., Any]) -> Any:
        return self._loop.run_until_complete(self._awaited(work))

    @staticmethod
    async def _awaited(work: Callable[..., Any]) -> Any:
        given = work()
        return await given if hasattr(given, "__await__") else given

    async def next(self, stream: Any) -> Any:
        return await self.do(lambda: stream.__anext__())

    def begin(self, work: Callable[..., Any]) -> Any:
        return self._loop.create_task(self._awaited(work))

    async def pause(self, seconds: float) -> None:
        await self.do(lambda: asyncio.sleep(seconds))

    async def close(self) -> None:
        for caller in self._callers:
            await self.do(lambda caller=caller: caller.__aexit__(None, None, None))
        left = asyncio.all_tasks(self._loop)
        await self.pause(0.01)
        self._loop.close()
        assert not left, left


class TwistedFace:
    """``harpcaller.client.deferred``."""

    cancelled = CancelledError

    def __init__(self) -> None:
        self._callers: list[deferred.HarpCaller] = []

    def caller(self, host: str, port: int, **options: Any) -> Any:
        made = deferred.HarpCaller(reactor, host, port, **options)
        self._callers.append(made)
        return made

    def agent(self, *args: Any, **options: Any) -> Any:
        return deferred.HarpServer(reactor, *args, **options)

    async def do(self, work: Callable[..., Any]) -> Any:
        given = work()
        return await given if hasattr(given, "__await__") else given

    async def next(self, stream: Any) -> Any:
        return await stream.__anext__()

    def begin(self, work: Callable[..., Any]) -> Any:
        return work()

    async def pause(self, seconds: float) -> None:
        await deferLater(reactor, seconds)

    async def close(self) -> None:
        for caller in self._callers:
            await caller.close()
        # What was aborted is closed on the reactor's next turn.
        await self.pause(0.01)
