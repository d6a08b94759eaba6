"""Where to connect for a host: its address may be a name, IPv4 or IPv6."""

from __future__ import annotations

from typing import Any

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from harpcaller.interfaces import Host


def endpoint_to(reactor: Any, host: Host, timeout_seconds: float) -> IStreamClientEndpoint:
    """Choose an endpoint; only a name pays for looking it up.

    Args:
        reactor: Typed as endpoints type it, for want of a name for all that they ask of it.
        timeout_seconds: For each single attempt, where a name has several addresses.
    """
    if isIPAddress(host.address):
        return TCP4ClientEndpoint(reactor, host.address, host.port, timeout_seconds)
    if isIPv6Address(host.address):
        return TCP6ClientEndpoint(reactor, host.address, host.port, timeout_seconds)
    return HostnameEndpoint(reactor, host.address, host.port, timeout_seconds)
