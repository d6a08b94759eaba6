"""An address may be a name, IPv4 or IPv6."""

from __future__ import annotations

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure

from harpcaller.call.endpoint import AddressEndpoint, endpoint_to
from harpcaller.interfaces import Host
from harpcaller.wire.agent import Credentials
from tests.house import HouseCase


class EndpointTests(HouseCase):
    def endpoint(self, address: str) -> IStreamClientEndpoint:
        host = Host("web01", address, 4306, Credentials("user", "secret"))
        return endpoint_to(MemoryReactorClock(), host, 7.0)

    def test_ipv4(self) -> None:
        """An IPv4 address is connected to without asking anybody for it."""
        reactor = MemoryReactorClock()
        host = Host("web01", "192.0.2.1", 4306, Credentials("user", "secret"))
        connected = endpoint_to(reactor, host, 7.0).connect(Factory.forProtocol(Protocol))
        self.assertEqual(("192.0.2.1", 4306), reactor.tcpClients[0][:2])
        self.assertEqual(7.0, reactor.tcpClients[0][3])
        self.assertNoResult(connected)
        protocol = reactor.tcpClients[0][2].buildProtocol(None)
        self.assertIs(protocol, self.successResultOf(connected))
        self.assertIsInstance(protocol, Protocol)

    def test_failure(self) -> None:
        """A connection that can't be had is told of; one that isn't wanted any more is given up."""
        for cancel in (False, True):
            reactor = MemoryReactorClock()
            host = Host("web01", "192.0.2.1", 4306, Credentials("user", "secret"))
            connected = endpoint_to(reactor, host, 7.0).connect(Factory.forProtocol(Protocol))
            connector, dialing = reactor.connectors[0], reactor.tcpClients[0][2]
            if cancel:
                connected.cancel()
                self.failureResultOf(connected, ConnectingCancelledError)
                self.assertTrue(connector.stoppedConnecting)
            dialing.clientConnectionFailed(connector, Failure(ConnectionRefusedError()))
            if not cancel:
                self.failureResultOf(connected, ConnectionRefusedError)

    def test_ipv6(self) -> None:
        """So is an IPv6 address."""
        for address in ("::1", "2001:db8::1", "fe80::1%lo"):
            self.assertIsInstance(self.endpoint(address), AddressEndpoint)

    def test_name(self) -> None:
        """A name is looked up, and all its addresses are tried."""
        for name in ("web01.example", "localhost", "caf\u00e9.example"):
            self.assertIsInstance(self.endpoint(name), HostnameEndpoint)

    def test_odd_names(self) -> None:
        """What is no name is a name that isn't found, not a mistake of ours."""
        for name in ("", "a..b", "x" * 300, "a b", "a\x00b", "1.2.3.4.5"):
            self.assertIsInstance(self.endpoint(name), HostnameEndpoint)
