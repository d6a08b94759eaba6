"""What the pages tell people to type, typed for real; and who tries the examples in etc/."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Mapping
from pathlib import Path

from twisted.trial.unittest import TestCase

from harpcaller.testing.installation import PATIENCE, Daemon, free_port

ROOT = Path(__file__).parents[2]
ETC = ROOT / "etc"

_sh = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_tried = re.compile(
    r"^\.\. tried: (?P<part>\S+)\n\.\. code-block:: \S+\n\n(?P<lines>(?:   .*\n|\n)+)",
    re.MULTILINE,
)


def readme_script() -> str:
    """Give what the read-me tells to type."""
    return "".join(_sh.findall((ROOT / "README.md").read_text("utf-8")))


def guide_script(part: str) -> str:
    """Give what a part of the guide tells to type."""
    text = (ROOT / "doc" / "guide.rst").read_text("utf-8")
    found = [block["lines"] for block in _tried.finditer(text) if block["part"] == part]
    assert found, part
    return "".join(textwrap.dedent(lines) for lines in found)


def replaced(text: str, replacements: Mapping[str, str]) -> str:
    """Exchange words of a script; each must be there."""
    for old, new in replacements.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


class TypedCase(TestCase):
    """Has a folder, and a shell that finds our commands."""

    timeout = 4 * PATIENCE

    def setUp(self) -> None:
        if shutil.which("openssl") is None:
            self.skipTest("openssl isn't installed here")
        # Not mktemp: the path of a Unix socket is short.
        self.folder = Path(tempfile.mkdtemp(prefix="harpcaller-examples-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.port = free_port()
        self.agent_port = free_port()
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.environ = {**os.environ, "PATH": path, "HARPCALLER": f"127.0.0.1:{self.port}"}

    def type(self, script: str) -> str:
        """Run a script to its end; give what it prints.  Whatever it has started is ended."""
        output = self.folder / "output"
        with open(output, "wb") as stream:
            shell = subprocess.Popen(
                ["bash", "-euo", "pipefail", "-c", script],
                cwd=self.folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
            )
            try:
                code = shell.wait(2 * PATIENCE)
            finally:
                # The session was made for it, so this is what it left running.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(shell.pid, signal.SIGTERM)
                shell.wait(PATIENCE)
        said = output.read_text()
        self.assertEqual(0, code, said)
        return said


class ReadMeTests(TypedCase):
    def test_first_installation(self) -> None:
        """Who types what the read-me says has called a procedure after two minutes."""
        ports = {"3502": str(self.port), "4306": str(self.agent_port)}
        said = self.type(replaced(readme_script(), ports))
        self.assertIn("running\n", said)
        self.assertIn('"Hello, world"\n', said)
        self.assertIn('"procedure":"greet"', said)


class GuideTests(TypedCase):
    def script(self, *parts: str) -> str:
        """Give a script of the guide's, with its folders and ports exchanged for ours."""
        text = "".join(guide_script(part) for part in parts)
        for old, new in {
            "/etc/harp": f"{self.folder}/etc/harp",
            "/var/lib/": f"{self.folder}/",
            "install -m 0755 etc/": f"install -m 0755 {ROOT}/etc/",
            "harpd-passwd ": "echo 'not a secret' | harpd-passwd ",
            "harpd --test": f"harpd --test --config={self.folder}/etc/harpd/harpd.conf",
            '"*"': "127.0.0.1",
            "192.0.2.11": "127.0.0.1",
            "3502": str(self.port),
            "4306": str(self.agent_port),
            "HARPCALLER=127.0.0.1": f"HARPCALLER=127.0.0.1:{self.port}",
            "harpcallerd ": f"harpcallerd --socket={self.folder}/control ",
        }.items():
            text = text.replace(old, new)
        return text

    def start(self, name: str, *arguments: str) -> Daemon:
        """Start a daemon, to be ended with the test."""
        log = self.folder / f"{name}.log"
        with open(log, "wb") as stream:
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / name), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=self.environ,
            )
        daemon = Daemon(process, log)
        self.addCleanup(daemon.stop)
        return daemon

    def test_from_nothing_to_calls(self) -> None:
        """The guide's commands make an installation that works, and its program finds it."""
        self.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        etc = self.folder / "etc"
        (etc / "harpcaller").mkdir(parents=True)
        said = self.type(self.script("ca", "agent", "dispatcher"))
        self.assertIn("harpd: the configuration is fine; 2 procedures", said)
        # The guide's filler script has a path of its own built in.
        filler = etc / "harpcaller" / "update-hosts"
        filler.write_text(filler.read_text().replace("/etc/harpcaller", str(etc / "harpcaller")))
        agent = self.start("harpd", f"--config={etc}/harpd/harpd.conf")
        agent.wait_for_log("agent.listening")
        options = [f"--socket={self.folder}/control", f"--config={etc}/harpcaller/harpcaller.toml"]
        self.start("harpcallerd", "start", *options)
        said = self.type(self.script("running"))
        self.assertIn("running\n", said)
        self.assertIn('"total":', said)
        self.assertIn('{"percent":50}', said)
        self.assertIn('"customers is saved"', said)
        program = self.folder / "program.py"
        program.write_text(self.script("python"))
        said = self.type(f"{sys.executable} {program}")
        self.assertIn("100 %\ncustomers is saved\n", said)


#: Where each example is tried.
TRIED_BY = {
    "demo/demo.py": "Makefile",
    "demo/procedures.py": "etc/demo/demo.py",
    "flask/app.py": "tests/system/test_flask_example.py",
    "harpcaller/harpcaller.service": "tests/system/test_service_files.py",
    "harpcaller/harpcaller.toml": "tests/config/test_examples.py",
    "harpcaller/hosts.example": "tests/system/test_hosts_script.py",
    "harpcaller/logrotate": "tests/system/test_service_files.py",
    "harpcaller/update-hosts": "tests/system/test_hosts_script.py",
    "harpd/harpd.conf": "tests/service/test_agent_parts.py",
    "harpd/harpd.py": "tests/system/test_example_procedures.py",
    "harpd/harpd.service": "tests/system/test_service_files.py",
    "harpd/harpd.socket": "tests/system/test_service_files.py",
    "harpd/logging.yaml": "tests/service/test_agent_parts.py",
    # Whole service directories, which stand there by their names.
    "sv/harpcaller": "tests/system/test_supervision_examples.py",
    "sv/harpd": "tests/system/test_supervision_examples.py",
}


class ExampleFilesTests(TestCase):
    def test_none_is_forgotten(self) -> None:
        """Every example that is shipped is tried by some test, or by the demo."""
        files = [path.relative_to(ETC) for path in ETC.rglob("*") if path.is_file()]
        found = {
            str(Path(*path.parts[:2]) if path.parts[0] == "sv" else path)
            for path in files
            if "__pycache__" not in path.parts
        }
        self.assertEqual(set(TRIED_BY), found)
        for example, place in TRIED_BY.items():
            self.assertIn(Path(example).name, (ROOT / place).read_text("utf-8"), place)
