"""A keeper and its family, told by signals as the template tells it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.system.agent_processes import is_running

#: Be a keeper, but end as processes do, so that coverage is measured; tell how it ended.
KEEPER = """
import os, signal, sys, time
from harpcaller.agent import keeper

keeper.REMAINS_GRACE = 0.2
keeper.prctl(keeper._PR_SET_CHILD_SUBREAPER, 1)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())

def work():
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    %s

pid = os.fork()
if pid == 0:
    try:
        work()
    finally:
        os._exit(0)
os.write(1, b"keeps\\n")
print(keeper.Keeper(pid).watch(), flush=True)
"""

#: Have a grandchild in a session of its own that listens to no SIGTERM, and tell its number.
FUGITIVE = """
    r, w = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.close(1)
            os.close(2)
            with open("fugitive", "w") as stream:
                stream.write(str(os.getpid()))
            os.write(w, b"x")
            time.sleep(60)
        os._exit(0)
    os.wait()
    os.read(r, 1)
"""

WAIT = "    os.write(1, b'ready\\n')\n    time.sleep(60)\n"


class KeeperTests(TestCase):
    timeout = 120

    def start(self, work: str) -> subprocess.Popen[str]:
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        process = subprocess.Popen(
            [sys.executable, "-c", KEEPER % work],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def ready(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        self.assertEqual(
            {"ready\n", "keeps\n"}, {process.stdout.readline(), process.stdout.readline()}
        )

    def fugitive(self) -> int:
        pid = int((self.folder / "fugitive").read_text())
        self.addCleanup(self.kill, pid)
        return pid

    def kill(self, pid: int) -> None:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)

    def told(self, process: subprocess.Popen[str]) -> str:
        """Wait for its end; gives the last thing that it told."""
        assert process.stdout is not None
        last = process.stdout.read().splitlines()[-1]
        self.assertEqual(0, process.wait())
        return last

    def test_worker_is_through(self) -> None:
        """When the worker is through, the keeper leaves, and what was left stays."""
        process = self.start(FUGITIVE)
        self.assertEqual("0", self.told(process))
        self.assertTrue(is_running(self.fugitive()))

    def test_worker_died(self) -> None:
        """A worker that died takes its family along, after a grace."""
        process = self.start(FUGITIVE + "    os._exit(5)\n")
        self.assertEqual("5", self.told(process))
        self.assertFalse(is_running(self.fugitive()))

    def test_order_is_passed_on(self) -> None:
        """A signal reaches everybody; the keeper stays until the last is gone."""
        process = self.start(FUGITIVE + WAIT)
        self.ready(process)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        self.assertTrue(is_running(self.fugitive()), "it listens to no SIGTERM")
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(str(-signal.SIGTERM), self.told(process))
        self.assertFalse(is_running(self.fugitive()))

    def test_kill_now(self) -> None:
        """Killing needs no order before."""
        process = self.start(FUGITIVE + WAIT)
        self.ready(process)
        process.send_signal(signal.SIGUSR1)
        self.assertEqual(str(-signal.SIGKILL), self.told(process))
        self.assertFalse(is_running(self.fugitive()))

    def test_template_died(self) -> None:
        """When the template is no more, everything ends after a grace."""
        process = self.start(FUGITIVE + WAIT)
        self.ready(process)
        process.send_signal(signal.SIGHUP)
        self.assertEqual(str(-signal.SIGTERM), self.told(process))
        self.assertFalse(is_running(self.fugitive()))
