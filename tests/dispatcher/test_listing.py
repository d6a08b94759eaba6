"""What there is to call."""

from __future__ import annotations

from harpcaller.errors import UnknownHost
from harpcaller.interfaces import Host
from harpcaller.testing.dispatcher import FakeHosts
from harpcaller.wire.ending import Failed
from harpcaller.wire.procedures import Procedure, ProcedureList
from tests.dispatcher.world import WEB01, DispatcherCase


class ListingTests(DispatcherCase):
    def setUp(self) -> None:
        super().setUp()
        self.hosts.hosts["db01"] = Host("db01", "10.0.0.2", 4306, WEB01.credentials)

    def test_hosts(self) -> None:
        """Names, in order."""
        self.assertEqual(["db01", "web01"], self.successResultOf(self.dispatcher.hosts()))

    def test_no_hosts(self) -> None:
        """An empty registry is one, too."""
        self.hosts.hosts = FakeHosts().hosts
        self.assertEqual([], self.successResultOf(self.dispatcher.hosts()))

    def test_procedures(self) -> None:
        """What the agent says, be it an error; no job comes of it."""
        listed = ProcedureList((Procedure("p", "()", "", False),))
        self.caller.listed["web01"] = listed
        self.assertEqual(listed, self.successResultOf(self.dispatcher.procedures("web01")))
        unreachable = self.successResultOf(self.dispatcher.procedures("db01"))
        self.assertIsInstance(unreachable, Failed)
        self.assertEqual([], self.dispatcher.living())

    def test_unknown_host(self) -> None:
        """Unlike a call, it is refused: there is no job to end with the error."""
        self.failureResultOf(self.dispatcher.procedures("web99"), UnknownHost)
