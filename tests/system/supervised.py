"""A directory of services under ``svscan``, for tests that type commands."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.system.chain_tools import PATIENCE, SYSTEM_PATH, ChainCase


class SupervisedCase(ChainCase):
    """A test with ``svscan`` over ``service/``, and service directories in ``sv/``."""

    def setUp(self) -> None:
        super().setUp()
        self.sv = self.folder / "sv"
        self.services = self.folder / "service"
        self.sv.mkdir()
        self.services.mkdir()
        path = f"{self.links}:{SYSTEM_PATH}"
        #: What commands are typed with.
        self.environment = {"PATH": path, "TZ": "UTC", "HOME": str(self.folder)}

    def start_svscan(self) -> None:
        """Start it, and stop it with all its services at the end."""
        process = subprocess.Popen(
            [self.links / "svscan", str(self.services)],
            env=self.environment,
            stdin=subprocess.DEVNULL,
        )

        def stop() -> None:
            process.terminate()
            try:
                process.wait(PATIENCE)
            finally:
                process.kill()
                process.wait()

        self.addCleanup(stop)

    def typed(self, commands: str, directory: Path | None = None) -> str:
        """Type commands into a shell; gives what is shown. None of them may fail."""
        done = subprocess.run(
            ["/bin/bash", "-ec", commands],
            cwd=directory or self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
        shown = done.stdout.decode()
        self.assertEqual(0, done.returncode, f"{commands}\n{shown}")
        return shown

    def until(self, what: str, good: Callable[[], object]) -> None:
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE
        while not good():
            if time.monotonic() > end:
                self.fail(f"not within {PATIENCE} s: {what}\n{self.everything()}")
            time.sleep(0.05)

    def until_shown(self, commands: str, expected: str, directory: Path | None = None) -> str:
        """Type commands until what is shown is as expected; gives it."""
        shown = []

        def good() -> bool:
            shown.append(self.typed(commands, directory))
            return re.search(expected, shown[-1]) is not None

        self.until(f"{commands} shows {expected}", good)
        return shown[-1]

    def everything(self) -> str:
        """Give the status and log of all services, for the message of a failure."""
        found = [self.typed(f"svstat {self.sv}/* {self.sv}/*/log || true")]
        for log in sorted(self.sv.rglob("current")):
            found += [str(log), log.read_text(errors="replace")]
        return "\n".join(found)


def pid_in(status: str) -> int:
    """Find the pid in a line of ``svstat``, 0 if the service is down."""
    found = re.search(r"\(pid (\d+)\)", status)
    return int(found[1]) if found else 0


def is_alive(pid: int) -> bool:
    """Is there such a process?"""
    return os.path.exists(f"/proc/{pid}")
