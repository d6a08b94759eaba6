"""Certificates that an agent may show, to a dispatcher and to a program that calls it directly."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import harp
from harpcaller.testing.certificates import Certificate, make_authority, make_self_signed
from harpcaller.testing.installation import HOST, PATIENCE
from tests.system.test_rotation import RotationCase

DAY = timedelta(days=1)


class CertificateTests(RotationCase):
    def test_refused(self) -> None:
        """Each for its own reason, which is told; a good one is believed again at once."""
        root = make_authority("Root", intermediates=1)
        below = root.issue_authority("Below")
        self.put("ca.pem", root.certificate_pem)
        good = root.issue(HOST, names=[HOST])
        for name, content in (("agent.pem", good.certificate_pem), ("agent.key", good.key_pem)):
            self.put(name, content)
        self.start()
        now = datetime.now(UTC)
        leaf = below.issue(HOST, names=[HOST])
        issue = root.issue
        for certificate, words in (
            (issue(HOST, valid_from=now - 3 * DAY, valid_until=now - DAY), "expired"),
            (issue(HOST, valid_from=now + DAY, valid_until=now + 3 * DAY), "not valid yet"),
            (issue(HOST, names=[HOST], client=True), "not meant for a server"),
            (leaf, "not signed by one of the CAs"),
            (make_authority("Root").issue(HOST, names=[HOST]), "is not acceptable"),
            (make_self_signed(HOST, [HOST]), "self-signed"),
            (issue(HOST, names=None), f"names neither {HOST}"),
            (issue(HOST, names=["db.example.net"]), f"names neither {HOST}"),
        ):
            self.show(certificate)
            self.assertIn(words, self.refused())
            if "names" not in words:
                # Names are the dispatcher's to verify; the program here doesn't.
                self.assertRaises(harp.CommunicationError, self.called_directly)
            self.show(good)
            self.assertEqual({"result": 1}, self.outcome())
        self.show(Certificate(leaf.certificate_pem + below.certificate_pem, leaf.key_pem))
        self.assertEqual({"result": 1}, self.outcome())
        self.assertEqual(1, self.called_directly())

    def called_directly(self) -> object:
        server = harp.HarpServer(
            "localhost",
            "dispatcher",
            "not a secret",
            port=self.world.agent_port,
            ca_file=str(self.folder / "ca.pem"),
            read_timeout=PATIENCE,
        )
        return server.echo(1)

    def test_known_certificate_is_no_authority(self) -> None:
        """What is known is believed for itself, also when it has expired; what it signs isn't."""
        known = make_authority("Known")
        text = self.toml.read_text().replace('ca_file = "ca.pem"', 'known_certs_file = "known"')
        self.toml.write_text(text)
        now = datetime.now(UTC)
        old = known.issue(HOST, valid_from=now - 3 * DAY, valid_until=now - DAY)
        self.put("known", known.certificate_pem + old.certificate_pem)
        self.put("agent.pem", old.certificate_pem)
        self.put("agent.key", old.key_pem)
        self.start()
        self.assertEqual([{"result": 1}] * 2, [self.outcome(), self.outcome()])
        signed = known.issue(HOST, names=[HOST])
        self.show(Certificate(signed.certificate_pem + known.certificate_pem, signed.key_pem))
        self.assertIn("not one of the known ones", self.refused())
