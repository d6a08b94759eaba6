"""Where to connect for a host: its address may be a name, IPv4 or IPv6."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import (
    IConnector,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.interfaces import Host


def endpoint_to(reactor: Any, host: Host, timeout_seconds: float) -> IStreamClientEndpoint:
    """Choose an endpoint; only a name pays for looking it up.

    Args:
        reactor: Typed as endpoints type it, for want of a name for all that they ask of it.
        timeout_seconds: For each single attempt, where a name has several addresses.
    """
    if isIPAddress(host.address) or isIPv6Address(host.address):
        return AddressEndpoint(reactor, host.address, host.port, timeout_seconds)
    return HostnameEndpoint(reactor, host.address, host.port, timeout_seconds)


@implementer(IStreamClientEndpoint)
class AddressEndpoint:
    """The way to an address.

    Twisted's own endpoint puts another protocol between connection and protocol, for as long as the
    connection lives.
    """

    def __init__(self, reactor: Any, address: str, port: int, timeout_seconds: float) -> None:
        self._reactor = reactor
        self._place = address, port
        self._timeout = timeout_seconds

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect; see :class:`IStreamClientEndpoint`."""
        dialing = _Dialing(protocolFactory)
        dialing.connector = self._reactor.connectTCP(*self._place, dialing, self._timeout)
        return dialing.connected


class _Dialing(ClientFactory[Any]):
    """One attempt to connect."""

    noisy = False

    def __init__(self, factory: IProtocolFactory) -> None:
        self.connected: Deferred[IProtocol] = Deferred(self._cancelled)
        self.connector: Any = None
        self._factory = factory

    def buildProtocol(self, addr: Any) -> Any:
        """Hear that the connection stands, which is told in the next moment."""
        protocol = self._factory.buildProtocol(addr)
        assert protocol is not None
        self.connected.callback(protocol)
        return protocol

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """Hear that it can't be had."""
        if not self.connected.called:
            self.connected.errback(reason)

    def _cancelled(self, connected: Deferred[IProtocol]) -> None:
        connected.errback(ConnectingCancelledError(self.connector.getDestination()))
        self.connector.stopConnecting()
