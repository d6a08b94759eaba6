"""A connected socket that speaks of every failure as a CommunicationError.

It has the form of :class:`~harpcaller.client.asking.Channel`; its coroutines block instead of
waiting for an event loop.
"""

from __future__ import annotations

import os
import selectors
import socket
from typing import Callable, Protocol

from harpcaller.client.exceptions import CommunicationError

_RECEIVE_SIZE = 256 * 1024
#: Seconds of silence after which the kernel asks whether the peer is still there.
_KEEPALIVE_SECONDS = 60


def shown_address(host: str, port: int) -> str:
    """Write host and port as messages show them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def why(error: BaseException) -> str:
    """Say why an operation on a socket failed, without errno and class name."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def open_socket(host: str, port: int, connect_timeout: float | None) -> socket.socket:
    """Connect to the first of the host's addresses that answers, IPv6 or IPv4.

    Args:
        connect_timeout: Seconds for each address, or None for as long as the system tries.

    Raises:
        CommunicationError: None of them does.
    """
    try:
        connected = socket.create_connection((host, port), connect_timeout)
    except socket.timeout as error:
        reason = f"no connection within {connect_timeout} s" if error.errno is None else why(error)
        raise CommunicationError(f"{shown_address(host, port)}: {reason}") from None
    except (OSError, ValueError, OverflowError) as error:
        # A name that is no name is a ValueError, a port that is no port an OverflowError.
        raise CommunicationError(f"{shown_address(host, port)}: {why(error)}") from None
    attend(connected)
    return connected


def has_news(descriptor: int) -> bool:
    """Tell whether a connection has something to be read, if only its end."""
    with selectors.DefaultSelector() as selector:
        try:
            selector.register(descriptor, selectors.EVENT_READ)
        except (OSError, ValueError):
            return True
        return bool(selector.select(0))


class HasOptions(Protocol):
    """A socket, or what an event loop shows of one."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Set an option."""


def attend(connected: HasOptions) -> None:
    """Have requests go out at once, and a peer that has died be noticed."""
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Who waits for a result for hours learns that the other machine has died.
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_SECONDS)


class Channel:
    """Bytes to and from one peer.

    Args:
        connected: The socket; the channel owns it from here on.
        address: What error messages call the peer.
        read_timeout: The longest silence allowed in seconds, or None for any.

    Attributes:
        lost: Whether the peer closed or reset the connection.
        sent: How many bytes the last :meth:`send` got rid of.
        received: Whether anything came since the last :meth:`send`.
    """

    def __init__(self, connected: socket.socket, address: str, read_timeout: float | None) -> None:
        self._socket = connected
        connected.settimeout(read_timeout)
        self._address = address
        self._read_timeout = read_timeout
        self._process = os.getpid()
        self.lost = False
        self.sent = 0
        self.received = False

    @property
    def ours(self) -> bool:
        """Whether this process opened it, and didn't inherit it over a fork."""
        return os.getpid() == self._process

    def error(self, what: object) -> CommunicationError:
        """Make the error that says what is wrong with this peer."""
        return CommunicationError(f"{self._address}: {what}")

    async def send(self, data: bytes) -> None:
        """Send all of it.

        A peer that closes in the middle may have said why: that it is gone is raised only when
        nothing could be sent, and left to :meth:`receive` otherwise.

        Raises:
            CommunicationError: Nothing could be sent, or it took too long.
        """
        self.sent = 0
        self.received = False
        rest = memoryview(data)
        try:
            while rest:
                count = self._socket.send(rest)
                self.sent += count
                rest = rest[count:]
        except OSError as error:
            if _timed_out(error):
                raise self.error(f"nothing taken within {self._read_timeout} s") from None
            self.lost = True
            if not self.sent:
                raise self.error(why(error)) from None

    async def receive(self) -> bytes:
        """Wait for bytes.

        Returns:
            What came; nothing means that the peer closed.

        Raises:
            CommunicationError: The connection broke, or was silent too long.
        """
        try:
            data = self._socket.recv(_RECEIVE_SIZE)
        except OSError as error:
            if _timed_out(error):
                raise self.error(f"no answer within {self._read_timeout} s") from None
            self.lost = True
            raise self.error(why(error)) from None
        if data:
            self.received = True
        else:
            self.lost = True
        return data

    def quiet(self) -> bool:
        """Tell whether the connection stands and nothing lies unread on it."""
        # With TLS, some of it may have been read from the socket, and not from its cipher.
        unread: Callable[[], int] = getattr(self._socket, "pending", int)
        return not (unread() or has_news(self._socket.fileno()))

    def close(self) -> None:
        """Close it; once is enough, more is allowed."""
        self._socket.close()

    def __del__(self) -> None:
        # Whoever lets go of an iterator half-way, or of the whole library, means it.
        self.close()


def _timed_out(error: OSError) -> bool:
    # The kernel's own ETIMEDOUT is of the same class since Python 3.10, with a number.
    return isinstance(error, socket.timeout) and error.errno is None
