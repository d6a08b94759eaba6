"""What ``doc/security`` tells people to type does what it says."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path

from twisted.trial.unittest import TestCase

import harp
from harpcaller.testing.certificates import make_authority
from harpcaller.testing.installation import HOST, PATIENCE, Installation, free_port
from tests.system.untraced import untraced

PAGE = Path(__file__).parent.parent.parent / "doc" / "security.rst"
PROCEDURES = "from harpd.proc import procedure\n@procedure\ndef echo(value): return value\n"


def authority_script() -> list[str]:
    """Give the commands that make a CA."""
    text = PAGE.read_text("utf-8")
    section = text[text.index("A CA in five commands") :]
    found = re.search(r"\.\. code-block:: sh\n\n((?:   .*\n|\n)+)", section)
    assert found is not None
    return re.findall(r"(?:.*\\\n)*.+\n", textwrap.dedent(found[1]))


class AuthorityTests(TestCase):
    def setUp(self) -> None:
        if shutil.which("openssl") is None:
            self.skipTest("openssl isn't installed here")
        # Not mktemp: the path of a Unix socket is short.
        self.folder = Path(tempfile.mkdtemp(prefix="harpcaller-security-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def type(self, *commands: str) -> str:
        done = subprocess.run(
            ["sh", "-euc", "".join(commands)],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        self.assertEqual(0, done.returncode, done.stdout)
        return done.stdout

    def test_five_commands(self) -> None:
        """They make a CA, a certificate for a host and one for a client, which all are believed by
        those who must, and keys that nobody else can read."""
        commands = authority_script()
        self.assertEqual(5, len(commands))
        self.assertIn("web01.pem: OK", self.type(*commands))
        umask, _, request, sign, _ = commands
        for name in ("localhost", "web"):
            again = "".join((umask, request, sign))
            self.type(again.replace("web01.example.net", name).replace("web01", name))
        for key in self.folder.glob("*.key"):
            self.assertEqual(0o600, key.stat().st_mode & 0o777, key)
        self.use()

    def use(self) -> None:
        """Have a client call a host, everybody by these certificates."""
        procedures = self.folder / "procedures.py"
        procedures.write_text(PROCEDURES)
        made = {name: (self.folder / name).read_bytes() for name in ("ca.pem", "web01.pem")}
        made["agent.pem"] = made.pop("web01.pem")
        made["agent.key"] = (self.folder / "web01.key").read_bytes()
        world = Installation(self.folder, procedures)
        world.environ = untraced(world.environ)
        self.addCleanup(world.stop)
        for name, content in made.items():
            (self.folder / name).write_bytes(content)
        conf = self.folder / "harpd.conf"
        text = conf.read_text().replace("network:\n", "network:\n  client_ca_file: ca.pem\n")
        conf.write_text(text)
        port = free_port()
        files = 'cert_file = "localhost.pem"\nkey_file = "localhost.key"\n'
        world.configure(
            f'{files}[[listener]]\naddress = "localhost:{port}"\n{files}'
            'client_ca_file = "ca.pem"\n[[allow]]\nclients = ["web"]\n'
        )
        world.start_agent()
        world.start_dispatcher()
        with harp.HarpCaller(
            "localhost",
            port,
            read_timeout=PATIENCE,
            ca_file=str(self.folder / "ca.pem"),
            cert=(str(self.folder / "web.pem"), str(self.folder / "web.key")),
        ) as rpc:
            self.assertEqual(1, rpc.host(HOST).echo(1).get())


class ModeTests(TestCase):
    def setUp(self) -> None:
        # Not mktemp: the path of a Unix socket is short.
        self.folder = Path(tempfile.mkdtemp(prefix="harpcaller-modes-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "procedures.py").write_text(PROCEDURES)
        self.world = Installation(
            self.folder,
            self.folder / "procedures.py",
            'cert_file = "own.pem"\nkey_file = "own.key"\ntokens_file = "tokens"\n'
            'known_certs_file = "known.pem"\n[[listener]]\naddress = "127.0.0.1:1"\n'
            'cert_file = "own.pem"\nkey_file = "own.key"\nclient_ca_file = "clients.pem"\n',
        )
        self.addCleanup(self.world.stop)
        authority = make_authority()
        authority.issue().write(self.folder, "own")
        for name in ("known.pem", "clients.pem"):
            (self.folder / name).write_bytes(authority.certificate_pem)
        for name in ("tokens", "hosts.db"):
            (self.folder / name).touch(0o600)
        (self.folder / "stream").mkdir(0o700)

    def refusals(self, name: str, command: Sequence[str], *wrong: tuple[str, int]) -> set[str]:
        """Start a daemon with files of these modes; gives of which it tells."""
        for file, mode in wrong:
            (self.folder / file).chmod(mode)
        daemon = self.world.start(name, command)
        self.assertEqual(1, daemon.process.wait(PATIENCE))
        said = daemon.log.read_text()
        self.assertNotIn("Traceback", said)
        told = {line for line in said.splitlines() if "everybody may" in line}
        return {Path(line.removeprefix("harpd: ").partition(":")[0]).name for line in told}

    def test_dispatcher(self) -> None:
        """It tells of every file that others may write, or read though it is secret."""
        changed = ["harpcaller.toml", "update-hosts", "ca.pem", "known.pem", "own.pem"]
        changed += ["tokens", "clients.pem", "stream"]
        secret = ["hosts.db", "own.key"]
        wrong = [*((file, 0o602) for file in changed), *((file, 0o604) for file in secret)]
        found = self.refusals("dispatcher", self.world.dispatcher_command, *wrong)
        self.assertEqual({*changed, *secret}, found)

    def test_agent(self) -> None:
        """So does it."""
        conf = self.folder / "harpd.conf"
        text = conf.read_text().replace("network:\n", "network:\n  client_ca_file: clients.pem\n")
        head = text.partition("authentication:")[0]
        users = "authentication:\n  module: harpd.auth.passfile\n  file: users\n"
        conf.write_text(head + users)
        (self.folder / "users").touch()
        changed = ["harpd.conf", "procedures.py", "agent.pem", "clients.pem", "users"]
        secret = ["agent.key"]
        wrong = [*((file, 0o602) for file in changed), *((file, 0o604) for file in secret)]
        found = self.refusals("agent", self.world.agent_command, *wrong)
        self.assertEqual({*changed, *secret}, found)
