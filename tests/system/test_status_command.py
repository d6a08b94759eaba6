"""``harpsv status`` as it is typed."""

from __future__ import annotations

import os
import re
import sys

from harpcaller.wire.values import decode
from tests.system.supervised import SupervisedCase


class StatusCommandTests(SupervisedCase):
    def setUp(self) -> None:
        super().setUp()
        self.environment |= {k: v for k, v in os.environ.items() if k.startswith("COVERAGE_")}

    def harpsv(self, *words: str) -> tuple[int, str]:
        """Run it; gives its code and what it shows."""
        command = [sys.executable, "-P", "-m", "harpcaller.supervise.harpsv", "status", *words]
        done = self.run_tool(command[0], *command[1:], env=self.environment)
        return done.code, (done.out + done.err).decode()

    def make(self, name: str, commands: str) -> None:
        """Make a service and link it."""
        directory = self.sv / name
        directory.mkdir(parents=True)
        (directory / "run").write_text(f"#!/bin/sh\n{commands}\n")
        (directory / "run").chmod(0o755)
        if "/" not in name:
            (self.services / name).symlink_to(directory)

    def test_tree(self) -> None:
        """All services are listed with their logs, in a table or a line of JSON each."""
        self.make("web", "exec sleep 100000")
        self.make("web/log", "exec cat >/dev/null")
        self.make("idle", "exec sleep 100000")
        (self.sv / "idle" / "down").touch()
        (self.services / "a file").touch()
        (self.services / ".hidden").mkdir()
        self.start_svscan()
        for name in ("web", "web/log"):
            self.until_shown(f"svstat {self.services}/{name}", r": up \(")
        self.until_shown(f"svstat {self.services}/idle", ": down")
        code, shown = self.harpsv(str(self.services))
        self.assertEqual(0, code)
        lines = [re.split(r"  +", line) for line in shown.splitlines()]
        expected = [["SERVICE", "STATE"], ["idle", "down"], ["web", "up"], ["web/log", "up"]]
        self.assertEqual(expected, [line[:2] for line in lines])
        code, shown = self.harpsv("--json", str(self.services))
        self.assertEqual(0, code)
        found = []
        for line in shown.splitlines():
            value = decode(line.encode())
            assert isinstance(value, dict)
            found.append((value["service"], value["up"]))
        services = str(self.services)
        expected_json = [("idle", False), ("web", True), ("web/log", True)]
        self.assertEqual([(f"{services}/{name}", up) for name, up in expected_json], found)
        _, shown = self.harpsv("--", str(self.services / "web"))
        self.assertEqual(3, len(shown.splitlines()))

    def test_trouble(self) -> None:
        """A directory that isn't there is named; so is the usage."""
        expected = "status: fatal: unable to read directory none: file does not exist\n"
        self.assertEqual((111, expected), self.harpsv("none"))
        expected = "status: usage: harpsv status [ --json ] [ dir ... ]\n"
        self.assertEqual((100, expected), self.harpsv("--frobnicate"))
        self.make("web", "exit 0")
        _, shown = self.harpsv(str(self.services))
        self.assertIn("unsupervised", shown)
        self.assertIn("unable to open supervise/ok: file does not exist", shown)
