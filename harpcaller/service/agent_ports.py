"""Where an agent listens: an address of its own, or sockets that it was started with."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from harpcaller.config.agent import AgentSettings
from harpcaller.errors import HarpcallerError
from harpcaller.logs.events import EventLog
from harpcaller.service.activation import NotActivated, inherited_sockets

#: Connections that may wait to be accepted.
_BACKLOG = 1024


class CannotListen(HarpcallerError):
    """There's no port to be had; the message says which and why."""


class AgentPorts:
    """The ports that callers connect to: opened here, served by the network process.

    Args:
        environ: Tells of sockets that systemd opened.
        log: Where it is told at which addresses callers are heard.

    Attributes:
        inherited: Whether the ports are systemd's, so that the settings don't count.
    """

    def __init__(self, environ: Mapping[str, str], log: EventLog) -> None:
        self._environ = environ
        self._log = log
        self._places: list[tuple[str, int]] = []
        self.inherited = False

    def open(self, settings: AgentSettings) -> list[socket.socket]:
        """Listen; gives the sockets.

        Raises:
            CannotListen: Nobody could connect.
        """
        try:
            sockets = inherited_sockets(self._environ, os.getpid())
        except NotActivated as error:
            raise CannotListen(str(error)) from None
        self.inherited = bool(sockets)
        if not sockets:
            sockets = [_listen(settings)]
        self._places = [one.getsockname()[:2] for one in sockets]
        return sockets

    def tell(self) -> None:
        """Log where callers are heard."""
        for address, port in self._places:
            self._log.info("agent.listening", address=address, port=port, inherited=self.inherited)


def _listen(settings: AgentSettings) -> socket.socket:
    try:
        interface = _interface(settings.address)
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        (found, *_) = socket.getaddrinfo(interface, settings.port, family, socket.SOCK_STREAM)
        opened = socket.socket(family, socket.SOCK_STREAM)
        try:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.bind(found[4])
            opened.listen(_BACKLOG)
        except OSError:
            opened.close()
            raise
    except OSError as error:
        where = f"{settings.address} port {settings.port}"
        raise CannotListen(f"cannot listen on {where}: {error.strerror or error}") from None
    return opened


def _interface(address: str) -> str:
    """Give the address to bind to.

    Raises:
        OSError: It can't be resolved.
    """
    if address == "*":
        # The IPv6 wildcard takes IPv4 too, where the system has IPv6.
        return "::" if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6") else "0.0.0.0"  # noqa: S104
    found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return str(found[0][4][0])
