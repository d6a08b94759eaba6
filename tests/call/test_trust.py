"""Which agents are believed, decided without any network."""

from __future__ import annotations

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from harpcaller.call.trust import Presented, Trust, load_trust, objection
from harpcaller.config.problems import ConfigurationError
from harpcaller.interfaces import Host, HostTLS
from harpcaller.testing.certificates import (
    Certificate,
    make_authority,
    make_self_signed,
    of_unknown_version,
)
from harpcaller.wire.agent import Credentials
from tests.house import HouseCase


def parsed(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.certificate_pem)


def host(hostname: str = "web01.example", address: str = "192.0.2.1") -> Host:
    return Host(hostname, address, 4306, Credentials("user", "secret"))


CA = make_authority()
NOTHING = HostTLS()
KNOWN = make_self_signed()
STRANGER = make_self_signed("stranger")


def policy(*, ca: bool = False, known: bool = False, verify_hostname: bool = False) -> Trust:
    return Trust(
        (parsed(CA),) if ca else None,
        frozenset({parsed(KNOWN).public_bytes(Encoding.DER)}) if known else None,
        verify_hostname,
    )


@attrs.frozen
class Row:
    """What is shown, what OpenSSL says of its chain, and who accepts it."""

    shown: Certificate
    chain_fault: str | None
    by_ca: bool
    by_known: bool


TABLE = {
    "signed by the CA": Row(CA.issue(), None, True, False),
    "signed by nobody": Row(STRANGER, "it is self-signed", False, False),
    "known": Row(KNOWN, "it is self-signed", False, True),
    "expired": Row(CA.issue_expired(), "it has expired", False, False),
    "for a client": Row(CA.issue(client=True), "not meant for a server", False, False),
    "without names": Row(CA.issue(names=None), None, True, False),
    "with other names": Row(CA.issue(names=["db.example"]), None, True, False),
}


class PolicyTests(HouseCase):
    def check(self, trust: Trust, expected: dict[str, bool], tls: HostTLS = NOTHING) -> None:
        asked = attrs.evolve(host(), tls=tls)
        found = {
            name: objection(trust, Presented(parsed(row.shown), row.chain_fault), asked) is None
            for name, row in TABLE.items()
        }
        self.assertEqual(expected, found)

    def test_fingerprint(self) -> None:
        """A host whose certificate the registry tells has this one and no other, whatever the
        settings say."""
        for name, row in TABLE.items():
            told = HostTLS(parsed(row.shown).fingerprint(SHA256()).hex())
            for trust in (policy(), policy(ca=True), policy(known=True, ca=True)):
                self.check(trust, {other: other == name for other in TABLE}, told)

    def test_name(self) -> None:
        """A host whose certificate's name the registry tells has one that a CA signed for that
        name, or a known one."""
        told = HostTLS(name="db.example")
        named = {name: name == "with other names" for name in TABLE}
        for verify in (False, True):
            self.check(policy(ca=True, verify_hostname=verify), named, told)
        self.check(policy(known=True), {name: row.by_known for name, row in TABLE.items()}, told)
        self.check(policy(known=True, ca=True), {**named, "known": True}, told)
        self.check(policy(), dict.fromkeys(TABLE, False), told)

    def test_ca(self) -> None:
        """With CAs, the chain decides, and names don't matter."""
        self.check(policy(ca=True), {name: row.by_ca for name, row in TABLE.items()})

    def test_known(self) -> None:
        """With known certificates, only these are believed, whoever signed others."""
        self.check(policy(known=True), {name: row.by_known for name, row in TABLE.items()})

    def test_both(self) -> None:
        """With both, either will do."""
        expected = {name: row.by_ca or row.by_known for name, row in TABLE.items()}
        self.check(policy(ca=True, known=True), expected)

    def test_neither(self) -> None:
        """With neither, everybody is believed."""
        self.assertTrue(policy().anybody)
        self.check(policy(), dict.fromkeys(TABLE, True))

    def test_empty_known_certs_believe_nobody(self) -> None:
        """A known-certs file without certificates is not the same as none."""
        trust = Trust(known=frozenset())
        self.assertFalse(trust.anybody)
        self.check(trust, dict.fromkeys(TABLE, False))

    def test_reasons(self) -> None:
        """The refusal says what was found and what was expected."""
        shown = parsed(STRANGER)
        self.assertEqual(
            "the agent's certificate is not one of the known ones",
            objection(policy(known=True), Presented(shown, "whatever"), host()),
        )
        self.assertEqual(
            "the agent's certificate is not acceptable: it has expired",
            objection(policy(ca=True), Presented(shown, "it has expired"), host()),
        )


class HostNameTests(HouseCase):
    def verdict(self, names: list[str] | None, wanted: Host) -> str | None:
        shown = Presented(parsed(CA.issue("web01.example", names=names)), None)
        return objection(policy(ca=True, verify_hostname=True), shown, wanted)

    def test_host_name(self) -> None:
        """A certificate that names the registry's host name is good."""
        self.assertIsNone(self.verdict(["other.example", "web01.example"], host()))

    def test_wildcard(self) -> None:
        """A wildcard counts for one level."""
        self.assertIsNone(self.verdict(["*.agents.example"], host("web01.agents.example")))
        self.assertIsNotNone(self.verdict(["*.agents.example"], host("a.b.agents.example")))

    def test_ipv4_address(self) -> None:
        """A certificate that names the registry's IPv4 address is good."""
        self.assertIsNone(self.verdict(["192.0.2.1"], host()))

    def test_ipv6_address(self) -> None:
        """IPv6 addresses are compared as addresses, not as text."""
        self.assertIsNone(self.verdict(["2001:db8::1"], host(address="2001:DB8:0::1")))
        self.assertIsNotNone(self.verdict(["2001:db8::2"], host(address="2001:db8::1")))

    def test_host_name_that_is_an_address(self) -> None:
        """A registry that calls its hosts by their addresses works, too."""
        self.assertIsNone(self.verdict(["192.0.2.7"], host("192.0.2.7", "agent.internal")))

    def test_address_that_is_a_name(self) -> None:
        """Where the registry gives a name to connect to, naming that is good."""
        self.assertIsNone(self.verdict(["agent.internal"], host("web01", "agent.internal")))

    def test_other_names(self) -> None:
        """A certificate with other names is refused, and the reason tells what was wanted."""
        self.assertEqual(
            "the agent's certificate names neither web01.example nor 192.0.2.1"
            " in its subjectAltName",
            self.verdict(["db.example", "192.0.2.2"], host()),
        )

    def test_no_names_at_all(self) -> None:
        """A CA-signed certificate without subjectAltName is refused; commonName is nothing."""
        self.assertIsNotNone(self.verdict(None, host()))

    def test_names_that_cannot_be_checked(self) -> None:
        """A host name that no certificate can have is not taken for named."""
        for odd in ("", "a b", "1.2.3", "fe80::1%eth0", "café\x00", "*.example"):
            self.assertIsNotNone(self.verdict(["web01.example"], host(odd, odd)), odd)

    def test_address_written_as_name(self) -> None:
        """An address in a DNS name isn't an address."""
        shown = Presented(parsed(CA.issue(names=["192.0.2.1.example"])), None)
        trust = policy(ca=True, verify_hostname=True)
        self.assertIsNotNone(objection(trust, shown, host()))

    def test_known_certificate_needs_no_name(self) -> None:
        """A known certificate counts for itself, whatever it names."""
        trust = policy(ca=True, known=True, verify_hostname=True)
        self.assertIsNone(objection(trust, Presented(parsed(KNOWN), "no chain"), host()))

    def test_not_asked_for(self) -> None:
        """Without verify_hostname, names don't matter."""
        shown = Presented(parsed(CA.issue(names=None)), None)
        self.assertIsNone(objection(policy(ca=True), shown, host()))


class LoadingTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.files: dict[str, bytes | OSError] = {}

    def read(self, path: str) -> bytes:
        content = self.files.get(path, FileNotFoundError(2, "No such file or directory"))
        if isinstance(content, OSError):
            raise content
        return content

    def load(self, *, ca: str | None = None, known: str | None = None) -> Trust:
        return load_trust(ca, known, False, self.read)

    def problems(self, *, ca: str | None = None, known: str | None = None) -> list[str]:
        with self.assertRaises(ConfigurationError) as caught:
            self.load(ca=ca, known=known)
        return str(caught.exception).splitlines()

    def test_nothing_configured(self) -> None:
        """No files make the policy that believes everybody."""
        self.assertEqual(Trust(None, None, False), self.load())

    def test_verify_hostname(self) -> None:
        """The switch is passed on."""
        self.assertTrue(load_trust(None, None, True, self.read).verify_hostname)

    def test_many_certificates(self) -> None:
        """Files may hold many certificates, with comments between them."""
        others = make_authority("other"), make_authority("third")
        pem = b"# ours\n" + CA.certificate_pem + b"\n# theirs\n"
        self.files["ca"] = pem + b"\r\n".join(one.certificate_pem for one in others)
        self.files["known"] = KNOWN.certificate_pem + STRANGER.certificate_pem
        trust = self.load(ca="ca", known="known")
        self.assertEqual((parsed(CA), *map(parsed, others)), trust.authorities)
        wanted = {parsed(one).public_bytes(Encoding.DER) for one in (KNOWN, STRANGER)}
        self.assertEqual(wanted, trust.known)

    def test_absent_known_certs_file_is_empty(self) -> None:
        """A known-certs file that doesn't exist yet believes nobody, and is no error."""
        self.assertEqual(Trust(None, frozenset(), False), self.load(known="known"))

    def test_empty_known_certs_file(self) -> None:
        """An empty known-certs file is fine, too."""
        self.files["known"] = b"\n  \n"
        self.assertEqual(frozenset(), self.load(known="known").known)

    def test_absent_ca_file(self) -> None:
        """A CA file must exist."""
        self.assertEqual(
            ["/etc/ca.pem: cannot read it: No such file or directory"],
            self.problems(ca="/etc/ca.pem"),
        )

    def test_file_that_cannot_be_read(self) -> None:
        """Every file that can't be read is named, in one go."""
        self.files["ca"] = IsADirectoryError(21, "Is a directory")
        self.files["known"] = PermissionError(13, "Permission denied")
        self.assertEqual(
            ["ca: cannot read it: Is a directory", "known: cannot read it: Permission denied"],
            self.problems(ca="ca", known="known"),
        )

    def test_damaged_certificate(self) -> None:
        """A certificate that can't be read is named with its line."""
        broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        self.files["known"] = KNOWN.certificate_pem + broken + STRANGER.certificate_pem
        line = KNOWN.certificate_pem.count(b"\n") + 1
        self.assertEqual(
            [f"known: line {line}: this certificate can't be read"], self.problems(known="known")
        )

    def test_certificate_of_an_unknown_version(self) -> None:
        """So is one of a version that there isn't."""
        self.files["ca"] = of_unknown_version(CA).certificate_pem
        self.assertEqual(["ca: line 1: this certificate can't be read"], self.problems(ca="ca"))

    def test_certificate_without_end(self) -> None:
        """A file that was cut off is not taken for a shorter one."""
        self.files["ca"] = CA.certificate_pem + CA.certificate_pem[:200]
        line = CA.certificate_pem.count(b"\n") + 1
        self.assertEqual(
            [f"ca: line {line}: this certificate can't be read"], self.problems(ca="ca")
        )

    def test_something_else(self) -> None:
        """A file of another kind is named once, whichever setting names it."""
        self.files["it"] = b"\x00\x01 garbage"
        expected = ["it: line 1: expected PEM certificates, found something else"]
        self.assertEqual(expected, self.problems(known="it"))
        self.assertEqual(expected, self.problems(ca="it"))

    def test_ca_file_without_certificates(self) -> None:
        """An empty CA file is a mistake."""
        self.files["ca"] = b"\n"
        self.assertEqual(["ca: expected PEM certificates, found none"], self.problems(ca="ca"))

    def test_key_beside_certificates(self) -> None:
        """Other PEM blocks beside the certificates do no harm."""
        self.files["ca"] = CA.key_pem + CA.certificate_pem
        self.assertEqual((parsed(CA),), self.load(ca="ca").authorities)
