"""What keeps services up, when there is no memory for a while."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import time
from pathlib import Path

from tests.system.supervise_trees import TreeCase

#: How long there is none, in seconds.
MEANWHILE = 0.5


class NoMemoryTests(TreeCase):
    def test_everything_waits_for_it(self) -> None:
        """Commands and deaths that come meanwhile are heeded when there is memory again."""
        self.service("killed")
        self.service("told")
        # What measures coverage couldn't write its data without memory.
        unmeasured = ("/usr/bin/env", "-u", "COVERAGE_PROCESS_CONFIG")
        svscan = self.start(*unmeasured, f"{self.ours}/svscan", str(self.services))
        killed, told = self.pid("killed"), self.pid("told")
        before = self.take_memory(svscan)
        os.kill(killed, signal.SIGKILL)
        self.svc("-k", "told")
        # As long as it says nothing it may still have had enough.
        self.until(lambda: "out of memory" in self.complaints(), "words about memory")
        self.pass_over(MEANWHILE)
        resource.prlimit(svscan.pid, resource.RLIMIT_AS, before)
        self.until(lambda: self.pid("killed") != killed, "the first again")
        self.until(lambda: self.pid("told") != told, "the second again")
        self.assertNotIn("Traceback", self.complaints())
        self.assertLess(len(self.complaints().splitlines()), 20)

    def take_memory(self, process: subprocess.Popen[bytes]) -> tuple[int, int]:
        """Let a process have no more than it has; gives the limits that were."""
        fields = dict(
            line.split(":", 1)
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        )
        size = int(fields["VmSize"].split()[0]) * 1024
        before = resource.prlimit(process.pid, resource.RLIMIT_AS)
        resource.prlimit(process.pid, resource.RLIMIT_AS, (size, before[1]))
        return before

    def pass_over(self, seconds: float) -> None:
        """Let time pass in which nothing can be seen."""
        time.sleep(seconds)
