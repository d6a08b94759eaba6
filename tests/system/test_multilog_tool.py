"""multilog as a process: what it reads, what signals do, what a full disk does."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.system.multilog_tools import OURS, PATIENCE, Logger, LoggerCase
from tests.system.untraced import untraced

NOBODY = 65534
#: Not every user may read our Python's files: so all is imported before.
AS_NOBODY = f"""
import os, sys
from harpcaller.supervise.multilog.command import main
os.setgroups([]), os.setgid({NOBODY}), os.setuid({NOBODY})
sys.exit(main(["."]))
"""


class InputTests(LoggerCase):
    """Standard input."""

    def test_to_its_end(self) -> None:
        """At the end of input everything is written and closed cleanly."""
        logger = self.logger("./main")
        logger.write(b"a\nb")
        self.assertEqual((0, ""), (logger.end(), logger.said()))
        self.assertEqual((b"a\nb\n", 0o744), (self.current(), self.mode("current")))
        self.assertEqual(["current", "lock", "state"], sorted(os.listdir(self.main)))

    def test_at_once(self) -> None:
        """Lines are in the file as soon as they came; half a line waits."""
        logger = self.logger("./main")
        logger.write(b"a\nb")
        self.until(lambda: self.current() == b"a\n")
        logger.write(b"b\n")
        self.until(lambda: self.current() == b"a\nbb\n")
        self.assertEqual(0o644, self.mode("current"))

    def test_non_blocking(self) -> None:
        """An input that doesn't block isn't taken for one that has ended."""
        logger = self.logger("./main")
        os.set_blocking(logger.pipe[0], False)
        logger.write(b"a\n")
        self.until(lambda: self.current() == b"a\n")
        logger.write(b"b\n")
        self.assertEqual(0, logger.end())
        self.assertEqual(b"a\nb\n", self.current())

    def test_no_input(self) -> None:
        """Input that can't be read is as good as ended."""
        unreadable = os.open(os.devnull, os.O_WRONLY)
        self.addCleanup(os.close, unreadable)
        command = [*OURS, "multilog", "./main"]
        done = subprocess.run(
            command, cwd=self.folder, stdin=unreadable, check=False, timeout=PATIENCE
        )
        self.assertEqual((0, b""), (done.returncode, self.current()))

    def test_endless_line(self) -> None:
        """Memory is bounded, whatever comes."""
        logger = self.logger("-nothing", "s16777215", "./main", "=status")
        for _ in range(100):
            logger.write(bytes(100_000))
        self.until(lambda: logger.unread() == 0)
        status = Path(f"/proc/{logger.pid}/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0])
        self.assertLess(peak, 60_000)
        self.assertEqual(0, logger.end())
        self.assertEqual(bytes(1000) + b"\n", (self.folder / "status").read_bytes())
        self.assertEqual(10_000_001, len(self.current()))

    def test_nobody_looks(self) -> None:
        """Lines for a standard error that nobody reads are lost, nothing else is."""
        inner, outer = os.pipe()
        os.close(inner)
        done = subprocess.run(
            [*OURS, "multilog", "e", "./main"],
            cwd=self.folder,
            input=b"a\n",
            stderr=outer,
            check=False,
            timeout=PATIENCE,
        )
        os.close(outer)
        self.assertEqual((0, b"a\n"), (done.returncode, self.current()))

    def test_shown(self) -> None:
        """``e`` writes to standard error."""
        logger = self.logger("t", "-*", "+* a", "e")
        logger.write(b"a\nb\n")
        self.assertEqual(0, logger.end())
        self.assertRegex(logger.said(), r"\A@4[0-9a-f]{23} a\n\Z")

    def test_refused(self) -> None:
        """What can't be had is told in a line, before anything is read."""
        (self.folder / "file").touch()
        logger = self.logger("./file/x")
        self.assertEqual(111, logger.wait())
        self.assertEqual(
            "multilog: fatal: unable to open directory ./file/x: not a directory\n", logger.said()
        )

    def test_second_writer(self) -> None:
        """A directory that is in use is left alone."""
        first = self.logger("./main")
        first.write(b"a\n")
        self.until(lambda: self.current() == b"a\n")
        second = self.logger("./main")
        self.assertEqual(111, second.wait())
        self.assertEqual(
            "multilog: fatal: unable to lock directory ./main: temporary failure\n", second.said()
        )
        self.assertEqual(0, first.end())


class SignalTests(LoggerCase):
    """TERM, ALRM, and those that kill."""

    def fed(self, *script: str, data: bytes = b"a\nhal") -> Logger:
        """Start one that has read what was written, and has written what it could."""
        logger = self.logger(*script)
        logger.write(data)
        whole = data[: data.rfind(b"\n") + 1]
        self.until(lambda: logger.unread() == 0 and self.current() == whole)
        return logger

    def test_end_between_lines(self) -> None:
        """TERM ends it cleanly at once; what comes later is the next one's."""
        logger = self.fed("./main", data=b"a\n")
        logger.kill(signal.SIGTERM)
        self.assertEqual((0, 0o744), (logger.wait(), self.mode("current")))
        logger.write(b"b\n")
        following = self.logger("./main", pipe=self.hand_over(logger))
        self.assertEqual(0, following.end())
        self.assertEqual((b"a\nb\n", []), (self.current(), self.old()))

    def test_end_in_a_line(self) -> None:
        """TERM lets the line come to its end; what follows stays in the pipe."""
        logger = self.fed("./main")
        logger.kill(signal.SIGTERM)
        logger.write(b"f\nnext\n")
        self.assertEqual(0, logger.wait())
        self.assertEqual((b"a\nhalf\n", 5), (self.current(), logger.unread()))

    def test_end_in_the_last_line(self) -> None:
        """If the input ends in that line, it's written like any last line."""
        logger = self.fed("./main")
        logger.kill(signal.SIGTERM)
        self.assertEqual(0, logger.end())
        self.assertEqual((b"a\nhal\n", 0o744), (self.current(), self.mode("current")))

    def test_end_before_anything(self) -> None:
        """Without any input TERM ends it, too."""
        logger = self.logger("./main")
        self.until(lambda: (self.main / "current").exists())
        logger.kill(signal.SIGTERM)
        self.assertEqual(0, logger.wait())

    def test_rotate(self) -> None:
        """ALRM rotates what has something, once; half a line is for the next file."""
        logger = self.fed("./main", "-*", "./other")
        logger.kill(signal.SIGALRM)
        self.until(lambda: self.old() and self.current() == b"")
        logger.write(b"f\n")
        self.until(lambda: self.current() == b"half\n")
        self.assertEqual(0, logger.end())
        (old,) = self.old()
        self.assertEqual(
            (b"a\n", 0o744, ".s"), (old.read_bytes(), old.stat().st_mode & 0o777, old.suffix)
        )
        self.assertEqual([], self.old("other"))

    def test_killed(self) -> None:
        """Others kill it as they do; the file is put away as torn by the next one."""
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGKILL):
            logger = self.fed("./main")
            logger.kill(number)
            self.assertEqual((-number, 0o644), (logger.wait(), self.mode("current")))
            self.assertEqual("", logger.said())
        self.assertEqual([".u", ".u"], [path.suffix for path in self.old()])


class DiskFullTests(LoggerCase):
    """No room: it waits, says so, and loses nothing."""

    def full(self) -> Logger:
        """Start one that may write 5000 bytes a file, and has read more."""

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))

        logger = self.logger("./main", setup=limit)
        logger.write(b"0123456\n" * 1000)
        self.until(lambda: logger.said())
        return logger

    def make_room(self, logger: Logger, number: int = signal.SIGTERM) -> None:
        """Let it write what it wants, and have it try again."""
        infinite = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(logger.pid, resource.RLIMIT_FSIZE, infinite)
        logger.kill(number)

    def test_waits(self) -> None:
        """It is told what is wrong, keeps what it could write, and goes on when there is room."""
        logger = self.full()
        message = "multilog: warning: unable to write to ./main/current, pausing: file too big\n"
        self.assertEqual((message, 5000), (logger.said(), len(self.current())))
        # It is tried again at once, in vain, and nothing is lost.
        logger.kill(signal.SIGTERM)
        self.until(lambda: logger.said() == 2 * message)
        self.make_room(logger)
        self.assertEqual(0, logger.wait())
        self.assertEqual((b"0123456\n" * 1000, 0o744), (self.current(), self.mode("current")))

    def test_holds_back(self) -> None:
        """Meanwhile it reads no more, so the service waits."""
        logger = self.full()
        os.set_blocking(logger.pipe[1], False)
        with self.assertRaises(BlockingIOError):
            while True:
                os.write(logger.pipe[1], b"0123456\n" * 512)
        unread = logger.unread()
        self.assertGreater(unread, 0)
        self.make_room(logger, signal.SIGALRM)
        os.set_blocking(logger.pipe[1], True)
        self.assertEqual(0, logger.end())
        self.assertEqual(b"0123456\n" * (1000 + unread // 8), self.everything())

    def test_small_disk(self) -> None:
        """On a disk that is really full, too."""
        disk = self.folder / "disk"
        disk.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", "size=128k", "multilog", str(disk)]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            self.skipTest("mounting isn't allowed here")

        def unmount() -> None:
            subprocess.run(["umount", "-l", disk], check=True)

        self.addCleanup(unmount)
        (disk / "ballast").write_bytes(bytes(90_000))
        logger = self.logger("t", "s4096", "n90", "./disk/main")
        data = b"".join(b"%06d\n" % number for number in range(1200))
        logger.write(data)
        self.until(lambda: "out of disk space" in logger.said())
        (disk / "ballast").unlink()
        logger.kill(signal.SIGTERM)
        self.assertEqual(0, logger.wait())
        lines = self.everything("disk/main").splitlines(keepends=True)
        self.assertEqual(data, b"".join(line[26:] for line in lines))


class ProcessorTests(LoggerCase):
    """Old files that are passed through a real command."""

    def rotated(self, logger: Logger, data: bytes = b"a\n") -> None:
        """Have it rotate."""
        logger.write(data)
        self.until(lambda: self.current() == data)
        logger.kill(signal.SIGALRM)

    def test_what_it_gets(self) -> None:
        """The log directory, four files, no signal ignored, and the environment."""
        # Of the shell itself one could see what it blocks for a moment while it forks.
        command = (
            "!tr a A; cat <&4; echo state >&5; pwd; umask;"
            " for n in 3 6 7 8 9 10 11 12; do test -e /proc/$$/fd/$n && echo $n; done;"
            " grep -E 'Sig(Ign|Blk)' /proc/self/status"
        )
        logger = self.logger(command, "./main")
        for _ in range(2):
            self.rotated(logger)
            self.until(lambda: self.current() == b"")
        self.until(lambda: len(self.old()) == 2)
        self.assertEqual((0, ""), (logger.end(), logger.said()))
        for path, state in zip(self.old(), ["", "state\n"], strict=True):
            beginning, blocked, ignored = path.read_text().rsplit("\t", 2)
            self.assertEqual(f"A\n{state}{self.main}\n0022\nSigBlk:", beginning)
            self.assertEqual(0, int(blocked.split()[0], 16))
            # Those beyond 31 are the C library's own.
            self.assertEqual(0, int(ignored, 16) & 0x7FFFFFFF)
        self.assertEqual(b"state\n", (self.main / "state").read_bytes())
        self.assertEqual(0o644, self.mode("state"))

    def test_end_while_it_runs(self) -> None:
        """TERM is heeded when the processor is done, even if no more input comes."""
        logger = self.logger("!while ! test -e ../go; do sleep .01; done; cat", "./main")
        self.rotated(logger)
        self.until(lambda: (self.main / "processed").exists())
        logger.kill(signal.SIGTERM)
        (self.folder / "go").touch()
        self.assertEqual(0, logger.wait())
        self.assertEqual([b"a\n"], [path.read_bytes() for path in self.old()])
        self.assertEqual(0o744, self.mode("current"))

    def test_failure(self) -> None:
        """One that fails is told, and run again."""
        logger = self.logger("!test -e ../go && cat", "./main")
        self.rotated(logger)
        self.until(lambda: logger.said())
        (self.folder / "go").touch()
        logger.kill(signal.SIGTERM)
        self.assertEqual(0, logger.wait())
        self.assertEqual("multilog: warning: processor failed in ./main, pausing\n", logger.said())
        self.assertEqual([b"a\n"], [path.read_bytes() for path in self.old()])

    def test_no_state(self) -> None:
        """Without its files it can't be started; that's told, and tried again."""
        logger = self.logger("!cat", "./main")
        self.until(lambda: (self.main / "current").exists())
        (self.main / "state").unlink()
        self.rotated(logger)
        self.until(logger.said)
        (self.main / "state").touch()
        logger.kill(signal.SIGTERM)
        self.assertEqual(0, logger.wait())
        self.assertEqual(
            "multilog: warning: unable to run cat in ./main, pausing: file does not exist\n",
            logger.said(),
        )
        self.assertEqual([b"a\n"], [path.read_bytes() for path in self.old()])


class StrangersTests(LoggerCase):
    """Files of another user's."""

    def test_put_away(self) -> None:
        """They are put away, even where the system forbids a second name for them."""
        if os.geteuid() != 0:
            self.skipTest("only root can make another user's files")
        # Not in trial's folder: that user has to get there.
        folder = Path(tempfile.mkdtemp(prefix="multilog-"))
        self.addCleanup(shutil.rmtree, folder)
        (folder / "current").write_bytes(b"root's\n")
        os.chown(folder, NOBODY, NOBODY)
        done = subprocess.run(
            [sys.executable, "-P", "-c", AS_NOBODY],
            cwd=folder,
            # That user can't write down what was covered.
            env=untraced(os.environ),
            input=b"a\n",
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )
        self.assertEqual((0, b""), (done.returncode, done.stderr))
        (old,) = folder.glob("@*")
        self.assertEqual((b"root's\n", ".u"), (old.read_bytes(), old.suffix))
        self.assertEqual(b"a\n", (folder / "current").read_bytes())
