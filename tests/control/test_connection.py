"""The asking side of the control socket."""

from __future__ import annotations

import os
import shutil
import tempfile

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.control.connection import Connection, Deadline, TimeIsUp, Unreachable
from harpcaller.errors import ProtocolError
from harpcaller.wire.control import ListJobs
from harpcaller.wire.control_answers import Closing
from tests.control.scripted import OK, ScriptedDaemon


class ConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        directory = tempfile.mkdtemp()  # trial's own is too long for a socket's path
        self.addCleanup(shutil.rmtree, directory)
        self.path = os.path.join(directory, "control")

    def connect(self, *answers: bytes | None, max_line: int = 1000) -> Connection:
        daemon = ScriptedDaemon(self.path, *answers)
        self.addCleanup(daemon.close)
        connection = Connection(self.path, Deadline(5), max_line)
        self.addCleanup(connection.close)
        return connection

    def test_items_then_the_end(self) -> None:
        """Line by line, the last one read and understood."""
        connection = self.connect(b'{"job":"x"}\n' + OK)
        self.assertEqual([b'{"job":"x"}', Closing({})], list(connection.ask(ListJobs())))
        connection.wait_for_end()

    def test_endless_line(self) -> None:
        """What isn't our daemon can't fill our memory."""
        connection = self.connect(b"x" * 2000)
        self.assertRaises(ProtocolError, list, connection.ask(ListJobs()))

    def test_connection_that_is_broken(self) -> None:
        """It is told as a daemon that can't be reached, with the system's reason."""
        connection = self.connect(OK)
        connection.close()
        error = self.assertRaises(Unreachable, list, connection.ask(ListJobs()))
        self.assertEqual("Bad file descriptor", str(error))
        self.assertTrue(error.broke_off)
        connection.wait_for_end()

    def test_no_time_left(self) -> None:
        """Not even to connect."""
        self.assertRaises(TimeIsUp, Connection, self.path, Deadline(0))


class DeadlineTests(SynchronousTestCase):
    def test_time_goes_by(self) -> None:
        """What is left, and naps that don't sleep past it."""
        now = 100.0
        deadline = Deadline(10, lambda: now)
        self.assertEqual((10.0, 0.05), (deadline.left(), deadline.nap()))
        now = 109.98
        self.assertAlmostEqual(0.02, deadline.nap())
        now = 110.0
        self.assertRaises(TimeIsUp, deadline.left)

    def test_for_ever(self) -> None:
        """No limit is none, and a very long one is one that the system can take."""
        self.assertIsNone(Deadline(None).left())
        self.assertEqual(0.05, Deadline(None).nap())
        self.assertEqual(1e6, Deadline(999999999, lambda: 0.0).left())
