"""Events reach every handler that was asked for, and no line is lost unsaid."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterable
from pathlib import Path
from threading import Thread
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

from twisted.logger import ILogObserver, LogBeginner, LogLevel, LogPublisher
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from harpcaller.logs.events import EventLog
from harpcaller.logs.observers import LogSetup, LogTo, Outside, start_logging
from harpcaller.logs.sinks import DescriptorLog
from harpcaller.wire.values import decode
from tests.house import HouseCase
from tests.logs.test_entry import event


class Pipe:
    """A pipe that a test reads what was logged from."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)

    def read(self) -> str:
        try:
            return os.read(self.reading, 1 << 20).decode()
        except BlockingIOError:
            return ""

    def close(self) -> None:
        for fd in (self.reading, self.writing):
            with contextlib.suppress(OSError):
                os.close(fd)


class Daemon:
    """A syslogd or journald of the test's own."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self._path = path

    def read(self) -> str:
        return self._socket.recv(1 << 20).decode()

    def stop(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)


class LoggingCase(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        # Not mktemp: the path of a socket may have no more than 107 bytes.
        self.folder = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.stdout = Pipe()
        self.addCleanup(self.stdout.close)
        self.stderr = Pipe()
        self.addCleanup(self.stderr.close)
        self.log_file = self.folder / "events.log"
        self.outside = Outside(
            self.stdout.writing, self.stderr.writing, self.folder / "log", self.folder / "journal"
        )

    def start(self, handlers: Iterable[str], **options: Any) -> LogSetup:
        setup = start_logging(handlers, outside=self.outside, **options)
        self.addCleanup(setup.stop)
        return setup

    def daemon(self, name: str) -> Daemon:
        daemon = Daemon(self.folder / name)
        self.addCleanup(daemon.stop)
        return daemon


class HandlerTests(LoggingCase):
    def test_every_handler_tells_the_same(self) -> None:
        """Whatever handler an operator reads, the context is all there."""
        syslog, journal = self.daemon("log"), self.daemon("journal")
        setup = self.start(["stdout", "stderr", "syslog", "journal"], log_file=self.log_file)
        setup.observer(event(job="8ec7"))
        told = 'info job.submitted {"job":"8ec7"}'
        for said in (
            self.stdout.read(),
            self.stderr.read(),
            syslog.read(),
            journal.read(),
            self.log_file.read_text(),
        ):
            self.assertTrue(said.rstrip("\n").endswith(told), said)

    def test_json_is_for_lines(self) -> None:
        """The format is that of standard output and the file."""
        syslog = self.daemon("log")
        setup = self.start(["stdout", "syslog"], log_file=self.log_file, log_format="json")
        setup.observer(event(job="8ec7"))
        for said in (self.stdout.read(), self.log_file.read_text()):
            self.assertEqual("job.submitted", decode(said.encode())["kind"])
        self.assertTrue(syslog.read().endswith('info job.submitted {"job":"8ec7"}'))

    def test_debugging_is_left_out(self) -> None:
        """The library's chatter is not for operators."""
        setup = self.start(["stdout"])
        setup.observer({**event(), "log_level": LogLevel.debug})
        self.assertEqual("", self.stdout.read())

    def test_unknown_handler(self) -> None:
        """The configuration has made sure of it; anything else is a bug."""
        with self.assertRaises(ValueError):
            start_logging(["file"], outside=self.outside)

    def test_file_that_cannot_be_opened(self) -> None:
        """The daemon's start-up can tell the operator."""
        with self.assertRaises(FileNotFoundError):
            start_logging([], self.folder / "no" / "file", outside=self.outside)

    def test_file_is_not_for_everybody(self) -> None:
        """The log says who calls what where."""
        self.start([], log_file=self.log_file)
        self.assertEqual(0, self.log_file.stat().st_mode & 0o007)

    def test_lines_of_threads_do_not_mix(self) -> None:
        """The store's thread logs too."""
        setup = self.start([], log_file=self.log_file)

        def log() -> None:
            for _ in range(200):
                setup.observer(event(job="x" * 100))

        threads = [Thread(target=log) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lines = self.log_file.read_text().splitlines()
        self.assertEqual(800, len(lines))
        self.assertEqual(1, len(set(lines)))


class BeginTests(LoggingCase):
    def test_observer_is_what_twistd_takes(self) -> None:
        """It can be an application's ILogObserver."""
        self.assertTrue(verifyObject(ILogObserver, self.start([]).observer))

    def test_what_was_logged_before_comes_out(self) -> None:
        """Nothing of the start-up is missing."""
        publisher = LogPublisher()
        with open(os.devnull, "w") as nowhere:
            beginner = LogBeginner(publisher, nowhere, object(), SimpleNamespace(showwarning=None))
            publisher(event("early"))
            setup = self.start(["stdout"])
            setup.begin(beginner)
            publisher(event("late"))
        said = self.stdout.read()
        self.assertRegex(said, r"(?s)early \{\}\n.*late \{\}\n$")

    def test_after_stop_nothing_is_written(self) -> None:
        """A stopped log takes events and lets them go."""
        setup = self.start(["stdout"], log_file=self.log_file)
        setup.stop()
        setup.observer(event())
        self.assertEqual("", self.stdout.read() + self.log_file.read_text())

    def test_event_log_comes_out(self) -> None:
        """What rooms say through EventLog is told with kind and context; bugs with traceback."""
        setup = self.start(["stdout"])
        seen: list[dict[str, Any]] = []
        log = EventLog("room")
        log._logger.observer = cast(ILogObserver, seen.append)
        log.info("a.info", job="1")
        log.warn("a.warn")
        log.error("an.error")
        log.bug("a.bug", Failure(ValueError("x")), job="2")
        for one in seen:
            setup.observer(one)
        lines = self.stdout.read().splitlines()
        self.assertEqual(
            ["info a.info", "warn a.warn", "error an.error", "critical a.bug"],
            [" ".join(line.split()[1:3]) for line in lines],
        )
        self.assertIn('{"job":"2","traceback":"', lines[3])


class ReopenTests(LoggingCase):
    def test_reopen_loses_no_line(self) -> None:
        """logrotate renames the file, and every line is in the old one or the new."""
        setup = self.start([], log_file=self.log_file)
        setup.observer(event("one"))
        self.log_file.rename(self.folder / "events.log.1")
        setup.observer(event("two"))
        self.assertEqual([], setup.reopen())
        setup.observer(event("three"))
        old = (self.folder / "events.log.1").read_text()
        self.assertEqual(["one", "two"], [line.split()[2] for line in old.splitlines()])
        self.assertEqual("three", self.log_file.read_text().split()[2])

    def test_reopen_while_threads_log(self) -> None:
        """Not even when it is busy."""
        setup = self.start([], log_file=self.log_file)

        def log() -> None:
            for _ in range(500):
                setup.observer(event())

        thread = Thread(target=log)
        thread.start()
        for number in range(20):
            self.log_file.rename(self.folder / f"events.log.{number}")
            self.assertEqual([], setup.reopen())
        thread.join()
        lines = [
            line
            for path in self.folder.glob("events.log*")
            for line in path.read_text().splitlines()
        ]
        self.assertEqual(500, len(lines))

    def test_reopen_that_fails_goes_on_with_the_old_file(self) -> None:
        """The operator is told, and the lines still go somewhere."""
        folder = self.folder / "sub"
        folder.mkdir()
        setup = self.start(["stdout"], log_file=folder / "log")
        folder.rename(self.folder / "moved")
        (problem,) = setup.reopen()
        self.assertIn("can't be reopened", problem)
        setup.observer(event())
        self.assertIn("job.submitted", (self.folder / "moved" / "log").read_text())

    def test_no_descriptor_is_left_open(self) -> None:
        """A year of rotations leaks nothing."""
        setup = self.start([], log_file=self.log_file)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            self.assertEqual([], setup.reopen())
            setup.reconfigure([], self.log_file)
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))

    def test_syslog_is_connected_anew(self) -> None:
        """Reopening helps with any handler."""
        syslog = self.daemon("log")
        setup = self.start(["syslog"])
        setup.observer(event("one"))
        self.assertEqual([], setup.reopen())
        setup.observer(event("two"))
        self.assertIn("one", syslog.read())
        self.assertIn("two", syslog.read())


class PlacesTests(LoggingCase):
    def test_levels(self) -> None:
        """Each place is told what matters enough for it."""
        setup = self.start([])
        setup.log_to(
            [LogTo("stdout", level="error"), LogTo("file", self.log_file, "json", "debug")]
        )
        for level in (LogLevel.debug, LogLevel.info, LogLevel.error):
            setup.observer(event(f"at.{level.name}") | {"log_level": level})
        self.assertEqual(
            ["at.error"], [line.split()[2] for line in self.stdout.read().splitlines()]
        )
        lines = self.log_file.read_bytes().splitlines()
        self.assertEqual(
            ["at.debug", "at.info", "at.error"], [decode(line)["kind"] for line in lines]
        )

    def test_second_file_that_cannot_be_opened(self) -> None:
        """Then the first is closed again, and nothing has changed."""
        setup = self.start(["stdout"])
        before = len(os.listdir("/proc/self/fd"))
        bad = LogTo("file", self.folder / "no" / "file")
        with self.assertRaises(OSError):
            setup.log_to([LogTo("file", self.log_file), bad])
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))
        setup.observer(event())
        self.assertIn("job.submitted", self.stdout.read())

    def test_file_without_a_name(self) -> None:
        """That is a bug of ours."""
        with self.assertRaises(ValueError):
            self.start([]).log_to([LogTo("file")])


class ReconfigureTests(LoggingCase):
    def test_other_handlers_take_over(self) -> None:
        """A reload changes where the log goes."""
        setup = self.start(["stdout"])
        setup.observer(event("one"))
        setup.reconfigure([], self.log_file)
        setup.observer(event("two"))
        self.assertIn("one", self.stdout.read())
        self.assertIn("two", self.log_file.read_text())
        self.assertEqual("", self.stdout.read())

    def test_file_that_cannot_be_opened_changes_nothing(self) -> None:
        """A bad reload leaves the log as it was."""
        setup = self.start(["stdout"])
        with self.assertRaises(OSError):
            setup.reconfigure([], self.folder / "no" / "file")
        setup.observer(event())
        self.assertIn("job.submitted", self.stdout.read())


class LossTests(LoggingCase):
    def test_missing_syslog_is_told_and_lost_lines_are_counted(self) -> None:
        """Standard error knows at once, syslog when it is there."""
        setup = self.start(["syslog"])
        setup.observer(event("one"))
        setup.observer(event("two"))
        said = self.stderr.read()
        self.assertEqual(1, said.count("\n"), said)
        self.assertIn("harpcaller: log handler syslog loses lines: ", said)
        syslog = self.daemon("log")
        setup.observer(event("three"))
        lost = syslog.read()
        self.assertIn('warn log.lost {"handler":"syslog","lines":2,"why":', lost)
        self.assertIn("three", syslog.read())

    def test_restarted_syslog_loses_nothing(self) -> None:
        """The line that meets the old socket is sent again."""
        first = self.daemon("log")
        setup = self.start(["syslog"])
        setup.observer(event("one"))
        first.stop()
        second = self.daemon("log")
        setup.observer(event("two"))
        self.assertIn("two", second.read())
        self.assertEqual("", self.stderr.read())

    def test_stuck_syslog_does_not_hang_the_daemon(self) -> None:
        """One short wait, then lines are counted until it reads again."""
        syslog = self.daemon("log")
        setup = self.start(["syslog"])
        sent = 0
        while not (complaint := self.stderr.read()):
            setup.observer(event("fill"))
            sent += 1
            self.assertLess(sent, 10_000)
        self.assertIn("loses lines", complaint)
        began = monotonic()
        for _ in range(100):
            setup.observer(event("more"))
        self.assertLess(monotonic() - began, 5, "every line waited")
        while True:
            try:
                _ = syslog.read()
            except BlockingIOError:
                break
        setup.observer(event("again"))
        self.assertIn('"lines":101', syslog.read())
        self.assertIn("again", syslog.read())

    def test_one_broken_handler_leaves_the_others_alone(self) -> None:
        """The file has every line though standard output is gone."""
        setup = self.start(["stdout"], log_file=self.log_file)
        self.stdout.close()
        setup.observer(event("one"))
        setup.observer(event("two"))
        self.assertEqual(2, len(self.log_file.read_text().splitlines()))
        self.assertIn("stdout loses lines", self.stderr.read())

    def test_nothing_left_to_complain_to(self) -> None:
        """With everything gone the daemon goes on all the same."""
        setup = self.start(["stdout"])
        self.stdout.close()
        self.stderr.close()
        setup.observer(event())

    def test_torn_line_does_not_spoil_the_next(self) -> None:
        """A reader that stalls costs the lines it stalls, and no others."""
        os.set_blocking(self.stdout.writing, False)
        setup = self.start(["stdout"])
        while not self.stderr.read():
            setup.observer(event("fill", said="x" * 9999))
        read = ""
        while part := self.stdout.read():
            read += part
        setup.observer(event("after"))
        read += self.stdout.read()
        *_, lost, after = read.splitlines()
        self.assertRegex(lost, r'^2026\S+ warn log.lost \{"handler":"stdout","lines":1,')
        self.assertRegex(after, r"^2026\S+ info after \{\}$")

    def test_slow_reader_is_waited_for(self) -> None:
        """A full pipe that is read a moment later loses nothing."""
        os.set_blocking(self.stdout.writing, False)
        sink = DescriptorLog(self.stdout.writing, lambda entry: b"x" * 200_000 + b"\n")
        chunks: list[bytes] = []
        os.set_blocking(self.stdout.reading, True)

        def read() -> None:
            while sum(map(len, chunks)) < 200_001:
                chunks.append(os.read(self.stdout.reading, 65536))

        thread = Thread(target=read)
        thread.start()
        sink.write(None)  # type: ignore[arg-type]  # this format looks at nothing
        thread.join()
        self.assertEqual(200_001, sum(map(len, chunks)))
