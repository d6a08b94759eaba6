"""What strangers may do to a dispatcher, and the bounds that it keeps meanwhile.

Memory is what the kernel counts as the process's own (RssAnon), so it neither depends on what
is shared nor on how fast the machine is; processor time is the process's.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import threading

from harpcaller.testing.installation import PATIENCE
from harpcaller.wire.values import decode, encode
from tests.system.hostile import MB, HostileCase, descriptors_for

#: How many followers one job has here, if there may be so many descriptors.
FOLLOWERS = 10_000


class MemoryTests(HostileCase):
    def test_endless_line(self) -> None:
        """A line that doesn't end is cut off at the limit, and not kept."""
        for _ in range(4):
            connection = self.connect()
            # It goes on listening for a moment, or its answer would be lost with the connection.
            with contextlib.suppress(OSError):
                for _ in range(64 * 16):
                    connection.sendall(b"x" * 65536)
        self.assertLess(self.grown(), 8 * MB)
        self.served()

    def test_deep_nesting(self) -> None:
        """A million brackets are refused, and cost nothing for long."""
        line = b'{"harpcaller":1,"host":"h","procedure":"p","arguments":%s}\n' % (b"[" * 500_000)
        for _ in range(8):
            connection = self.connect()
            connection.sendall(line)
            answer = connection.makefile("rb").readline()
            self.assertIn(b"invalid_request", answer)
        self.assertLess(self.grown(), 24 * MB)
        self.served()

    def test_unfinished_lines(self) -> None:
        """Those who send half of the longest line and no more hold what they sent, not more."""
        for _ in range(16):
            self.connect().sendall(b"x" * (MB // 2))
        self.served()
        self.assertLess(self.grown(), 16 * MB)

    def test_pipelined_requests_nobody_reads_the_answers_of(self) -> None:
        """A client that asks and never reads is held back by its own connection."""
        connection = self.connect()
        line = b'{"harpcaller":1,"get_status":"none"}\n' * 1000
        sent = self.send_as_long_as_it_takes(connection, line, 256 * MB)
        self.assertLess(sent, 256 * MB)
        self.assertLess(self.grown(), 8 * MB)
        self.served()

    def test_follower_that_does_not_read(self) -> None:
        """A stream of 64 MB is stored and read by others, while one who follows it doesn't read."""
        job = self.world.submit("flood", 64)
        slow = [self.connect() for _ in range(8)]
        for connection in slow:
            connection.sendall(encode({"harpcaller": 1, "follow_stream": job, "since": 0}) + b"\n")
        self.assertEqual({"result": None}, self.world.result(job))
        self.assertLess(self.grown(), 48 * MB)
        lines = sum(1 for _ in self.lines_of(slow[0]))
        self.assertEqual(64 * 16 + 1, lines)

    def lines_of(self, connection: socket.socket) -> list[bytes]:
        lines = []
        with connection.makefile("rb") as stream:
            for line in stream:
                lines.append(line[:20])
                if not line.startswith(b'{"packet"'):
                    break
        return lines

    def test_followers_of_one_job(self) -> None:
        """Each follower costs some kilobytes, and hears every record and the end."""
        flag = self.folder / "flag"
        job = self.world.submit("wait", str(flag))
        connections = [self.connect() for _ in range(descriptors_for(FOLLOWERS))]
        request = encode({"harpcaller": 1, "follow_stream": job, "since": 0}) + b"\n"
        for connection in connections:
            connection.sendall(request)
        for connection in connections:
            self.assertIn(b'"data":"waits"', connection.recv(4096))
        self.assertLess(self.grown() / len(connections), 40 * 1024)
        self.served()
        flag.touch()
        for connection in connections:
            self.assertEqual({"result": None}, decode(connection.makefile("rb").readline()))


class HandshakeTests(HostileCase):
    def test_half_open(self) -> None:
        """Those who begin no handshake are let go of after ten seconds, and disturb nobody."""
        connections = [self.connect(self.tls_port) for _ in range(100)]
        for connection in connections[::2]:
            connection.sendall(b"\x16\x03\x01")
        self.served()
        self.assertLess(self.grown() / len(connections), 200 * 1024)
        for connection in connections:
            with contextlib.suppress(ConnectionResetError):
                self.assertEqual(b"", connection.recv(1))
        self.served()

    def test_no_tls(self) -> None:
        """Plain requests and noise on a port with TLS end their connections only."""
        for noise in (b'{"harpcaller":1}\n', b"GET / HTTP/1.1\r\n\r\n", os.urandom(4096)):
            connection = self.connect(self.tls_port)
            connection.sendall(noise)
            with contextlib.suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass
        self.served()


class DescriptorTests(HostileCase):
    descriptors = 128

    def test_flood_of_connections(self) -> None:
        """With no descriptor left, the daemon rests, and serves again when there are some."""
        self.flood(self.world.port, self.descriptors)


class TimeTests(HostileCase):
    def test_one_byte_at_a_time(self) -> None:
        """A request that trickles in disturbs nobody."""
        stop = threading.Event()
        connection = self.connect()

        def trickle() -> None:
            while not stop.wait(0.01):
                connection.send(b" ")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            for _ in range(5):
                self.served()
        finally:
            stop.set()
            thread.join(PATIENCE)
        connection.sendall(b'{"harpcaller":1,"get_result":"none"}\n')
        self.assertIn(b"invalid_jobid", connection.recv(4096))


class SecuredTests(HostileCase):
    def secured(self) -> ssl.SSLSocket:
        """Connect by TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = self.connect(self.tls_port)
        return self.open.enter_context(context.wrap_socket(plain))

    def test_followers_that_do_not_read(self) -> None:
        """TLS holds no more for those who don't read than a plain port does."""
        job = self.world.submit("flood", 64)
        for _ in range(8):
            line = encode({"harpcaller": 1, "follow_stream": job, "since": 0}) + b"\n"
            self.secured().sendall(line)
        self.assertEqual({"result": None}, self.world.result(job))
        self.assertLess(self.grown(), 48 * MB)
        self.served()

    def test_endless_line_and_unread_answers(self) -> None:
        """Neither does it for lines without an end, nor for who asks and doesn't read."""
        endless = self.secured()
        with contextlib.suppress(OSError):
            for _ in range(64 * 16):
                endless.sendall(b"x" * 65536)
        connection = self.secured()
        line = b'{"harpcaller":1,"get_status":"none"}\n' * 1000
        with contextlib.suppress(OSError):
            connection.settimeout(2)
            for _ in range(2048):
                connection.sendall(line)
            self.fail("it takes any number of requests")
        self.assertLess(self.grown(), 16 * MB)
        self.served()
