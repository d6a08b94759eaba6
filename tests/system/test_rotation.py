"""Secrets are exchanged as ``doc/security`` tells, while calls go on, and none of those fails; the
old secret is worth nothing afterwards."""

from __future__ import annotations

import shutil
import signal
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.trial.unittest import TestCase

import harp
from harpcaller.testing.certificates import Authority, Certificate, make_authority
from harpcaller.testing.installation import HOST, PATIENCE, Daemon, Installation, free_port
from harpcaller.wire.values import decode, encode

PROCEDURES = "from harpd.proc import procedure\n@procedure\ndef echo(value): return value\n"
PASSWORD = '"plain:not a secret"'


class RotationCase(TestCase):
    def setUp(self) -> None:
        # Not mktemp: the path of a Unix socket is short.
        self.folder = Path(tempfile.mkdtemp(prefix="harpcaller-rotation-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "procedures.py").write_text(PROCEDURES)
        self.world = Installation(self.folder, self.folder / "procedures.py")
        self.addCleanup(self.world.stop)
        self.toml = self.folder / "harpcaller.toml"
        self.conf = self.folder / "harpd.conf"
        self.failures: list[object] = []

    def start(self) -> None:
        self.agent = self.world.start_agent()
        self.dispatcher = self.world.start_dispatcher()

    def outcome(self) -> Any:
        return self.world.result(self.world.submit("echo", 1))

    def while_calling(
        self, *steps: Callable[[], None], call: Callable[[], Any] | None = None
    ) -> None:
        """Take steps; before, between and after them are calls, and all of those succeed."""
        call = call or self.outcome
        done = threading.Event()
        number = 0

        def caller() -> None:
            nonlocal number
            while not done.is_set():
                try:
                    found = call()
                except Exception as error:  # noqa: BLE001  # told by the test
                    found = error
                if found != {"result": 1}:
                    self.failures.append(found)
                number += 1

        thread = threading.Thread(target=caller)
        thread.start()
        try:
            for step in (*steps, lambda: None):
                # Two whole calls, begun after the last step.
                until = number + 3
                self.wait(lambda until=until: number >= until)  # type: ignore[misc]
                step()
        finally:
            done.set()
            thread.join(PATIENCE)
        self.assertEqual([], self.failures)

    def wait(self, true: Callable[[], bool]) -> None:
        ticking = threading.Event()
        for _ in range(int(PATIENCE / 0.02)):
            if true():
                return
            ticking.wait(0.02)
        self.fail("it takes too long")

    def put(self, name: str, content: bytes) -> None:
        """Put a file in place as an operator should, in one step."""
        fresh = self.folder / f"{name}.new"
        fresh.write_bytes(content)
        fresh.chmod(0o600)
        fresh.rename(self.folder / name)

    def operate(self, *command: str) -> None:
        done = self.world.harpcallerd(*command)
        self.assertEqual((0, ""), (done.returncode, done.stderr))

    def reload_agent(self, daemon: Daemon | None = None) -> None:
        agent = daemon or self.agent
        before = agent.log.read_bytes().count(b"agent.reloaded")
        agent.process.send_signal(signal.SIGHUP)
        self.wait(lambda: agent.log.read_bytes().count(b"agent.reloaded") > before)

    def show(self, certificate: Certificate) -> None:
        """Give the agent another certificate."""
        self.put("agent.pem", certificate.certificate_pem)
        self.put("agent.key", certificate.key_pem)
        self.reload_agent()

    def refused(self) -> str:
        error = self.outcome()["error"]
        self.assertEqual("tls_error", error["type"])
        return str(error["message"])


class AgentTests(RotationCase):
    def test_known_certificate(self) -> None:
        """The new one is made known first; the old one, once it isn't any more, opens nothing,
        not even by a session or a connection that it was shown on."""
        text = self.toml.read_text().replace('ca_file = "ca.pem"', 'known_certs_file = "known"')
        self.toml.write_text(text)
        issue = make_authority("Nobody").issue
        old, new = issue(HOST), issue(HOST)
        for name, content in (("agent.pem", old.certificate_pem), ("agent.key", old.key_pem)):
            self.put(name, content)
        self.put("known", old.certificate_pem)
        self.start()
        self.while_calling(
            lambda: self.put("known", old.certificate_pem + new.certificate_pem),
            lambda: self.operate("reload"),
            lambda: self.show(new),
            lambda: self.put("known", new.certificate_pem),
            lambda: self.operate("reload"),
        )
        self.show(old)
        self.assertIn("not one of the known ones", self.refused())
        self.show(new)
        self.assertEqual({"result": 1}, self.outcome())
        # The same without a new certificate: it is only taken out.
        self.put("known", old.certificate_pem)
        self.operate("reload")
        self.assertIn("not one of the known ones", self.refused())

    def test_authority(self) -> None:
        """The new CA stands beside the old one until all certificates are of the new one."""
        fresh = make_authority("Fresh CA")
        old = (self.folder / "ca.pem").read_bytes()
        self.start()
        self.while_calling(
            lambda: self.put("ca.pem", old + fresh.certificate_pem),
            lambda: self.operate("reload"),
            lambda: self.show(fresh.issue(HOST, names=[HOST])),
            lambda: self.put("ca.pem", fresh.certificate_pem),
            lambda: self.operate("reload"),
        )
        self.put("ca.pem", old)
        self.operate("reload")
        self.assertIn("is not acceptable", self.refused())

    def test_intermediate_authority(self) -> None:
        """A certificate comes to be signed by a CA below the one that is believed."""
        root = make_authority("Root", intermediates=1)
        self.put("ca.pem", root.certificate_pem)
        direct = root.issue(HOST, names=[HOST])
        self.put("agent.pem", direct.certificate_pem)
        self.put("agent.key", direct.key_pem)
        self.start()
        below = root.issue_authority("Below")
        leaf = below.issue(HOST, names=[HOST])
        chain = Certificate(leaf.certificate_pem + below.certificate_pem, leaf.key_pem)
        self.while_calling(lambda: self.show(chain))
        self.show(leaf)
        self.assertIn("is not acceptable", self.refused())

    def test_password(self) -> None:
        """A second user makes room for the change in the registry."""
        self.start()
        text = self.conf.read_text()
        both = text + '    second: "plain:fresh"\n'
        self.while_calling(
            lambda: self.put("harpd.conf", both.encode()),
            self.reload_agent,
            lambda: self.tell({"user": "second", "password": "fresh"}),
            lambda: self.put(
                "harpd.conf", both.replace(f"    dispatcher: {PASSWORD}\n", "").encode()
            ),
            self.reload_agent,
        )
        self.tell({"user": "dispatcher", "password": "not a secret"})
        self.assertEqual("auth_error", self.outcome()["error"]["type"])

    def tell(self, credentials: dict[str, str]) -> None:
        """Change the registry."""
        entry = decode((self.folder / "hosts.json").read_bytes())
        assert isinstance(entry, dict)
        self.put("hosts.json", encode({**entry, "credentials": credentials}) + b"\n")
        self.operate("hosts-refresh")


class ClientTests(RotationCase):
    def setUp(self) -> None:
        super().setUp()
        self.port = free_port()
        self.servers, self.clients = make_authority("Servers"), make_authority("Clients")
        self.put("servers.pem", self.servers.certificate_pem)
        self.put("clients.pem", self.clients.certificate_pem)
        self.put("tokens", b"")
        self.serve(self.servers)
        self.world.configure(
            f'tokens_file = "tokens"\n[[listener]]\naddress = "127.0.0.1:{self.port}"\n'
            'cert_file = "server.pem"\nkey_file = "server.key"\nclient_ca_file = "clients.pem"\n'
            '[[allow]]\nclients = ["web"]\n'
        )
        self.cert = self.certificate(self.clients, "first")
        self.token: str | None = None

    def serve(self, authority: Authority) -> None:
        """Give the port a certificate."""
        made = authority.issue("dispatcher", names=["127.0.0.1"])
        self.put("server.pem", made.certificate_pem)
        self.put("server.key", made.key_pem)

    def certificate(self, authority: Authority, name: str) -> tuple[str, str]:
        files = authority.issue("web", client=True).write(self.folder, name)
        return str(files.certificate), str(files.key)

    def called(self) -> Any:
        with harp.HarpCaller(
            "127.0.0.1",
            self.port,
            read_timeout=PATIENCE,
            ca_file=str(self.folder / "servers.pem"),
            cert=self.cert,
            token=self.token,
        ) as rpc:
            return {"result": rpc.host(HOST).echo(1).get()}

    def use(self, name: str, value: object) -> None:
        setattr(self, name, value)

    def test_dispatchers_certificate(self) -> None:
        """Clients believe the new one's CA before it is shown."""
        self.start()
        fresh = make_authority("Fresh servers")
        old = self.servers.certificate_pem
        self.while_calling(
            lambda: self.put("servers.pem", old + fresh.certificate_pem),
            lambda: self.serve(fresh),
            lambda: self.operate("reload"),
            lambda: self.put("servers.pem", fresh.certificate_pem),
            call=self.called,
        )

    def test_clients_certificate(self) -> None:
        """Its CA is exchanged as well, which locks out whoever has the old one."""
        self.start()
        fresh = make_authority("Fresh clients")
        both = self.clients.certificate_pem + fresh.certificate_pem
        old = self.cert
        self.while_calling(
            lambda: self.put("clients.pem", both),
            lambda: self.operate("reload"),
            lambda: self.use("cert", self.certificate(fresh, "second")),
            lambda: self.put("clients.pem", fresh.certificate_pem),
            lambda: self.operate("reload"),
            call=self.called,
        )
        self.use("cert", old)
        self.assertRaises(harp.CommunicationError, self.called)

    def test_token(self) -> None:
        """The file has both until the client uses the new one."""
        old, new = self.make_token(), self.make_token()
        self.put("tokens", old[1])
        self.token = old[0]
        self.start()
        self.while_calling(
            lambda: self.put("tokens", old[1] + new[1]),
            lambda: self.operate("reload"),
            lambda: self.use("token", new[0]),
            lambda: self.put("tokens", new[1]),
            lambda: self.operate("reload"),
            call=self.called,
        )
        self.use("token", old[0])
        error = self.assertRaises(harp.RemoteError, self.called)
        self.assertEqual("not_allowed", error.type)

    def make_token(self) -> tuple[str, bytes]:
        """Make a token, and its line in the file."""
        made = self.world.harpcallerd("make-token", "web")
        return made.stderr.split()[-1], made.stdout.encode()
