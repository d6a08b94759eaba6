"""The exec-chain tools beside daemontools' own: nobody can tell them apart."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from subprocess import PIPE

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.effort import tries
from tests.system.chain_tools import PATIENCE, SYSTEM_PATH, ChainCase, has_open, is_root

#: Names that files of an environment directory can have; some are dotted, some have "=".
NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: not set(name) & {0, ord("/")} and name not in (b".", b"..") and name[:1] != b"="
)
CONTENTS = st.one_of(
    st.binary(max_size=40),
    st.lists(st.sampled_from([b"a", b" ", b"\t", b"\n", b"\0", b"\r", b"="]), max_size=8).map(
        b"".join
    ),
)


class EnvdirTests(ChainCase):
    """envdir"""

    def write(self, files: dict[bytes, bytes]) -> None:
        """Make the environment directory anew."""
        folder = self.work / "env"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        for name, content in files.items():
            Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_bytes(content)

    def environments(self) -> list[list[bytes]]:
        """Give what a program gets by theirs and by ours, in an order that can be compared."""
        found = []
        for path in (self.original("envdir"), str(self.links / "envdir")):
            env = {"PATH": SYSTEM_PATH, "OLD": "value", "K": "replaced", "LC_CTYPE": "C"}
            outcome = self.run_tool(path, "env", "/usr/bin/env", "-0", env=env)
            self.assertEqual((0, b""), (outcome.code, outcome.err))
            found.append(sorted(outcome.out.split(b"\0")))
        return found

    def test_any_files(self) -> None:
        """Whatever a directory has, the program gets the same environment."""

        @settings(max_examples=tries(25), suppress_health_check=list(HealthCheck))
        @given(st.dictionaries(NAMES, CONTENTS, max_size=12))
        def check(files: dict[bytes, bytes]) -> None:
            # Which of two files comes last is the file system's choice.
            if len({name.partition(b"=")[0] for name in files}) == len(files):
                self.write(files)
                theirs, ours = self.environments()
                self.assertEqual(theirs, ours, files)

        check()

    def test_known_files(self) -> None:
        """A variable is set, emptied, replaced or taken away."""
        self.write(
            {
                b"NEW": b"one\ntwo",
                b"OLD": b"",
                b"EMPTY": b"\n",
                b"K=x": b"y \t\n",
                b"M=N": b"",
                b".hidden": b"no",
                b"a name": b"nul\0 and \xff",
                b"PATH": b"/nowhere",
            }
        )
        theirs, ours = self.environments()
        self.assertEqual(theirs, ours)
        for entry in (b"NEW=one", b"EMPTY=", b"K=x=y", b"M=N", b"a name=nul\n and \xff"):
            self.assertIn(entry, ours)
        self.assertNotIn(b"OLD=value", ours)

    def test_trouble(self) -> None:
        """Same words and codes."""
        (self.work / "env" / "sub").mkdir(parents=True)
        self.same("envdir")
        self.same("envdir", "env")
        self.same("envdir", "env", "true")
        self.same("envdir", "none", "true")
        self.same("envdir", "/etc/passwd", "true")
        (self.work / "env" / "sub").rmdir()
        self.same("envdir", "env", "no-such-program")
        self.same("envdir", "env", "sh", "-c", "exit 7")
        (self.work / "env" / "LONG").write_bytes(b"x" * 300_000)
        self.assertIn(b"argument list too long", self.same("envdir", "env", "true").err)

    def test_fifo(self) -> None:
        """A pipe that nobody writes doesn't hang it."""
        (self.work / "env").mkdir()
        os.mkfifo(self.work / "env" / "OLD")
        theirs, ours = self.environments()
        self.assertEqual(theirs, ours)

    def test_link_that_leads_nowhere(self) -> None:
        """The variable is taken away; theirs would get what was read before."""
        (self.work / "env").mkdir()
        (self.work / "env" / "OLD").symlink_to("nowhere")
        self.assertNotIn(b"OLD=value", self.environments()[1])


class WhatComesThroughTests(ChainCase):
    """What a program gets that a tool was not asked to change."""

    def test_signals_and_environment(self) -> None:
        """Python ignores signals and adds LC_CTYPE under the C locale: the program sees neither."""
        shown = "grep -E 'Sig(Ign|Blk|Cgt)' /proc/self/status; tr '\\0' '\\n' < /proc/self/environ"
        for env in (
            {},
            {"LC_CTYPE": "C"},
            {"LC_CTYPE": "C.UTF-8", "X": "\udcff"},
            {"LC_ALL": "C", "LC_CTYPE": "C"},
        ):
            theirs, ours = (
                self.run_tool(path, "/bin/sh", "-c", f'exec /bin/sh -c "{shown}"', env=env)
                for path in (self.original("pgrphack"), self.links / "pgrphack")
            )
            self.assertEqual(theirs, ours)
            found = re.search(rb"SigIgn:\t([0-9a-f]{16})", ours.out)
            assert found is not None
            # 32 and 33 are the C library's own, and ignored by what posix_spawn(3) starts.
            self.assertEqual(0, int(found[1], 16) & ~(0b11 << 31))

    def test_descriptors(self) -> None:
        """Those given are passed on, and Python's own aren't; umask and directory stay."""
        command = ["sh", "-c", "ls -l /proc/self/fd | wc -l; cat <&9; umask; pwd; ulimit -a"]
        (self.work / "nine").write_text("nine\n")
        outcomes = []
        for path in (self.original("pgrphack"), str(self.links / "pgrphack")):
            line = 'umask 027; exec 9<nine; exec "$0" "$@"'
            outcomes.append(self.run_tool("/bin/sh", "-c", line, path, *command))
        self.assertEqual(*outcomes)
        self.assertIn(b"nine\n0027\n", outcomes[1].out)

    def test_any_bytes_in_arguments(self) -> None:
        """Arguments are bytes."""
        self.same("pgrphack", "printf", "%s.", b"\xff\xfe", "", "\u20ac", b"a\nb")


class FindingTests(ChainCase):
    """Which program is run."""

    def test_by_path(self) -> None:
        """A file that may not be run is passed over, and remembered."""
        for folder, mode in (("first", 0o644), ("second", 0o755)):
            (self.work / folder).mkdir()
            program = self.work / folder / "program"
            program.write_text(f"#!/bin/sh\necho {folder}\n")
            program.chmod(mode)
        (self.work / "second" / "bare").write_text("echo no first line\n")
        (self.work / "second" / "bare").chmod(0o755)
        for path in ("first:second", "second:first", "first:none", "none:", "second", ""):
            for name in ("program", "bare", "./program", "first", "none/program", ""):
                outcomes = [
                    self.run_tool(tool, name, env={"PATH": path})
                    for tool in (self.original("pgrphack"), self.links / "pgrphack")
                ]
                self.assertEqual(*outcomes)

    def test_without_path(self) -> None:
        """daemontools has a default."""
        for tool in (self.original("pgrphack"), self.links / "pgrphack"):
            self.assertEqual(b"x\n", self.run_tool(tool, "echo", "x", env={}).out)


class AccountTests(ChainCase):
    """setuidgid and envuidgid"""

    def test_trouble(self) -> None:
        """Same words and codes."""
        for tool in ("setuidgid", "envuidgid"):
            self.same(tool)
            self.same(tool, "root")
            self.same(tool, "no-such-account", "true")
            self.same(tool, "0", "true")
            self.same(tool, "", "true")

    def test_numbers(self) -> None:
        """They are set as variables, and nothing changes otherwise."""
        outcome = self.same("envuidgid", "daemon", "sh", "-c", "echo $UID $GID; id")
        self.assertEqual(b"1 1", outcome.out.splitlines()[0])

    def test_becoming_somebody(self) -> None:
        """User and groups are the account's."""
        if not is_root():
            self.skipTest("only root can become somebody else")
        outcome = self.same("setuidgid", "daemon", "id")
        self.assertEqual(b"uid=1(daemon) gid=1(daemon) groups=1(daemon)\n", outcome.out)

    def test_nobody_becomes_root(self) -> None:
        """Who isn't root is told."""
        without = ["setpriv", "--bounding-set=-setgid"] if is_root() else ["env"]
        theirs, ours = (
            self.run_tool(f"/usr/bin/{without[0]}", *without[1:], path, "root", "true")
            for path in (self.original("setuidgid"), str(self.links / "setuidgid"))
        )
        self.assertEqual(theirs, ours)
        self.assertEqual(b"setuidgid: fatal: unable to setgid: permission denied\n", ours.err)


class SoftlimitTests(ChainCase):
    """softlimit"""

    def test_limits(self) -> None:
        """Each option changes the limits that it should, and no hard one."""
        for words in (
            [f"-{letter}{value}"]
            for letter in "cflors"
            for value in ("99999", "=", "18446744073709551615")
        ):
            self.same("softlimit", *words, "cat", "/proc/self/limits")
        for words in (
            ["-a", "999999999"],
            ["-d999999999", "-d", "99999999"],
            ["-m999999999"],
            ["-p", "99999"],
            ["-t", "99"],
            ["-o", "20", "-o=", "-c", ""],
            ["-o20", "--"],
        ):
            self.same("softlimit", *words, "cat", "/proc/self/limits")

    def test_limits_that_are_too_low(self) -> None:
        """What the program suffers isn't suffered by the tool before."""
        for words in (["-o0"], ["-f", "0"], ["-p0"], ["-d", ""], ["-m1"], ["-s", "1"], ["-a1"]):
            self.same("softlimit", *words, "true")
            self.same("softlimit", *words, "no-such-program")

    def test_trouble(self) -> None:
        """Same words and codes."""
        for words in ([], ["-o"], ["-o5"], ["-q"], ["-o5k", "true"], ["-o", "-5", "true"]):
            self.same("softlimit", *words)


class SetlockTests(ChainCase):
    """setlock"""

    def test_lock_is_kept(self) -> None:
        """It lasts as long as the program, and either's lock keeps the other out."""
        for holder, other in (
            (self.original("setlock"), self.links / "setlock"),
            (self.links / "setlock", self.original("setlock")),
            (self.links / "setlock", self.links / "setlock"),
        ):
            inner = [str(other), "-n", "lock", "echo", "in"]
            outcome = self.run_tool(holder, "lock", *inner)
            expected = b"setlock: fatal: unable to lock lock: temporary failure\n"
            self.assertEqual((111, b"", expected), outcome)
            self.assertEqual((0, b"in\n", b""), self.run_tool(other, "-n", "lock", "echo", "in"))
            outcome = self.run_tool(holder, "lock", str(other), "-nx", "lock", "echo", "in")
            self.assertEqual((0, b"", b""), outcome)

    def waiting(self, lock: int) -> subprocess.Popen[bytes]:
        """Start one that has to wait for a lock of ours, until it has the file open."""
        fcntl.flock(lock, fcntl.LOCK_EX)
        command = [str(self.links / "setlock"), "lock", "echo", "in"]
        process = subprocess.Popen(command, cwd=self.work, stdout=PIPE, stderr=PIPE)
        self.addCleanup(process.kill)
        end = time.monotonic() + PATIENCE
        while not has_open(process.pid, self.work / "lock"):
            self.assertIsNone(process.poll())
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)
        return process

    def test_waits(self) -> None:
        """Without -n it waits until the lock is let go."""
        with (self.work / "lock").open("wb") as lock:
            process = self.waiting(lock.fileno())
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((0, b"in\n", b""), (process.returncode, out, err))

    def test_interrupted(self) -> None:
        """Who waits can be interrupted, and no traceback is shown."""
        with (self.work / "lock").open("wb") as lock:
            process = self.waiting(lock.fileno())
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((-2, b"", b""), (process.returncode, out, err))

    def test_file(self) -> None:
        """It is made for its owner, and not changed."""
        self.ours("setlock", "new", "true")
        self.assertEqual(0o600, (self.work / "new").stat().st_mode & 0o777)
        (self.work / "old").write_text("content")
        self.ours("setlock", "old", "true")
        self.assertEqual("content", (self.work / "old").read_text())

    def test_trouble(self) -> None:
        """Same words and codes."""
        (self.work / "folder").mkdir()
        os.mkfifo(self.work / "fifo")
        for words in (
            [],
            ["lock"],
            ["-q", "lock", "true"],
            ["none/lock", "true"],
            ["-x", "none/lock", "true"],
            ["-xX", "none/lock", "true"],
            ["-nNx", "folder", "true"],
            ["folder", "true"],
            ["fifo", "true"],
            ["-x", "lock", "no-such-program"],
        ):
            self.same("setlock", *words)


class GroupTests(ChainCase):
    """pgrphack and fghack"""

    def test_pgrphack(self) -> None:
        """The program leads a session."""
        self.same("pgrphack")
        self.same("pgrphack", "no-such-program")
        shown = "read -r pid name state parent group session rest < /proc/$$/stat; "
        shown += '[ "$pid $pid" = "$group $session" ] && echo leads'
        self.assertEqual(b"leads\n", self.same("pgrphack", "sh", "-c", shown).out)
        self.same("pgrphack", str(self.links / "pgrphack"), "true")

    def test_fghack_waits(self) -> None:
        """It ends when what was put into the background does, with the program's code."""
        (self.work / "daemon").write_text("#!/bin/sh\n(sleep 0.3; echo later) &\nexit 3\n")
        (self.work / "daemon").chmod(0o755)
        self.assertEqual((3, b"later\n", b""), self.same("fghack", "./daemon"))

    def test_fghack_trouble(self) -> None:
        """Same words and codes; what is written into the pipe is thrown away."""
        for words in (
            [],
            ["no-such-program"],
            [""],
            ["/"],
            ["true"],
            ["false"],
            ["sh", "-c", "kill -9 $$"],
            ["sh", "-c", "echo thrown away >&9; echo kept"],
        ):
            self.same("fghack", *words)

    def test_fghack_without_room(self) -> None:
        """Where there may be few descriptors, the program gets all of them."""
        shell = ["-c", 'ulimit -n 20; exec "$@"', "sh"]
        path = self.original("fghack")
        theirs, ours = (
            self.run_tool("/bin/sh", *shell, fghack, "/no-such-program")
            for fghack in (path, str(self.links / "fghack"))
        )
        self.assertEqual(theirs, ours)

    def test_fghack_descriptors(self) -> None:
        """The program gets as many as by theirs, and sees no signal ignored."""
        shown = "ls /proc/self/fd | wc -l; grep SigIgn /proc/self/status"
        self.same("fghack", "sh", "-c", shown)
