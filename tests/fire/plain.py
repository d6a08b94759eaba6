"""Calls without encryption: the real caller, on connections that only pass bytes on.

A handshake is two milliseconds of arithmetic that a simulation of ten calls doesn't want.
"""

from __future__ import annotations

from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from zope.interface import implementer

from harpcaller.call.context import AgentContext
from harpcaller.interfaces import Host


class _Connection:
    """What an OpenSSL connection does for Twisted, less the encryption."""

    def __init__(self) -> None:
        self._incoming = bytearray()
        self._outgoing = bytearray()

    def set_connect_state(self) -> None:
        """As a client."""

    def set_app_data(self, _data: object) -> None:
        """Not asked for again."""

    def do_handshake(self) -> None:
        """There is none."""

    def bio_write(self, data: bytes) -> int:
        self._incoming += data
        return len(data)

    def bio_read(self, size: int) -> bytes:
        return self._take(self._outgoing, size)

    def send(self, data: bytes) -> int:
        self._outgoing += data
        return len(data)

    def recv(self, size: int) -> bytes:
        return self._take(self._incoming, size)

    def _take(self, buffer: bytearray, size: int) -> bytes:
        if not buffer:
            raise SSL.WantReadError
        data = bytes(buffer[:size])
        del buffer[:size]
        return data

    def shutdown(self) -> bool:
        return True

    def get_shutdown(self) -> int:
        return 0

    def bio_shutdown(self) -> None:
        pass


@implementer(IOpenSSLClientConnectionCreator)
class _Plain:
    """What :class:`~harpcaller.call.context.AgentTLS` is for a connection."""

    def __init__(self, context: _Context) -> None:
        self.context = context

    def clientConnectionForTLS(self, _protocol: object) -> Any:
        return _Connection()

    def objection(self) -> str | None:
        return None

    def has_expired(self) -> bool:
        return False

    def remember(self) -> None:
        pass


class _Context:
    def connection(self, _host: Host) -> _Plain:
        return _Plain(self)


def plain() -> AgentContext:
    """Give what a caller needs to talk without encryption."""
    return cast(AgentContext, _Context())
