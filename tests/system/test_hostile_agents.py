"""What an agent that has been taken over may do to its dispatcher, and the bounds that are kept
meanwhile: each of these is called, and another agent, which is honest, goes on being served.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL

from harpcaller.testing.certificates import make_authority
from harpcaller.testing.installation import PATIENCE
from harpcaller.wire.values import encode
from tests.system.hostile import MB, HostileCase

TAKEN = b'{"harp":1,"stream_result":false}\n'
STREAMS = b'{"harp":1,"stream_result":true}\n'
#: The host in the registry whose agent is hostile.
EVIL = "evil.example.net"

#: What is done to the dispatcher on a connection whose TLS stands.
Deed = Callable[[ssl.SSLSocket], None]


class HostileAgentCase(HostileCase):
    def setUp(self) -> None:
        super().setUp()
        self.listening = self.open.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.listening.settimeout(0.1)
        authority = make_authority("Theirs")
        with open(self.folder / "ca.pem", "ab") as trusted:
            trusted.write(authority.certificate_pem)
        self.files = authority.issue(EVIL, names=[EVIL]).write(self.folder, "evil")
        entry = {
            "hostname": EVIL,
            "address": "127.0.0.1",
            "port": self.listening.getsockname()[1],
            "credentials": {"user": "u", "password": "p"},
        }
        with open(self.folder / "hosts.json", "ab") as hosts:
            hosts.write(encode(entry) + b"\n")
        toml = self.folder / "harpcaller.toml"
        toml.write_text("connect_timeout = 3\n" + toml.read_text())
        for command in ("reload", "hosts-refresh"):
            self.assertEqual(0, self.world.harpcallerd(command).returncode)
        self.over = threading.Event()
        self.threads: list[threading.Thread] = []
        self.addCleanup(self.end)
        self.served()
        self.watch(self.dispatcher)

    def end(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join(PATIENCE)

    def behave(self, accept: Callable[[socket.socket], None]) -> None:
        """Do this with each connection that comes."""

        def listen() -> None:
            while not self.over.is_set():
                with contextlib.suppress(TimeoutError):
                    connection, _ = self.listening.accept()
                    connection.settimeout(PATIENCE)
                    self.open.enter_context(connection)
                    with contextlib.suppress(OSError, SSL.Error):
                        accept(connection)

        thread = threading.Thread(target=listen)
        thread.start()
        self.threads.append(thread)

    def behave_after_request(self, deed: Deed) -> None:
        """Do this once the request is there."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.files.certificate, self.files.key)

        def accept(plain: socket.socket) -> None:
            with context.wrap_socket(plain, server_side=True) as connection:
                _ = connection.makefile("rb").readline()
                deed(connection)

        self.behave(accept)

    def call(self, **options: object) -> str:
        request = {"host": EVIL, "procedure": "p", "arguments": [], **options}
        return str(self.world.ask(request)["job_id"])

    def error(self, **options: object) -> str:
        """Call the hostile agent; gives the type of the error that comes of it."""
        found: dict[str, Any] = self.world.result(self.call(**options))
        return str(found["error"]["type"])


class HandshakeTests(HostileAgentCase):
    def test_silence(self) -> None:
        """One who accepts and says nothing costs the time for connecting."""
        self.behave(lambda _connection: None)
        job = self.call()
        self.served()
        self.assertIn("error", self.world.result(job))

    def test_endless_handshake(self) -> None:
        """Handshake messages without end are too many soon, and not kept."""
        hello = bytes.fromhex("1603030040") + bytes.fromhex("020000ff") + bytes(60)
        endless = b"\x16\x03\x03\x40\x00\x0b\xff\xff\xff" + bytes(0x4000 - 4)
        starts = [b"", hello]

        def accept(connection: socket.socket) -> None:
            connection.sendall(starts.pop())
            for _ in range(64 * 64):
                connection.sendall(endless)

        self.behave(accept)
        while starts:
            self.assertIn(self.error(), ("tls_error", "network_error"))
        self.assertLess(self.grown(), 8 * MB)
        self.served()

    def test_noise(self) -> None:
        """What isn't TLS is told as such."""
        self.behave(lambda connection: connection.sendall(b'{"harp":1}\n' + os.urandom(65536)))
        self.assertEqual("tls_error", self.error())
        self.served()

    def test_renegotiation(self) -> None:
        """An agent that asks for handshake after handshake gets none, and the call its result."""
        context = SSL.Context(SSL.TLS_SERVER_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.use_certificate_file(str(self.files.certificate))
        context.use_privatekey_file(str(self.files.key))

        def accept(plain: socket.socket) -> None:
            plain.setblocking(True)
            connection = SSL.Connection(context, plain)
            connection.set_accept_state()
            connection.do_handshake()
            _ = connection.recv(65536)
            for _ in range(20):
                with contextlib.suppress(SSL.Error):
                    connection.renegotiate()
                    connection.do_handshake()
            connection.sendall(TAKEN + b'{"result":1}\n')

        self.behave(accept)
        found = self.world.result(self.call(timeout=5))
        self.assertIn(found.get("error", {}).get("type"), (None, "tls_error", "network_error"))
        self.rests()
        self.served()


class TalkTests(HostileAgentCase):
    def test_endless_line(self) -> None:
        """A message without an end is refused at 64 MiB, and not kept."""
        piece = b"x" * MB

        def deed(connection: ssl.SSLSocket) -> None:
            connection.sendall(STREAMS + b'{"stream":"')
            for _ in range(256):
                connection.sendall(piece)

        self.behave_after_request(deed)
        self.assertEqual("protocol_error", self.error())
        self.until(lambda: self.grown() < 16 * MB, "it keeps the line")
        self.served()

    def test_deep_nesting(self) -> None:
        """Hundreds of thousands of brackets are refused."""
        line = b'{"stream":%s}\n' % (b"[" * 500_000)
        self.behave_after_request(lambda connection: connection.sendall(STREAMS + line))
        self.assertEqual("protocol_error", self.error())
        self.assertLess(self.grown(), 24 * MB)
        self.served()

    def test_drip(self) -> None:
        """A message that comes byte by byte is silence."""

        def deed(connection: ssl.SSLSocket) -> None:
            connection.sendall(TAKEN)
            while not self.over.wait(0.01):
                connection.sendall(b" ")

        self.behave_after_request(deed)
        job = self.call(timeout=2)
        self.served()
        self.assertEqual("timeout", self.world.result(job)["error"]["type"])

    def test_talk_after_the_end(self) -> None:
        """What comes after the result isn't kept, and the connection is closed."""
        closed = threading.Event()

        def deed(connection: ssl.SSLSocket) -> None:
            connection.sendall(TAKEN + b'{"result":1}\n')
            try:
                while not self.over.is_set():
                    connection.sendall(b'{"stream":"%s"}\n' % (b"x" * 65536))
            except OSError:
                closed.set()

        self.behave_after_request(deed)
        self.assertEqual({"result": 1}, self.world.result(self.call()))
        self.assertTrue(closed.wait(PATIENCE))
        self.assertLess(self.grown(), 8 * MB)
        self.served()

    def test_request_nobody_reads(self) -> None:
        """Big requests to an agent that doesn't read wait for the calls' end, and no longer."""
        self.behave(lambda _connection: None)
        jobs = [self.call(arguments=["x" * 900_000], timeout=3) for _ in range(16)]
        self.served()
        for job in jobs:
            self.assertIn("error", self.world.result(job))
        self.until(lambda: self.grown() < 32 * MB, "it keeps the requests")


class EndlessStreamTests(HostileAgentCase):
    def test_endless_stream(self) -> None:
        """An agent that streams without end takes the disk's room, as long as its call may last,
        but no memory; others are served meanwhile, and a cancel ends it."""
        sent = [0]
        closed = threading.Event()
        record = b'{"stream":"%s"}\n' % (b"x" * 65536) * 16

        def deed(connection: ssl.SSLSocket) -> None:
            connection.sendall(STREAMS)
            try:
                while not self.over.is_set():
                    connection.sendall(record)
                    sent[0] += len(record)
            except OSError:
                closed.set()

        self.behave_after_request(deed)
        job = self.call()
        follower = self.connect()
        follower.sendall(encode({"harpcaller": 1, "follow_stream": job, "since": 0}) + b"\n")
        for megabytes in (64, 128, 192):
            self.until(lambda: sent[0] > megabytes * MB, "it takes no more")  # noqa: B023
            self.served()
            self.assertLess(self.grown(), 32 * MB)
        answer = self.world.ask({"cancel": job})
        self.assertEqual({"cancelled": True}, answer)
        self.assertTrue(closed.wait(PATIENCE))
        self.assertIn("cancelled", self.world.result(job))
        self.served()

    def test_small_records(self) -> None:
        """Neither do very many very small records."""

        def deed(connection: ssl.SSLSocket) -> None:
            connection.sendall(STREAMS)
            connection.sendall(b'{"stream":1}\n' * 30_000)
            connection.sendall(b'{"result":1}\n')

        self.behave_after_request(deed)
        job = self.call()
        self.served()
        self.assertEqual({"result": 1}, self.world.result(job))
        self.assertLess(self.grown(), 32 * MB)
        self.assertEqual(29_999, self.world.ask({"read_stream": job, "recent": 1})["packet"])
