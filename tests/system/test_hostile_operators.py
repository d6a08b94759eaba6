"""What those may do to a dispatcher that its control socket is open to: the daemon's own user and
root, so rather mistakes than attacks.  Bounds are kept all the same.
"""

from __future__ import annotations

import contextlib
import os
import socket

from harpcaller.testing.installation import PATIENCE
from harpcaller.wire.values import decode
from tests.system.hostile import MB, HostileCase

#: A box of AMP that asks for the daemon's status.
ASK = b"\0\x04_ask\0\x011\0\x08_command\0\x06status\0\0"


class OperatorCase(HostileCase):
    def operator(self) -> socket.socket:
        """Connect to the control socket."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.open.enter_context(connection)
        connection.settimeout(PATIENCE)
        connection.connect(str(self.world.socket))
        return connection

    def operates(self) -> None:
        """An honest command is carried out, and an honest call."""
        self.assertEqual(0, self.world.harpcallerd("list").returncode)
        self.served()


class MemoryTests(OperatorCase):
    def test_lines(self) -> None:
        """Endless ones and deep ones are refused, unfinished ones are held as far as they came."""
        for line in (b'{"' + b"x" * (64 * MB), b'{"command":' + b"[" * 500_000 + b"\n"):
            connection = self.operator()
            with contextlib.suppress(OSError):
                connection.sendall(line)
                answer = decode(connection.makefile("rb").readline())
                assert isinstance(answer, dict)
                self.assertEqual("error", answer["result"])
        self.assertLess(self.grown(), 16 * MB)
        self.operates()

    def test_answers_nobody_reads(self) -> None:
        """Who asks without end, in either protocol, is held back by his own connection."""
        for line in (b'{"command":"status"}\n', ASK):
            connection = self.operator()
            sent = self.send_as_long_as_it_takes(connection, line * 1000, 64 * MB)
            self.assertLess(sent, 64 * MB)
        self.assertLess(self.grown(), 16 * MB)
        self.operates()

    def test_lists_nobody_reads(self) -> None:
        """A list is made no faster than it is read; one that isn't is given up with its reader."""
        for _ in range(50):
            self.world.submit("echo", "x" * 20_000)
        crowd = [self.operator() for _ in range(50)]
        for connection in crowd:
            connection.sendall(b'{"command":"list_jobs","all":true}\n' * 20)
        self.operates()
        self.assertLess(self.grown(), 64 * MB)
        for connection in crowd:
            connection.close()
        self.operates()

    def test_noise(self) -> None:
        """What is neither JSON nor AMP ends its own connection only."""
        for noise in (
            os.urandom(65536),
            b"\0" + os.urandom(65536),
            b"\0\xff\xff" * 20_000,
            ASK[:-3],
        ):
            connection = self.operator()
            with contextlib.suppress(OSError):
                connection.sendall(noise)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
        self.assertLess(self.grown(), 16 * MB)
        self.operates()

    def test_idle_connections(self) -> None:
        """Each costs some kilobytes, and none keeps others out."""
        crowd = [self.operator() for _ in range(500)]
        for connection in crowd[::2]:
            connection.sendall(b'{"command":"')
        self.operates()
        self.assertLess(self.grown() / len(crowd), 40 * 1024)


class DescriptorTests(OperatorCase):
    descriptors = 128

    def test_flood_of_connections(self) -> None:
        """With no descriptor left, the daemon rests, and serves again when there are some."""
        flood = []
        for _ in range(200):
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.open.enter_context(connection)
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                connection.connect(str(self.world.socket))
            flood.append(connection)
        self.until(lambda: self.open_descriptors() > 110, "it takes no connections")
        self.rests()
        for connection in flood:
            connection.close()
        self.until(lambda: self.open_descriptors() < 64, "it keeps dead connections")
        self.operates()
