"""Sockets that systemd passes."""

from __future__ import annotations

import os
import socket

from harpcaller.service.activation import NotActivated, inherited_sockets
from tests.house import HouseCase


class InheritedTests(HouseCase):
    def listening(self) -> socket.socket:
        given = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(given.close)
        return given

    def passed(self, given: socket.socket) -> int:
        """A descriptor as systemd passes it."""
        descriptor = os.dup(given.fileno())
        os.set_inheritable(descriptor, True)
        return descriptor

    def refusal(self, count: str, first: int = 3) -> str:
        with self.assertRaises(NotActivated) as caught:
            _ = inherited_sockets({"LISTEN_PID": "5", "LISTEN_FDS": count}, 5, first)
        return str(caught.exception)

    def test_socket(self) -> None:
        """A listening socket is taken, and not passed on to programs that we start."""
        given = self.listening()
        first = self.passed(given)
        (found,) = inherited_sockets({"LISTEN_PID": "5", "LISTEN_FDS": "1"}, 5, first)
        self.addCleanup(found.close)
        self.assertEqual(given.getsockname(), found.getsockname())
        self.assertFalse(os.get_inheritable(found.fileno()))

    def test_not_for_us(self) -> None:
        """What is meant for another process, or not there, isn't touched."""
        for environ in (
            {},
            {"LISTEN_FDS": "1"},
            {"LISTEN_PID": "6", "LISTEN_FDS": "1"},
            {"LISTEN_PID": "5", "LISTEN_FDS": "0"},
        ):
            self.assertEqual([], inherited_sockets(environ, 5))

    def test_nonsense(self) -> None:
        """What isn't a number of sockets is told."""
        self.assertIn("LISTEN_FDS: expected a number of sockets, got 'x'", self.refusal("x"))
        self.assertIn("got ''", self.refusal(""))

    def test_closed(self) -> None:
        """A descriptor that isn't there is told."""
        self.assertIn("Bad file descriptor", self.refusal("1", 10_000))

    def test_other_sockets(self) -> None:
        """A unix socket, and one that is a connection already, are of no use."""
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        self.assertIn("isn't a listening TCP socket", self.refusal("1", self.passed(ours)))
        unheard = socket.socket()
        self.addCleanup(unheard.close)
        self.assertIn("isn't a listening TCP socket", self.refusal("1", self.passed(unheard)))
