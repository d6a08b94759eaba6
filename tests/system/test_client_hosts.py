"""``harp`` with several hosts: real daemons, a registry with more than one name."""

from __future__ import annotations

import atexit
import json
import signal
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.testing.installation import PATIENCE, Installation, our_command
from harpcaller.wire.values import encode
from tests.system.test_whole_call import PROCEDURES, wait_until
from tests.system.untraced import untraced

NAMES = ["db01", "web01", "web02", "web03"]
#: A host that nobody answers for.
GONE = "gone01"


@cache
def _shared() -> Installation:
    """Start what all tests here share: one agent, which the registry knows by several names."""
    folder = tempfile.TemporaryDirectory(prefix="harpcaller-test-")
    atexit.register(folder.cleanup)
    world = Installation(Path(folder.name), PROCEDURES)
    world.environ = untraced(world.environ)
    # Its certificate has none of these names.
    configuration = world.folder / "harpcaller.toml"
    text = configuration.read_text()
    configuration.write_text(text.replace("verify_hostname = true", "verify_hostname = false"))
    (world.folder / "hosts.json").write_bytes(
        b"".join(
            encode(
                {
                    "hostname": name,
                    "address": "127.0.0.1",
                    "port": 1 if name == GONE else world.agent_port,
                    "credentials": {"user": "dispatcher", "password": "not a secret"},
                }
            )
            + b"\n"
            for name in [*NAMES, GONE]
        )
    )
    atexit.register(world.stop)
    world.start_agent()
    world.start_dispatcher()
    return world


class FleetTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.world = _shared()

    def harp(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``harp`` to its end."""
        return subprocess.run(
            our_command("harp", *words),
            env=self.world.environ,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def objects(self, text: str) -> list[dict[str, Any]]:
        """Read lines of JSON."""
        return [json.loads(one) for one in text.splitlines()]

    def test_hosts(self) -> None:
        """The registry's names, and nothing else of it."""
        done = self.harp("hosts")
        self.assertEqual((0, sorted([*NAMES, GONE])), (done.returncode, done.stdout.split()))
        answer = self.world.ask({"list_hosts": True})
        self.assertEqual({"hosts": sorted([*NAMES, GONE])}, answer)

    def test_procedures(self) -> None:
        """The agent is asked; one that can't be is told in a line."""
        done = self.harp("procedures", "web01")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn("echo(value)\n", done.stdout)
        self.assertRegex(done.stdout, r"(?m)^count\(number, pause=\.\.\.\) +stream$")
        done = self.harp("procedures", GONE)
        self.assertEqual((1, ""), (done.returncode, done.stdout))
        self.assertIn("harp: network_error: connection to 127.0.0.1 port 1 refused", done.stderr)
        done = self.harp("procedures", "nix")
        self.assertIn("harp: unknown_host: the host nix is not in the registry", done.stderr)

    def test_rolling_call(self) -> None:
        """All that fit are called, two at a time."""
        done = self.harp("call", "web*,db01", "sleep", "0.2", "--batch", "2", "--json")
        self.assertEqual(0, done.returncode, done.stderr)
        told = self.objects(done.stdout)
        self.assertEqual(sorted(NAMES), sorted(one["host"] for one in told))
        spans = []
        for one in told:
            times = self.world.ask({"get_status": one["job"]})["time_ms"]
            spans.append((times["start"], times["end"]))
        for start, _ in spans:
            self.assertLessEqual(sum(a <= start < b for a, b in spans), 2, spans)

    def test_failures_stop_it(self) -> None:
        """The ones behind aren't called."""
        words = ("call", f"web01,{GONE},web02", "echo", "1", "--batch", "1", "--max-failures", "1")
        done = self.harp(*words)
        self.assertEqual(1, done.returncode)
        lines = done.stdout.splitlines()
        self.assertEqual("web01   ok           1", lines[0])
        self.assertIn("gone01  failed       network_error: ", lines[1])
        self.assertEqual("web02   not-started", lines[2])
        self.assertEqual(
            f"harp: 3 hosts: 1 succeeded, 1 failed ({GONE}), 1 not started\n", done.stderr
        )

    def interrupted(self, *, presses: int) -> tuple[int, list[dict[str, Any]], str]:
        """Interrupt a call of all hosts when it runs, so many times."""
        folder = tempfile.TemporaryDirectory(prefix="harp-test-")
        self.addCleanup(folder.cleanup)
        messages = Path(folder.name) / "messages"
        with open(messages, "wb") as err:
            running = subprocess.Popen(
                our_command("harp", "call", "web*", "sleep", "60", "--batch", "2", "--json"),
                env=self.world.environ,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )
        self.addCleanup(running.kill)
        wait_until(lambda: self.sleeping() == 2, "two jobs run")
        running.send_signal(signal.SIGINT)
        if presses == 2:
            wait_until(lambda: "^C again" in messages.read_text(), "it says so")
            running.send_signal(signal.SIGINT)
        try:
            out, _ = running.communicate(timeout=PATIENCE / 3)
        except subprocess.TimeoutExpired:
            # Python was about to wait, and hasn't looked since.
            running.send_signal(signal.SIGINT)
            out, _ = running.communicate(timeout=PATIENCE)
        told = self.objects(out)
        self.addCleanup(self.cancel, [one["job"] for one in told if "job" in one])
        return running.returncode, told, messages.read_text()

    def sleeping(self) -> int:
        """Count the jobs that run."""
        done = self.world.harpcallerd("list")
        return done.stdout.count("sleep")

    def cancel(self, jobs: list[str]) -> None:
        for job in jobs:
            self.world.ask({"cancel": job})

    def test_interrupt(self) -> None:
        """The jobs go on, and it says so; the rest is not called."""
        code, told, messages = self.interrupted(presses=1)
        self.assertEqual(130, code)
        running = [one for one in told if "no_result" in one]
        self.assertEqual(["web01", "web02"], [one["host"] for one in running])
        self.assertIn({"host": "web03", "not_started": True}, told)
        self.assertIn("the running jobs go on", messages)
        for one in running:
            self.assertEqual("running", self.world.ask({"get_status": one["job"]})["state"])

    def test_interrupt_twice(self) -> None:
        """The jobs are cancelled."""
        code, told, messages = self.interrupted(presses=2)
        self.assertEqual(130, code)
        for one in told:
            if "job" in one:
                self.assertEqual({"cancelled": True}, self.world.result(one["job"]))
                self.assertIn(f"harp: {one['host']}: job {one['job']} cancelled\n", messages)

    def test_interrupt_of_one_host_at_any_moment(self) -> None:
        """Wherever ^C falls, there is no job whose id wasn't told."""
        before = self.listed()
        for step in range(8):
            running = subprocess.Popen(
                our_command("harp", "call", "web01", "sleep", "30"),
                env=self.world.environ,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            time.sleep(0.1 + 0.02 * step)
            running.send_signal(signal.SIGINT)
            time.sleep(0.05)
            running.send_signal(signal.SIGINT)
            try:
                _, err = running.communicate(timeout=PATIENCE / 3)
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGINT)
                _, err = running.communicate(timeout=PATIENCE)
            born = self.listed() - before
            before |= born
            for job in born:
                self.world.ask({"cancel": job})
                self.assertTrue(job in err or "may have been submitted" in err, (step, err))

    def listed(self) -> set[str]:
        """Give all jobs that there are and were."""
        done = self.world.harpcallerd("list", "--all")
        return {one["job"] for one in self.objects(done.stdout)}
