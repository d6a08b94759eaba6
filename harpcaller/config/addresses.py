"""Where a daemon listens: ``"<bind-address>:<port>"``.  Pure; nothing is looked up."""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address

import attrs

from harpcaller.config.fields import Mistake, shown, unexpected

_label = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)").fullmatch
_numbers = re.compile(r"[0-9.]+").fullmatch
_port = re.compile(r"[0-9]{1,5}").fullmatch


@attrs.frozen
class ListenAddress:
    """A place to listen on.

    Args:
        host: A host name, or an IPv4 or IPv6 address without brackets; None for every
            address of the machine, of both families.
        port: 0 lets the system choose one, which is of use in tests.
    """

    host: str | None
    port: int

    def __str__(self) -> str:
        host = "*" if self.host is None else self.host
        return f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"


def listen_address(value: object) -> ListenAddress:
    """Read one entry of ``listen``.

    Raises:
        Mistake: It is none.
    """
    if not isinstance(value, str):
        raise unexpected('"<bind-address>:<port>"', value)
    host, colon, port = value.rpartition(":")
    if not colon or not host:
        raise unexpected('"<bind-address>:<port>"', value)
    if not _port(port) or int(port) > 65535:
        raise unexpected("a port from 0 to 65535 after the last colon", value)
    return ListenAddress(_host(host, value), int(port))


def _host(host: str, value: str) -> str | None:
    if host == "*":
        return None
    if host.startswith("[") and host.endswith("]"):
        try:
            return str(IPv6Address(host[1:-1]))
        except AddressValueError:
            raise unexpected("an IPv6 address in the brackets", value) from None
    if ":" in host:
        raise Mistake(f"an IPv6 address is written in brackets, as [::1]:3502; got {shown(value)}")
    if _numbers(host):
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise unexpected("an IPv4 address before the colon", value) from None
    if len(host) > 253 or not all(map(_label, host.removesuffix(".").split("."))):
        raise unexpected("a host name, an address or * before the colon", value)
    return host
