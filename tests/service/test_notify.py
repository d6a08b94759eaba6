"""Telling systemd how far a daemon is."""

from __future__ import annotations

import os
import socket

from harpcaller.service.notify import notify
from tests.house import HouseCase


class NotifyTests(HouseCase):
    def listen(self, address: str) -> socket.socket:
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(receiver.close)
        receiver.bind(address)
        receiver.setblocking(False)
        return receiver

    def test_socket_in_the_file_system(self) -> None:
        """The state goes to the socket that systemd named."""
        path = f"/tmp/notify-{os.getpid()}"
        receiver = self.listen(path)
        self.addCleanup(os.unlink, path)
        notify("READY=1", {"NOTIFY_SOCKET": path})
        self.assertEqual(b"READY=1", receiver.recv(100))

    def test_abstract_socket(self) -> None:
        """A name that begins with @ is in the abstract namespace."""
        receiver = self.listen(f"\0notify-{os.getpid()}")
        notify("STOPPING=1", {"NOTIFY_SOCKET": f"@notify-{os.getpid()}"})
        self.assertEqual(b"STOPPING=1", receiver.recv(100))

    def test_nobody_asked(self) -> None:
        """Without systemd, or with one that is gone, nothing happens."""
        notify("READY=1", {})
        notify("READY=1", {"NOTIFY_SOCKET": "relative"})
        notify("READY=1", {"NOTIFY_SOCKET": "/nonexistent/socket"})
