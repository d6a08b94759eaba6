"""``harpsv``: which tool is meant, and the links."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise import harpsv, links
from harpcaller.supervise.messages import Ended


class CommandTests(SynchronousTestCase):
    """The command under its own name."""

    def test_links_are_for_the_originals(self) -> None:
        """What daemontools hasn't gets no link."""
        self.assertEqual(sorted(harpsv.TOOLS), sorted([*harpsv.LINKED, *harpsv.OWN]))

    def test_link(self) -> None:
        """daemontools' names are made, and not ours."""
        folder = Path(self.mktemp())
        self.assertEqual(0, harpsv.main(["/usr/bin/harpsv", "--link", str(folder)]))
        names = {path.name for path in folder.iterdir()}
        self.assertEqual({*harpsv.LINKED, links.SCRIPT}, names)
        self.assertIn("envdir", names)
        self.assertNotIn("run-as", names)


class LinksTests(SynchronousTestCase):
    """``harpsv --link DIR``."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def test_again(self) -> None:
        """Links are renewed: the package may have moved, and there may be more tools."""
        links.make_links(str(self.folder), ["svc"])
        script = self.folder / links.SCRIPT
        whole = script.read_text()
        script.write_text(whole.replace("-IS", "-S"))
        links.make_links(str(self.folder), ["svc", "svok"])
        self.assertEqual(whole, script.read_text())
        self.assertEqual(0o755, script.stat().st_mode & 0o777)
        for name in ("svc", "svok"):
            self.assertEqual(links.SCRIPT, os.readlink(self.folder / name))
        self.assertEqual(3, len(list(self.folder.iterdir())))

    def test_files_of_others(self) -> None:
        """Nobody's program is replaced, whatever kind of file it is."""
        self.folder.mkdir()
        (self.folder / "svc").write_text("djb's")
        (self.folder / "svok").symlink_to("/elsewhere/svok")
        (self.folder / links.SCRIPT).write_text("something else")
        names = ["svc", "svok", "svstat"]
        end = self.assertRaises(Ended, links.make_links, str(self.folder), names)
        self.assertEqual(
            f"harpsv: fatal: {self.folder} has files of others: harpsv-tool svc svok;"
            " choose another directory",
            end.line,
        )
        self.assertEqual("djb's", (self.folder / "svc").read_text())
        self.assertFalse((self.folder / "svstat").exists())

    def test_directory_that_cannot_be(self) -> None:
        """The reason is told."""
        self.folder.write_text("a file")
        end = self.assertRaises(Ended, links.make_links, str(self.folder), ["svc"])
        self.assertIn(f"unable to make links in {self.folder}: ", end.line)

    def test_first_line(self) -> None:
        """Python is told to leave out what takes long."""
        text = links.script("/opt/python3", "/opt/lib")
        self.assertTrue(text.startswith("#!/opt/python3 -IS\n"), text)
        self.assertIn("sys.path.append('/opt/lib')\n", text)

    def test_path_that_a_kernel_would_not_take(self) -> None:
        """A shell finds Python where the kernel couldn't, and Python reads past it."""
        for path in ("/opt/my own/python3", "/opt/it's a/python3", "/opt/" + "x" * 120):
            text = links.script(path, "/opt/lib")
            first, second, third, *_ = text.splitlines()
            self.assertEqual("#!/bin/sh", first)
            self.assertTrue(second.startswith("'''exec' "), second)
            self.assertIn(' -IS "$0" "$@"', second)
            self.assertEqual("' '''", third)
            compile(text, "script", "exec")

    def test_interpreter(self) -> None:
        """It is the one that made the links."""
        links.make_links(str(self.folder), [])
        self.assertIn(sys.executable, (self.folder / links.SCRIPT).read_text())
