"""The table of hosts, in memory, replaced whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from harpcaller.errors import UnknownHost
from harpcaller.hosts.entries import by_name
from harpcaller.interfaces import Host, IHosts


class Table:
    """The hosts that are known now.

    Args:
        replaced: Hears of all hosts when they are others than before.
    """

    def __init__(self, replaced: Callable[[Collection[Host]], None] | None = None) -> None:
        self._replaced = replaced
        self._sorted: tuple[Host, ...] = ()
        self._by_name: dict[str, Host] = {}

    def replace(self, hosts: Iterable[Host]) -> None:
        """Know exactly these hosts from now on; their names are all different."""
        before, self._sorted = self._sorted, by_name(hosts)
        self._by_name = {host.hostname: host for host in self._sorted}
        if self._replaced is not None and before != self._sorted:
            self._replaced(frozenset(self._sorted))

    def find(self, hostname: str) -> Host | None:
        """Look a host up."""
        return self._by_name.get(hostname)

    def all(self) -> Sequence[Host]:
        """Give every host, by name."""
        return self._sorted


class _Refreshing(Protocol):
    """What can fill the table again."""

    def refresh(self) -> Deferred[str | None]:
        """See :meth:`~harpcaller.interfaces.IHosts.refresh`."""


@implementer(IHosts)
class Registry:
    """The registry as other rooms know it.

    Args:
        table: What is known.
        refresher: Who fills the table.
    """

    def __init__(self, table: Table, refresher: _Refreshing) -> None:
        self._table = table
        self._refresher = refresher

    def find(self, hostname: str) -> Deferred[Host]:
        """Look a host up.

        Raises:
            UnknownHost: It isn't in the registry.
        """
        host = self._table.find(hostname)
        if host is None:
            shown = hostname if len(hostname) <= 255 else f"{hostname[:255]}..."
            return fail(UnknownHost(f"the host {shown} is not in the registry"))
        return succeed(host)

    def all(self) -> Sequence[Host]:
        """Give every host, by name."""
        return self._table.all()

    def refresh(self) -> Deferred[str | None]:
        """Run the filler script now, or join the run that is under way."""
        return self._refresher.refresh()
