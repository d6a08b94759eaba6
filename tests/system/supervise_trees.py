"""Service directories and the programs that keep them up, for system tests."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from twisted.trial.unittest import TestCase

from harpcaller.supervise import harpsv
from harpcaller.supervise.links import SCRIPT, make_links
from harpcaller.supervise.tools.seen_json import encode_seen
from harpcaller.supervise.tools.svstat import look_at

#: Where Debian has the original's programs.
THEIRS = "/usr/bin"
#: How long anything may take on a machine that is busy with something else, in seconds.
PATIENCE = 60.0

SLEEPS = "exec sleep 1000"

T = TypeVar("T")


class TreeCase(TestCase):
    """A test with our tools as links, and a directory of services.

    What it starts is ended by pid: the supervisors first, then what they have left.
    """

    timeout = 300
    #: Needs the original's programs.
    needs_theirs = False

    def setUp(self) -> None:
        if self.needs_theirs and not os.path.exists(f"{THEIRS}/supervise"):
            self.skipTest("daemontools isn't installed")
        # FIFOs' paths, and those in messages, are short and the same for every test.
        self.folder = Path(tempfile.mkdtemp(prefix="harpsv-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.ours = str(self.folder / "bin")
        make_links(self.ours, harpsv.LINKED)
        if "COVERAGE_PROCESS_CONFIG" in os.environ:
            # What measures is an installed package, for which the links don't look.
            (self.folder / "bin" / SCRIPT).write_text(
                f"#!{sys.executable}\nimport sys\n"
                "from harpcaller.supervise.harpsv import main\nsys.exit(main())\n"
            )
        self.services = self.folder / "services"
        self.services.mkdir()
        self._started: list[subprocess.Popen[bytes]] = []
        self.addCleanup(self._end_all)

    def _end_all(self) -> None:
        # The first asks for the end, the second for that of services that don't listen.
        for _time in range(2):
            for process in self._started:
                if process.poll() is None:
                    process.terminate()
            for process in self._started:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(3.0)
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.wait()
        # What a supervisor that was killed has left: some of it may be ours, and wants to end well.
        deadline = time.monotonic() + 3.0
        self._signal_all(signal.SIGTERM)
        while self._marked() and time.monotonic() < deadline:
            time.sleep(0.02)
        for _time in range(3):
            self._signal_all(signal.SIGKILL)

    def _marked(self) -> list[int]:
        """List whoever descends from what this test has started."""
        marker = f"HARPSV_TEST={self.folder}".encode()
        numbers = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
        return [pid for pid in numbers if marker in _environment(pid)]

    def _signal_all(self, number: int) -> None:
        for pid in self._marked():
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def service(self, name: str, run: str = SLEEPS, **files: str) -> Path:
        """Make a service; files' names have ``_`` for ``-``, and ``__`` for ``/``."""
        folder = self.services / name
        self.script(folder / "run", run)
        for key, text in files.items():
            path = folder / key.replace("__", "/").replace("_", "-")
            if path.name in ("run", "finish", "alert"):
                self.script(path, text)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        return folder

    def script(self, path: Path, text: str) -> None:
        """Make a shell script."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def environment(self, path: str | None = None) -> dict[str, str]:
        """Give the environment of what is started; it marks all descendants."""
        return {
            **os.environ,
            "PATH": f"{path or self.ours}:{os.environ['PATH']}",
            "HARPSV_TEST": str(self.folder),
        }

    def start(
        self, *command: str, path: str | None = None, more: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a supervisor among the services; its complaints go to the file ``complaints``."""
        with (self.folder / "complaints").open("ab") as complaints:
            process = subprocess.Popen(
                command,
                cwd=self.services,
                env={**self.environment(path), **(more or {})},
                stdin=subprocess.DEVNULL,
                stdout=complaints,
                stderr=complaints,
            )
        self._started.append(process)
        return process

    def supervise(self, name: str, bin_: str | None = None) -> subprocess.Popen[bytes]:
        """Start a supervise, and wait until it is there."""
        process = self.start(f"{bin_ or self.ours}/supervise", name)
        self.until(lambda: self.is_supervised(name), f"supervise {name}")
        return process

    def svscan(self, *names: str) -> subprocess.Popen[bytes]:
        """Start our svscan, and wait until these are supervised."""
        process = self.start(f"{self.ours}/svscan", str(self.services))
        for name in names:
            self.until(lambda name=name: self.is_supervised(name), name)  # type: ignore[misc]  # mypy can't infer defaults of lambdas
        return process

    def complaints(self) -> str:
        """Give what was complained of so far."""
        return (self.folder / "complaints").read_text("utf-8", "replace")

    def run_tool(self, *command: str, bin_: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a tool among the services to its end."""
        tool, *arguments = command
        return subprocess.run(
            [f"{bin_ or self.ours}/{tool}", *arguments],
            cwd=self.services,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE * 2,
            check=False,
        )

    def code(self, *command: str) -> int:
        """Run one of our tools; gives its exit code."""
        return self.run_tool(*command).returncode

    def svc(self, *arguments: str, bin_: str | None = None) -> None:
        """Tell a service something; it must be taken."""
        done = self.run_tool("svc", *arguments, bin_=bin_)
        self.assertEqual((0, ""), (done.returncode, done.stderr))

    def status(self, name: str) -> dict[str, Any]:
        """Give a service's status, as ``svstat --json`` would, without starting that."""
        path = str(self.services / name)
        line = encode_seen(name, look_at(path), time.clock_gettime(time.CLOCK_BOOTTIME), 0)
        found: dict[str, Any] = json.loads(line)
        return found

    def is_supervised(self, name: str) -> bool:
        """Tell whether somebody supervises a service."""
        return bool(self.status(name).get("supervised"))

    def pid(self, name: str) -> int:
        """Wait until a service is up; gives its pid."""

        def look() -> int:
            return self.status(name).get("pid") or 0

        return self.until(look, f"{name} up")

    def until(self, look: Callable[[], T], what: str) -> T:
        """Wait until something is so; gives what was seen."""
        deadline = time.monotonic() + PATIENCE
        while not (seen := look()):
            if time.monotonic() > deadline:
                self.fail(f"waited in vain for: {what}\n{self.complaints()}")
            time.sleep(0.02)
        return seen

    def until_state(self, name: str, state: str) -> dict[str, Any]:
        """Wait until a service's machine is in a state."""
        self.until(lambda: self.status(name).get("state") == state, f"{name} {state}")
        return self.status(name)

    def ends(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for a supervisor's end; gives its exit code."""
        return process.wait(PATIENCE)


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def is_running(pid: int) -> bool:
    """Tell whether there is such a process that isn't a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def without_seconds(text: str) -> str:
    """Leave out of svstat's lines what changes by itself."""
    return re.sub(r"\d+ seconds", "N seconds", text)
