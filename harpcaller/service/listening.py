"""The ports that clients connect to, opened and closed as the configuration says."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Mapping

import attrs
from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThreadPool
from twisted.protocols.tls import TLSMemoryBIOFactory

from harpcaller.config.access import Door
from harpcaller.config.addresses import ListenAddress
from harpcaller.errors import HarpcallerError
from harpcaller.logs.events import EventLog
from harpcaller.service.prompt import be_prompt
from harpcaller.service.reactor import Reactor
from harpcaller.service.server_tls import ServerTLS

_log = EventLog("listener")

#: Connections that may wait to be accepted; bursts of clients are common, and a refused
#: connect is retried by the system only after a second.
_BACKLOG = 1024


class CannotListen(HarpcallerError):
    """A port can't be opened; the message says which and why."""


#: What tells open ports apart: where they are, and whether they speak TLS.
_Place = tuple[ListenAddress, bool]


def _place(door: Door) -> _Place:
    return door.address, door.cert_file is not None


@attrs.define
class Listening:
    """The open ports, by the door that asked for them."""

    _reactor: Reactor
    _factory: Factory
    _ports: dict[_Place, list[IListeningPort]] = attrs.Factory(dict)
    _tls: dict[_Place, ServerTLS] = attrs.Factory(dict)

    async def open(self, doors: Iterable[Door], contexts: Mapping[Door, SSL.Context]) -> None:
        """Open those that aren't open yet; either all of them or none.

        Those with TLS that are open use the new contexts when :meth:`keep_only` has closed the
        rest.

        All names are looked up first, so that nothing is waited for between the first
        port's opening and the return: nobody is accepted in between.

        Raises:
            CannotListen: One of them can't be had.
        """
        wanted = [
            (door, await self._interfaces(door.address))
            for door in doors
            if _place(door) not in self._ports
        ]
        try:
            for door, interfaces in wanted:
                place = _place(door)
                self._ports[place] = []
                factory: IProtocolFactory = self._factory
                if door in contexts:
                    self._tls[place] = ServerTLS(contexts[door])
                    factory = TLSMemoryBIOFactory(self._tls[place], False, self._factory)
                for interface in interfaces:
                    self._ports[place].append(self._listen(door.address, interface, factory))
        except CannotListen:
            await self._close([_place(door) for door, _ in wanted])
            raise

    async def keep_only(self, doors: Iterable[Door], contexts: Mapping[Door, SSL.Context]) -> None:
        """Close all other ports; connections that came by them live on.

        Those that stay greet new clients by the contexts given here.
        """
        wanted = {_place(door): door for door in doors}
        await self._close([place for place in self._ports if place not in wanted])
        for place, tls in self._tls.items():
            tls.context = contexts[wanted[place]]

    async def close(self) -> None:
        """Accept nobody any more."""
        await self._close(list(self._ports))

    async def _close(self, places: Iterable[_Place]) -> None:
        ports = []
        for place in places:
            ports += self._ports.pop(place, [])
            self._tls.pop(place, None)
        await DeferredList([maybeDeferred(port.stopListening) for port in ports])

    def _listen(
        self, address: ListenAddress, interface: str, factory: IProtocolFactory
    ) -> IListeningPort:
        try:
            port = be_prompt(self._reactor.listenTCP(address.port, factory, _BACKLOG, interface))
        except CannotListenError as error:
            words = getattr(error.socketError, "strerror", None) or str(error.socketError)
            raise CannotListen(f"listen: cannot listen on {address}: {words}") from None
        place = port.getHost()
        assert isinstance(place, (IPv4Address, IPv6Address))
        _log.info(
            "listener.listening",
            address=place.host,
            port=place.port,
            tls=isinstance(factory, TLSMemoryBIOFactory),
        )
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
