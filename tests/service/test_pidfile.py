"""The file with the process's number."""

from __future__ import annotations

import os
from pathlib import Path

from harpcaller.service import pidfile
from harpcaller.service.pidfile import NotOurs, PidFile
from tests.house import HouseCase


class PidFileTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "harpd.pid"

    def refusal(self) -> str:
        before = len(os.listdir("/proc/self/fd"))
        with self.assertRaises(NotOurs) as caught:
            PidFile(self.path, 1).__enter__()
        self.assertEqual(before, len(os.listdir("/proc/self/fd")))
        return str(caught.exception)

    def test_life(self) -> None:
        """It is there as long as the daemon, and anybody can read it."""
        with PidFile(self.path, 1234):
            self.assertEqual("1234\n", self.path.read_text())
            self.assertEqual(0o644, self.path.stat().st_mode & 0o777 | 0o044)
        self.assertFalse(self.path.exists())

    def test_running_already(self) -> None:
        """A second daemon is told which process is the first, and leaves its file alone."""
        with PidFile(self.path, 1234):
            said = self.refusal()
            self.assertEqual(f"{self.path}: the daemon runs already, as process 1234", said)
            self.assertEqual("1234\n", self.path.read_text())

    def test_left_behind(self) -> None:
        """A file of a daemon that died is taken over, even if its number is in use again."""
        self.path.write_text(f"{os.getpid()} and more"[: len(str(os.getpid()))] + "000\n")
        with PidFile(self.path, 7):
            self.assertEqual("7\n", self.path.read_text())
        self.path.write_text("")
        with PidFile(self.path, 8):
            self.assertEqual("8\n", self.path.read_text())

    def test_another_file(self) -> None:
        """A file that holds something else isn't overwritten."""
        self.path.write_text("root:x:0:0\n")
        self.assertIn("no process number", self.refusal())
        self.assertEqual("root:x:0:0\n", self.path.read_text())

    def test_link(self) -> None:
        """A link isn't followed: whoever made it may want us to destroy a file."""
        self.path.symlink_to(self.folder / "other")
        self.assertIn("symbolic links", self.refusal())

    def test_nowhere(self) -> None:
        """A folder that doesn't exist is told."""
        self.path = self.folder / "no" / "pid"
        self.assertIn("No such file or directory", self.refusal())

    def test_removed_meanwhile(self) -> None:
        """A file that its daemon removes while we open it is made anew."""
        looked = []

        def looks(path: Path, descriptor: int) -> bool:
            looked.append(descriptor)
            if len(looked) == 1:
                path.unlink()
            return really(path, descriptor)

        really = pidfile._is_still_there
        self.patch(pidfile, "_is_still_there", looks)
        with PidFile(self.path, 5):
            self.assertEqual("5\n", self.path.read_text())
        self.assertEqual(2, len(looked))

    def test_removed_by_somebody(self) -> None:
        """Whoever removes it while the daemon runs does no harm to the end."""
        with PidFile(self.path, 5):
            self.path.unlink()
