"""What strangers may do to an agent, which runs as root, and the bounds that it keeps meanwhile.

None of them knows a user's password.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl

from harpcaller.testing.installation import HOST, PATIENCE
from harpcaller.wire.values import decode
from tests.system.agent_processes import helper_of
from tests.system.hostile import MB, HostileCase


class StrangerCase(HostileCase):
    agent_more = "limits:\n  request_timeout: 3\n"

    def setUp(self) -> None:
        super().setUp()
        self.context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        pid = self.agent.process.pid
        self.watch(self.agent, helper_of(pid, "harpcaller.service.agent_network"))

    def secured(self) -> ssl.SSLSocket:
        """Connect and do the handshake."""
        plain = self.connect(self.world.agent_port)
        return self.open.enter_context(self.context.wrap_socket(plain, server_hostname=HOST))

    def cut_off(self, connection: socket.socket) -> None:
        """It is closed, whatever comes before."""
        with contextlib.suppress(OSError):
            while connection.recv(65536):
                pass


class HandshakeTests(StrangerCase):
    def test_half_open(self) -> None:
        """Those who begin no handshake, or no more than that, cost little, keep nobody out, and are
        let go of; there can't be more of them than the agent bears."""
        connections = [self.connect(self.world.agent_port) for _ in range(400)]
        for connection in connections[::2]:
            with contextlib.suppress(OSError):
                connection.sendall(b"\x16\x03\x01")
        self.served()
        self.assertLess(self.grown() / len(connections), 200 * 1024)
        for connection in connections:
            self.cut_off(connection)
        self.served()

    def test_drip(self) -> None:
        """A handshake that comes byte by byte is cut off when its time is over."""
        connection = self.connect(self.world.agent_port)
        client, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        with contextlib.suppress(ssl.SSLWantReadError):
            self.context.wrap_bio(client, outgoing, server_hostname=HOST).do_handshake()
        hello = outgoing.read()
        connection.settimeout(0.05)
        sent = 0
        with contextlib.suppress(OSError):
            for byte in hello[:-1]:
                connection.send(bytes([byte]))
                sent += 1
                with contextlib.suppress(TimeoutError):
                    if connection.recv(1) == b"":
                        break
        self.assertLess(sent, len(hello) - 1)
        self.served()

    def test_noise(self) -> None:
        """What isn't TLS ends its own connection only."""
        for noise in (b'{"harp":1}\n', b"GET / HTTP/1.1\r\n\r\n", os.urandom(65536), bytes(65536)):
            connection = self.connect(self.world.agent_port)
            with contextlib.suppress(OSError):
                connection.sendall(noise)
            self.cut_off(connection)
        self.served()

    def test_handshakes_without_requests(self) -> None:
        """Who does one handshake after the other leaves nothing behind."""
        for _ in range(300):
            self.secured().close()
        self.served()
        self.assertLess(self.grown(), 24 * MB)


class RequestTests(StrangerCase):
    def test_endless_line(self) -> None:
        """A request without an end is cut off at its limit, and not kept."""
        for _ in range(8):
            connection = self.secured()
            with contextlib.suppress(OSError):
                for _ in range(64 * 4):
                    connection.sendall(b"x" * 65536)
            self.cut_off(connection)
        self.assertLess(self.grown(), 16 * MB)
        self.served()

    def test_unfinished_lines(self) -> None:
        """Those who send most of the longest request and no more hold that until their time is
        over; the next ones hold no more than those did, for nothing is left of them."""
        for _ in range(2):
            connections = [self.secured() for _ in range(96)]
            for connection in connections:
                with contextlib.suppress(OSError):
                    connection.sendall(b"x" * (MB - 1))
            self.served()
            # What was given back may stay with the process, so nothing is asked of it in between.
            self.assertLess(self.grown(), 96 * MB)
            for connection in connections:
                self.cut_off(connection)
            self.served()

    def test_deep_nesting(self) -> None:
        """Hundreds of thousands of brackets are refused, and cost nothing for long."""
        line = b'{"harp":1,"procedure":"p","arguments":%s}\n' % (b"[" * 500_000)
        for _ in range(8):
            connection = self.secured()
            connection.sendall(line)
            self.assertIn(b'"error"', connection.makefile("rb").readline())
        self.assertLess(self.grown(), 24 * MB)
        self.served()

    def test_wrong_passwords(self) -> None:
        """Guessing is refused each time, and keeps no honest caller waiting for long."""
        line = b'{"harp":1,"list":true,"auth":{"user":"dispatcher","password":"%d"}}\n'
        for number in range(50):
            connection = self.secured()
            connection.sendall(line % number)
            answer = decode(connection.makefile("rb").readline())
            assert isinstance(answer, dict)
            self.assertIn("error", answer)
        self.assertLess(self.grown(), 24 * MB)
        self.until(self.is_served, "an honest caller is kept out")

    def is_served(self) -> bool:
        return self.world.result(self.world.submit("echo", 1)) == {"result": 1}


class DescriptorTests(StrangerCase):
    agent_descriptors = 128

    def test_flood_of_connections(self) -> None:
        """With no descriptor left, the agent rests, and serves again when there are some."""
        self.flood(self.world.agent_port, self.agent_descriptors)


class PatienceTests(StrangerCase):
    def test_one_byte_at_a_time(self) -> None:
        """A request that trickles in is cut off when its time is over."""
        connection = self.secured()
        connection.settimeout(PATIENCE)
        with contextlib.suppress(OSError):
            for _ in range(int(PATIENCE / 0.05)):
                connection.send(b" ")
                connection.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    if connection.recv(1) == b"":
                        break
            else:
                self.fail("it may go on for ever")
        self.served()
