"""Log directories on disk: taken over, rotated, closed; and what is done when that fails."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

from harpcaller.supervise.messages import Ended
from harpcaller.supervise.multilog.directory import LogDirectory
from harpcaller.supervise.multilog.processor import CantStart
from harpcaller.supervise.multilog.script import Append
from harpcaller.supervise.multilog.steps import Pause
from tests.house import HouseCase
from tests.supervise.descriptors import copy_of
from tests.supervise.multilog.desk import Desk

LINE = b"x" * 99 + b"\n"
#: Fills one file of the smallest size.
FILE = LINE * 21


class DirectoryCase(HouseCase):
    """A test with a desk."""

    def setUp(self) -> None:
        super().setUp()
        self.desk = Desk(Path(self.mktemp()).absolute())
        self.addCleanup(self.desk.release)
        self.main = self.desk.folder / "main"


class OpenTests(DirectoryCase):
    """Taking a directory over."""

    def test_new(self) -> None:
        """It is made, for its owner alone; others may read the files if they're let in."""
        log = self.desk.log("./main")
        self.assertFalse(log.busy)
        self.assertEqual(0o700, self.desk.mode(""))
        self.assertEqual(["current", "state"], self.desk.names())
        self.assertEqual(
            [0o600, 0o644, 0o644], [self.desk.mode(one) for one in ("lock", "current", "state")]
        )

    def test_clean(self) -> None:
        """A current that was closed cleanly is written on; nothing else is touched."""
        self.main.mkdir(0o755)
        for name in ("previous", "processed", "@400000000000000000000000.u"):
            (self.main / name).write_bytes(b"old\n")
        (self.main / "current").write_bytes(b"a\n")
        (self.main / "current").chmod(0o744)
        log = self.desk.log("n2 ./main")
        self.assertEqual(0o644, self.desk.mode("current"))
        log.feed(b"b\n")
        self.assertEqual(b"a\nb\n", self.desk.current())
        self.assertEqual([".u", "current", "previous", "processed"], self.desk.names())
        log.end()
        self.assertEqual(0o744, self.desk.mode("current"))
        self.assertEqual(0o755, self.desk.mode(""))

    def test_too_big(self) -> None:
        """One that holds more than this script wants is rotated at the first line."""
        self.main.mkdir()
        (self.main / "current").write_bytes(b"a" * 5000 + b"\n")
        (self.main / "current").chmod(0o744)
        log = self.desk.log("s4096 ./main")
        self.assertEqual(["current"], self.desk.names())
        log.feed(b"b\n")
        self.assertEqual(([b"a" * 5000 + b"\n"], b"b\n"), (self.desk.old(), self.desk.current()))

    def test_killed(self) -> None:
        """What a killed writer has left is put away as it is, maybe torn; state is emptied."""
        log = self.desk.log("./main")
        log.feed(b"a\nb")
        log.release()
        (self.main / "state").write_bytes(b"state")
        (self.main / "newstate").write_bytes(b"state")
        (self.main / "processed").write_bytes(b"half")
        (self.main / "previous").write_bytes(b"before\n")
        self.desk.log("./main")
        self.assertEqual([".u", ".u", "current", "state"], self.desk.names())
        self.assertEqual([b"before\n", b"a\n"], self.desk.old())
        self.assertEqual((b"", 0), (self.desk.current(), (self.main / "state").stat().st_size))

    def test_killed_after_processing(self) -> None:
        """What was processed completely is kept, its original isn't."""
        self.main.mkdir()
        (self.main / "processed").write_bytes(b"done")
        (self.main / "processed").chmod(0o744)
        (self.main / "previous").write_bytes(b"original")
        self.desk.log("./main")
        self.assertEqual([".s", "current", "state"], self.desk.names())
        self.assertEqual([b"done"], self.desk.old())

    def test_killed_between_two_names(self) -> None:
        """A file that had got its old name already isn't kept twice."""
        self.main.mkdir()
        (self.main / "previous").write_bytes(b"text")
        (self.main / "@400000000000000000000000.s").hardlink_to(self.main / "previous")
        self.desk.log("./main")
        self.assertEqual([".s", "current", "state"], self.desk.names())

    def test_pruned_after_a_kill(self) -> None:
        """What is put away counts, and the oldest go."""
        self.main.mkdir()
        for number in range(4):
            (self.main / f"@40000000000000000000000{number}.s").write_bytes(b"%d" % number)
        (self.main / "current").write_bytes(b"4")
        self.desk.log("n3 ./main")
        self.assertEqual([b"3", b"4"], self.desk.old())

    def refused(self, script: str) -> str:
        with self.assertRaises(Ended) as caught:
            self.desk.log(script)
        self.assertEqual(111, caught.exception.exit_code)
        line: str = caught.exception.line
        return line

    def test_refused(self) -> None:
        """What can't be had ends the program before it reads anything."""
        (self.desk.folder / "file").touch()
        before = len(os.listdir("/proc/self/fd"))
        for script, message in (
            ("./file", "unable to open directory ./file: not a directory"),
            ("./a/b", "unable to open directory ./a/b: file does not exist"),
            ("=. ./main", "unable to create .: is a directory"),
            ("= ./main", "unable to create : file does not exist"),
            ("./one ./one", "unable to lock directory ./one: temporary failure"),
        ):
            self.assertEqual(f"multilog: fatal: {message}", self.refused(script))
        self.assertFalse(self.main.exists())
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))

    def test_odd_files(self) -> None:
        """A name that leads nowhere good is told."""
        self.main.mkdir()
        (self.main / "current").symlink_to("current")
        self.assertEqual(
            "multilog: fatal: unable to stat ./main/current: symbolic link loop",
            self.refused("./main"),
        )
        (self.main / "current").unlink()
        (self.main / "processed").symlink_to("processed")
        self.assertEqual(
            "multilog: fatal: unable to stat ./main/processed: symbolic link loop",
            self.refused("./main"),
        )
        (self.main / "processed").unlink()
        (self.main / "state").mkdir()
        self.assertEqual(
            "multilog: fatal: unable to write to ./main/state: is a directory",
            self.refused("./main"),
        )
        (self.main / "current").unlink(missing_ok=True)
        (self.main / "current").mkdir(0o755)
        self.assertEqual(
            "multilog: fatal: unable to append to ./main/current: is a directory",
            self.refused("./main"),
        )

    def test_second_writer(self) -> None:
        """A directory has one writer; the other one is told so."""
        self.desk.log("./main")
        self.assertEqual(
            "multilog: fatal: unable to lock directory ./main: temporary failure",
            self.refused("./main"),
        )

    def test_next_writer(self) -> None:
        """It need not wait for a process that is just starting, and has a copy of the lock."""
        log = self.desk.log("./main")
        self.addCleanup(os.close, copy_of(self.main / "lock"))
        log.end()
        self.assertFalse(self.desk.log("./main").busy)

    def test_trouble_while_opening(self) -> None:
        """What can be tried again at the start is; later a refusal is told by that call."""
        self.main.mkdir()
        (self.main / "previous").mkdir()
        log = self.desk.log("./main")
        self.assertTrue(log.busy)
        self.assertEqual(105.0, log.retry_at)
        (self.main / "previous").rmdir()
        (self.main / "state").mkdir()
        error = self.assertRaises(Ended, log.retry)
        self.assertIn("unable to write to ./main/state", error.line)
        self.assertEqual((False, None), (log.busy, log.retry_at))


class RotationTests(DirectoryCase):
    """Full files."""

    def test_files(self) -> None:
        """An old file is complete, read-only for all but its owner; n counts current, too."""
        log = self.desk.log("s4096 n3 ./main")
        log.feed(b"0\n" + FILE + b"1\n" + FILE + b"2\n" + FILE + b"3\n")
        self.assertEqual([".s", ".s", "current", "state"], self.desk.names())
        self.assertEqual(
            ([b"1\n" + FILE, b"2\n" + FILE], b"3\n"), (self.desk.old(), self.desk.current())
        )
        self.assertEqual(
            [0o744, 0o744, 0o644],
            [path.stat().st_mode & 0o777 for path in sorted(self.main.glob("[@c]*"))],
        )
        self.assertEqual([], self.desk.warnings)

    def test_on_demand(self) -> None:
        """Whatever is in current is put away; an empty one stays; half lines wait."""
        log = self.desk.log("./main ./other")
        log.rotate()
        self.assertEqual(["current", "state"], self.desk.names())
        log.feed(b"a\nb")
        log.rotate()
        log.rotate()
        self.assertEqual(([b"a\n"], b""), (self.desk.old(), self.desk.current()))
        self.assertEqual([b"a\n"], self.desk.old("other"))
        log.feed(b"\n")
        self.assertEqual(b"b\n", self.desk.current())

    def test_old_file_that_cant_go(self) -> None:
        """It is told, and logging goes on."""
        log = self.desk.log("n2 ./main")
        (self.main / ("@" + "0" * 24)).mkdir()
        log.feed(b"a\n")
        log.rotate()
        self.assertEqual(
            [f"unable to remove ./main/@{'0' * 24}, pausing: is a directory"], self.desk.warnings
        )
        log.retry()
        self.assertFalse(log.busy)

    def test_trouble(self) -> None:
        """What the system refuses is told and tried again until it works; nothing is lost."""
        log = self.desk.log("./main")
        (self.main / "previous").mkdir()
        log.feed(b"a\n")
        log.rotate()
        log.feed(b"b\n")
        self.assertTrue(log.busy)
        self.desk.seconds += 5
        log.retry()
        message = (
            "unable to rename current to previous in directory ./main, pausing: is a directory"
        )
        self.assertEqual([message] * 2, self.desk.warnings)
        self.assertEqual(110.0, log.retry_at)
        (self.main / "previous").rmdir()
        log.retry()
        self.assertEqual((False, None), (log.busy, log.retry_at))
        self.assertEqual(([b"a\n"], b"b\n"), (self.desk.old(), self.desk.current()))
        log.retry()
        self.assertFalse(log.busy)

    def test_same_name(self) -> None:
        """An old file is never overwritten: after the pause it gets another name."""
        log = self.desk.log("./main")
        log.feed(b"a\n")
        taken = f"@{2**62 + 10 + 1_000_000_000:016x}{1000:08x}.s"
        (self.main / taken).write_bytes(b"here before")
        log.rotate()
        self.assertEqual(
            [f"unable to link to ./main/{taken}, pausing: file already exists"],
            self.desk.warnings,
        )
        log.retry()
        self.assertEqual([b"here before", b"a\n"], self.desk.old())

    def test_disk_full(self) -> None:
        """What was written stays, the rest follows when there is room."""
        log = self.desk.log("./main")
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_FSIZE, before)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5, before[1]))
        log.feed(b"a line\nanother\n")
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        self.assertEqual(b"a lin", self.desk.current())
        self.assertEqual(
            ["unable to write to ./main/current, pausing: file too big"], self.desk.warnings
        )
        log.retry()
        self.assertEqual(b"a line\nanother\n", self.desk.current())
        self.assertFalse(log.busy)


class SyncTests(DirectoryCase):
    """What has to be on disk."""

    def test_failed_sync(self) -> None:
        """After a sync has failed the file is written again: else the next would mean nothing."""
        synced: list[bytes] = []
        failures = [OSError(errno.EIO, "test")]

        def sync(descriptor: int) -> None:
            if failures:
                # As when the pages that couldn't be written are gone from memory.
                raise failures.pop()
            synced.append(os.readlink(f"/proc/self/fd/{descriptor}").encode())

        directory = LogDirectory(Append(b"./main"), self.desk.clock, self.desk.start, sync)
        at = os.open(self.desk.folder, os.O_RDONLY)
        self.addCleanup(os.close, at)
        self.assertEqual([], list(directory.open(at)))
        self.assertEqual([], list(directory.write(b"text\n")))
        os.utime(self.main / "current", (0, 0))
        self.assertEqual(
            [Pause("unable to write ./main/current to disk, pausing: input/output error")],
            list(directory.close()),
        )
        self.assertEqual([bytes(self.main / "current")], synced)
        self.assertEqual(b"text\n", self.desk.current())
        self.assertGreater((self.main / "current").stat().st_mtime, 0)


class ProcessorTests(DirectoryCase):
    """Old files that are passed through a command."""

    def test_output_and_state(self) -> None:
        """Its output is kept in the file's place; what it leaves as state it gets the next time."""
        log = self.desk.log("s4096 !count ./main")
        log.feed(b"a\n")
        log.rotate()
        self.assertEqual((1001, True), (log.processor, log.busy))
        self.assertEqual(["current", "previous", "state"], self.desk.names())
        self.assertEqual(0o744, self.desk.mode("previous"))
        log.feed(b"b\n")
        self.assertEqual(b"", self.desk.current())
        self.desk.process(log, lambda data, state: (data.upper(), state + b"1"))
        self.assertEqual((None, False), (log.processor, log.busy))
        self.assertEqual(([b"A\n"], b"b\n"), (self.desk.old(), self.desk.current()))
        log.rotate()
        self.desk.process(log, lambda data, state: (state, state + b"2"))
        self.assertEqual([b"A\n", b"1"], self.desk.old())
        self.assertEqual(b"12", (self.main / "state").read_bytes())
        self.assertEqual([".s", ".s", "current", "state"], self.desk.names())
        self.assertEqual(0o744, sorted(self.main.glob("@*"))[0].stat().st_mode & 0o777)
        self.assertEqual([b"count"] * 2, self.desk.started)

    def test_failure(self) -> None:
        """One that fails is run again, from the start, until it succeeds."""
        log = self.desk.log("!fail ./main")
        log.feed(b"a\n")
        log.rotate()
        log.processor_ended(1 << 8)
        self.assertEqual((None, 105.0), (log.processor, log.retry_at))
        log.retry()
        self.assertEqual((1002, None), (log.processor, log.retry_at))
        log.processor_ended(9)
        log.retry()
        self.desk.process(log, lambda data, state: (data, state))
        self.assertEqual([b"a\n"], self.desk.old())
        self.assertEqual(
            ["processor failed in ./main, pausing", "processor crashed in ./main, pausing"],
            self.desk.warnings,
        )

    def test_no_start(self) -> None:
        """One that can't be started is tried again, too."""
        self.desk.refusals = [
            BlockingIOError(errno.EAGAIN, "test"),
            CantStart(FileNotFoundError(errno.ENOENT, "test")),
        ]
        log = self.desk.log("!gone ./main")
        log.feed(b"a\n")
        log.rotate()
        log.retry()
        log.retry()
        self.desk.process(log, lambda data, state: (data, state))
        self.assertEqual([b"a\n"], self.desk.old())
        self.assertEqual(
            [
                "unable to fork for processor in ./main, pausing: temporary failure",
                "unable to run gone in ./main, pausing: file does not exist",
            ],
            self.desk.warnings,
        )

    def test_files_removed(self) -> None:
        """One that removes its files leaves empty ones."""
        log = self.desk.log("!rm ./main")
        log.feed(b"a\n")
        log.rotate()
        (self.main / "previous").unlink()
        log.processor_ended(0)
        self.assertEqual(([b""], []), (self.desk.old(), self.desk.warnings))
