"""multilog and tai64n as processes: ours, and daemontools' own where it is installed."""

from __future__ import annotations

import fcntl
import os
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise import links

#: Ours, in a way that lets coverage see it.
OURS = (sys.executable, "-P", "-m", "harpcaller.supervise.harpsv")
#: The directories of Debian's programs; ours are never installed there.
SYSTEM_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
PATIENCE = 100


class Logger:
    """A logger that runs, at the end of a pipe that stays when it ends.

    Args:
        command: Program and arguments.
        folder: Where it runs.
        pipe: The pipe of one that ran before, to go on reading where that stopped.
        setup: Is called in the new process before the program.
    """

    def __init__(
        self,
        command: Sequence[str | bytes],
        folder: Path,
        pipe: tuple[int, int] | None = None,
        setup: Callable[[], None] | None = None,
    ) -> None:
        self.pipe = os.pipe() if pipe is None else pipe
        self.errors = folder / f"errors.{time.monotonic_ns()}"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                command, cwd=folder, stdin=self.pipe[0], stderr=errors, preexec_fn=setup
            )

    @property
    def pid(self) -> int:
        """Its process."""
        return self.process.pid

    def write(self, data: bytes) -> None:
        """Write all of it to the pipe."""
        while data:
            data = data[os.write(self.pipe[1], data) :]

    def unread(self) -> int:
        """Tell how many bytes wait in the pipe."""
        answer = fcntl.ioctl(self.pipe[0], termios.FIONREAD, bytes(4))
        return int(struct.unpack("i", answer)[0])

    def said(self) -> str:
        """Give its standard error up to now."""
        return self.errors.read_text("utf-8", "surrogateescape")

    def kill(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait until it has ended; gives its exit code, or minus its signal."""
        return self.process.wait(PATIENCE)

    def end(self) -> int:
        """End its input and wait."""
        os.close(self.pipe[1])
        self.pipe = (self.pipe[0], -1)
        return self.wait()

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(PATIENCE)
        for descriptor in self.pipe:
            if descriptor >= 0:
                os.close(descriptor)


class LoggerCase(SynchronousTestCase):
    """A test with loggers in a folder of its own."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.main = self.folder / "main"

    def original(self, tool: str) -> str:
        """Give the path of daemontools' own program, or skip the test."""
        path = shutil.which(tool, path=SYSTEM_PATH)
        if path is None:
            self.skipTest("daemontools isn't installed here")
        return path

    def quick(self, tool: str) -> str:
        """Give a link to our tool, which starts quickest, for tests that start very many."""
        folder = self.folder / "bin"
        links.make_links(str(folder), [tool])
        return str(folder / tool)

    def logger(
        self,
        *script: str,
        program: str | None = None,
        pipe: tuple[int, int] | None = None,
        setup: Callable[[], None] | None = None,
    ) -> Logger:
        """Start ours, or another program; with a pipe that was handed over, or one of its own."""
        command = [*OURS, "multilog"] if program is None else [program]
        logger = Logger([*command, *script], self.folder, pipe, setup)
        self.addCleanup(logger.close)
        return logger

    def hand_over(self, logger: Logger) -> tuple[int, int]:
        """Take a logger's pipe away from it, for the next one."""
        pipe, logger.pipe = logger.pipe, (-1, -1)
        return pipe

    def until(self, condition: Callable[[], object], what: str = "it never came") -> None:
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                self.fail(what)
            time.sleep(0.01)

    def current(self, name: str = "main") -> bytes:
        """Give what current holds, b"" if there is none."""
        try:
            return (self.folder / name / "current").read_bytes()
        except FileNotFoundError:
            return b""

    def mode(self, file: str, name: str = "main") -> int:
        """Give a file's mode."""
        return (self.folder / name / file).stat().st_mode & 0o7777

    def old(self, name: str = "main") -> list[Path]:
        """List the old files, the oldest first."""
        return sorted((self.folder / name).glob("@*"))

    def everything(self, name: str = "main") -> bytes:
        """Give what a log directory has, the oldest first."""
        return b"".join(path.read_bytes() for path in self.old(name)) + self.current(name)
