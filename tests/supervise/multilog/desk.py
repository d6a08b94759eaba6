"""A log in a directory of its own, with a clock turned by hand and a processor that is ours."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from harpcaller.supervise.multilog.log import Log
from harpcaller.supervise.multilog.script import parse

#: What Python functions that stand for processors get and give: input and state, output and state.
Processor = Callable[[bytes, bytes], tuple[bytes, bytes]]


class Desk:
    """Where logs are made and what they did is seen.

    Args:
        folder: The directory that logs are relative to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.now = 1_000_000_000_000_000_000
        self.seconds = 100.0
        self.warnings: list[str] = []
        self.shown: list[bytes] = []
        #: Commands of processors that were started.
        self.started: list[bytes] = []
        #: What the next starts do, instead of giving a pid.
        self.refusals: list[Exception] = []
        self.logs: list[Log] = []

    def clock(self) -> int:
        """Time never stands still: each reading is a microsecond after the last."""
        self.now += 1000
        return self.now

    def start(self, command: bytes, directory: int) -> int:
        """Stand for the processor's start."""
        if self.refusals:
            raise self.refusals.pop(0)
        self.started.append(command)
        return 1000 + len(self.started)

    def log(self, script: str, *, opened: bool = True) -> Log:
        """Make a log and open it."""
        at = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            log = Log(
                parse(word.encode() for word in script.split()),
                at=at,
                clock=self.clock,
                monotonic=lambda: self.seconds,
                start=self.start,
                warn=self.warnings.append,
                show=self.shown.append,
            )
            self.logs.append(log)
            if opened:
                log.open()
        finally:
            os.close(at)
        return log

    def process(self, log: Log, processor: Processor, *, name: str = "main") -> None:
        """Do what a processor does that is waited for, and tell the log that it ended well."""
        place = self.folder / name
        output, state = processor((place / "previous").read_bytes(), (place / "state").read_bytes())
        (place / "processed").write_bytes(output)
        (place / "newstate").write_bytes(state)
        log.processor_ended(0)

    def names(self, name: str = "main") -> list[str]:
        """List a log directory, without the lock; old files as ``.s`` and ``.u``."""
        found = sorted(os.listdir(self.folder / name))
        return [one[25:] if one.startswith("@") else one for one in found if one != "lock"]

    def old(self, name: str = "main") -> list[bytes]:
        """Give the contents of the old files, the oldest first."""
        return [path.read_bytes() for path in sorted((self.folder / name).glob("@*"))]

    def current(self, name: str = "main") -> bytes:
        """Give what current holds."""
        return (self.folder / name / "current").read_bytes()

    def mode(self, file: str, name: str = "main") -> int:
        """Give a file's mode."""
        return (self.folder / name / file).stat().st_mode & 0o7777

    def release(self) -> None:
        """Let go of all logs."""
        for log in self.logs:
            log.release()
