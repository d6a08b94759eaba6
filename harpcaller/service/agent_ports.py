"""Where an agent listens: an address of its own, or sockets that it was started with."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.protocols.tls import TLSMemoryBIOFactory

from harpcaller.config.agent import AgentSettings
from harpcaller.errors import HarpcallerError
from harpcaller.logs.events import EventLog
from harpcaller.service.activation import NotActivated, inherited_sockets
from harpcaller.service.reactor import Reactor

#: Connections that may wait to be accepted.
_BACKLOG = 1024


class CannotListen(HarpcallerError):
    """There's no port to be had; the message says which and why."""


class AgentPorts:
    """The ports that callers connect to.

    Args:
        reactor: Listens.
        environ: Tells of sockets that systemd opened.
        log: Where it is told at which addresses callers are heard.

    Attributes:
        inherited: Whether the ports are systemd's, so that the settings don't count.
    """

    def __init__(self, reactor: Reactor, environ: Mapping[str, str], log: EventLog) -> None:
        self._reactor = reactor
        self._environ = environ
        self._log = log
        self._ports: list[IListeningPort] = []
        self.inherited = False

    def open(self, settings: AgentSettings, factory: TLSMemoryBIOFactory) -> None:
        """Listen.

        Raises:
            CannotListen: Nobody could connect.
        """
        try:
            given = inherited_sockets(self._environ, os.getpid())
        except NotActivated as error:
            raise CannotListen(str(error)) from None
        for one in given:
            with one:  # the reactor makes a descriptor of its own
                one.setblocking(False)
                port = self._reactor.adoptStreamPort(one.fileno(), one.family, factory)
                self._ports.append(cast(IListeningPort, port))
        self.inherited = bool(given)
        if not given:
            self._ports.append(self._listen(settings, factory))
        for port in self._ports:
            place = cast(IPv4Address, port.getHost())
            self._log.info(
                "agent.listening", address=place.host, port=place.port, inherited=self.inherited
            )

    def _listen(self, settings: AgentSettings, factory: TLSMemoryBIOFactory) -> IListeningPort:
        try:
            interface = _interface(settings.address)
            port = self._reactor.listenTCP(settings.port, factory, _BACKLOG, interface)
        except (CannotListenError, OSError) as error:
            cause = getattr(error, "socketError", error)
            words = getattr(cause, "strerror", None) or str(cause)
            where = f"{settings.address} port {settings.port}"
            raise CannotListen(f"cannot listen on {where}: {words}") from None
        return cast(IListeningPort, port)

    async def close(self) -> None:
        """Accept nobody any more."""
        ports, self._ports = self._ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)


def _interface(address: str) -> str:
    """Give the address to bind to.

    Raises:
        OSError: It can't be resolved.
    """
    if address == "*":
        # The IPv6 wildcard takes IPv4 too, where the system has IPv6.
        return "::" if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6") else ""
    found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return str(found[0][4][0])
