"""``harpsv run-as`` as a run script types it."""

from __future__ import annotations

import fcntl
import os
import pwd
import sys
from pathlib import Path

from tests.system.chain_tools import SYSTEM_PATH, ChainCase, Outcome, is_root

PAGE = Path(__file__).parents[2] / "doc" / "man" / "harpsv-run-as.8.rst"


class RunAsTests(ChainCase):
    def run_as(self, *words: str, link: bool = False) -> Outcome:
        """Run it, as the command or through a link made by hand."""
        if link:
            path = self.links / "run-as"
            path.symlink_to("harpsv-tool")
            return self.run_tool(path, *words)
        command = ["-P", "-m", "harpcaller.supervise.harpsv", "run-as", *words]
        return self.run_tool(sys.executable, *command, env={**os.environ, "PATH": SYSTEM_PATH})

    def test_all_steps_at_once(self) -> None:
        """Environment, lock, umask, files, session, niceness, limit and directory."""
        (self.work / "env").mkdir()
        (self.work / "env" / "A").write_text("of the directory\n")
        (self.work / "more").mkdir()
        (self.work / "more" / "B").write_text("of another\n")
        (self.work / "in").write_text("what comes in\n")
        shown = "cat; echo $A, $B, $UID; umask; nice; ulimit -Sn; pwd; echo wrong >&2"
        shown += '; read -r pid n s p group session r < /proc/$$/stat; [ "$pid" = "$session" ]'
        words = ["-e", "env", "-e", "more", "-U", "daemon", "-l", "lock", "--umask=027"]
        words += ["--stdin=in", "--stdout=out", "--stderr-to-stdout", "-P", "-n3", "-o", "99"]
        outcome = self.run_as(*words, "-C", "/", "sh", "-c", shown)
        self.assertEqual((0, b"", b""), outcome)
        nice = os.nice(0) + 3
        expected = f"what comes in\nof the directory, of another, 1\n0027\n{nice}\n99\n/\nwrong\n"
        self.assertEqual(expected, (self.work / "out").read_text())
        self.assertEqual(0o640, (self.work / "out").stat().st_mode & 0o777)
        self.assertEqual((0, b"", b""), self.run_as("--stderr=out", "sh", "-c", "echo more >&2"))
        self.assertEqual(expected + "more\n", (self.work / "out").read_text())

    def test_nothing_asked_for(self) -> None:
        """The program gets what the original's tools would pass on."""
        shown = "grep -E 'Sig(Ign|Blk)' /proc/self/status; env; ls -l /proc/self/fd | wc -l"
        theirs = self.run_tool(self.original("pgrphack"), "sh", "-c", shown)
        self.assertEqual(theirs, self.run_as("sh", "-c", shown, link=True))

    def test_path_of_the_environment(self) -> None:
        """As in a chain, the program is found where the environment says."""
        (self.work / "env").mkdir()
        (self.work / "env" / "PATH").write_text("/nowhere:there\n")
        (self.work / "there").mkdir()
        program = self.work / "there" / "program"
        program.write_text("#!/bin/sh\necho found\n")
        program.chmod(0o755)
        self.assertEqual((0, b"found\n", b""), self.run_as("-e", "env", "program"))

    def test_user(self) -> None:
        """What root has to do is done before; the directory is the user's to enter."""
        if not is_root():
            self.skipTest("only root can become somebody else")
        # Another user reads no modules from a home of root's, and measures nothing.
        words = ["-n", "1", "--stdout=out", "-u", "daemon"]
        outcome = self.run_as(*words, "sh", "-c", "id; echo x >&2", link=True)
        self.assertEqual((0, b"", b"x\n"), outcome)
        only = "uid=1(daemon) gid=1(daemon) groups=1(daemon)\n"
        self.assertEqual(only, (self.work / "out").read_text())
        self.assertEqual(0, (self.work / "out").stat().st_uid)
        (self.work / "private").mkdir(mode=0o700)
        (self.links / "run-as").unlink()
        outcome = self.run_as("-u", "daemon", "-C", "private", "true", link=True)
        expected = b"run-as: fatal: unable to switch to directory private: access denied\n"
        self.assertEqual((111, b"", expected), outcome)

    def test_all_groups(self) -> None:
        """On wish, the user is in all of its groups."""
        if not is_root():
            self.skipTest("only root can become somebody else")
        root = pwd.getpwuid(0)
        outcome = self.run_as("-u", root.pw_name, "--all-groups", "id", "-G")
        expected = os.getgrouplist(root.pw_name, root.pw_gid)
        self.assertEqual(sorted(expected), sorted(map(int, outcome.out.split())))

    def test_lock_held_by_another(self) -> None:
        """With -L it doesn't wait."""
        with (self.work / "lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            outcome = self.run_as("-L", "lock", "true")
        expected = b"run-as: fatal: unable to lock lock: temporary failure\n"
        self.assertEqual((111, b"", expected), outcome)

    def test_steps_that_fail(self) -> None:
        """The step is named, and the program isn't run."""
        for words, what in [
            (["-e", "none"], "unable to switch to directory none: file does not exist"),
            (["-u", "no-such-account"], "unknown account no-such-account"),
            (["-U", "no-such-account"], "unknown account no-such-account"),
            (["-l", "none/lock"], "unable to open none/lock: file does not exist"),
            (["--stdin=none"], "unable to open none: file does not exist"),
            (["-C", "none"], "unable to switch to directory none: file does not exist"),
        ]:
            outcome = self.run_as(*words, "echo", "run")
            self.assertEqual((111, b"", f"run-as: fatal: {what}\n".encode()), outcome)
        outcome = self.run_as("no-such-program")
        expected = b"run-as: fatal: unable to run no-such-program: file does not exist\n"
        self.assertEqual((111, b"", expected), outcome)

    def test_help(self) -> None:
        """All options are listed."""
        outcome = self.run_as("--help")
        self.assertEqual((0, b""), (outcome.code, outcome.err))
        for option in (b"-e, --env-dir", b"--stderr-to-stdout", b"--locked"):
            self.assertIn(option, outcome.out)

    def test_manual_page(self) -> None:
        """Whatever --help lists is explained."""
        page = PAGE.read_text()
        for line in self.run_as("--help").out.decode().splitlines():
            for word in line.partition("   ")[0].replace(",", " ").split():
                if word.startswith("-"):
                    self.assertIn(word, page)
