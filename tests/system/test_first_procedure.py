"""The guide's chapter "Your first procedure", done line by line in an empty environment."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import attrs
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.testing.installation import free_port
from tests.system.pages import NotAsShown, Shell, Typed, Written, steps
from tests.system.test_packaging import LONG, built

CHAPTER = Path(__file__).parents[2] / "doc" / "first-procedure.rst"


def exchanged(text: str, ports: dict[str, str]) -> str:
    """Put our ports where the page has those that may be taken here."""
    for old, new in ports.items():
        text = text.replace(old, new)
    return text


class ChapterTests(SynchronousTestCase):
    """Whoever does what the chapter says sees what the chapter shows."""

    def setUp(self) -> None:
        for needed in ("openssl", "curl"):
            if shutil.which(needed) is None:
                self.skipTest(f"{needed} isn't installed here")
        self.folder = Path(tempfile.mkdtemp(prefix="harpcaller-first-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.ports = {port: str(free_port()) for port in ("3502", "4306", "5000")}

    def shell(self) -> Shell:
        """Open a shell in which Python is ours, and nothing else."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environ = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "VIRTUAL_ENV", "COVERAGE", "HARPCALLER"))
        }
        environ |= {"PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        shell = Shell(self.folder, environ, LONG)
        self.addCleanup(shell.close)
        return shell

    def test_line_by_line(self) -> None:
        """Install, mistype, mend, reload, call, follow in a web application."""
        shutil.copy(built().wheel, self.folder)
        shell = self.shell()
        done = 0
        for step in steps(CHAPTER):
            if isinstance(step, Written):
                (self.folder / step.name).write_text(exchanged(step.text, self.ports))
            elif not step.as_root or os.getuid() == 0:
                shell.follow(
                    attrs.evolve(
                        step,
                        command=exchanged(step.command, self.ports),
                        shown=exchanged(step.shown, self.ports),
                    )
                )
                done += 1
        self.assertGreater(done, 25)
        self.assertFalse((self.folder / "control").exists())


class StepsTests(SynchronousTestCase):
    """The one who types does notice what is wrong."""

    def test_shown(self) -> None:
        """Three dots are anything; the rest is itself."""
        step = Typed("x", "a ... (c)\n...", False)
        self.assertTrue(step.is_seen("a b b (c)\nmore\nand more\n"))
        for said in ("a b c\n", "a b (c) d", ""):
            self.assertFalse(step.is_seen(said), said)

    def test_wrong_pages(self) -> None:
        """A command that fails, says something else, or doesn't end, is told of."""
        folder = Path(tempfile.mkdtemp(prefix="harpcaller-first-"))
        self.addCleanup(shutil.rmtree, folder)
        for command, shown in (("false", ""), ("echo 1", "2"), ("exit", ""), ("sleep 9", "")):
            shell = Shell(folder, os.environ, 0.5)
            try:
                shell.follow(Typed("a=2", "", False))
                shell.follow(Typed("printf $a", "2", False))
                with self.assertRaises(NotAsShown, msg=command):
                    shell.follow(Typed(command, shown, False))
            finally:
                shell.close()
