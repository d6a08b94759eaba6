"""A loop without a system, a door behind which nobody is, and a service between them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from twisted.internet.task import Clock

from harpcaller.supervise.machine.restarts import Ending
from harpcaller.supervise.messages import reason
from harpcaller.supervise.servicedir.folder import Folder
from harpcaller.supervise.servicedir.seen import Seen, look
from harpcaller.supervise.spawn.door import Door, Program
from harpcaller.supervise.tools.loop import Loop, Timer
from harpcaller.supervise.tools.supervised import Supervised, Surroundings
from tests.house import HouseCase


class FakeLoop(Loop):
    """A loop that goes round when a test says so."""

    def __init__(self, clock: Clock) -> None:
        self._time = clock
        self.clock = clock.seconds
        self.watched: dict[int, Callable[[], None]] = {}
        self.timers: list[Timer] = []
        self.children: dict[int, Callable[[Ending], None]] = {}
        self.stopped = False
        self.refusals: list[OSError] = []
        self.bugs: list[str] = []
        self._warn = self.bugs.append

    def watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.watched[descriptor] = callback

    def unwatch(self, descriptor: int) -> None:
        del self.watched[descriptor]

    def at(self, when: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(when, callback)
        self.timers.append(timer)
        return timer

    def on_exit(self, pid: int, callback: Callable[[Ending], None]) -> None:
        self.children[pid] = callback

    def stop(self) -> None:
        self.stopped = True

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and happen what is due."""
        until = self.clock() + seconds
        while True:
            self.timers = [timer for timer in self.timers if not timer.is_off]
            due = min((timer for timer in self.timers if timer.at <= until), default=None)
            if due is None:
                break
            self._time.advance(max(0.0, due.at - self.clock()))
            due.fire()
        self._time.advance(max(0.0, until - self.clock()))

    def dies(self, pid: int, ending: Ending) -> None:
        """Let a child end."""
        self.children.pop(pid)(ending)


class FakeDoor(Door):
    """Takes note of what is started."""

    def __init__(self) -> None:
        super().__init__(reason)
        self.started: list[Program] = []
        self.refusals: list[Exception] = []

    def start(self, program: Program) -> int:
        if self.refusals:
            raise self.refusals.pop(0)
        self.started.append(program)
        # No process has such a number, so that a signal hits nobody.
        return 2**30 + len(self.started)

    @property
    def names(self) -> list[bytes]:
        """Which programs were started, in order."""
        return [program.argv[0] for program in self.started]


class FakeWorld(HouseCase):
    """A test with a folder for services, and all that they need around them."""

    def setUp(self) -> None:
        super().setUp()
        self.root = Path(tempfile.mkdtemp(prefix="harpsv-unit-"))
        self.addCleanup(self._remove)
        self.loop = FakeLoop(self.clock)
        self.addCleanup(self._see_no_bugs)
        self.door = FakeDoor()
        self.warnings: list[str] = []
        self.wall = 1_700_000_000 * 10**9
        self.around = Surroundings(self.loop, self.door, lambda: self.wall, self.warnings.append)
        self._folders: list[Folder] = []

    def _see_no_bugs(self) -> None:
        self.assertEqual([], self.loop.bugs)

    def _remove(self) -> None:
        for folder in self._folders:
            folder.close()
        for path in sorted(self.root.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                path.rmdir()
            else:
                path.unlink()
        self.root.rmdir()

    def make(self, name: str, **files: str) -> Path:
        """Make a service's directory; ``_`` in files' names stands for ``-``, ``__`` for ``/``."""
        path = self.root / name
        path.mkdir(exist_ok=True)
        for key, text in files.items():
            file = path / key.replace("__", "/").replace("_", "-")
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
            file.chmod(0o755)
        return path

    def supervised(self, name: str, **files: str) -> Supervised:
        """Supervise a service."""
        path = self.make(name, **files)
        folder = Folder(str(path), name)
        self._folders.append(folder)
        self.ended: list[str] = []
        service = Supervised(folder, self.around, None, lambda: self.ended.append(name))
        service.begin()
        return service

    def see(self, name: str) -> Seen:
        """Look at a service from outside."""
        folder = Folder(str(self.root / name), name)
        try:
            return look(folder.fd)
        finally:
            folder.close()

    def command(self, name: str, letters: str) -> None:
        """Write to a service's control FIFO, and have it read."""
        with (self.root / name / "supervise" / "control").open("wb", buffering=0) as fifo:
            fifo.write(letters.encode())
        for callback in list(self.loop.watched.values()):
            callback()
