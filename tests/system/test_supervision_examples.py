"""The service directories in ``etc/sv``: dispatcher and agent kept up by ``svscan``, for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from urllib.request import urlopen

from harpcaller.supervise.servicedir.settings import NAMES, read_settings
from harpcaller.testing.installation import Installation, free_port
from tests.system.chain_tools import PATIENCE, SYSTEM_PATH, is_root
from tests.system.supervised import SupervisedCase, is_alive, pid_in

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "etc" / "sv"
PROCEDURES = ROOT / "etc" / "demo" / "procedures.py"


class ExampleTests(SupervisedCase):
    def setUp(self) -> None:
        super().setUp()
        ours = Path(sys.executable).parent
        self.environment["PATH"] = f"{self.links}:{ours}:{self.environment['PATH']}"
        # The daemons and what they log by are measured, too.
        self.environment |= {k: v for k, v in os.environ.items() if k.startswith("COVERAGE_")}
        place = self.folder / "installation"
        place.mkdir()
        self.installation = Installation(place, PROCEDURES)

    def install(self, name: str, replacements: Mapping[str, str]) -> None:
        """Copy a service directory, with the paths and users of this test in it."""
        directory = self.sv / name
        shutil.copytree(EXAMPLES / name, directory)
        for script in (directory / "run", directory / "log" / "run"):
            text = script.read_text()
            for old, new in replacements.items():
                text = text.replace(old, new)
            script.write_text(text)
            for user in ("harpcaller", "harplog"):
                self.assertNotIn(f"-u {user}", text)
            self.assertNotIn(" /etc/", text)
            self.assertNotIn(" /var/", text)

    def install_both(self) -> None:
        """Copy both, and link them."""
        place = self.installation.folder
        log = self.folder / "log"
        users = {}
        for user in ("harpcaller", "harplog"):
            users[f"-u {user} "] = "-u root " if is_root() else ""
            users[f"-o {user} -g {user} "] = ""
        self.install(
            "harpcaller",
            {
                **users,
                "/run/harpcaller": str(self.folder / "run"),
                "/var/log/sv-harpcaller": str(log / "harpcaller"),
                "harpcallerd start": f"harpcallerd --socket={self.installation.socket} start",
                "/etc/harpcaller/harpcaller.toml": str(place / "harpcaller.toml"),
            },
        )
        self.install(
            "harpd",
            {
                **users,
                "/var/log/sv-harpd": str(log / "harpd"),
                "/etc/harpd/harpd.conf": f"{place / 'harpd.conf'} --procedures={PROCEDURES}",
            },
        )
        self.typed(f"ln -s {self.sv}/harpd {self.sv}/harpcaller {self.services}/")

    def status(self, name: str) -> str:
        """Give a service's status."""
        return self.typed(f"svstat {self.services}/{name}")

    def log_of(self, name: str) -> str:
        """Read a service's log."""
        return (self.folder / "log" / name / "current").read_text()

    def anew(self, name: str, old: int) -> int:
        """Wait until a service is ready as another process; gives its pid."""
        self.until("another process", lambda: pid_in(self.status(name)) not in (0, old))
        self.typed(f"svc -wU {self.services}/{name}")
        return pid_in(self.status(name))

    def call(self) -> object:
        """Call a procedure and give what it returns."""
        job_id = self.installation.submit("sum_and_difference", 3, 1)
        return self.installation.result(job_id)

    def test_agent_under_the_originals_svscan(self) -> None:
        """What only our svscan understands doesn't get into the way of daemontools' own."""
        self.install_both()
        (self.services / "harpcaller").unlink()
        theirs = self.original("svscan")
        path = f"{SYSTEM_PATH}:{self.environment['PATH']}"
        environment = {**self.environment, "PATH": path}
        svscan = subprocess.Popen([theirs, str(self.services)], env=environment)
        service = self.sv / "harpd"

        def stop() -> None:
            # It would begin anew what ends.
            svscan.kill()
            svscan.wait()
            self.typed("svc -dx . log\nwhile svok . || svok log ; do sleep 0.1 ; done", service)

        self.addCleanup(stop)
        self.until_shown("svstat . log", r"^\.: up .*\nlog: up ", service)
        self.until_shown("cat log/supervise/status | wc -c", "18", service)
        log = self.folder / "log" / "harpd" / "current"
        self.until_shown(f"cat {log} || true", "agent.listening")
        self.typed("svc -h .", service)
        self.until_shown(f"cat {log}", "agent.reloaded|procedures_loaded(?s:.*)procedures_loaded")
        self.typed("svc -d .", service)
        self.until_shown("svstat .", r"^\.: down", service)
        self.until_shown(f"cat {log}", "agent.stopped")

    def test_service_of_ones_own(self) -> None:
        """What the chapter tells to type makes a service that answers."""
        text = (ROOT / "doc" / "supervision.rst").read_text("utf-8")
        _, _, rest = text.partition(".. tried: hello\n.. code-block:: sh\n\n")
        lines, _, _ = rest.partition("\n\nTry ``./run`` by hand")
        port = free_port()
        commands = textwrap.dedent(lines)
        for old, new in {
            "/etc/sv": str(self.sv),
            "-u nobody ": "",
            "http.server 8080": f"http.server --bind 127.0.0.1 {port}",
        }.items():
            self.assertIn(old, commands)
            commands = commands.replace(old, new)
        self.typed(commands)
        self.typed(f"ln -s {self.sv}/hello {self.services}/")
        self.start_svscan()
        self.until_shown(
            f"tai64nlocal <{self.sv}/hello/log/main/current || true", "Serving HTTP on 127.0.0.1"
        )
        with urlopen(f"http://127.0.0.1:{port}/env/LANG", timeout=PATIENCE) as answer:
            self.assertEqual(b"en_US.UTF-8\n", answer.read())
        self.until_shown(f"cat {self.sv}/hello/log/main/current", "GET /env/LANG")

    def test_settings(self) -> None:
        """All files beside the scripts are understood, and both say when they are ready."""
        for directory in EXAMPLES.iterdir():
            files = {path.name for path in directory.iterdir()}
            self.assertEqual(set(), files - NAMES - {"run", "log"})
            settings = read_settings({n: (directory / n).read_bytes() for n in files & NAMES})
            self.assertEqual((), settings.problems)
            self.assertTrue(settings.tells_readiness)
            for script in (directory / "run", directory / "log" / "run"):
                self.assertTrue(os.access(script, os.X_OK), script)

    def test_dispatcher_and_agent(self) -> None:
        """They come up, answer calls, are reloaded, restarted and taken down; all is logged."""
        self.install_both()
        self.start_svscan()
        for name in ("harpd", "harpcaller"):
            self.until_shown(f"svstat {self.services}/{name}", r": up \(")
            self.typed(f"svc -wU {self.services}/{name}")
        expected = {"result": {"sum": 4, "difference": 2}}
        self.assertEqual(expected, self.call())
        self.assertRegex(self.log_of("harpd"), r"^@[0-9a-f]{24} starting\n")

        dispatcher = pid_in(self.status("harpcaller"))
        self.typed(f"svc -h {self.services}/harpcaller")
        self.until("reloaded", lambda: "daemon.reloaded" in self.log_of("harpcaller"))
        self.assertEqual(dispatcher, pid_in(self.status("harpcaller")))

        agent = pid_in(self.status("harpd"))
        self.typed(f"svc -t {self.services}/harpd")
        self.anew("harpd", agent)
        self.assertEqual(expected, self.call())

        os.kill(dispatcher, 9)
        dispatcher = self.anew("harpcaller", dispatcher)
        self.assertEqual(expected, self.call())

        self.typed(f"svc -d -wd {self.services}/harpcaller")
        self.assertFalse(is_alive(dispatcher))
        self.until("logged", lambda: "daemon.stopped" in self.log_of("harpcaller"))
        self.assertEqual(2, self.log_of("harpcaller").count(" starting\n"))
