"""Agents that want to see a certificate, and certificates that the registry tells of."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from twisted.trial.unittest import TestCase

from harpcaller.testing.certificates import make_authority
from harpcaller.testing.installation import Installation
from harpcaller.wire.values import decode, encode

PROCEDURES = "from harpd.proc import procedure\n@procedure\ndef echo(value): return value\n"


class TrustCase(TestCase):
    def setUp(self) -> None:
        # Not mktemp: the path of a Unix socket is short.
        self.folder = Path(tempfile.mkdtemp(prefix="harpcaller-trust-"))
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "procedures.py").write_text(PROCEDURES)
        self.world = Installation(self.folder, self.folder / "procedures.py")
        self.addCleanup(self.world.stop)

    def outcome(self) -> dict[str, Any]:
        return self.world.result(self.world.submit("echo", 1))

    def operate(self, command: str) -> None:
        done = self.world.harpcallerd(command)
        self.assertEqual((0, ""), (done.returncode, done.stderr))


class CertificateTests(TrustCase):
    def test_agent_that_wants_a_certificate(self) -> None:
        """It gets one after a reload, and not before."""
        authority = make_authority("Dispatchers")
        (self.folder / "dispatchers.pem").write_bytes(authority.certificate_pem)
        conf = self.folder / "harpd.conf"
        text = conf.read_text()
        conf.write_text(text.replace("network:\n", "network:\n  client_ca_file: dispatchers.pem\n"))
        self.world.start_agent()
        self.world.start_dispatcher()
        self.assertIn(self.outcome()["error"]["type"], ("tls_error", "network_error"))
        authority.issue("dispatcher", client=True).write(self.folder, "own")
        self.world.configure('cert_file = "own.pem"\nkey_file = "own.key"')
        self.operate("reload")
        self.assertEqual([{"result": 1}] * 2, [self.outcome(), self.outcome()])

    def test_files_that_cannot_be_used(self) -> None:
        """A reload tells what is wrong with them, and goes on as it was."""
        self.world.start_agent()
        self.world.start_dispatcher()
        make_authority().issue().write(self.folder, "own")
        make_authority().issue().write(self.folder, "other")
        for cert, key, words in (
            ("none.pem", "own.key", "line 7: cert_file: {}/none.pem: No such file"),
            ("own.key", "own.key", "line 7: cert_file: expected PEM certificates"),
            ("own.pem", "own.pem", "line 8: key_file: expected a PEM private key"),
            ("own.pem", "other.key", "line 8: key_file: not the key of cert_file"),
        ):
            self.world.configure(f'cert_file = "{cert}"\nkey_file = "{key}"')
            done = self.world.harpcallerd("reload")
            self.assertEqual(1, done.returncode)
            self.assertIn(words.format(self.folder), done.stderr)
        self.assertEqual({"result": 1}, self.outcome())


class RegistryTests(TrustCase):
    def tell(self, **tls: str) -> None:
        file = self.folder / "hosts.json"
        entry = decode(file.read_bytes())
        assert isinstance(entry, dict)
        file.write_bytes(encode({**entry, "tls": tls}) + b"\n")
        self.operate("hosts-refresh")

    def test_what_the_registry_tells(self) -> None:
        """A fingerprint or a name holds for its host at once, also for resumed sessions."""
        self.world.start_agent()
        self.world.start_dispatcher()
        self.assertEqual({"result": 1}, self.outcome())
        self.tell(fingerprint=f"sha256:{'0' * 64}")
        error = self.outcome()["error"]
        self.assertEqual("tls_error", error["type"])
        self.assertIn("not the one that the registry tells", error["message"])
        own = x509.load_pem_x509_certificate((self.folder / "agent.pem").read_bytes())
        self.tell(fingerprint=f"sha256:{own.fingerprint(SHA256()).hex(':').upper()}")
        self.assertEqual({"result": 1}, self.outcome())
        self.tell(name="db.internal")
        error = self.outcome()["error"]
        self.assertEqual("tls_error", error["type"])
        self.assertIn("doesn't name db.internal", error["message"])
