"""The throw-away authority makes what a TLS test needs."""

from __future__ import annotations

import stat
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from harpcaller.testing.certificates import make_authority
from tests.house import HouseCase


def parsed(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


class AuthorityTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.authority = make_authority()

    def test_leaf_is_signed_by_the_authority(self) -> None:
        """A leaf verifies against the CA that issued it, and its key is P-256."""
        leaf = parsed(self.authority.issue().certificate_pem)
        leaf.verify_directly_issued_by(parsed(self.authority.certificate_pem))
        key = leaf.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        self.assertEqual("secp256r1", key.curve.name)

    def test_names_are_dns_names_and_addresses(self) -> None:
        """Names that are IP addresses become addresses in subjectAltName."""
        leaf = parsed(self.authority.issue(names=["agent.example", "::1"]).certificate_pem)
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.assertEqual(["agent.example"], found.get_values_for_type(x509.DNSName))
        self.assertEqual(["::1"], [str(a) for a in found.get_values_for_type(x509.IPAddress)])

    def test_names_can_be_left_out(self) -> None:
        """Without names there is no subjectAltName at all."""
        leaf = parsed(self.authority.issue(names=None).certificate_pem)
        with self.assertRaises(x509.ExtensionNotFound):
            leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName)

    def test_client_certificate(self) -> None:
        """A client's certificate isn't good for a server."""
        leaf = parsed(self.authority.issue("somebody", client=True).certificate_pem)
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        self.assertEqual([ExtendedKeyUsageOID.CLIENT_AUTH], list(usage))

    def test_expired(self) -> None:
        """An expired certificate was valid once."""
        leaf = parsed(self.authority.issue_expired().certificate_pem)
        ca = parsed(self.authority.certificate_pem)
        self.assertLess(leaf.not_valid_before_utc, leaf.not_valid_after_utc)
        self.assertLess(leaf.not_valid_after_utc, ca.not_valid_after_utc)

    def test_files(self) -> None:
        """The key's file is readable by its owner only, and repr doesn't show the key."""
        folder = Path(self.mktemp())
        folder.mkdir()
        leaf = self.authority.issue()
        files = leaf.write(folder, "agent")
        self.assertEqual(leaf.certificate_pem, files.certificate.read_bytes())
        self.assertEqual(leaf.key_pem, files.key.read_bytes())
        self.assertEqual(0o600, stat.S_IMODE(files.key.stat().st_mode))
        self.assertNotIn("PRIVATE", repr(leaf) + repr(self.authority))
