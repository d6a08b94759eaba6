"""What went wrong gets the right type and says where."""

from __future__ import annotations

import errno

from OpenSSL import SSL
from twisted.internet import error
from twisted.python.failure import Failure

from harpcaller.call.faults import fault_of
from tests.call.calling import HOST
from tests.house import HouseCase

PLACE = "192.0.2.1 port 4306"


class FaultTests(HouseCase):
    def told(self, reason: Exception, *, handshake: bool = False) -> tuple[str, str] | None:
        fault = fault_of(Failure(reason), HOST, handshake=handshake)
        return None if fault is None else (fault.wire_type, fault.message)

    def test_shortages_are_our_own(self) -> None:
        """What the dispatcher's system lacks isn't the network's fault."""
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            for reason in (OSError(number, "words"), error.ConnectBindError(number, "words")):
                found = self.told(reason)
                assert found is not None
                self.assertEqual("os_error", found[0])

    def test_out_of_ports(self) -> None:
        """Neither is having no local port left."""
        self.assertEqual(
            ("os_error", f"cannot connect to {PLACE}: Cannot assign requested address"),
            self.told(error.ConnectError(errno.EADDRNOTAVAIL, "words")),
        )

    def test_lost_during_the_handshake(self) -> None:
        """Losing the connection is told as what it interrupted."""
        for reason in (error.ConnectionDone(), error.ConnectionLost()):
            self.assertEqual(
                ("network_error", f"{PLACE} closed the connection during the TLS handshake"),
                self.told(reason, handshake=True),
            )

    def test_lost_while_connecting(self) -> None:
        """Twisted's own words are told where there is nothing better."""
        self.assertEqual(
            (
                "network_error",
                f"cannot connect to {PLACE}: An error occurred while connecting: odd.",
            ),
            self.told(error.ConnectError(string="odd")),
        )

    def test_handshake_failed(self) -> None:
        """OpenSSL's reasons are told, all of them."""
        words = [("SSL routines", "", "no shared cipher"), ("x", "y", "and more")]
        for reason, wanted in (
            (SSL.Error(words), "no shared cipher; and more"),
            (SSL.Error(), "the connection was closed"),
            (SSL.Error([]), "the connection was closed"),
            (SSL.SysCallError(104, "ECONNRESET"), "ECONNRESET"),
        ):
            self.assertEqual(
                ("tls_error", f"the TLS handshake with {PLACE} failed: {wanted}"),
                self.told(reason, handshake=True),
            )

    def test_name_that_is_none(self) -> None:
        """What can't be a name isn't resolved; once connected, a ValueError is something else."""
        self.assertEqual(
            ("network_error", "the address 192.0.2.1 of web01.example is not resolved"),
            self.told(ValueError("invalid hostname")),
        )
        self.assertIsNone(self.told(ValueError(), handshake=True))

    def test_bug(self) -> None:
        """What is neither network nor agent is nobody's fault but ours."""
        self.assertIsNone(self.told(ZeroDivisionError()))
