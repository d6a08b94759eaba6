"""``harpd-passwd`` as an operator types it."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.agent.auth import passfile

COMMAND = [sys.executable, "-P", "-m", "harpcaller.agent.passwd"]


class CommandTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "users"

    def run_command(self, *arguments: str, typed: bytes = b"") -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            input=typed,
            capture_output=True,
            check=False,
            timeout=100,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def knows(self, user: str, password: str) -> bool:
        return passfile.create({"file": str(self.path)}).authenticate(user, password)

    def test_from_standard_input(self) -> None:
        """A script gives the password as a line; the agent knows the user then."""
        done = self.run_command("users", "me", typed=b"caf\xc3\xa9 \nand more\n")
        self.assertEqual((0, ""), (done.returncode, done.stderr))
        self.assertEqual(
            "me has a new password in users; harpd takes note when it is reloaded\n", done.stdout
        )
        self.assertTrue(self.knows("me", "caf\u00e9 "))
        self.assertIn("me:$6$rounds=100000$", self.path.read_text())
        self.assertEqual(0o600, self.path.stat().st_mode & 0o777)
        _ = self.run_command("--method=sha256", "users", "you", typed=b"two")
        self.assertTrue(self.knows("you", "two"))
        self.assertIn("you:$5$", self.path.read_text())
        done = self.run_command("-l", "users")
        self.assertEqual((0, "me\nyou\n"), (done.returncode, done.stdout))
        _ = self.run_command("users", "me", typed=b"other\n")
        self.assertEqual([False, True], [self.knows("me", one) for one in ("caf\u00e9 ", "other")])
        done = self.run_command("--delete", "users", "me")
        self.assertEqual(0, done.returncode)
        self.assertFalse(self.knows("me", "other"))

    def on_terminal(self, *typed: bytes) -> tuple[int, str]:
        """Type at its prompts; gives its exit code and all that was seen."""
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(self.folder)
            os.execv(COMMAND[0], [*COMMAND, "users", "me"])  # noqa: S606  # what is tried here
        seen = last = b""
        rest = list(typed)
        while True:
            if not select.select([terminal], [], [], 1)[0]:
                # A ^C between Python's last look at signals and its read(2) waits for the next
                # key; a person would press it again.
                if last == b"\x03":
                    os.write(terminal, last)
                continue
            try:
                data = os.read(terminal, 1000)
            except OSError:  # the other end is closed
                data = b""
            if not data:
                break
            seen += data
            if rest and seen.endswith((b"New password: ", b"Once more: ")):
                last = rest.pop(0)
                os.write(terminal, last)
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen.decode()

    def test_on_a_terminal(self) -> None:
        """A person is asked twice, and doesn't see what he types."""
        code, seen = self.on_terminal(b"sesame\n", b"sesame\n")
        self.assertEqual(0, code, seen)
        self.assertNotIn("sesame", seen)
        self.assertTrue(self.knows("me", "sesame"))

    def test_typing_mistake(self) -> None:
        """If the two differ nothing is changed."""
        code, seen = self.on_terminal(b"sesame\n", b"seasme\n")
        self.assertEqual(1, code)
        self.assertIn("the two aren't the same", seen)
        self.assertFalse(self.path.exists())

    def test_given_up(self) -> None:
        """Nor at ^C or ^D."""
        self.assertEqual(130, self.on_terminal(b"\x03")[0])
        code, seen = self.on_terminal(b"\x04")
        self.assertEqual((1, True), (code, "no password was given" in seen))
        self.assertFalse(self.path.exists())

    def test_what_can_not_be_done(self) -> None:
        """It is said in a line, never with a traceback."""
        binary = self.folder / "binary"
        binary.write_bytes(b"\xff\n")
        for arguments, typed, said in (
            (["users", "a:b"], b"x\n", "has no colon"),
            (["users", "me"], b"\n", "a password can't be empty"),
            (["users", "me"], b"", "a password can't be empty"),
            (["users", "me"], b"\xff\n", "the password isn't UTF-8"),
            (["users", "me"], b"a\0b\n", "none of them null"),
            (["no/users", "me"], b"x\n", "no: No such file or directory"),
            (["-l", "users"], b"", "users: No such file or directory"),
            (["-d", "users", "me"], b"", "users: there is no user 'me'"),
            (["binary", "me"], b"x\n", "binary: not UTF-8"),
        ):
            with self.subTest(arguments=arguments, typed=typed):
                done = self.run_command(*arguments, typed=typed)
                self.assertEqual((1, 1), (done.returncode, done.stderr.count("\n")), done.stderr)
                self.assertIn(said, done.stderr)
        self.assertFalse(self.path.exists())

    def test_wrong_command_line(self) -> None:
        """A wrong command line ends with 2."""
        for arguments in ([], ["users"], ["-l", "users", "me"], ["-m", "md5", "users", "me"]):
            with self.subTest(arguments=arguments):
                self.assertEqual(2, self.run_command(*arguments).returncode)
