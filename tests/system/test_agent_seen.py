"""Looking at other processes, and signalling just those."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.agent.processes import Seen, descendants, everybody, look, signal_exactly


class SeenTests(SynchronousTestCase):
    def start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_zombies_are_not_seen(self) -> None:
        """A process is seen until it is dead, whether or not that was collected."""
        process = self.start()
        seen = look(process.pid)
        assert seen is not None
        self.assertEqual(
            (process.pid, os.getpid(), process.pid), (seen.pid, seen.parent, seen.group)
        )
        signal_exactly(seen, signal.SIGKILL)
        # Waits without collecting it.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self.assertIsNone(look(process.pid))
        signal_exactly(seen, signal.SIGKILL)
        process.wait()
        signal_exactly(seen, signal.SIGKILL)

    def test_somebody_else(self) -> None:
        """Who has the number of a process that was seen before isn't signalled."""
        process = self.start()
        seen = look(process.pid)
        assert seen is not None
        signal_exactly(dataclasses.replace(seen, started=seen.started - 1), signal.SIGKILL)
        signal_exactly(seen, signal.SIGTERM)
        self.assertEqual(-signal.SIGTERM, process.wait())

    def test_everybody(self) -> None:
        """We are among everybody."""
        self.assertIn(os.getpid(), [seen.pid for seen in everybody()])

    def test_descendants(self) -> None:
        """Children, their children and so on; nobody else, and each but once."""
        family = [
            Seen(pid, parent, 0, 0) for pid, parent in ((2, 1), (5, 3), (3, 2), (4, 2), (7, 6))
        ]
        self.assertEqual([2, 3, 4, 5], sorted(seen.pid for seen in descendants(1, family)))
        self.assertEqual([], descendants(5, family))
