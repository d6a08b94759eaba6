"""The recipes of the well-known introduction to daemontools, typed in order with our tools."""

from __future__ import annotations

import pwd
import re

from tests.system.chain_tools import is_root
from tests.system.supervised import SupervisedCase, pid_in

STAMP = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{9}"


class ServiceRecipes(SupervisedCase):
    """Adding, controlling and removing a service."""

    def test_a_services_life(self) -> None:
        """A service with a logger is made, tried, linked, seen, controlled and removed."""
        self.start_svscan()
        self.make_and_try()
        self.assertIn(
            "unable to open supervise/ok: file does not exist",
            self.typed("svstat .", self.sv / "showdate"),
        )
        self.typed(f"ln -s $PWD {self.services}/", self.sv / "showdate")
        shown = self.until_shown("svstat . log", r"(?s)^\.: up .*\nlog: up ", self.sv / "showdate")
        self.assertRegex(shown, r"^\.: up \(pid \d+\) \d+ seconds\nlog: up \(pid \d+\) \d+ seconds")
        self.until_shown(
            "tail -n 5 log/main/current | tai64nlocal",
            rf"{STAMP} test\n{STAMP} \S.*\d\d:\d\d:\d\d",
            self.sv / "showdate",
        )
        self.control()
        self.remove()

    def make_and_try(self) -> None:
        """Make the service and its logger, and run both by hand."""
        self.typed(f"mkdir {self.sv}/showdate")
        service = self.sv / "showdate"
        self.typed(
            "cat <<EOF >./run\n#!/bin/bash\nwhile true ; do date ; sleep 5 ; done\nEOF\n"
            "chmod +x ./run",
            service,
        )
        # Until one is happy.
        tried = "./run > ../tried &\nwhile [ ! -s ../tried ] ; do sleep 0.1 ; done\nkill %1\n"
        self.assertRegex(self.typed(f"{tried}cat ../tried ; rm ../tried", service), r"\d\d:\d\d")
        self.typed(
            "mkdir log\ncd log\n"
            "cat <<EOF >./run\n#!/bin/sh\nmkdir -p ./main\nexec multilog t ./main\nEOF\n"
            "chmod +x ./run\n"
            "echo test | ./run",
            service,
        )
        shown = self.typed("tai64nlocal < ./main/current", service / "log")
        self.assertRegex(shown, rf"^{STAMP} test\n$")

    def control(self) -> None:
        """See it, restart it, take it down and up."""
        service = self.sv / "showdate"
        shown = self.typed(f"svstat {service}")
        self.assertRegex(shown, rf"^{re.escape(str(service))}: up \(pid \d+\) \d+ seconds\n$")
        first = pid_in(shown)
        self.typed(f"svc -t {service}")
        self.until("restarted", lambda: pid_in(self.typed("svstat .", service)) not in (0, first))
        second, logger = map(pid_in, self.typed("svstat . log", service).splitlines())
        self.typed("svc -t . log", service)

        def both_anew() -> bool:
            now = [pid_in(line) for line in self.typed("svstat . log", service).splitlines()]
            return 0 not in now and now[0] != second and now[1] != logger

        self.until("both restarted", both_anew)
        self.typed("svc -d .", service)
        self.until_shown("svstat .", r"^\.: down \d+ seconds, normally up\n$", service)
        self.typed("svc -u .", service)
        self.until_shown("svstat .", r"^\.: up \(pid \d+\) \d+ seconds\n$", service)

    def remove(self) -> None:
        """Take the link away, then both ends of it."""
        service = self.sv / "showdate"
        self.typed(f"rm {self.services}/showdate")
        _, logger = map(pid_in, self.typed("svstat . log", service).splitlines())
        self.typed("svc -dx .\nwhile svok . ; do sleep 0.1 ; done", service)
        self.assertEqual(".: supervise not running\n", self.typed("svstat .", service))
        self.assertEqual(logger, pid_in(self.typed("svstat log", service)))
        self.typed("svc -dx ./log\nwhile svok ./log ; do sleep 0.1 ; done", service)
        self.typed(f"cd\nrm -rf {service}")
        self.assertEqual([], list(self.sv.iterdir()))

    def test_everything_together(self) -> None:
        """A service that uses them all: envdir, setuidgid, softlimit, and a logger of its own."""
        account = pwd.getpwuid(0).pw_name if is_root() else ""
        if not account:
            self.skipTest("only root can become somebody else")
        service = self.sv / "activemq"
        (service / "env").mkdir(parents=True)
        (service / "log").mkdir()
        base = self.folder / "base" / "bin"
        base.mkdir(parents=True)
        program = base / "activemq"
        program.write_text(
            "#!/bin/sh\necho $JAVA_HOME $(id -un) $(ulimit -Sv)\necho trouble >&2\n"
            "exec sleep 100000\n"
        )
        program.chmod(0o755)
        for name, value in {
            "ACTIVEMQ_BASE": str(base.parent),
            "JAVA_HOME": "/usr/java",
            "USER": account,
        }.items():
            (service / "env" / name).write_text(f"{value}\n")
        (service / "run").write_text(
            "#!/bin/sh\n\necho starting\n\nexec 2>&1 \\\n  envdir ./env \\\n  sh -c '\n    set -e\n"
            '    cd "$ACTIVEMQ_BASE"\n    exec setuidgid "$USER" \\\n'
            "      softlimit -m 8000000000 \\\n      ./bin/activemq\n  '\n"
        )
        (service / "log" / "run").write_text(
            f"#!/bin/sh\n\nexec setuidgid {account} \\\n  multilog t s1000000 n30 ./main\n"
        )
        self.typed("chmod +x run log/run", service)
        self.typed(f"ln -s {service} {self.services}/")
        self.start_svscan()
        self.until_shown("cat log/main/current 2>&1 || true", "trouble", service)
        log = self.typed("tai64nlocal < log/main/current", service)
        expected = f"starting\n/usr/java {account} 7812500\ntrouble\n"
        self.assertEqual(expected, re.sub(rf"(?m)^{STAMP} ", "", log))


class ToolRecipes(SupervisedCase):
    """The tools by themselves."""

    def test_multilog_and_tai64nlocal(self) -> None:
        """Lines get stamps, and stamps can be read."""
        self.typed("echo test | multilog t s1000000 n10 ./main")
        self.assertRegex((self.folder / "main" / "current").read_text(), r"^@[0-9a-f]{24} test\n$")
        shown = self.typed("echo @400000004d52960a0ebe121c test | tai64nlocal")
        self.assertEqual("2011-02-09 13:26:24.247337500 test\n", shown)

    def test_lines_by_pattern(self) -> None:
        """One log for everything, another for some lines."""
        self.typed("printf 'ERROR a\\nfine\\n' | multilog ./all '-*' '+ERROR*' ./errors")
        self.assertEqual("ERROR a\nfine\n", (self.folder / "all" / "current").read_text())
        self.assertEqual("ERROR a\n", (self.folder / "errors" / "current").read_text())

    def test_envdir(self) -> None:
        """Variables come from files."""
        shown = self.typed(
            "mkdir env\necho Fido > env/NAME\necho dog > env/ANIMAL\n"
            "envdir ./env bash -c 'echo My $ANIMAL is called $NAME'"
        )
        self.assertEqual("My dog is called Fido\n", shown)

    def test_setuidgid(self) -> None:
        """A program runs as somebody else."""
        if not is_root():
            self.skipTest("only root can become somebody else")
        daemon = pwd.getpwnam("daemon")
        shown = self.typed("setuidgid daemon id")
        self.assertIn(f"uid={daemon.pw_uid}(daemon) gid={daemon.pw_gid}(daemon)", shown)

    def test_softlimit(self) -> None:
        """A program that wants too much memory doesn't get it."""
        leaky = "head -c 100000000 /dev/zero | tail >/dev/null"
        self.typed(leaky)
        shown = self.typed(f"! softlimit -m 50000000 bash -c '{leaky}; exit ${{PIPESTATUS[1]}}'")
        self.assertIn("memory exhausted", shown)
