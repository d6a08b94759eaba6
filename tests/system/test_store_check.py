"""``harpcallerd store-check`` as an operator has it: a program, on a store that a daemon made."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from typing import cast

from twisted.internet import reactor
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.utils import getProcessOutputAndValue
from twisted.trial.unittest import TestCase

from harpcaller.interfaces import Ended, Started, Submitted
from harpcaller.store.disk import RealDisk
from harpcaller.store.filestore import FileJobStore
from harpcaller.store.layout import job_path
from tests.store.jobs import DONE, call, job

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class StoreCheckTests(TestCase):
    timeout = 300

    def setUp(self) -> None:
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory)

    async def filled(self) -> FileJobStore:
        """Make a store with some jobs, and leave it open."""
        store = FileJobStore(
            f"{self.directory}/stream",
            disk=RealDisk(),
            clock=reactor,
            reactor=cast(IReactorFromThreads, reactor),
        )
        await store.open()
        for number in range(5):
            await store.add(job(number), Submitted(call(), 1.0))
            await store.add(job(number), Started(2.0))
            await store.add(job(number), Ended(DONE, 3.0))
        return store

    async def tool(self, *argv: str) -> tuple[int, str, str]:
        """Run it; give its exit code and what it printed."""
        out, err, code = await getProcessOutputAndValue(
            sys.executable,
            ["-m", "harpcaller.control.cli", "store-check", *argv],
            env={**os.environ, "PYTHONPATH": _ROOT},
            path=self.directory,
        )
        return code, out.decode(), err.decode()

    async def test_check_and_repair(self) -> None:
        """It refuses while the store is in use; then it finds, repairs, and finds nothing more."""
        store = await self.filled()
        code, out, err = await self.tool("--directory=stream")
        self.assertEqual((2, ""), (code, out))
        self.assertIn(f"the store is in use (process {os.getpid()})", err)
        await store.close()
        clean = (0, "5 jobs, nothing amiss\n", "")
        self.assertEqual(clean, await self.tool("--directory=stream"))
        with open(job_path(f"{self.directory}/stream", job(1)), "ab") as file:
            file.write(b"torn")
        code, out, _ = await self.tool("--directory", "stream")
        self.assertEqual(1, code)
        self.assertIn("torn line", out)
        code, out, _ = await self.tool("--directory=stream", "--repair")
        self.assertEqual(0, code)
        self.assertIn("all repaired", out)
        self.assertEqual(clean, await self.tool("--directory=stream"))
