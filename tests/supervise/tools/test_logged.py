"""A log that a process keeps itself, beside all its services."""

from __future__ import annotations

import os
import signal

from harpcaller.supervise.machine.restarts import Ending
from harpcaller.supervise.messages import FAILED
from harpcaller.supervise.servicedir.folder import Folder
from harpcaller.supervise.servicedir.settings import Settings
from harpcaller.supervise.tools.logged import LoggedHere
from tests.supervise.tools.fakes import FakeWorld


class Ears:
    """Hears what becomes of it."""

    def __init__(self) -> None:
        self.endings: list[Ending] = []

    def ready(self) -> None:
        """It has no word for that."""

    def said(self, words: str) -> None:
        """Nor this."""

    def died(self, ending: Ending) -> None:
        self.endings.append(ending)


class LoggedHereTests(FakeWorld):
    """What it does when there isn't what it takes."""

    out_of_memory = False

    def started(self, script: str) -> None:
        """Start one with this script, at a pipe."""
        path = self.make("log", multilog=script)
        folder = Folder(str(path), "log")
        self.addCleanup(folder.close)
        reading, self.writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.addCleanup(os.close, self.writing)
        self.ears = Ears()
        self.main = path / "main"
        self.input = {0: reading}
        self.logged = LoggedHere(folder, self.loop, self.now)
        self.logged.start(Settings(), self.input, self.ears)

    def now(self) -> int:
        """Give the time; where there is memory."""
        if self.out_of_memory:
            raise MemoryError
        return self.wall

    def come(self, data: bytes) -> None:
        """Let something come through the pipe."""
        os.write(self.writing, data)
        (callback,) = self.loop.watched.values()
        callback()

    def test_no_memory(self) -> None:
        """It dies of it, as a process would, and the next one can begin."""
        self.started("t ./main")
        self.come(b"a\n")
        self.out_of_memory = True
        self.come(b"b\n")
        self.loop.pass_time(0.0)
        self.assertEqual([Ending(FAILED, None)], self.ears.endings)
        self.assertEqual({}, self.loop.watched)
        self.out_of_memory = False
        self.started("t ./main")
        self.assertEqual(2, len([one for one in os.listdir(self.main) if one[0] in "@c"]))
        self.assertEqual([], self.ears.endings)

    def test_no_memory_to_begin(self) -> None:
        """It can't be started then, like a process, and leaves nothing open."""
        self.started("t ./main")
        self.logged.send(signal.SIGKILL)
        self.loop.pass_time(0.0)
        before = os.listdir("/proc/self/fd")
        self.out_of_memory = True
        # What was left there has to get a name, which tells the time.
        self.assertRaises(MemoryError, self.logged.start, Settings(), self.input, self.ears)
        self.assertEqual(before, os.listdir("/proc/self/fd"))

    def test_script_without_an_end(self) -> None:
        """A quotation that never ends is told; that's no log."""
        self.started("t '-* ./main")
        self.loop.pass_time(0.0)
        self.assertEqual([Ending(FAILED, None)], self.ears.endings)
