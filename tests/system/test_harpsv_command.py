"""``harpsv`` as it is typed, and what its links rest on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harpcaller import __version__
from harpcaller.supervise import harpsv
from harpcaller.supervise.links import script
from tests.system.chain_tools import SYSTEM_PATH, ChainCase, is_root


class WithoutLinksTests(ChainCase):
    """The same as ``harpsv TOOL ...``."""

    def harpsv(self, *words: str) -> tuple[int, bytes, bytes]:
        """Run it as the installed command does."""
        command = ["-P", "-m", "harpcaller.supervise.harpsv", *words]
        return self.run_tool(sys.executable, *command, env=dict(os.environ))

    def test_each_tool(self) -> None:
        """They do what they do."""
        (self.work / "env").mkdir()
        (self.work / "env" / "A").write_text("x\n")
        (self.work / "env" / "B").touch()
        me = "root" if is_root() else "nobody"
        for words, out in [
            (["envdir", "env", "sh", "-c", "echo $A"], b"x\n"),
            (["envuidgid", "daemon", "sh", "-c", "echo $GID"], b"1\n"),
            (["softlimit", "-o", "99", "sh", "-c", "ulimit -n"], b"99\n"),
            (["setlock", "-n", "lock", "echo", "x"], b"x\n"),
            (["pgrphack", "echo", "x"], b"x\n"),
            (["fghack", "echo", "x"], b"x\n"),
        ]:
            self.assertEqual((0, out, b""), self.harpsv(*words), words)
        code, _, err = self.harpsv("setuidgid", me, "no-such-program")
        self.assertEqual(111, code)
        self.assertIn(b"setuidgid: fatal: unable to ", err)

    def test_help_lists_the_tools(self) -> None:
        """All of them, with the links' option."""
        code, text, err = self.harpsv("--help")
        self.assertEqual((0, b""), (code, err))
        for tool in (*harpsv.TOOLS, "--link DIR"):
            self.assertIn(tool, text.decode())
        self.assertEqual((0, text, b""), self.harpsv("-h"))

    def test_version(self) -> None:
        """It is the package's."""
        self.assertEqual((0, f"harpsv {__version__}\n".encode(), b""), self.harpsv("--version"))

    def test_trouble(self) -> None:
        """They say what is wrong, and end with daemontools' codes."""
        os.mkfifo(self.work / "fifo")
        for words, code, what in [
            (["setlock", "-nx", "none/lock", "true"], 0, ""),
            (["setlock", "-n", "fifo", "true"], 111, "unable to open fifo: device not configured"),
            (["fghack", "no-such-program"], 111, "unable to run no-such-program: "),
            (["fghack", "sh", "-c", "kill -9 $$"], 111, "child crashed"),
            (["pgrphack", ""], 111, "unable to run : access denied"),
            (["run-as", "-P", "setsid", "-f", "true"], 0, ""),
        ]:
            found, _, err = self.harpsv(*words)
            self.assertEqual(code, found, words)
            self.assertIn(what, err.decode())

    def test_output_that_cannot_be_written(self) -> None:
        """That is told in a line, and is no success."""
        python = f"{sys.executable} -P -m harpcaller.supervise.harpsv"
        for words in ("svstat .", "status .", "run-as --help", "--help", "--version"):
            for where, why in ((">/dev/full", "out of disk space"), (">&-", "file descriptor not")):
                outcome = self.run_tool(
                    "/bin/sh", "-c", f"exec {python} {words} {where}", env=dict(os.environ)
                )
                self.assertEqual(111, outcome.code, (words, where, outcome.err))
                self.assertIn(f": fatal: unable to write output: {why}", outcome.err.decode())
                self.assertEqual(1, outcome.err.count(b"\n"))

    def test_leading_already(self) -> None:
        """Who leads a group goes on as it is."""
        command = [sys.executable, "-P", "-m", "harpcaller.supervise.harpsv"]
        for words in (["pgrphack", "echo", "x"], ["run-as", "-P", "echo", "x"]):
            outcome = self.run_tool("/usr/bin/setsid", *command, *words, env=dict(os.environ))
            self.assertEqual((0, b"x\n", b""), outcome)

    def test_may_not_become_somebody_else(self) -> None:
        """Which of its rights is missing is told."""
        rights = ("setgid", "setuid") if is_root() else ("setgid",)
        command = [sys.executable, "-P", "-m", "harpcaller.supervise.harpsv", "setuidgid"]
        for right in rights:
            without = ["setpriv", f"--bounding-set=-{right}"] if is_root() else ["env"]
            outcome = self.run_tool(
                f"/usr/bin/{without[0]}",
                *without[1:],
                *command,
                "daemon",
                "true",
                env=dict(os.environ),
            )
            expected = f"setuidgid: fatal: unable to {right}: permission denied\n".encode()
            self.assertEqual((111, b"", expected), outcome)

    def test_locale(self) -> None:
        """What Python makes of the C locale isn't passed on."""
        measured = {name: os.environ[name] for name in os.environ if name.startswith("COVERAGE_")}
        for locale in ({}, {"LC_CTYPE": "C"}):
            command = ["-P", "-m", "harpcaller.supervise.harpsv", "pgrphack", "/usr/bin/env"]
            env = {"PATH": SYSTEM_PATH, **locale, **measured}
            outcome = self.run_tool(sys.executable, *command, env=env)
            expected = sorted(f"{name}={value}" for name, value in env.items())
            self.assertEqual(expected, sorted(outcome.out.decode().splitlines()))

    def test_unknown_tool(self) -> None:
        """It is named."""
        code, _, err = self.harpsv("frobnicate")
        self.assertEqual(100, code)
        self.assertEqual(
            b"harpsv: fatal: there is no tool frobnicate; harpsv --help lists them\n", err
        )
        self.assertEqual(100, self.harpsv()[0])
        self.assertIn(b"--link takes one directory", self.harpsv("--link")[2])

    def test_interpreter_in_a_folder_with_a_blank(self) -> None:
        """Links work there, too."""
        folder = self.folder / "my own"
        folder.mkdir()
        (folder / "python").symlink_to(sys.executable)
        where = str(Path(harpsv.__file__).parents[2])
        link = self.folder / "pgrphack"
        link.write_text(script(str(folder / "python"), where))
        link.chmod(0o755)
        self.assertEqual((0, b"x y\n", b""), self.run_tool(link, "echo", "x y"))

    def test_package_that_has_gone(self) -> None:
        """Links that outlive it say what to do."""
        link = self.folder / "pgrphack"
        link.write_text(script(sys.executable, "/nowhere"))
        link.chmod(0o755)
        code, _, err = self.run_tool(link, "true")
        self.assertEqual(111, code)
        self.assertIn(b"make the links again with harpsv --link", err)
        self.assertEqual(1, err.count(b"\n"))


class LightnessTests(ChainCase):
    """Quick starts come from what isn't imported."""

    #: What Python itself has when it starts so, and what is compiled into it or a library of it.
    ALLOWED = frozenset(("os", "sys", "errno", "pwd", "fcntl", "resource", "_signal"))

    def test_imports(self) -> None:
        """The exec-chain tools read nothing from disk but themselves."""
        tools = sorted(m for m in harpsv.TOOLS.values() if ".chain." in m)
        listed = "print(*sorted(set(sys.modules) - before))"
        code = f"import os, sys; before = set(sys.modules); sys.path.append({str(self.where())!r})"
        code += f"; import harpcaller.supervise.harpsv, {', '.join(tools)}; {listed}"
        outcome = self.run_tool(sys.executable, "-I", "-S", "-c", code)
        self.assertEqual((0, b""), (outcome.code, outcome.err))
        imported = {name for name in outcome.out.decode().split() if "harpcaller" not in name}
        self.assertEqual(set(), imported - self.ALLOWED)
        self.assertIn("harpcaller.supervise.chain.run_as", outcome.out.decode())

    def test_no_package_is_needed(self) -> None:
        """All tools do without installed packages, for which the links don't look."""
        code = f"import sys; sys.path.append({str(self.where())!r})"
        code += f"; import {', '.join(harpsv.TOOLS.values())}"
        outcome = self.run_tool(sys.executable, "-I", "-S", "-c", code)
        self.assertEqual((0, b"", b""), outcome)

    def where(self) -> Path:
        """Give the folder that has the package."""
        return Path(harpsv.__file__).parents[2]
