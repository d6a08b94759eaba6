"""TLS from bytes to bytes, with Python's own on the other side."""

from __future__ import annotations

import ssl
from pathlib import Path

from harpcaller.client.exceptions import CommunicationError
from harpcaller.client.tls import Cipher, tls_context
from harpcaller.testing.certificates import make_authority
from tests.house import HouseCase


class CipherTests(HouseCase):
    """Two ends in one process."""

    def setUp(self) -> None:
        super().setUp()
        folder = Path(self.mktemp())
        folder.mkdir()
        authority = make_authority()
        (folder / "ca.pem").write_bytes(authority.certificate_pem)
        files = authority.issue(names=["box"]).write(folder, "agent")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(files.certificate, files.key)
        self.to_peer, self.from_peer = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.peer = server.wrap_bio(self.to_peer, self.from_peer, server_side=True)
        self.cipher = Cipher(tls_context(str(folder / "ca.pem"), True), "box")

    def shake_hands(self) -> None:
        """Pass bytes to and fro until both are ready."""
        self.assertEqual(b"", self.cipher.heard(b""))
        done = False
        while not (done and self.cipher.ready):
            self.to_peer.write(self.cipher.to_send())
            try:
                self.peer.do_handshake()
                done = True
            except ssl.SSLWantReadError:
                pass
            self.cipher.heard(self.from_peer.read())
        self.to_peer.write(self.cipher.to_send())

    def test_words_both_ways(self) -> None:
        """What is said is heard, and can't be read on the way."""
        self.shake_hands()
        self.cipher.say(b"ask")
        sent = self.cipher.to_send()
        self.assertNotIn(b"ask", sent)
        self.to_peer.write(sent)
        self.assertEqual(b"ask", self.peer.read(10))
        self.peer.write(b"answer" * 50_000)
        arrived = self.from_peer.read()
        heard = b"".join(self.cipher.heard(bytes(arrived[i : i + 9999]))
                         for i in range(0, len(arrived), 9999))  # fmt: skip
        self.assertEqual(b"answer" * 50_000, heard)

    def test_last_words(self) -> None:
        """What came with the peer's farewell is heard, and that it was one is known."""
        self.shake_hands()
        self.peer.write(b"bye")
        with self.assertRaises(ssl.SSLWantReadError):
            self.peer.unwrap()
        self.assertFalse(self.cipher.closed)
        self.assertEqual(b"bye", self.cipher.heard(self.from_peer.read()))
        self.assertTrue(self.cipher.closed)

    def test_garbage(self) -> None:
        """What isn't TLS is told as such, before and after the handshake."""
        self.shake_hands()
        error = self.assertRaises(CommunicationError, self.cipher.heard, b"220 mail\r\n" * 10)
        self.assertTrue(str(error).startswith("TLS: "))
