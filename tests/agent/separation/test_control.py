"""The network process's end of the control socket."""

from __future__ import annotations

import os
import socket

from twisted.logger import LogLevel

from harpcaller.agent.separation.control import Control, NoteObserver
from harpcaller.agent.separation.table import (
    TO_MONITOR,
    TO_NETWORK,
    Confine,
    Leave,
    Listen,
    Noted,
    ToMonitor,
)
from harpcaller.wire.values import Raw
from tests.house import HouseCase


class ControlCase(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        ours, self.monitor = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(self.monitor.close)
        self.control = Control(ours)

    def heard(self) -> ToMonitor | None:
        reader = TO_MONITOR.reader()
        reader.feed(self.monitor.recv(65536))
        return reader.next()


class ControlTests(ControlCase):
    def test_messages(self) -> None:
        """Messages are waited for, whether they come together or apart."""
        confine = TO_NETWORK.encode(Confine(True, 1, 2))
        self.monitor.sendall(confine + TO_NETWORK.encode(Leave()))
        self.assertEqual(Confine(True, 1, 2), self.control.wait_for())
        self.assertEqual(Leave(), self.control.next())
        self.assertIsNone(self.control.next())

    def test_sockets(self) -> None:
        """A socket comes along with its message."""
        with socket.socket() as given:
            number = os.fstat(given.fileno()).st_ino
            _ = socket.send_fds(self.monitor, [TO_NETWORK.encode(Listen())], [given.fileno()])
        self.assertEqual(Listen(), self.control.wait_for())
        with self.control.next_socket() as found:
            self.assertEqual(number, os.fstat(found.fileno()).st_ino)
            self.assertFalse(found.get_inheritable())

    def test_monitor_is_gone(self) -> None:
        """No more comes from a monitor that is gone, however it went."""
        self.monitor.close()
        self.assertIsNone(self.control.wait_for())
        ours, monitor = socket.socketpair()
        with ours:
            ours.sendall(b"unread")
            monitor.close()
            self.assertFalse(Control(ours).receive())


class NoteTests(ControlCase):
    def test_event(self) -> None:
        """What happens is told to the monitor, but for what nobody wants to know."""
        note = NoteObserver(self.control)
        about = {"log_namespace": "harpcaller.agent", "kind": "agent.refused"}
        note({**about, "context": {}, "log_level": LogLevel.debug})
        note({"log_namespace": "twisted", "log_format": "started", "log_level": LogLevel.info})
        note({**about, "context": {"peer": "::1"}, "log_level": LogLevel.warn})
        expected = Noted("warn", "agent.refused", Raw(b'{"peer":"::1"}'))
        self.assertEqual(expected, self.heard())

    def test_monitor_is_gone(self) -> None:
        """With nobody to tell it to, it isn't told."""
        self.monitor.close()
        NoteObserver(self.control)({"log_level": LogLevel.error})
