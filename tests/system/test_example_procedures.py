"""The procedures in etc/harpd/harpd.py, with real files; other systems' programs are played."""

from __future__ import annotations

import os
import runpy
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

import harp
from harpcaller.testing.installation import HOST, PATIENCE, Installation
from harpd.proc import Result
from tests.system.untraced import untraced

EXAMPLE = Path(__file__).parents[2] / "etc" / "harpd" / "harpd.py"

SYSTEMCTL = r"""#!/bin/sh
printf '%s\n' "$*" >> "$(dirname "$0")/asked"
case "$*" in
*"show"*"-- nginx.service")
    echo Result=success; echo NRestarts=2; echo MainPID=812; echo LoadState=loaded
    echo ActiveState=active; echo SubState=running
    echo "ActiveEnterTimestamp=Fri 2026-11-20 10:00:00 UTC" ;;
*"show"*"-- dev-sda.device")
    echo LoadState=loaded; echo ActiveState=inactive; echo SubState=dead
    echo ActiveEnterTimestamp= ;;
*"show"*)
    echo LoadState=not-found; echo ActiveState=inactive; echo SubState=dead ;;
*"restart -- nginx.service") ;;
*)
    echo "Failed to restart: Unit is masked." >&2; exit 1 ;;
esac
"""

NO_SYSTEMD = """#!/bin/sh
echo "System has not been booted with systemd as init system (PID 1). Can't operate." >&2
echo "Failed to connect to bus: Host is down" >&2
exit 1
"""

JOURNALCTL = r"""#!/bin/sh
printf '%s\n' "$*" >> "$(dirname "$0")/asked"
echo "2026-11-20T10:00:00+0000 web01 nginx[812]: started"
exec sleep 60
"""

DPKG_QUERY = r"""#!/bin/sh
printf '%s\n' "$*" >> "$(dirname "$0")/asked"
printf '%s\n' 'installed bash 5.2.15-2+b7' 'installed libc6 2.36-9' 'installed libc6 2.36-8' \
    'config-files nano 7.2-1'
echo "dpkg-query: no packages found matching emacs" >&2
exit 1
"""

RPM = r"""#!/bin/sh
printf '%s\n' "$*" >> "$(dirname "$0")/asked"
printf '%s\n' 'installed bash 5.2.26-3.fc40' 'package emacs is not installed'
exit 1
"""


class ExampleCase(SynchronousTestCase):
    """Has the file's variables, and a folder that is first on the path."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="harpcaller-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.variables = runpy.run_path(str(EXAMPLE))
        self.addCleanup(os.environ.__setitem__, "PATH", os.environ["PATH"])
        self.programs(only=False)

    def programs(self, only: bool = True, **scripts: str) -> None:
        """Put programs into the path; these only, besides what scripts need."""
        for name, script in scripts.items():
            program = self.folder / name.replace("_", "-")
            program.write_text(script)
            program.chmod(0o755)
        if only:
            for name in ("sh", "dirname", "sleep"):
                if not (self.folder / name).exists():
                    (self.folder / name).symlink_to(shutil.which(name) or name)
            os.environ["PATH"] = str(self.folder)

    def asked(self) -> list[str]:
        """Give the arguments with which the programs were called."""
        return (self.folder / "asked").read_text().splitlines()

    def call(self, procedure: str, *arguments: object) -> Any:
        return self.variables[procedure](*arguments)

    def allow(self, variable: str, *names: str) -> None:
        # The functions have the dictionary that they were made in.
        self.variables["_run"].__globals__[variable] = names

    def refused(self, kind: type[Exception], procedure: str, *arguments: object) -> str:
        """See a call refused; give what is said."""
        with self.assertRaises(kind) as caught:
            done = self.call(procedure, *arguments)
            if isinstance(done, Iterator):
                next(done)
        return str(caught.exception)


class HostTests(ExampleCase):
    def test_uptime(self) -> None:
        """How long, how busy, how strong."""
        told = self.call("uptime")
        self.assertGreater(told["seconds"], 0)
        self.assertEqual(3, len(told["load"]))
        self.assertGreaterEqual(told["processors"], 1)

    def test_all_disks(self) -> None:
        """Every file system with files is told of once, with numbers that make sense."""
        disks = self.call("disk_usage")
        paths = [disk["path"] for disk in disks]
        self.assertNotIn("/proc", paths)
        self.assertEqual(len(paths), len(set(paths)))
        for disk in disks:
            if "error" not in disk:
                self.assertGreaterEqual(disk["total"], disk["used"])
                self.assertGreaterEqual(disk["total"], disk["free"])

    def test_odd_mounts(self) -> None:
        """Blanks in names are blanks; what can't be looked at, or may hang, spoils nothing."""
        table = [
            ("/", "overlay"),
            ("/proc", "proc"),
            ("/dev/shm", "tmpfs"),
            ("/tmp/a\\040b", "xfs"),
            ("/mnt", "nfs4"),
        ]
        lines = "".join(f"source {mount} {kind} rw 0 0\n" for mount, kind in table)
        mounts = self.folder / "mounts"
        mounts.write_text(lines)
        code = EXAMPLE.read_text().replace("/proc/self/mounts", str(mounts))
        (self.folder / "changed.py").write_text(code)
        self.variables = runpy.run_path(str(self.folder / "changed.py"))
        root, odd = self.call("disk_usage")
        self.assertEqual("/", root["path"])
        self.assertEqual({"path": "/tmp/a b", "error": "No such file or directory"}, odd)

    def test_one_disk(self) -> None:
        """A path is asked for its file system only, and may be wrong."""
        self.assertEqual("/", self.call("disk_usage", "/")["path"])
        self.assertIn("/nowhere", self.refused(FileNotFoundError, "disk_usage", "/nowhere"))
        for path in ("", "tmp", 0, -5, ["/"]):
            said = self.refused(ValueError, "disk_usage", path)
            self.assertEqual(f"expected an absolute path, got {path!r}", said)


class PackageTests(ExampleCase):
    def test_debian(self) -> None:
        """Versions by name; a removed package of which files are left isn't installed."""
        self.programs(dpkg_query=DPKG_QUERY)
        self.assertEqual(
            {"bash": ["5.2.15-2+b7"], "libc6": ["2.36-9", "2.36-8"], "nano": [], "emacs": []},
            self.call("package_versions", "bash", "nano", "emacs"),
        )
        self.assertTrue(self.asked()[0].endswith("-- bash nano emacs"))

    def test_red_hat(self) -> None:
        """The same with rpm, which has to be told to list all."""
        self.programs(rpm=RPM)
        self.assertEqual(
            {"bash": ["5.2.26-3.fc40"], "emacs": []},
            self.call("package_versions", "bash", "emacs"),
        )
        self.assertEqual({"bash": ["5.2.26-3.fc40"]}, self.call("package_versions"))
        self.assertNotIn("--all", self.asked()[0])
        self.assertIn("--all", self.asked()[1])

    def test_real_ones(self) -> None:
        """What this machine has is told of."""
        if shutil.which("dpkg-query") is None:
            self.skipTest("dpkg-query isn't installed here")
        self.assertIn("dpkg", self.call("package_versions"))
        versions = self.call("package_versions", "dpkg", "no-such-package")
        self.assertEqual([], versions["no-such-package"])
        self.assertRegex(versions["dpkg"][0], r"^1\.")

    def test_neither(self) -> None:
        """A host with other packages says so."""
        self.programs()
        self.assertEqual(
            "this host has neither dpkg-query nor rpm",
            self.refused(RuntimeError, "package_versions"),
        )

    def test_bad_names(self) -> None:
        """Options and patterns are no names of packages."""
        self.programs(dpkg_query=DPKG_QUERY)
        for name in ("--admindir=/tmp", "*", "a b", "", "a\n", 5, None, ["a"]):
            said = self.refused(ValueError, "package_versions", name)
            self.assertEqual(f"expected the name of a package, got {name!r}", said)
        self.assertFalse((self.folder / "asked").exists())


class ServiceTests(ExampleCase):
    def test_status(self) -> None:
        """What systemd knows, in a form for programs."""
        self.programs(systemctl=SYSTEMCTL)
        status = {
            "service": "nginx.service",
            "active": True,
            "state": "active",
            "substate": "running",
            "result": "success",
            "since": "Fri 2026-11-20 10:00:00 UTC",
            "pid": 812,
            "restarts": 2,
        }
        self.assertEqual(status, self.call("service_status", "nginx.service"))

    def test_other_units(self) -> None:
        """What isn't a service has less to tell."""
        self.programs(systemctl=SYSTEMCTL)
        status = self.call("service_status", "dev-sda.device")
        self.assertEqual((False, None, None), (status["active"], status["pid"], status["since"]))

    def test_unknown(self) -> None:
        """A name that no service has is a mistake of the caller's."""
        self.programs(systemctl=SYSTEMCTL)
        said = self.refused(LookupError, "service_status", "ngnix.service")
        self.assertEqual("there is no service 'ngnix.service'", said)

    def test_bad_names(self) -> None:
        """Options, patterns and paths are no names of services."""
        self.programs(systemctl=SYSTEMCTL)
        for name in ("--host=elsewhere", "*", "../x", "a b", "", None):
            said = self.refused(ValueError, "service_status", name)
            self.assertEqual(f"expected the name of a service, got {name!r}", said)
        self.assertFalse((self.folder / "asked").exists())

    def test_without_systemd(self) -> None:
        """In a container, say, the error tells why."""
        self.programs()
        said = self.refused(RuntimeError, "service_status", "nginx.service")
        self.assertEqual("this host has no systemctl: it isn't run by systemd", said)
        self.programs(systemctl=NO_SYSTEMD)
        said = self.refused(RuntimeError, "service_status", "nginx.service")
        self.assertIn("has not been booted with systemd", said)
        self.assertNotIn("\n", said)

    def test_restart(self) -> None:
        """A service on the list is restarted, and how it is then is the result."""
        self.programs(systemctl=SYSTEMCTL)
        self.allow("RESTARTED_BY_CALLERS", "nginx.service", "masked.service")
        self.assertTrue(self.call("restart_service", "nginx.service")["active"])
        self.assertIn("restart -- nginx.service", self.asked()[0])
        said = self.refused(RuntimeError, "restart_service", "masked.service")
        self.assertEqual("Failed to restart: Unit is masked.", said)
        self.assertEqual("services", self.variables["restart_service"].lock)

    def test_restart_of_others(self) -> None:
        """As the file comes, nothing may be restarted."""
        self.programs(systemctl=SYSTEMCTL)
        for name in ("nginx.service", "--help", ["nginx.service"]):
            said = self.refused(PermissionError, "restart_service", name)
            self.assertEqual(
                f"{name!r} is not among the services that may be restarted from afar", said
            )
        self.assertFalse((self.folder / "asked").exists())


class LogTests(ExampleCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = self.folder / "app.log"
        self.allow("READ_BY_CALLERS", str(self.log))

    def write(self, text: str) -> None:
        with open(self.log, "a") as log:
            log.write(text)

    def follow(self, lines: int = 10, seconds: int = 60) -> Iterator[Any]:
        following: Iterator[Any] = self.call("follow_log", str(self.log), lines, seconds)
        return following

    def all(self, lines: int = 10) -> list[str]:
        """Give the last lines, not waiting for more."""
        *records, result = list(self.follow(lines, 0))
        self.assertIsInstance(result, Result)
        self.assertEqual(len(records), result.value)
        return [record["line"] for record in records]

    def test_last_lines(self) -> None:
        """As many as were asked for, or as there are; one without an end too, if it stays so."""
        self.write("")
        self.assertEqual([], self.all())
        self.write("one\ntwo\n\nfour\n")
        self.assertEqual(["one", "two", "", "four"], self.all())
        self.assertEqual(["", "four"], self.all(2))
        self.assertEqual([], self.all(0))

    def test_growing(self) -> None:
        """Lines come when they are written, whole."""
        self.write("old\n")
        following = self.follow(1)
        self.assertEqual({"line": "old"}, next(following))
        self.write("ne")
        self.write("w\n")
        self.assertEqual({"line": "new"}, next(following))

    def test_long_and_odd_lines(self) -> None:
        """A long line comes in parts, and bytes that aren't UTF-8 are marked."""
        self.log.write_bytes(b"x" * 8192 + b"y" * 10 + b"\n\xff\n")
        self.assertEqual(["x" * 8192, "y" * 10, "\N{REPLACEMENT CHARACTER}"], self.all())

    def test_far_back(self) -> None:
        """Nobody makes the host read a huge log from its beginning."""
        self.write(f"{'x' * 9999}\n" * 200)
        following = self.follow(1000, 0)
        read = sum(len(record["line"]) for record in following if isinstance(record, dict))
        self.assertLessEqual(read, 1 << 20)

    def test_rotated(self) -> None:
        """The rest of the old file, its unfinished line included, comes before the new one."""
        self.write("1\n")
        following = self.follow()
        self.assertEqual({"line": "1"}, next(following))
        self.write("2\nunfinished")
        self.log.rename(self.folder / "app.log.1")
        self.assertEqual({"line": "2"}, next(following))
        self.write("3\n")
        self.assertEqual([{"line": "unfinished"}, {"line": "3"}], [*map(next, [following] * 2)])

    def test_emptied(self) -> None:
        """A log that is cut off in place is read from its beginning."""
        self.write("1\n2\n3\n")
        following = self.follow(1)
        self.assertEqual({"line": "3"}, next(following))
        self.log.write_text("4\n")
        self.assertEqual({"line": "4"}, next(following))

    def test_gone_for_a_moment(self) -> None:
        """Between the old and the new file there may be none."""
        self.write("1\n")
        following = self.follow(seconds=0)
        self.assertEqual({"line": "1"}, next(following))
        self.log.unlink()
        self.assertEqual(1, next(following).value)

    def test_end(self) -> None:
        """It ends after its time, even if the log never rests."""
        self.write("1\n2\n3\n4\n")
        start = time.monotonic()
        records = list(self.follow(seconds=1))
        self.assertEqual(5, len(records))
        self.assertGreaterEqual(time.monotonic() - start, 1)
        following = self.follow(lines=2, seconds=0)
        self.assertEqual({"line": "3"}, next(following))
        self.write("5\n")
        self.assertEqual({"line": "4"}, next(following))
        self.assertEqual(2, next(following).value)

    def test_other_files(self) -> None:
        """As the file comes, no log may be read; and never one that is not on the list."""
        for path in ("/etc/shadow", f"{self.log}/../app.log", "", None):
            said = self.refused(PermissionError, "follow_log", path)
            self.assertEqual(f"{path!r} is not among the logs that may be read from afar", said)
        self.variables = runpy.run_path(str(EXAMPLE))
        self.refused(PermissionError, "follow_log", str(self.log))

    def test_links_and_pipes(self) -> None:
        """Whoever writes in the log's folder can't have another file read, nor make us hang."""
        self.log.symlink_to("/etc/passwd")
        self.refused(OSError, "follow_log", str(self.log))
        self.log.unlink()
        os.mkfifo(self.log)
        self.assertIn("is not a file", self.refused(PermissionError, "follow_log", str(self.log)))

    def test_bad_numbers(self) -> None:
        """Numbers have bounds."""
        for arguments in ((-1,), (1001,), ("10",), (True,), (None,), (10, 3601), (10, -1)):
            said = self.refused(ValueError, "follow_log", str(self.log), *arguments)
            self.assertIn("expected a number from 0 to ", said)


class JournalTests(ExampleCase):
    def setUp(self) -> None:
        super().setUp()
        self.allow("READ_BY_CALLERS", "nginx.service")
        self.addCleanup(signal.signal, signal.SIGALRM, signal.getsignal(signal.SIGALRM))

    def test_journal(self) -> None:
        """Lines come as journalctl says them, until the time is over."""
        self.programs(journalctl=JOURNALCTL)
        line, result = self.call("follow_journal", "nginx.service", 5, 0)
        self.assertTrue(line["line"].endswith("nginx[812]: started"))
        self.assertEqual(1, result.value)
        self.assertIn("--unit=nginx.service --lines=5 --follow", self.asked()[0])

    def test_failure(self) -> None:
        """If journalctl can't, that isn't the end of the log."""
        self.programs(journalctl="#!/bin/sh\nexit 3\n")
        said = self.refused(RuntimeError, "follow_journal", "nginx.service")
        self.assertEqual("journalctl ended with 3; the agent's log says why", said)
        signal.setitimer(signal.ITIMER_REAL, 0)

    def test_others(self) -> None:
        """Services that aren't on the list keep their logs."""
        self.refused(PermissionError, "follow_journal", "sshd.service")


class CalledTests(SynchronousTestCase):
    """The file in an agent, called through a dispatcher."""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="harpcaller-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.log = self.folder / "app.log"
        self.log.write_text("hello\n")
        procedures = self.folder / "harpd.py"
        text = EXAMPLE.read_text()
        self.assertIn("READ_BY_CALLERS = ()\n", text)
        allowed = f"READ_BY_CALLERS = ({str(self.log)!r},)\n"
        procedures.write_text(text.replace("READ_BY_CALLERS = ()\n", allowed))
        if os.getuid() != 0:  # Nobody else may become nobody.
            procedures.write_text(procedures.read_text().replace('uid="nobody", ', ""))
        (self.folder / "installation").mkdir()
        self.world = Installation(self.folder / "installation", procedures)
        self.world.environ = untraced(self.world.environ)
        self.addCleanup(self.world.stop)
        self.agent = self.world.start_agent()
        self.world.start_dispatcher()
        self.rpc = harp.HarpCaller("127.0.0.1", self.world.port, read_timeout=PATIENCE)
        self.addCleanup(self.rpc.__exit__, None, None, None)

    def test_called_and_cancelled(self) -> None:
        """What needs no rights has none; a log is followed until nobody wants it any more."""
        self.assertGreater(self.rpc(HOST).uptime().get()["seconds"], 0)
        self.assertNotEqual([], self.rpc(HOST).disk_usage().get())
        error = self.assertRaises(harp.RemoteException, self.rpc(HOST).restart_service("a").get)
        self.assertEqual("PermissionError", error.type)
        job = self.rpc(HOST).follow_log(str(self.log))
        with job.follow(since=0) as records:
            self.assertEqual({"line": "hello"}, next(records))
            with open(self.log, "a") as log:
                log.write("world\n")
            self.assertEqual({"line": "world"}, next(records))
            self.assertTrue(job.cancel())
            self.assertEqual([], records.all())
        self.assertIs(harp.CALL_CANCELLED, job.result(wait=True))
        self.agent.wait_for_log('"call":4,"ended"')
