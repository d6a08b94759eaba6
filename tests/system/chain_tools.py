"""daemontools' tools and ours, run alike and compared."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise import harpsv, links

#: The directories of Debian's programs; ours are never installed there.
SYSTEM_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
PATIENCE = 100


class Outcome(NamedTuple):
    """What a run has shown."""

    code: int
    out: bytes
    err: bytes


class ChainCase(SynchronousTestCase):
    """A test with links to our tools, and the original's where Debian's package is installed."""

    def setUp(self) -> None:
        # Not in trial's folder: another user has to get there, too.
        self.folder = Path(tempfile.mkdtemp(prefix="chain-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.folder.chmod(0o755)
        self.links = self.folder / "bin"
        links.make_links(str(self.links), harpsv.LINKED)
        self.work = self.folder / "work"
        self.work.mkdir()

    def original(self, tool: str) -> str:
        """Give the path of daemontools' own program, or skip the test."""
        path = shutil.which(tool, path=SYSTEM_PATH)
        if path is None:
            self.skipTest("daemontools isn't installed here")
        return path

    def run_tool(
        self, path: str | Path, *arguments: str | bytes, env: Mapping[str, str] | None = None
    ) -> Outcome:
        """Run a program in the work folder, with an environment of its own."""
        done = subprocess.run(
            [path, *arguments],
            cwd=self.work,
            env={"PATH": SYSTEM_PATH} if env is None else env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def ours(self, tool: str, *arguments: str | bytes) -> Outcome:
        """Run our tool by its link."""
        return self.run_tool(self.links / tool, *arguments)

    def same(self, tool: str, *arguments: str | bytes) -> Outcome:
        """Run both, and see that they can't be told apart; gives what was seen."""
        theirs = self.run_tool(self.original(tool), *arguments)
        self.assertEqual(theirs, self.ours(tool, *arguments), (tool, *arguments))
        return theirs


def is_root() -> bool:
    """May this process become somebody else?"""
    return os.geteuid() == 0


def has_open(pid: int, file: Path) -> bool:
    """Does a process have a file open just now?"""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if descriptor.samefile(file):
                return True
        except OSError:
            pass  # closed while we looked
    return False
