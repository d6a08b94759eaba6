"""Asking a dispatcher over kept connections.

A connection is used by one asker at a time and kept for the next.  There are no locks, so
that neither threads nor a fork can hang each other: taking from and giving back to a deque are
atomic, and what a fork inherits is recognised by the process's number and dropped.

A kept connection may have been closed by the dispatcher meanwhile.  That is looked for before it
is used.  If it breaks all the same, the request goes out once more only if that
can't do anything twice: nothing of it was sent, or it only reads.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from types import TracebackType

from harpcaller.client.channel import Channel, open_socket, shown_address
from harpcaller.client.exceptions import CommunicationError
from harpcaller.client.exchange import Exchange, may_ask_again
from harpcaller.wire.client import Answer, Request

#: How many connections are kept that nobody uses.
_MAX_KEPT = 8
#: Seconds after which a kept connection isn't trusted any more: a firewall may have
#: forgotten it, and then nobody would tell.
_MAX_IDLE_SECONDS = 30.0


class _Connection:
    """A channel with its exchange."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.exchange = Exchange()
        self.idle_since = 0.0

    def answer(self) -> Answer:
        """Wait for the next answer.

        Raises:
            CommunicationError: It doesn't come, or isn't one.
        """
        self.channel.must_be_ours()
        while True:
            try:
                answer = self.exchange.next_answer()
            except CommunicationError as error:
                raise self.channel.error(error) from None
            if answer is not None:
                return answer
            data = self.channel.receive()
            if not data:
                raise self.channel.error(self.exchange.closed())
            self.exchange.feed(data)


class Asked:
    """One request that was sent, and its answers as they come.

    Left before the last answer it must be closed; as a context manager it does so itself.
    """

    def __init__(self, dispatcher: Dispatcher, request: Request, kept: _Connection | None) -> None:
        self._dispatcher = dispatcher
        self._request = request
        self._may_retry = kept is not None
        self._connection: _Connection | None = kept
        self._send()

    def next_answer(self) -> Answer | None:
        """Wait for the next answer.

        Returns:
            The answer, or None after the last one and when closed.

        Raises:
            CommunicationError: It doesn't come, or isn't one.
        """
        if self._connection is None:
            return None
        try:
            answer = self._answer(self._connection)
        except BaseException:
            # ^C included: nobody knows how much of an answer was read.
            self.close()
            raise
        if self._connection.exchange.awaits is None:
            self._dispatcher.give_back(self._connection)
            self._connection = None
        return answer

    def _answer(self, connection: _Connection) -> Answer:
        try:
            answer = connection.answer()
        except CommunicationError:
            if not self._can_retry(connection):
                raise
            connection.channel.close()
            self._connection, self._may_retry = None, False
            return self._send().answer()
        self._may_retry = False
        return answer

    def _send(self) -> _Connection:
        """Send the request, on the kept connection if there is one."""
        while True:
            connection = self._connection or self._dispatcher.connect()
            self._connection = connection
            try:
                connection.channel.send(connection.exchange.ask(self._request))
                return connection
            except BaseException as error:
                self.close()
                if not (isinstance(error, CommunicationError) and self._can_retry(connection)):
                    raise
                self._may_retry = False

    def _can_retry(self, connection: _Connection) -> bool:
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

    def __enter__(self) -> Asked:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class Dispatcher:
    """A dispatcher as its clients see it; safe to use from several threads and after a fork.

    Args:
        host: Its name or address.
        port: Its TCP port.
        connect_timeout: Seconds that each of its addresses is tried, or None.
        read_timeout: The longest silence allowed in seconds, also while a result is waited
            for, or None for any.
    """

    def __init__(
        self, host: str, port: int, connect_timeout: float | None, read_timeout: float | None
    ) -> None:
        self.host = host
        self.port = port
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._kept: deque[_Connection] = deque()

    def ask(self, request: Request) -> Answer:
        """Send a request and wait for its one answer, or the first of many.

        Raises:
            CommunicationError: There's none.
        """
        with self.begin(request) as asked:
            answer = asked.next_answer()
        assert answer is not None
        return answer

    def begin(self, request: Request, *, fresh: bool = False) -> Asked:
        """Send a request whose answers are taken one by one.

        Args:
            fresh: Use a new connection, so that nothing can make the request go out again.

        Raises:
            CommunicationError: It can't be sent.
        """
        return Asked(self, request, None if fresh else self._take())

    def connect(self) -> _Connection:
        """Open a connection.

        Raises:
            CommunicationError: The dispatcher can't be reached.
        """
        connected = open_socket(self.host, self.port, self._connect_timeout)
        address = shown_address(self.host, self.port)
        return _Connection(Channel(connected, address, self._read_timeout))

    def _take(self) -> _Connection | None:
        """Take a kept connection that is good for a request, closing those that aren't."""
        oldest = time.monotonic() - _MAX_IDLE_SECONDS
        while True:
            try:
                connection = self._kept.pop()
            except IndexError:
                return None
            channel = connection.channel
            if channel.ours and connection.idle_since > oldest and channel.quiet():
                return connection
            channel.close()

    def give_back(self, connection: _Connection) -> None:
        """Keep a connection whose answers have all come."""
        if connection.exchange.reusable and len(self._kept) < _MAX_KEPT:
            connection.idle_since = time.monotonic()
            self._kept.append(connection)
        else:
            connection.channel.close()

    def close(self) -> None:
        """Close the kept connections; the next request opens a new one."""
        with suppress(IndexError):
            # Another thread may take the last one at any moment.
            while True:
                self._kept.pop().channel.close()
