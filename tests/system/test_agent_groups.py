"""Whether anybody is left in a process group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.agent.groups import living_groups, signal_group


class GroupTests(SynchronousTestCase):
    def start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def test_zombies_do_not_live(self) -> None:
        """A group lives until its last member is dead, whether or not that was collected."""
        process = self.start()
        self.assertIn(process.pid, living_groups())
        self.assertTrue(signal_group(process.pid, signal.SIGKILL))
        # Waits without collecting it.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        self.assertTrue(signal_group(process.pid, 0))
        self.assertNotIn(process.pid, living_groups())
        process.wait()
        self.assertFalse(signal_group(process.pid, 0))

    def test_others_live_too(self) -> None:
        """Everybody's groups are found, our own among them."""
        self.assertIn(os.getpgrp(), living_groups())
