"""Asking over connections, whichever way their bytes travel: what all faces of the library share.

Written once, as coroutines over a :class:`Channel`.  The faces differ in the channel: the
blocking one's never really waits (see :func:`finished`), those of asyncio and Twisted do.
No input or output of its own, and no event loop.

A connection is used by one asker at a time and kept for the next.  There are no locks, so
that neither threads nor a fork can hang each other: taking from and giving back to a deque are
atomic, and what a fork inherits is recognised and dropped.

A kept connection may have been closed by the dispatcher meanwhile.  That is looked for before it
is used.  If it breaks all the same, the request goes out once more only if that
can't do anything twice: nothing of it was sent, or it only reads.

Whatever ends a wait early (^C, a cancelled task or Deferred) closes the connection, because
nobody knows how much of an answer was read.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from typing import Any, Callable, Coroutine, Protocol, TypeVar

from harpcaller.client.exceptions import CommunicationError
from harpcaller.client.exchange import Dialogue, Exchange, may_ask_again
from harpcaller.wire.client import Request
from harpcaller.wire.client_answers import Answer

#: How many connections are kept that nobody uses.
_MAX_KEPT = 8
#: Seconds after which a kept connection isn't trusted any more: a firewall may have
#: forgotten it, and then nobody would tell.
_MAX_IDLE_SECONDS = 30.0

_Given = TypeVar("_Given")
_Heard = TypeVar("_Heard")


def finished(work: Coroutine[Any, Any, _Given]) -> _Given:
    """Run a coroutine over channels that block, so that it is finished when it pauses first."""
    try:
        work.send(None)
    except StopIteration as end:
        given: _Given = end.value
        return given
    work.close()
    raise AssertionError("a blocking channel waited for an event loop")


class Channel(Protocol):
    """Bytes to and from one peer; every failure is a CommunicationError with its address."""

    @property
    def ours(self) -> bool:
        """Whether it may be used here: not inherited over a fork, nor of another event loop."""

    @property
    def lost(self) -> bool:
        """Whether the peer closed or reset the connection."""

    @property
    def sent(self) -> int:
        """How many bytes the last :meth:`send` got rid of."""

    @property
    def received(self) -> bool:
        """Whether anything came since the last :meth:`send`."""

    def error(self, what: object) -> CommunicationError:
        """Make the error that says what is wrong with this peer."""

    async def send(self, data: bytes) -> None:
        """Send all of it; raise only if it took too long, or nothing could be sent.

        A peer that closes in the middle may have said why, so that this is left to
        :meth:`receive`.
        """

    async def receive(self) -> bytes:
        """Wait for bytes; nothing means that the peer closed."""

    def quiet(self) -> bool:
        """Tell whether the connection stands and nothing lies unread on it."""

    def close(self) -> None:
        """Close it; once is enough, more is allowed."""


async def hear(channel: Channel, dialogue: Dialogue[_Heard]) -> _Heard:
    """Wait for the next answer.

    Raises:
        CommunicationError: It doesn't come, or isn't one, or another process waits for it.
    """
    if not channel.ours:
        raise channel.error("the connection belongs to another process or event loop")
    while True:
        try:
            answer = dialogue.next_answer()
        except CommunicationError as error:
            raise channel.error(error) from None
        if answer is not None:
            return answer
        data = await channel.receive()
        if not data:
            raise channel.error(dialogue.closed())
        dialogue.feed(data)


class Connection:
    """A channel to a dispatcher with its exchange."""

    def __init__(self, channel: Channel, token: str | None) -> None:
        self.channel = channel
        self.exchange = Exchange(token)
        self.idle_since = 0.0


class Asked:
    """One request, and its answers as they come.

    Left before the last answer it must be closed.
    """

    def __init__(self, connections: Connections, request: Request, kept: Connection | None) -> None:
        self._connections = connections
        self._request = request
        self._may_retry = kept is not None
        self._connection = kept

    async def send(self) -> Connection:
        """Send the request, on the kept connection if there is one; give the connection used.

        Raises:
            CommunicationError: It can't be sent.
        """
        while True:
            connection = self._connection or await self._connections.open()
            self._connection = connection
            try:
                await connection.channel.send(connection.exchange.ask(self._request))
                return connection
            except BaseException as error:
                self.close()
                if not (isinstance(error, CommunicationError) and self._can_retry(connection)):
                    raise
                self._may_retry = False

    async def next_answer(self) -> Answer | None:
        """Wait for the next answer.

        Returns:
            The answer, or None after the last one and when closed.

        Raises:
            CommunicationError: It doesn't come, or isn't one.
        """
        if self._connection is None:
            return None
        try:
            answer = await self._hear(self._connection)
        except BaseException:
            self.close()
            raise
        self._put_back()
        return answer

    def _put_back(self) -> None:
        """Let others have the connection when all is answered, unless somebody closed it."""
        connection = self._connection
        if connection is not None and connection.exchange.awaits is None:
            self._connections.give_back(connection)
            self._connection = None

    async def _hear(self, connection: Connection) -> Answer:
        try:
            answer = await hear(connection.channel, connection.exchange)
        except CommunicationError:
            if not self._can_retry(connection):
                raise
            self.close()
            self._may_retry = False
            connection = await self.send()
            return await hear(connection.channel, connection.exchange)
        self._may_retry = False
        return answer

    def _can_retry(self, connection: Connection) -> bool:
        channel = connection.channel
        return (
            self._may_retry
            and channel.lost
            and not channel.received
            and (channel.sent == 0 or may_ask_again(self._request))
        )

    def close(self) -> None:
        """Ask for no more answers."""
        if self._connection is not None:
            self._connection.channel.close()
            self._connection = None


class Connections:
    """The kept connections to one dispatcher, and how a new one is opened.

    Args:
        open_channel: Connects; raises CommunicationError.
        token: What tells the dispatcher who we are, or None.
    """

    def __init__(
        self,
        open_channel: Callable[[], Coroutine[Any, Any, Channel]],
        token: str | None = None,
    ) -> None:
        self._token = token
        self.kept: deque[Connection] = deque()
        self._open_channel = open_channel

    async def ask(self, request: Request) -> Answer:
        """Send a request and wait for its one answer, or the first of many.

        Raises:
            CommunicationError: There's none.
        """
        asked = await self.begin(request)
        try:
            answer = await asked.next_answer()
        finally:
            asked.close()
        assert answer is not None, "nobody else could close it"
        return answer

    async def begin(self, request: Request, *, fresh: bool = False) -> Asked:
        """Send a request whose answers are taken one by one.

        Args:
            fresh: Use a new connection, so that nothing can make the request go out again.

        Raises:
            CommunicationError: It can't be sent.
        """
        asked = Asked(self, request, None if fresh else self._take())
        await asked.send()
        return asked

    async def open(self) -> Connection:
        """Open a connection.

        Raises:
            CommunicationError: The dispatcher can't be reached.
        """
        return Connection(await self._open_channel(), self._token)

    def _take(self) -> Connection | None:
        """Take a kept connection that is good for a request, closing those that aren't."""
        oldest = time.monotonic() - _MAX_IDLE_SECONDS
        while True:
            try:
                connection = self.kept.pop()
            except IndexError:
                return None
            channel = connection.channel
            if channel.ours and connection.idle_since > oldest and channel.quiet():
                return connection
            channel.close()

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose answers have all come."""
        if connection.exchange.reusable and len(self.kept) < _MAX_KEPT:
            connection.idle_since = time.monotonic()
            self.kept.append(connection)
        else:
            connection.channel.close()

    def close(self) -> None:
        """Close the kept connections; the next request opens a new one."""
        with suppress(IndexError):
            # Another thread may take the last one at any moment.
            while True:
                self.kept.pop().channel.close()
