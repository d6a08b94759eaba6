"""The ports that clients connect to, opened and closed as the configuration says."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable

import attrs
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool

from harpcaller.config.addresses import ListenAddress
from harpcaller.errors import HarpcallerError
from harpcaller.logs.events import EventLog
from harpcaller.service.reactor import Reactor

_log = EventLog("listener")

#: Connections that may wait to be accepted; bursts of clients are common, and a refused
#: connect is retried by the system only after a second.
_BACKLOG = 1024


class CannotListen(HarpcallerError):
    """A port can't be opened; the message says which and why."""


@attrs.define
class Listening:
    """The open ports, by the address that asked for them."""

    _reactor: Reactor
    _factory: Factory
    _ports: dict[ListenAddress, list[IListeningPort]] = attrs.Factory(dict)

    async def open(self, addresses: Iterable[ListenAddress]) -> None:
        """Open those that aren't open yet; either all of them or none.

        All names are looked up first, so that nothing is waited for between the first
        port's opening and the return: nobody is accepted in between.

        Raises:
            CannotListen: One of them can't be had.
        """
        wanted = [
            (address, await self._interfaces(address))
            for address in addresses
            if address not in self._ports
        ]
        try:
            for address, interfaces in wanted:
                self._ports[address] = []
                for interface in interfaces:
                    self._ports[address].append(self._listen(address, interface))
        except CannotListen:
            await self._close([address for address, _ in wanted])
            raise

    async def keep_only(self, addresses: Iterable[ListenAddress]) -> None:
        """Close the ports of all other addresses; connections that came by them live on."""
        wanted = set(addresses)
        await self._close([address for address in self._ports if address not in wanted])

    async def close(self) -> None:
        """Accept nobody any more."""
        await self._close(list(self._ports))

    async def _close(self, addresses: Iterable[ListenAddress]) -> None:
        ports = [port for address in addresses for port in self._ports.pop(address, ())]
        await DeferredList([maybeDeferred(port.stopListening) for port in ports])

    def _listen(self, address: ListenAddress, interface: str) -> IListeningPort:
        try:
            port: IListeningPort = self._reactor.listenTCP(
                address.port, self._factory, _BACKLOG, interface
            )
        except CannotListenError as error:
            words = getattr(error.socketError, "strerror", None) or str(error.socketError)
            raise CannotListen(f"listen: cannot listen on {address}: {words}") from None
        place = port.getHost()
        assert isinstance(place, (IPv4Address, IPv6Address))
        _log.info("listener.listening", address=place.host, port=place.port)
        return port

    async def _interfaces(self, address: ListenAddress) -> list[str]:
        """Give the addresses to bind to."""
        if address.host is None:
            # The IPv6 wildcard takes IPv4 too, where the system has IPv6.
            return ["::"] if _has_ipv6() else ["0.0.0.0"]  # noqa: S104  # what "*" means
        try:
            found = await deferToThreadPool(
                self._reactor,
                self._reactor.getThreadPool(),
                socket.getaddrinfo,
                address.host,
                address.port,
                type=socket.SOCK_STREAM,
                flags=socket.AI_PASSIVE,
            )
        except OSError as error:
            raise CannotListen(f"listen: cannot resolve {address.host}: {error.strerror}") from None
        return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::", 0))
    except OSError as error:
        if error.errno in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            return False
        raise
    return True
