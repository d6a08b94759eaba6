"""The agent's certificate."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from harpcaller.service.server_tls import NotUsable, ServerTLS, load_context
from harpcaller.testing.certificates import make_authority, of_unknown_version
from tests.house import HouseCase


class LoadTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.authority = make_authority()
        self.ca = self.authority.write(self.folder, "ca")
        self.agent = self.authority.issue().write(self.folder, "agent")
        self.other = self.authority.issue().write(self.folder, "other")

    def trouble(self, certificate: Path, key: Path, ca: Path | None = None) -> str:
        with self.assertRaises(NotUsable) as caught:
            load_context(str(certificate), str(key), None if ca is None else str(ca))
        return str(caught.exception).replace(f"{self.folder}/", "")

    def test_good(self) -> None:
        """A certificate with its key makes a context, with or without callers' CAs."""
        certificate, key = str(self.agent.certificate), str(self.agent.key)
        context = load_context(certificate, key, None)
        tls = ServerTLS(context)
        self.assertIs(context, tls.getContext())
        tls.context = load_context(certificate, key, str(self.ca.certificate))
        self.assertIsNot(context, tls.getContext())

    def test_chain(self) -> None:
        """Who signed the certificate may stand behind it in the file."""
        chain = self.folder / "chain.pem"
        chain.write_bytes(self.agent.certificate.read_bytes() + self.ca.certificate.read_bytes())
        load_context(str(chain), str(self.agent.key), None)

    def test_troubles(self) -> None:
        """What is wrong is told, with the file."""
        good, key = self.agent.certificate, self.agent.key
        self.assertEqual(
            "nowhere: No such file or directory", self.trouble(self.folder / "nowhere", key)
        )
        self.assertIn("agent.key: expected PEM certificates", self.trouble(key, key))
        self.assertIn("agent.pem: expected a PEM private key", self.trouble(good, good))
        self.assertIn("other.key: not the key of agent.pem", self.trouble(good, self.other.key))
        self.assertIn("agent.key: expected PEM certificates", self.trouble(good, key, key))
        odd = of_unknown_version(self.authority.issue()).write(self.folder, "odd")
        self.assertIn("odd.pem: expected PEM certificates", self.trouble(odd.certificate, odd.key))

    def test_passphrase(self) -> None:
        """A key with a passphrase is refused, and nobody is asked for it."""
        key = load_pem_private_key(self.agent.key.read_bytes(), None)
        sealed = self.folder / "sealed.key"
        sealed.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
        )
        self.assertIn("without a passphrase", self.trouble(self.agent.certificate, sealed))
