"""The benchmark programs, each in its smallest size: that they run, not how fast anything is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from unittest import skipUnless

from twisted.trial.unittest import SynchronousTestCase

from tests.system.untraced import untraced

ROOT = Path(__file__).resolve().parents[2]


def run(program: str, *options: str) -> str:
    """Run a program in its smallest size; give what it prints."""
    return subprocess.run(
        [sys.executable, "-m", f"benchmarks.{program}", "--tiny", *options],
        cwd=ROOT,
        env=untraced(os.environ),
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    ).stdout


class ProgramTests(SynchronousTestCase):
    """Each program."""

    def check(self, program: str, *options: str) -> None:
        """Tell whether what a program prints for programs is whole."""
        found = json.loads(run(program, "--json", *options))
        self.assertEqual(program, found["program"])
        self.assertTrue(found["summary"])
        for table in found["tables"]:
            self.assertTrue(table["title"])
            for row in table["rows"]:
                self.assertEqual(list(table["rows"][0]), list(row))
        for finding in found["findings"]:
            self.assertTrue(finding["what"])
            # Of how much memory grew by so little, nothing can be said, not even the sign.
            self.assertIsInstance(finding["value"], int | float)
        self.assertIn("python", found["conditions"])

    def test_calls(self) -> None:
        """Calls beside bare TLS are measured."""
        self.check("calls")

    def test_connections(self) -> None:
        """Connections to an agent beside those of a C program are measured."""
        self.check("connections")

    def test_kept_path(self) -> None:
        """Whole calls beside a bare client are measured."""
        self.check("kept_path")

    def test_submissions(self) -> None:
        """Submissions beside journal appends are measured."""
        self.check("submissions")

    def test_many_ended_jobs(self) -> None:
        """A store with ended jobs is measured."""
        self.check("million")

    def test_long_stream(self) -> None:
        """A job with many records is measured."""
        self.check("stream")

    def test_jobs_that_wait(self) -> None:
        """Jobs that wait are measured."""
        self.check("waiting")

    @skipUnless(shutil.which("svscan"), "daemontools isn't installed")
    def test_supervision(self) -> None:
        """Supervision's tools beside daemontools' are measured."""
        self.check("supervise", "--only=starts")

    @skipUnless(shutil.which("multilog"), "daemontools isn't installed")
    def test_multilog(self) -> None:
        """multilog beside daemontools' is measured."""
        self.check("multilog")

    def test_agent(self) -> None:
        """The agent beside servers that fork, or start a Python, is measured."""
        self.check("agent")

    def test_commands(self) -> None:
        """Commands beside a Python that does nothing are measured."""
        self.check("commands")

    def test_scale(self) -> None:
        """Things that wait are weighed."""
        self.check("scale")

    def test_all_of_them_in_tables(self) -> None:
        """The suite puts what programs found into a page, where that has a place for it."""
        page = Path(self.mktemp())
        page.write_text("before\n<!-- benchmarks -->\nold\n<!-- end of benchmarks -->\nafter\n")
        command = [
            sys.executable,
            "-m",
            "benchmarks",
            "--tiny",
            f"--into={page.absolute()}",
            "polls",
        ]
        subprocess.run(
            command,
            cwd=ROOT,
            env=untraced(os.environ),
            stderr=subprocess.PIPE,
            timeout=120,
            check=True,
        )
        written = page.read_text()
        self.assertIn("bare Twisted line server", written)
        self.assertIn("load average", written)
        self.assertNotIn("old", written)
        self.assertTrue(written.startswith("before\n"))
        self.assertTrue(written.endswith("after\n"))

    def test_no_such_program(self) -> None:
        """The suite names the programs that there are if it is asked for another."""
        command = [sys.executable, "-m", "benchmarks", "speed"]
        done = subprocess.run(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, check=False)
        self.assertEqual(2, done.returncode)
        self.assertIn("speed: there is no such program; expected kept_path, calls", done.stderr)

    def test_rivals_without_redis(self) -> None:
        """Without Redis it is said what to install; nothing is downloaded for a test."""
        command = [sys.executable, "-m", "benchmarks.rivals", "--tiny"]
        environ = {**os.environ, "PATH": self.mktemp()}
        done = subprocess.run(
            command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True, check=False
        )
        self.assertEqual(1, done.returncode)
        self.assertIn("apt-get install redis-server redis-tools", done.stderr)

    def test_records(self) -> None:
        """Records beside a bare relay are measured, and it can be read by people."""
        printed = run("records").splitlines()
        self.assertIn("bare Twisted relay", "\n".join(printed))
        self.assertTrue(printed[-1].startswith("records: "))
