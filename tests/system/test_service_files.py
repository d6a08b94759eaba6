"""The files for service manager and log rotation are accepted by the tools they are for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import TestCase

EXAMPLES = Path(__file__).parents[2] / "etc" / "harpcaller"
AGENT_EXAMPLES = Path(__file__).parents[2] / "etc" / "harpd"


class ServiceFileTests(TestCase):
    timeout = 120

    def needed(self, tool: str) -> str:
        path = shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")
        if path is None:
            self.skipTest(f"{tool} isn't installed here")
        return path

    def accepts(self, example: Path, daemon: str) -> None:
        tool = self.needed("systemd-analyze")
        unit = Path(self.mktemp()).absolute() / example.name
        unit.parent.mkdir(parents=True)
        unit.write_text(example.read_text().replace(f"/usr/bin/{daemon}", "/bin/true"))
        done = subprocess.run(
            [tool, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
        )
        ours = [line for line in done.stderr.splitlines() if example.stem in line]
        self.assertEqual((0, []), (done.returncode, ours), done.stderr)

    def test_systemd_accepts_the_unit(self) -> None:
        """No setting is misspelt; the daemon's own path is only known where it is installed."""
        self.accepts(EXAMPLES / "harpcaller.service", "harpcallerd")

    def test_systemd_accepts_the_agents_unit(self) -> None:
        """Nor is one in the agent's."""
        self.accepts(AGENT_EXAMPLES / "harpd.service", "harpd")

    def test_systemd_accepts_the_agents_socket(self) -> None:
        """Its port can be systemd's."""
        tool = self.needed("systemd-analyze")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        shutil.copy(AGENT_EXAMPLES / "harpd.socket", folder)
        service = (AGENT_EXAMPLES / "harpd.service").read_text()
        (folder / "harpd.service").write_text(service.replace("/usr/bin/harpd", "/bin/true"))
        done = subprocess.run(
            [tool, "verify", "--man=no", str(folder / "harpd.socket")],
            capture_output=True,
            text=True,
            check=False,
        )
        ours = [line for line in done.stderr.splitlines() if "harpd" in line]
        self.assertEqual((0, []), (done.returncode, ours), done.stderr)

    def test_systemd_finds_a_mistake(self) -> None:
        """So that the test above means something."""
        tool = self.needed("systemd-analyze")
        unit = Path(self.mktemp()).absolute() / "harpcaller.service"
        unit.parent.mkdir(parents=True)
        unit.write_text("[Service]\nExecStart=/bin/true\nProtectSytem=strict\n")
        done = subprocess.run(
            [tool, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False
        )
        self.assertIn("ProtectSytem", done.stderr)

    def test_logrotate_accepts_its_file(self) -> None:
        """It is read, and nothing is rotated."""
        tool = self.needed("logrotate")
        file = Path(self.mktemp()).absolute()
        # It refuses files of others, and users that aren't there.
        text = (EXAMPLES / "logrotate").read_text()
        file.write_text(text.replace("create 0640 harpcaller harpcaller", "create 0640"))
        file.chmod(0o644)
        done = subprocess.run([tool, "-d", str(file)], capture_output=True, text=True, check=False)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertNotIn("error", done.stderr)
