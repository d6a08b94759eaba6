"""The account of who called what, where, when and with which outcome, as an operator keeps it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import harp
from harpcaller.testing.installation import HOST
from harpcaller.wire.values import decode
from tests.system.test_client_access import AccessCase


class AuditCase(AccessCase):
    def setUp(self) -> None:
        super().setUp()
        (self.folder / "tokens").touch()
        self.log = self.folder / "audit.log"

    def entries(self, file: Path | None = None) -> list[Mapping[str, Any]]:
        found = [decode(line) for line in (file or self.log).read_bytes().splitlines()]
        assert all(isinstance(entry, dict) for entry in found)
        return found

    def kinds(self, file: Path | None = None) -> list[str]:
        return [str(entry["kind"]) for entry in self.entries(file)]

    def call(self, **more: Any) -> None:
        with self.caller(self.world.port, **more) as rpc:
            self.assertEqual(1, rpc.host(HOST).echo(1).get())


class LineTests(AuditCase):
    def test_lines(self) -> None:
        """Each has a time, a level, a kind and a context, and nobody's arguments or results."""
        self.world.start_agent()
        self.world.start_dispatcher()
        with self.caller(self.world.port) as rpc:
            self.assertEqual("secret", rpc.host(HOST).echo("secret").get())
            with self.assertRaises(harp.RemoteError):
                rpc.host("unknown\nhost").echo("secret").get()
        self.assertEqual(["job.submitted", "job.ended"] * 2, self.kinds())
        self.assertNotIn(b"secret", self.log.read_bytes())
        for entry in self.entries():
            self.assertEqual({"time", "level", "kind", "context"}, entry.keys())
            self.assertTrue(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"]))
        unknown = self.entries()[-1]["context"]
        self.assertEqual(("error", "unknown_host"), (unknown["outcome"], unknown["type"]))
        self.assertEqual(0o640, self.log.stat().st_mode & 0o777)

    def test_bounded(self) -> None:
        """A name of half a megabyte leaves a short line."""
        self.world.start_dispatcher()
        with self.caller(self.world.port) as rpc:
            with self.assertRaises(harp.RemoteError):
                getattr(rpc.host(HOST), "x" * 500_000)().get()
        self.assertEqual(["job.submitted", "job.ended"], self.kinds())
        self.assertLess(self.log.stat().st_size, 16 * 1024)

    def test_operators(self) -> None:
        """What is changed through the control socket stands there, too, and what it was about."""
        self.world.start_dispatcher()
        self.world.harpcallerd("cancel", "8ec71d6b-28d1-4ce2-aa23-f3ea7887beda")
        self.world.harpcallerd("list-jobs")
        self.world.harpcallerd("reload")
        self.assertEqual(
            [
                {"command": "cancel_job", "job": "8ec71d6b-28d1-4ce2-aa23-f3ea7887beda"},
                {"command": "reload_config"},
            ],
            [entry["context"] for entry in self.entries()],
        )


class FileTests(AuditCase):
    def test_rotation(self) -> None:
        """A renamed file is left for a new one when the logs are reopened; no line is lost."""
        self.world.start_agent()
        self.world.start_dispatcher()
        self.call()
        old = self.log.rename(self.folder / "audit.log.1")
        self.call()
        self.assertEqual(0, self.world.harpcallerd("reopen-logs").returncode)
        self.call()
        self.assertEqual([*["job.submitted", "job.ended"] * 2, "control.command"], self.kinds(old))
        self.assertEqual(["job.submitted", "job.ended"], self.kinds())

    def test_reload(self) -> None:
        """It begins, moves and ends as the configuration says."""
        toml = self.folder / "harpcaller.toml"
        with_it = toml.read_text()
        without = with_it.replace('audit_log = "audit.log"\n', "")
        toml.write_text(without)
        self.world.start_agent()
        self.world.start_dispatcher()
        self.call()
        self.assertFalse(self.log.exists())
        toml.write_text(with_it)
        self.reload()
        self.call()
        toml.write_text(with_it.replace("audit.log", "other.log"))
        self.reload()
        self.call()
        toml.write_text(without)
        self.reload()
        self.call()
        for file in (self.log, self.folder / "other.log"):
            self.assertEqual(["job.submitted", "job.ended", "control.command"], self.kinds(file))

    def test_file_that_cannot_be_had(self) -> None:
        """It is told; a daemon doesn't start with it, and one that runs goes on as it was."""
        toml = self.folder / "harpcaller.toml"
        good = toml.read_text()
        bad = good.replace("audit.log", "none/audit.log")
        toml.write_text(bad)
        failed = self.world.start("failed", self.world.dispatcher_command)
        self.assertEqual(1, failed.process.wait(60))
        self.assertIn("none/audit.log", failed.log.read_text())
        self.assertNotIn("Traceback", failed.log.read_text())
        toml.write_text(good)
        self.world.start_agent()
        self.world.start_dispatcher()
        toml.write_text(bad)
        done = self.world.harpcallerd("reload")
        self.assertEqual(1, done.returncode)
        self.assertIn("none/audit.log", done.stderr)
        self.call()
        self.assertEqual(["job.submitted", "job.ended"], self.kinds()[-2:])
