"""The socket to a template, with nobody behind it."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import cast

from twisted.internet.testing import MemoryReactorClock

from harpcaller.agent.call_process import AgentReactor
from harpcaller.agent.order_socket import OrderSocket
from tests.house import HouseCase


class OrderSocketTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = MemoryReactorClock()
        ours, self.theirs = socket.socketpair()
        self.addCleanup(self.theirs.close)
        self.heard: list[bytes] = []
        self.orders = OrderSocket(cast(AgentReactor, self.reactor), ours, self.heard.append)
        self.addCleanup(self.orders.close)

    def pipe(self) -> tuple[int, int]:
        """Make a pipe whose end for writing goes with an order."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.set_blocking(reading, False)
        return reading, writing

    def is_closed(self, reading: int) -> bool:
        """Tell whether nobody has the other end of a pipe any more."""
        with contextlib.suppress(BlockingIOError):
            return os.read(reading, 1) == b""
        return False

    def is_waiting(self) -> bool:
        return self.orders in self.reactor.writers

    def receive(self) -> tuple[bytes, list[int]]:
        data, descriptors, _, _ = socket.recv_fds(self.theirs, 65536, 10)
        for descriptor in descriptors:
            self.addCleanup(os.close, descriptor)
        return data, descriptors

    def test_at_once_and_together(self) -> None:
        """An order goes at once, in one piece with its descriptors, which aren't ours any more."""
        first, second = self.pipe(), self.pipe()
        self.orders.send(b"start\n", [first[1], second[1]])
        self.assertFalse(self.is_waiting())
        data, descriptors = self.receive()
        self.assertEqual((b"start\n", 2), (data, len(descriptors)))
        for (reading, _), descriptor in zip((first, second), descriptors, strict=True):
            os.write(descriptor, b"x")
            self.assertEqual(b"x", os.read(reading, 10))
        self.orders.send(b"end\n")
        self.assertEqual((b"end\n", []), self.receive())

    def fill(self) -> bytes:
        """Leave no room in the socket."""
        filling = b"x" * 1_000_000
        self.orders.send(filling)
        self.assertTrue(self.is_waiting())
        return filling

    def test_waits_for_room(self) -> None:
        """What finds no room goes later, in its turn and whole, its descriptors with it."""
        filling = self.fill()
        reading, writing = self.pipe()
        self.orders.send(b"start\n", [writing])
        came, descriptors = self.receive()
        while self.is_waiting():
            data, more = self.receive()
            came, descriptors = came + data, descriptors + more
            self.orders.doWrite()
        while not came.endswith(b"start\n"):
            data, more = self.receive()
            came, descriptors = came + data, descriptors + more
        self.assertEqual(filling + b"start\n", came)
        self.assertEqual(1, len(descriptors))
        self.assertFalse(self.is_closed(reading), "it is the other side's now")

    def test_nobody_there(self) -> None:
        """If nobody is there any more, nothing is kept for him."""
        self.theirs.close()
        for _ in range(2):
            reading, writing = self.pipe()
            self.orders.send(b"start\n", [writing])
            self.assertFalse(self.orders.connected)
            self.assertTrue(self.is_closed(reading))
        self.assertNotIn(self.orders, self.reactor.readers)

    def test_closed_while_waiting(self) -> None:
        """What waits when the socket is closed is closed as well, once."""
        self.fill()
        reading, writing = self.pipe()
        self.orders.send(b"start\n", [writing])
        self.orders.close()
        self.orders.close()
        self.assertTrue(self.is_closed(reading))
        self.assertFalse(self.is_waiting())

    def test_hears(self) -> None:
        """What the template says is told as it comes, and its end is."""
        self.theirs.sendall(b'{"exited"')
        self.assertIsNone(self.orders.doRead())
        self.assertIsNone(self.orders.doRead(), "there is nothing, but it isn't the end")
        self.theirs.close()
        self.assertIsNotNone(self.orders.doRead())
        self.assertEqual([b'{"exited"'], self.heard)
