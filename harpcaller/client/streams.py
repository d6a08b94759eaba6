"""Streams as async iterators of Python's values, and where their items come from.

The face of asyncio gives these as they are; the others have theirs drive these.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol, TypeVar

from harpcaller.client.asking import Asked, Channel, Connections, hear
from harpcaller.client.exchange import AgentExchange
from harpcaller.client.translation import python_value, refusal, refused, result_or_raise
from harpcaller.wire.agent import Acknowledged, Message, Said
from harpcaller.wire.client import FollowStream, ReadStream
from harpcaller.wire.client_answers import Record

_Self = TypeVar("_Self", bound="ValueStream")


class Result:
    """What a streaming procedure returned at its end.

    Attributes:
        value: The value itself.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        return f"harp.Result({self.value!r})"


class Source(Protocol):
    """Where the items of a stream come from."""

    async def start(self) -> None:
        """Do what it takes for items to come; more than once does no harm."""

    async def next_item(self) -> Any:
        """Wait for an item; StopAsyncIteration says that there are no more."""

    def close(self) -> None:
        """Want no more."""


class ValueStream:
    """An async iterator that holds a connection until its end.

    Left earlier it wants :meth:`close`, which ``async with`` and the end of its life do by
    themselves.
    """

    def __init__(self, source: Source) -> None:
        self._source = source

    def __aiter__(self: _Self) -> _Self:
        return self

    async def __anext__(self) -> Any:
        """Wait for the next item."""
        return await self._source.next_item()

    async def start(self) -> None:
        """Ask for the items now, and not with the first that is waited for.

        Raises:
            CommunicationError: It can't be asked.
        """
        await self._source.start()

    async def all(self) -> list[Any]:
        """Wait for all items that are still to come."""
        try:
            return [item async for item in self]
        finally:
            self.close()

    def close(self) -> None:
        """Want no more items."""
        self._source.close()

    async def __aenter__(self: _Self) -> _Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Whoever lets go of it half-way means it.
        self.close()


class JobRecords:
    """A job's records, or ``(number, record)`` pairs; how the job ended isn't told."""

    def __init__(
        self, connections: Connections, request: FollowStream | ReadStream, numbered: bool
    ) -> None:
        self._connections = connections
        self._request = request
        self._numbered = numbered
        self._asked: Asked | None = None
        self._over = False

    async def start(self) -> None:
        if self._asked is None and not self._over:
            # A follower waits for long, and asked twice it would miss records or hear them twice.
            fresh = isinstance(self._request, FollowStream)
            self._asked = await self._connections.begin(self._request, fresh=fresh)

    async def next_item(self) -> Any:
        await self.start()
        answer = None if self._asked is None else await self._asked.next_answer()
        if isinstance(answer, Record):
            value = python_value(answer.data)
            return (answer.number, value) if self._numbered else value
        if answer is not None and refused(answer):
            raise refusal(answer)
        raise StopAsyncIteration

    def close(self) -> None:
        self._over = True
        if self._asked is not None:
            self._asked.close()


class AgentItems:
    """What a streaming procedure says to who called it directly; a :class:`Result` is the last."""

    def __init__(self, channel: Channel, exchange: AgentExchange) -> None:
        self._channel = channel
        self._exchange = exchange
        self._over = False

    async def start(self) -> None:
        """It streams already."""

    async def next_item(self) -> Any:
        if self._over:
            raise StopAsyncIteration
        try:
            message = await hear(self._channel, self._exchange)
            if isinstance(message, Said):
                return python_value(message.data)
        except BaseException:
            self.close()
            raise
        self.close()
        return Result(ended(message))

    def close(self) -> None:
        self._over = True
        self._channel.close()


def ended(message: Message) -> Any:
    """Give the value of an ending, or raise what it tells."""
    assert not isinstance(message, (Acknowledged, Said)), "the conversation lets none through"
    return result_or_raise(message)
