"""The registry as other rooms ask it."""

from __future__ import annotations

from collections.abc import Collection

from twisted.internet.defer import Deferred, succeed
from zope.interface.verify import verifyObject

from harpcaller.errors import UnknownHost
from harpcaller.hosts.registry import Registry, Table
from harpcaller.interfaces import Host, IHosts
from harpcaller.wire.agent import Credentials
from tests.hosts.test_entries import WEB01
from tests.house import HouseCase


class Refreshing:
    def refresh(self) -> Deferred[str | None]:
        return succeed("no")


class RegistryTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.table = Table()
        self.registry = Registry(self.table, Refreshing())

    def test_provides_the_interface(self) -> None:
        """It is what the dispatcher asks."""
        self.assertTrue(verifyObject(IHosts, self.registry))

    def test_known_host_is_found(self) -> None:
        """With its address and credentials."""
        self.table.replace([WEB01])
        self.assertEqual(WEB01, self.successResultOf(self.registry.find("web01.example.net")))

    def test_unknown_host_is_an_error_that_names_it(self) -> None:
        """The caller learns which name isn't there; a silly one is cut."""
        failure = self.failureResultOf(self.registry.find("web02"), UnknownHost)
        self.assertEqual("the host web02 is not in the registry", str(failure.value))
        failure = self.failureResultOf(self.registry.find("x" * 10**6), UnknownHost)
        self.assertLess(len(str(failure.value)), 300)

    def test_hosts_are_listed_by_name(self) -> None:
        """Whatever the script's order."""
        other = Host("a.example.net", "::1", 1, Credentials("u", "p"))
        self.table.replace([WEB01, other])
        self.assertEqual([other, WEB01], list(self.registry.all()))

    def test_table_is_replaced_whole(self) -> None:
        """A host that isn't named any more is gone."""
        self.table.replace([WEB01])
        self.table.replace([])
        self.assertEqual([], list(self.registry.all()))
        _ = self.failureResultOf(self.registry.find(WEB01.hostname), UnknownHost)

    def test_who_needs_to_know_is_told(self) -> None:
        """When hosts are others than before, and only then."""
        told: list[Collection[Host]] = []
        table = Table(told.append)
        one, other = WEB01, Host("a.example.net", "::1", 1, Credentials("u", "p"))
        for hosts in ([one], [one], [other, one], [one, other], []):
            table.replace(hosts)
        self.assertEqual([{one}, {one, other}, set()], told)

    def test_refresh_is_the_refreshers(self) -> None:
        """Operators' demands come by here."""
        self.assertEqual("no", self.successResultOf(self.registry.refresh()))
