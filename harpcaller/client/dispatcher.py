"""A dispatcher for callers that block: requests and answers as the wire has them.

What is kept, what is sent again and what isn't: :mod:`~harpcaller.client.asking`.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from harpcaller.client import asking
from harpcaller.client.asking import Connections, finished
from harpcaller.client.channel import Channel, open_socket, shown_address
from harpcaller.client.tls import secured
from harpcaller.wire.client import Request
from harpcaller.wire.client_answers import Answer

if TYPE_CHECKING:
    import ssl


def blocking_connections(
    host: str,
    port: int,
    connect_timeout: float | None,
    read_timeout: float | None,
    tls: ssl.SSLContext | None = None,
    token: str | None = None,
) -> Connections:
    """Make connections to a dispatcher whose channels block."""
    address = shown_address(host, port)

    async def open_channel() -> Channel:
        plain = open_socket(host, port, connect_timeout)
        peer = plain if tls is None else secured(plain, tls, host, address)
        return Channel(peer, address, read_timeout)

    return Connections(open_channel, token)


class Asked:
    """One request that was sent, and its answers as they come.

    Left before the last answer it must be closed; as a context manager it does so itself.
    """

    def __init__(self, asked: asking.Asked) -> None:
        self._asked = asked

    def next_answer(self) -> Answer | None:
        """Wait for the next answer.

        Returns:
            The answer, or None after the last one and when closed.

        Raises:
            CommunicationError: It doesn't come, or isn't one.
        """
        return finished(self._asked.next_answer())

    def close(self) -> None:
        """Ask for no more answers."""
        self._asked.close()

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
        tls: How it is talked to by TLS; None for without.
        token: What tells it who we are, or None.
    """

    def __init__(
        self,
        host: str,
        port: int,
        connect_timeout: float | None,
        read_timeout: float | None,
        tls: ssl.SSLContext | None = None,
        token: str | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.connections = blocking_connections(
            host, port, connect_timeout, read_timeout, tls, token
        )

    def ask(self, request: Request) -> Answer:
        """Send a request and wait for its one answer, or the first of many.

        Raises:
            CommunicationError: There's none.
        """
        return finished(self.connections.ask(request))

    def begin(self, request: Request, *, fresh: bool = False) -> Asked:
        """Send a request whose answers are taken one by one.

        Args:
            fresh: Use a new connection, so that nothing can make the request go out again.

        Raises:
            CommunicationError: It can't be sent.
        """
        return Asked(finished(self.connections.begin(request, fresh=fresh)))

    def close(self) -> None:
        """Close the kept connections; the next request opens a new one."""
        self.connections.close()
