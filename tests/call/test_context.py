"""TLS with agents in memory: who is let through, and whose sessions are kept."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Sequence

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from OpenSSL import SSL, crypto
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from harpcaller.call.context import AgentContext
from harpcaller.call.trust import Trust
from harpcaller.interfaces import Host
from harpcaller.testing.agent_tls import AgentTLS as ServerTLS
from harpcaller.testing.certificates import (
    Authority,
    Certificate,
    make_authority,
    make_self_signed,
    of_unknown_version,
)
from harpcaller.wire.agent import Credentials
from tests.house import HouseCase

NOW = 1_700_000_000.0
HOST = Host("localhost", "192.0.2.1", 4306, Credentials("user", "secret"))


def parsed(certificate: Certificate) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.certificate_pem)


def der(certificate: Certificate) -> bytes:
    return parsed(certificate).public_bytes(Encoding.DER)


def trusting(
    *authorities: Certificate, known: Sequence[Certificate] | None = None, verify: bool = False
) -> Trust:
    return Trust(
        tuple(map(parsed, authorities)) or None,
        None if known is None else frozenset(map(der, known)),
        verify,
    )


def context(trust: Trust) -> AgentContext:
    return AgentContext(trust, lambda: NOW)


def _shake(near: SSL.Connection, far: SSL.Connection) -> None:
    """Carry bytes until both have done their handshake; raises what OpenSSL objects to."""
    for _ in range(10):
        waiting = 0
        for connection, other in ((near, far), (far, near)):
            try:
                connection.do_handshake()
            except SSL.WantReadError:
                waiting += 1
            with contextlib.suppress(SSL.WantReadError):
                other.bio_write(connection.bio_read(2**16))
        if not waiting:
            return
    raise AssertionError("no end")


_unused = TLSMemoryBIOProtocol(
    TLSMemoryBIOFactory(ServerTLS(make_self_signed()), False, Factory.forProtocol(Protocol)),
    Protocol(),
)


def meet(agents: AgentContext, server: ServerTLS, host: Host = HOST) -> str | None:
    """Connect, decide, and when the agent is believed take the ticket that it sends."""
    tls = agents.connection(host)
    near = tls.clientConnectionForTLS(_unused)
    far = server.serverConnectionForTLS(_unused)
    far.set_accept_state()
    _shake(near, far)
    objection = tls.objection()
    if objection is None:
        far.send(b"!")
        near.bio_write(far.bio_read(2**16))
        assert near.recv(10) == b"!"
        tls.remember()
    near.shutdown()
    return objection


class ChainTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.root = make_authority("root", intermediates=1)
        self.middle = self.root.issue_authority("middle")

    def assertRefused(
        self, why: str, trust: Trust, shown: Certificate, *along: Certificate
    ) -> None:
        found = meet(context(trust), ServerTLS(shown, along))
        self.assertEqual(f"the agent's certificate is not acceptable: {why}", found)

    def assertBelieved(self, trust: Trust, shown: Certificate, *along: Certificate) -> None:
        self.assertIsNone(meet(context(trust), ServerTLS(shown, along)))

    def test_signed_by_the_ca(self) -> None:
        """What one of the CAs has signed is believed."""
        self.assertBelieved(trusting(make_authority("other"), self.root), self.root.issue())

    def test_signed_by_another_ca(self) -> None:
        """What another CA has signed isn't, sent along or not, even one of the same name."""
        other = make_authority("root", intermediates=1)
        trust = trusting(self.root)
        self.assertRefused("it was not signed by one of the CAs", trust, other.issue())
        stranger = make_authority("stranger")
        self.assertRefused("it was not signed by one of the CAs", trust, stranger.issue())
        self.assertRefused(
            "its chain ends in a CA that isn't trusted (certificate 1 of the chain)",
            trust,
            stranger.issue(),
            stranger,
        )

    def test_forged_signature(self) -> None:
        """A certificate that was changed after signing is refused."""
        leaf = self.root.issue()
        forged = der(leaf).replace(b"localhost", b"localh0st")
        server = ServerTLS(leaf)
        server.context.use_certificate(x509.load_der_x509_certificate(forged))
        self.assertEqual(
            "the agent's certificate is not acceptable: its signature is wrong",
            meet(context(trusting(self.root)), server),
        )

    def test_fault_without_a_name(self) -> None:
        """Rarer faults are told by OpenSSL's number."""
        key = ec.generate_private_key(ec.SECP256R1())
        puzzle = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"?")
        ca = parsed(self.root)
        ca_key = load_pem_private_key(self.root.key_pem, None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(ca.subject)
            .public_key(key.public_key())
            .serial_number(7)
            .not_valid_before(ca.not_valid_before_utc)
            .not_valid_after(ca.not_valid_after_utc)
            .add_extension(puzzle, critical=True)
            .sign(ca_key, SHA256())
        )
        leaf = Certificate(
            certificate.public_bytes(Encoding.PEM),
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        )
        self.assertRefused("OpenSSL's verification error 34", trusting(self.root), leaf)

    def test_self_signed(self) -> None:
        """A self-signed certificate isn't believed where there is a CA."""
        self.assertRefused(
            "it is self-signed, and not one of the CAs", trusting(self.root), make_self_signed()
        )

    def test_intermediate_sent(self) -> None:
        """An intermediate CA that the agent sends along completes the chain."""
        self.assertBelieved(trusting(self.root), self.middle.issue(), self.middle)

    def test_intermediate_not_sent(self) -> None:
        """Without the intermediate CA the chain leads nowhere."""
        self.assertRefused(
            "it was not signed by one of the CAs", trusting(self.root), self.middle.issue()
        )

    def test_intermediate_as_ca(self) -> None:
        """A CA file may hold an intermediate only; then its root isn't believed."""
        self.assertBelieved(trusting(self.middle), self.middle.issue())
        self.assertRefused(
            "it was not signed by one of the CAs", trusting(self.middle), self.root.issue()
        )

    def test_intermediate_below_what_its_ca_allows(self) -> None:
        """A chain longer than a CA in it allows is refused."""
        narrow = make_authority("narrow")
        below = narrow.issue_authority()
        self.assertRefused(
            "its chain is longer than a CA in it allows (certificate 2 of the chain)",
            trusting(narrow),
            below.issue(),
            below,
        )

    def test_expired(self) -> None:
        """An expired certificate is refused."""
        self.assertRefused("it has expired", trusting(self.root), self.root.issue_expired())

    def test_not_valid_yet(self) -> None:
        """A certificate of the future is refused."""
        tomorrow = parsed(self.root).not_valid_after_utc
        leaf = self.root.issue(valid_from=tomorrow, valid_until=tomorrow)
        self.assertRefused("it is not valid yet", trusting(self.root), leaf)

    def test_client_certificate(self) -> None:
        """A client's certificate doesn't make an agent."""
        leaf = self.root.issue("somebody", client=True)
        self.assertRefused("it is not meant for a server", trusting(self.root), leaf)

    def test_leaf_as_ca(self) -> None:
        """An agent's certificate can't sign another's."""
        leaf = self.root.issue()
        forged = Authority(leaf.certificate_pem, leaf.key_pem).issue("forged")
        self.assertRefused(
            "a certificate in its chain is no CA (certificate 1 of the chain)",
            trusting(self.root),
            forged,
            leaf,
        )

    def test_known(self) -> None:
        """A known certificate is believed, self-signed, expired or for whatever use."""
        for leaf in (make_self_signed(), self.root.issue_expired(), self.root.issue(client=True)):
            self.assertBelieved(trusting(known=[leaf]), leaf)
            self.assertBelieved(trusting(make_authority(), known=[leaf]), leaf)

    def test_known_certificate_is_no_ca(self) -> None:
        """What a known certificate has signed is nobody, even if that one is a CA's."""
        leaf = self.root.issue()
        for trust in (trusting(known=[self.root]), trusting(make_authority(), known=[self.root])):
            self.assertIsNotNone(meet(context(trust), ServerTLS(leaf, [self.root])))

    def test_known_certificate_further_up(self) -> None:
        """Sending a known certificate along as somebody else's issuer proves nothing."""
        known = make_self_signed()
        self.assertEqual(
            "the agent's certificate is not one of the known ones",
            meet(context(trusting(known=[known])), ServerTLS(make_self_signed(), [known])),
        )

    def test_anybody(self) -> None:
        """Without a policy everybody is believed."""
        for leaf in (make_self_signed(), self.root.issue_expired(), self.root.issue(client=True)):
            self.assertBelieved(trusting(), leaf)

    def test_no_names(self) -> None:
        """A CA-signed certificate without subjectAltName is refused under verify_hostname."""
        leaf = self.root.issue("localhost", names=None)
        self.assertEqual(
            "the agent's certificate names neither localhost nor 192.0.2.1 in its subjectAltName",
            meet(context(trusting(self.root, verify=True)), ServerTLS(leaf)),
        )

    def test_right_name(self) -> None:
        """One that names the host is good under verify_hostname."""
        self.assertBelieved(trusting(self.root, verify=True), self.root.issue())

    def test_certificate_that_cannot_be_read(self) -> None:
        """A certificate that only OpenSSL can read is the agent's fault, not a bug of ours."""
        shown = make_self_signed()
        odd = of_unknown_version(shown).certificate_pem
        server = ServerTLS(shown)
        readable_by_openssl = crypto.load_certificate(crypto.FILETYPE_PEM, odd)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            server.context.use_certificate(readable_by_openssl)
        self.assertEqual("the agent's certificate can't be read", meet(context(trusting()), server))


class ProtocolVersionTests(HouseCase):
    def test_tls_1_2(self) -> None:
        """TLS 1.2 is good enough."""
        server = ServerTLS(make_self_signed(), newest=SSL.TLS1_2_VERSION)
        self.assertIsNone(meet(context(trusting()), server))

    def test_tls_1_1(self) -> None:
        """TLS 1.1 isn't."""
        server = ServerTLS(make_self_signed(), newest=SSL.TLS1_1_VERSION)
        with self.assertRaises(SSL.Error):
            meet(context(trusting()), server)


class ServerNameTests(HouseCase):
    def announced(self, hostname: str) -> bytes | None:
        server = ServerTLS(make_self_signed())
        names: list[bytes | None] = []
        server.context.set_tlsext_servername_callback(
            lambda connection: names.append(connection.get_servername())
        )
        self.assertIsNone(meet(context(trusting()), server, attrs.evolve(HOST, hostname=hostname)))
        return names[0] if names else None

    def test_host_name(self) -> None:
        """The registry's host name is announced."""
        self.assertEqual(b"web01.example", self.announced("web01.example"))
        self.assertEqual(b"web_1", self.announced("web_1"))

    def test_what_is_no_name(self) -> None:
        """What can't be announced isn't, and the call goes on."""
        for odd in ("192.0.2.1", "2001:db8::1", "", "café", "a b", "a\x00b", "x" * 300, "a..b"):
            self.assertIsNone(self.announced(odd), odd)


class SessionTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.now = NOW
        self.ca = make_authority("root", intermediates=1)
        self.server = ServerTLS(self.ca.issue())

    def context(self, trust: Trust | None = None) -> AgentContext:
        return AgentContext(trust or trusting(self.ca, verify=True), lambda: self.now)

    def test_second_call_resumes(self) -> None:
        """The second call to an agent takes up the first one's session, and so the third."""
        agents = self.context()
        for _ in range(3):
            self.assertIsNone(meet(agents, self.server))
        self.assertEqual([False, True, True], self.server.resumed)

    def test_tls_1_2(self) -> None:
        """So it is with TLS 1.2."""
        server = ServerTLS(self.ca.issue(), newest=SSL.TLS1_2_VERSION)
        agents = self.context()
        for _ in range(3):
            self.assertIsNone(meet(agents, server))
        self.assertEqual([False, True, True], server.resumed)

    def test_never_in_another_context(self) -> None:
        """A new generation of trust starts without any session."""
        self.assertIsNone(meet(self.context(), self.server))
        self.assertIsNone(meet(self.context(), self.server))
        self.assertEqual([False, False], self.server.resumed)

    def test_agent_that_does_not_resume(self) -> None:
        """An agent that forgot the session is checked anew."""
        agents = self.context()
        self.assertIsNone(meet(agents, self.server))
        stranger = ServerTLS(make_self_signed())
        self.assertIsNotNone(meet(agents, stranger))
        self.assertEqual([False], stranger.resumed)

    def test_agent_without_tickets(self) -> None:
        """An agent that gives no sessions is checked at each call."""
        server = ServerTLS(self.ca.issue(), tickets=False)
        agents = self.context()
        self.assertIsNone(meet(agents, server))
        self.assertIsNone(meet(agents, server))
        self.assertEqual([False, False], server.resumed)

    def test_not_for_another_host(self) -> None:
        """A session is for one host at one place."""
        agents = self.context(trusting(self.ca))
        self.assertIsNone(meet(agents, self.server))
        for other in (
            attrs.evolve(HOST, hostname="other"),
            attrs.evolve(HOST, address="192.0.2.9"),
            attrs.evolve(HOST, port=1),
        ):
            self.assertIsNone(meet(agents, self.server, other))
        self.assertEqual([False] * 4, self.server.resumed)

    def test_refused_agent_leaves_no_session(self) -> None:
        """A refused agent is refused again, by a full check."""
        agents = self.context(trusting(make_authority()))
        self.assertIsNotNone(meet(agents, self.server))
        self.assertIsNotNone(meet(agents, self.server))
        self.assertEqual([False, False], self.server.resumed)

    def test_not_past_the_certificate(self) -> None:
        """A session isn't resumed once its certificate has expired."""
        agents = self.context()
        self.assertIsNone(meet(agents, self.server))
        self.assertIsNone(meet(agents, self.server))
        self.now = parsed(self.ca.issue()).not_valid_after_utc.timestamp() + 1
        self.assertIsNone(meet(agents, self.server))
        self.assertEqual([False, True, False], self.server.resumed)

    def test_not_past_the_chain(self) -> None:
        """Nor once a CA of its chain has expired, however long the leaf is good for."""
        far_future = parsed(self.ca).not_valid_after_utc.replace(year=2100)
        server = ServerTLS(self.ca.issue(valid_until=far_future))
        agents = self.context()
        self.assertIsNone(meet(agents, server))
        self.assertIsNone(meet(agents, server))
        self.now = parsed(self.ca).not_valid_after_utc.timestamp()
        self.assertIsNone(meet(agents, server))
        self.assertEqual([False, True, False], server.resumed)

    def test_sessions_are_bounded(self) -> None:
        """The oldest sessions are forgotten when there are too many."""
        agents = self.context(trusting(self.ca))
        agents.MAX_SESSIONS = 2
        for port in (1, 2, 2, 3, 2, 1):
            self.assertIsNone(meet(agents, self.server, attrs.evolve(HOST, port=port)))
        self.assertEqual([False, False, True, False, True, False], self.server.resumed)


class BelievedTests(HouseCase):
    """What an agent shows is read once; only what is the same to the byte isn't read again."""

    def setUp(self) -> None:
        super().setUp()
        self.ca = make_authority()
        self.agents = context(trusting(self.ca, verify=True))

    def test_same_again(self) -> None:
        """It is believed again, whether OpenSSL has checked it once or often."""
        server = ServerTLS(self.ca.issue(names=["localhost"]), tickets=False)
        for _ in range(3):
            self.assertIsNone(meet(self.agents, server))
        self.assertEqual([False] * 3, server.resumed)
        self.assertEqual(1, len(self.agents._believed))

    def test_another(self) -> None:
        """Who was believed isn't with another certificate, and then is again with his own."""
        good = ServerTLS(self.ca.issue(names=["localhost"]), tickets=False)
        wrong_name = ServerTLS(self.ca.issue(names=["elsewhere"]), tickets=False)
        stranger = ServerTLS(make_authority().issue(names=["localhost"]), tickets=False)
        for _ in range(2):
            self.assertIsNone(meet(self.agents, good))
            self.assertIn("names neither", meet(self.agents, wrong_name) or "")
            self.assertIn("not signed by one", meet(self.agents, stranger) or "")

    def test_other_host(self) -> None:
        """What is believed of one host is nothing for another."""
        server = ServerTLS(self.ca.issue(names=["localhost"]), tickets=False)
        self.assertIsNone(meet(self.agents, server))
        other = attrs.evolve(HOST, hostname="elsewhere")
        self.assertIn("names neither", meet(self.agents, server, other) or "")

    def test_known_one_that_a_ca_has_not_signed(self) -> None:
        """What OpenSSL finds wrong with it is part of what was believed."""
        server = ServerTLS(make_self_signed(), tickets=False)
        agents = context(trusting(known=[make_self_signed()]))
        self.assertIsNotNone(meet(agents, server))
        self.assertEqual({}, agents._believed)


class FailingClosedTests(HouseCase):
    """What can't happen as long as OpenSSL does its work doesn't let anybody in, either."""

    def test_certificate_was_not_checked(self) -> None:
        """Without a check there is no trust, except for a session of ours."""
        tls = context(trusting()).connection(HOST)
        _ = tls.clientConnectionForTLS(_unused)
        self.assertEqual("the agent's certificate was not checked", tls.objection())

    def test_no_certificate(self) -> None:
        """An agent without a certificate is nobody, whatever the policy."""
        tls = context(trusting()).connection(HOST)
        _ = tls.clientConnectionForTLS(_unused)
        tls._verdict.checked = True
        self.assertEqual("the agent has shown no certificate", tls.objection())

    def test_no_session(self) -> None:
        """Where there is no session there is nothing to remember."""
        agents = context(trusting())
        tls = agents.connection(HOST)
        _ = tls.clientConnectionForTLS(_unused)
        tls.remember()
        self.assertEqual({}, agents._sessions)

    def test_connection_of_somebody_else(self) -> None:
        """A connection that wasn't made for a host isn't let through."""
        agents = context(trusting())
        near = SSL.Connection(agents._context, None)
        near.set_connect_state()
        far = ServerTLS(make_self_signed()).serverConnectionForTLS(_unused)
        far.set_accept_state()
        with self.assertRaises(SSL.Error):
            _shake(near, far)
