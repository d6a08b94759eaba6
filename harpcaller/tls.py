"""TLS as Twisted does it, but for telling which interfaces a connection has.

To find out and say so takes a twentieth of all that a new connection takes, and nobody asks.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import ITransport
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOProtocol


class BufferedTLS(BufferingTLSTransport):
    """Small writes of one moment leave together."""

    def makeConnection(self, transport: ITransport) -> None:
        """Begin the handshake."""
        super().makeConnection(_Through(transport))
        self.transport = transport


class UnbufferedTLS(TLSMemoryBIOProtocol):
    """Each write leaves by itself."""

    def makeConnection(self, transport: ITransport) -> None:
        """Begin the handshake."""
        super().makeConnection(_Through(transport))
        self.transport = transport


class _Through:
    """A transport of which nobody can tell what it is."""

    def __init__(self, transport: ITransport) -> None:
        self._transport = transport

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._transport, name)
