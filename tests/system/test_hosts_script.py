"""Filler scripts run as real processes."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import cast

from twisted.internet import reactor
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from harpcaller.hosts.process import (
    MAX_ERROR_LINE,
    Bounds,
    ISpawningReactor,
    ProcessRunner,
    environment_for_children,
)
from harpcaller.hosts.refresh import Plan, Refresher
from harpcaller.hosts.registry import Registry, Table
from harpcaller.interfaces import IProcessRunner, ProcessEnded
from harpcaller.testing.processes import Program
from harpcaller.wire.agent import Credentials
from tests.hosts.recording import RecordingLog
from tests.hosts.runner_contract import MAX_OUTPUT, RunnerContract

BOUNDS = Bounds(MAX_OUTPUT, kill_after_seconds=0.3, linger_seconds=0.5)


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that is dead but not yet fetched doesn't."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


class RealCase(TestCase):
    timeout = 120
    runner: IProcessRunner

    def setUp(self) -> None:
        self.reactor = cast(ISpawningReactor, reactor)
        self.runner = ProcessRunner(self.reactor, environment_for_children(os.environ), BOUNDS)
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir(parents=True)
        self.said: list[bytes] = []

    def script(self, text: str, interpreter: str = "/bin/sh") -> str:
        path = self.folder / f"script{len(list(self.folder.iterdir()))}"
        path.write_text(f"#!{interpreter}\n{text}")
        path.chmod(0o755)
        return str(path)

    async def run_script(
        self, text: str, *, interpreter: str = "/bin/sh", timeout_seconds: float = 30
    ) -> ProcessEnded:
        ended: ProcessEnded = await self.runner.run(
            [self.script(text, interpreter)],
            error_line=self.said.append,
            timeout_seconds=timeout_seconds,
        )
        return ended

    async def gone(self, pid: int) -> None:
        """Wait until a process has gone; bounded by the test's own time."""
        while alive(pid):
            await deferLater(self.reactor, 0.02)


class RealRunnerTests(RunnerContract, RealCase):
    def install(self, program: Program) -> str:
        output = self.folder / "output"
        output.write_bytes(program.output)
        errors = self.folder / "errors"
        errors.write_bytes(b"".join(line + b"\n" for line in program.errors))
        wait = "exec sleep 1000" if program.seconds is None else f"sleep {program.seconds}"
        end = (
            f"exit {program.exit_code}" if program.signal is None else f"kill -{program.signal} $$"
        )
        return self.script(f"cat {output}\ncat {errors} >&2\n{wait}\n{end}\n")

    def missing(self) -> str:
        return str(self.folder / "missing")

    def test_provides_the_interface(self) -> None:
        """It is what the rooms expect."""
        self.assertTrue(verifyObject(IProcessRunner, self.runner))


class CommandTests(RealCase):
    async def test_standard_input_is_empty(self) -> None:
        """A script that reads gets an end of file, and doesn't hang."""
        ended = await self.run_script("cat; echo done")
        self.assertEqual(b"done\n", ended.output)

    async def test_nothing_of_the_daemon_leaks_into_it(self) -> None:
        """No descriptors, no ignored signals, no LC_CTYPE, no word to the service manager."""
        environment = environment_for_children(
            {
                "LC_CTYPE": "C.UTF-8",
                "NOTIFY_SOCKET": "/x",
                "LC_ALL": "C",
                "MINE": "1",
                "PATH": "/bin",
            }
        )
        self.runner = ProcessRunner(self.reactor, environment, BOUNDS)
        self.assertEqual(b"LC_ALL=C\nMINE=1\nPATH=/bin\n", await self.printed("/usr/bin/env"))
        # The listing itself opens one more.
        self.assertEqual(b"0\n1\n2\n3\n", await self.printed("/bin/ls", "/proc/self/fd"))
        status = await self.printed("/bin/grep", "-E", "SigIgn|SigBlk", "/proc/self/status")
        for line in status.decode().splitlines():
            # Signals 32 and 33 are the C library's own.
            self.assertEqual(0, int(line.split()[1], 16) & ~(3 << 31), line)

    async def printed(self, *argv: str) -> bytes:
        """Run a program itself: a shell has descriptors and signal masks of its own."""
        ended: ProcessEnded = await self.runner.run(
            argv, error_line=self.said.append, timeout_seconds=30
        )
        return ended.output

    async def test_it_leads_a_session_of_its_own(self) -> None:
        """So that all of it can be ended at once."""
        ended = await self.run_script("cut -d' ' -f1,5,6 /proc/$$/stat")
        pid, group, session = ended.output.split()
        self.assertEqual((pid, pid), (group, session))

    async def test_long_error_line_comes_in_pieces(self) -> None:
        """Nothing is dropped, and nothing grows without bound."""
        _ = await self.run_script("head -c 10000 /dev/zero | tr '\\0' x >&2; printf last >&2")
        self.assertEqual(b"x" * 10000 + b"last", b"".join(self.said))
        self.assertTrue(all(len(line) <= MAX_ERROR_LINE for line in self.said))
        self.assertLess(len(self.said), 10)

    async def test_long_whole_error_line_comes_in_pieces(self) -> None:
        """Also if its end comes along with it."""
        text = "import os; os.write(2, b'x' * 9000 + b'\\n' + b'y\\n')"
        _ = await self.run_script(text, interpreter=sys.executable)
        self.assertEqual(b"x" * 9000 + b"y", b"".join(self.said))
        self.assertEqual(b"y", self.said[-1])

    async def test_arguments_are_given_as_they_are(self) -> None:
        """No shell looks at them."""
        ended: ProcessEnded = await self.runner.run(
            [self.script('printf "%s|" "$@"'), "a b", "$HOME", ""],
            error_line=self.said.append,
            timeout_seconds=30,
        )
        self.assertEqual(b"a b|$HOME||", ended.output)

    async def test_what_cannot_be_executed(self) -> None:
        """A missing permission or a missing first line is told as the system tells it."""
        script = Path(self.script("true"))
        script.chmod(0o644)
        with self.assertRaises(PermissionError):
            await self.runner.run([str(script)], error_line=self.said.append, timeout_seconds=9)
        script.write_text("no interpreter")
        script.chmod(0o755)
        with self.assertRaises(OSError) as caught:
            await self.runner.run([str(script)], error_line=self.said.append, timeout_seconds=9)
        self.assertEqual("Exec format error", caught.exception.strerror)
        self.assertEqual([], self.said)

    async def test_system_without_descriptors(self) -> None:
        """What fails before there is a process is an error too."""

        class Full:
            def spawnProcess(self, *arguments: object, **options: object) -> None:
                raise OSError(24, "Too many open files")

        runner = ProcessRunner(cast(ISpawningReactor, Full()), {}, BOUNDS)
        with self.assertRaises(OSError):
            await runner.run(["/bin/true"], error_line=self.said.append, timeout_seconds=9)


class EndingTests(RealCase):
    async def test_time_limit_ends_the_whole_group(self) -> None:
        """What the script has started doesn't outlive it."""
        ended = await self.run_script("sleep 1000 & echo $! >&2; wait", timeout_seconds=1.0)
        self.assertIn("ran longer", ended.killed_because or "")
        await self.gone(int(self.said[0]))

    async def test_script_may_clean_up(self) -> None:
        """First comes the polite signal; its own exit code then counts for nothing."""
        ended = await self.run_script(
            "trap 'echo cleaned >&2; exit 0' TERM\nwhile :; do sleep 0.1; done",
            timeout_seconds=1.0,
        )
        self.assertIn(b"cleaned", self.said)
        self.assertEqual(0, ended.exit_code)
        self.assertIn("ran longer", ended.killed_because or "")

    async def test_script_that_will_not_end_is_killed(self) -> None:
        """The other signal can't be ignored."""
        ended = await self.run_script(
            "trap '' TERM\nwhile :; do sleep 0.1; done", timeout_seconds=1.0
        )
        self.assertEqual(signal.SIGKILL, ended.signal)

    async def test_cancelling_ends_the_whole_group(self) -> None:
        """A stop of the daemon leaves nothing behind."""
        running = self.runner.run(
            [self.script("sleep 1000 & echo $! >&2; wait")],
            error_line=self.said.append,
            timeout_seconds=30,
        )
        while not self.said:
            await deferLater(self.reactor, 0.02)
        running.cancel()
        with self.assertRaises(CancelledError):
            await running
        await self.gone(int(self.said[0]))

    async def test_left_behind_with_errors_open_is_no_failure(self) -> None:
        """As ssh does that keeps a connection for later."""
        ended = await self.run_script("echo all\nsetsid sleep 1000 >/dev/null & echo $! >&2")
        self.addCleanup(os.kill, int(self.said[0]), signal.SIGKILL)
        self.assertEqual(ProcessEnded(0, None, b"all\n"), ended)

    async def test_left_behind_with_output_open_is_a_failure(self) -> None:
        """It may not have printed all."""
        ended = await self.run_script("echo some\nsleep 1000 2>/dev/null & echo $! >&2")
        self.assertEqual("it left a process behind that kept its output open", ended.killed_because)
        await self.gone(int(self.said[0]))


class EnvironmentTests(TestCase):
    def test_path_is_always_there(self) -> None:
        """A daemon started without one still finds commands."""
        self.assertEqual({"PATH": "/usr/local/bin:/usr/bin:/bin"}, environment_for_children({}))
        self.assertEqual({"PATH": "/x"}, environment_for_children({"PATH": "/x"}))


EXAMPLE = Path(__file__).parents[2] / "etc" / "harpcaller" / "update-hosts"


class WholeTests(RealCase):
    """The registry with a real script, from its start to its stop."""

    def refresher(self, script: str) -> tuple[Registry, Refresher]:
        table = Table()
        refresher = Refresher(
            table=table,
            runner=self.runner,
            clock=self.reactor,
            now=time.time,
            plan=Plan(Path(script), self.folder / "hosts.db", 900, 30),
            log=self.log,
        )
        return Registry(table, refresher), refresher

    def setUp(self) -> None:
        super().setUp()
        self.log = RecordingLog()

    def example(self, hosts: str) -> str:
        """The script that we ship, with a file of the test's."""
        file = self.folder / "hosts"
        file.write_text(hosts)
        return self.script(f"exec {sys.executable} {EXAMPLE} {file}")

    async def test_example_script_fills_the_registry(self) -> None:
        """What we ship works with what we ship."""
        shipped = EXAMPLE.with_name("hosts.example").read_text()
        registry, refresher = self.refresher(self.example(shipped))
        await refresher.start()
        self.assertEqual(
            ["web01.example.net", "web02.example.net"], [host.hostname for host in registry.all()]
        )
        host = await registry.find("web02.example.net")
        self.assertEqual(("2001:db8::2", 4306), (host.address, host.port))
        self.assertEqual(Credentials("rpc-system", "change me"), host.credentials)
        await refresher.stop()
        self.assertEqual(["hosts.refreshed"], self.log.told.kinds())
        self.assertEqual(0o600, (self.folder / "hosts.db").stat().st_mode & 0o777)

    async def test_example_script_prints_all_or_nothing(self) -> None:
        """A slip in the file keeps the old registry, and the log says where it is."""
        good = "web01 192.0.2.1 4306 u secret\n"
        script = self.example(good)
        registry, refresher = self.refresher(script)
        await refresher.start()
        file = self.folder / "hosts"
        for bad in ("web02 192.0.2.2\n", "web02 192.0.2.2 secret2 u p\n"):
            file.write_text("# head\n\n" + bad + good)
            why = await registry.refresh()
            self.assertEqual(f"{script}: it ended with exit code 1", why)
            said = self.log.told.context("hosts.script_said")["line"].decode()
            self.assertIn(f"{file}: line 3: expected ", said)
            self.assertNotIn("secret", said)
        file.unlink()
        self.assertIsNotNone(await registry.refresh())
        self.assertEqual(["web01"], [host.hostname for host in registry.all()])
        await refresher.stop()

    async def test_stop_ends_the_script(self) -> None:
        """A stop of the daemon doesn't wait for a script that takes its time."""
        _, refresher = self.refresher(self.script("echo $$ >&2\nsleep 1000"))
        started = refresher.start()
        while not self.log.told.events:
            await deferLater(self.reactor, 0.02)
        pid = int(self.log.told.context("hosts.script_said")["line"])
        await refresher.stop()
        await started
        self.assertFalse(alive(pid))

    async def test_restart_needs_no_script(self) -> None:
        """The cache is enough."""
        _, refresher = self.refresher(self.example("web01 192.0.2.1 4306 u p\n"))
        await refresher.start()
        await refresher.stop()
        registry, refresher = self.refresher(str(self.folder / "missing"))
        await refresher.start()
        self.assertEqual(["web01"], [host.hostname for host in registry.all()])
        await refresher.stop()

    async def test_script_that_is_missing(self) -> None:
        """The log tells it in the system's words."""
        missing = str(self.folder / "missing")
        _, refresher = self.refresher(missing)
        await refresher.start()
        self.assertEqual(
            f"{missing} can't be started: No such file or directory",
            self.log.told.context("hosts.refresh_failed")["why"],
        )
        await refresher.stop()
