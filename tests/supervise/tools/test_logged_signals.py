"""A log that a process keeps itself: the pipe, the signals, the disk, the end."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import termios

from harpcaller.supervise.machine.restarts import Ending
from harpcaller.supervise.servicedir.folder import Folder
from harpcaller.supervise.servicedir.settings import Settings
from harpcaller.supervise.tools.logged import LoggedHere
from tests.supervise.tools.fakes import FakeWorld


class SignalTests(FakeWorld):
    def setUp(self) -> None:
        super().setUp()
        self.endings: list[Ending] = []
        self.reading, self.writing = os.pipe()
        self.addCleanup(os.close, self.reading)
        self.addCleanup(self._close_writing)
        path = self.make("log", multilog="./main\n")
        self.folder = Folder(str(path), "it/log")
        self.addCleanup(self.folder.close)
        self.log = LoggedHere(self.folder, self.loop, lambda: self.wall)
        self.main = path / "main"

    def _close_writing(self) -> None:
        if self.writing >= 0:
            os.close(self.writing)
            self.writing = -1

    # What becomes of it is told to the test.

    def ready(self) -> None:
        raise AssertionError("a log says no such thing")

    def said(self, words: str) -> None:
        raise AssertionError(f"a log says nothing, not {words}")

    def died(self, ending: Ending) -> None:
        self.endings.append(ending)

    def start(self) -> None:
        self.assertEqual(os.getpid(), self.log.start(Settings(), {0: self.reading}, self))

    def write(self, data: bytes) -> None:
        """Let the service say something, and the log read as long as it wants to."""
        os.write(self.writing, data)
        self.read()

    def read(self) -> None:
        for _turn in range(100):
            for callback in list(self.loop.watched.values()):
                callback()
            if not _waiting(self.reading):
                return

    def current(self) -> bytes:
        return (self.main / "current").read_bytes()

    def test_writes_what_it_reads(self) -> None:
        """At once, and closes cleanly when nobody can write any more."""
        self.start()
        self.write(b"one\ntwo\n")
        self.assertEqual(b"one\ntwo\n", self.current())
        self.write(b"three")
        self._close_writing()
        for callback in list(self.loop.watched.values()):
            callback()
        self.loop.pass_time(0.0)
        self.assertEqual([Ending(0, None)], self.endings)
        self.assertEqual(b"one\ntwo\nthree\n", self.current())
        self.assertEqual(0o744, (self.main / "current").stat().st_mode & 0o777)

    def test_term_ends_at_the_end_of_a_line(self) -> None:
        """What follows stays in the pipe for the next."""
        self.start()
        self.write(b"begun")
        self.log.send(signal.SIGTERM)
        self.assertEqual([], self.endings)
        self.write(b" and done\nnext\n")
        self.loop.pass_time(0.0)
        self.assertEqual([Ending(0, None)], self.endings)
        self.assertEqual(b"begun and done\n", self.current())
        self.assertEqual(b"next\n", os.read(self.reading, 100))
        self.log.send(signal.SIGTERM)

    def test_term_between_lines_ends_at_once(self) -> None:
        """Nothing more is read."""
        self.start()
        self.log.send(signal.SIGTERM)
        self.assertEqual({}, self.loop.watched)
        self.loop.pass_time(0.0)
        self.assertEqual([Ending(0, None)], self.endings)

    def test_pause_holds_it_back(self) -> None:
        """The service has to wait once the pipe is full, as with any process."""
        self.start()
        self.log.send(signal.SIGSTOP)
        self.assertEqual({}, self.loop.watched)
        self.log.send(signal.SIGCONT)
        self.write(b"one\n")
        self.assertEqual(b"one\n", self.current())

    def test_kill_leaves_it_as_it_is(self) -> None:
        """As multilog's file after kill -9; the next makes an old one of it."""
        self.start()
        self.write(b"one\n")
        self.log.send(signal.SIGKILL)
        self.loop.pass_time(0.0)
        self.assertEqual([Ending(None, signal.SIGKILL)], self.endings)
        self.assertEqual(0o644, (self.main / "current").stat().st_mode & 0o777)
        self.start()
        self.assertEqual(1, len(list(self.main.glob("@*.u"))))
        self.log.send(signal.SIGKILL)

    def test_refused_rotation_is_tried_again(self) -> None:
        """While the disk refuses it reads nothing; afterwards all is there."""
        self.start()
        self.write(b"one\n")
        (self.main / "previous").mkdir()
        self.log.send(signal.SIGALRM)
        self.assertEqual({}, self.loop.watched)
        os.write(self.writing, b"two\n")
        (self.main / "previous").rmdir()
        self.loop.pass_time(6.0)
        self.read()
        self.assertEqual(b"two\n", self.current())
        [old] = self.main.glob("@*.s")
        self.assertEqual(b"one\n", old.read_bytes())
        self.log.send(signal.SIGKILL)

    def test_end_during_a_refusal(self) -> None:
        """TERM has it tried again at once, and it ends when that went well."""
        self.start()
        self.write(b"one\n")
        (self.main / "previous").mkdir()
        self.log.send(signal.SIGALRM)
        (self.main / "previous").rmdir()
        self.log.send(signal.SIGTERM)
        self.loop.pass_time(0.0)
        self.assertEqual([Ending(0, None)], self.endings)
        self.assertEqual(b"", self.current())

    def test_script_that_is_none(self) -> None:
        """Told, and an ordinary death that follows the start."""
        for script in ("'unfinished", "", "./missing/main"):
            (self.root / "log" / "multilog").write_text(script)
            self.endings.clear()
            self.start()
            self.assertEqual([], self.endings)
            self.loop.pass_time(0.0)
            if script:
                self.assertEqual([Ending(111, None)], self.endings, script)
            else:
                self.log.send(signal.SIGINT)
                self.loop.pass_time(0.0)
                self.assertEqual([Ending(None, signal.SIGINT)], self.endings)

    def test_no_script_at_all(self) -> None:
        """Like a process that the system refuses: worth another try."""
        (self.root / "log" / "multilog").unlink()
        self.assertRaises(FileNotFoundError, self.start)
        self.assertEqual({}, self.loop.watched)


def _waiting(descriptor: int) -> int:
    """Tell how many bytes can be read."""
    answer = fcntl.ioctl(descriptor, termios.FIONREAD, struct.pack("i", 0))
    number: int = struct.unpack("i", answer)[0]
    return number
