"""How a service says that it is ready: a newline on a descriptor, or a datagram.

The first is s6's way: the service gets the write end of a pipe as the descriptor that it
asked for.  The second is systemd's: ``READY=1`` to the socket that ``$NOTIFY_SOCKET`` names.
The socket has an abstract name that can't be guessed, since a service that gave up root
couldn't reach one in ``supervise``; and the system tells who sent a datagram.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable

from harpcaller.supervise.servicedir.settings import NotifyFrom, Settings
from harpcaller.supervise.tools.loop import Loop

#: More isn't looked at, of a write or a datagram.
_PIECE = 4096
_CREDENTIALS = struct.Struct("3i")
#: How many generations may be between a service and the process that speaks for it.
_GENERATIONS = 32


class Readiness:
    """The ears for one run of one service.

    Args:
        loop: Where they are.
        ready: Called when it says that it is ready.
        said: Called with what else it says of itself, for people to read.

    Attributes:
        descriptors: What the service is to get as which descriptor.
        environment: What is to be in its environment.
    """

    def __init__(self, loop: Loop, ready: Callable[[], None], said: Callable[[str], None]) -> None:
        self._loop = loop
        self._ready = ready
        self._said = said
        self._pipe: int | None = None
        self._theirs: int | None = None
        self._socket: socket.socket | None = None
        self._notify_from = NotifyFrom.NOBODY
        self._pid = 0
        self.descriptors: dict[int, int] = {}
        self.environment: dict[bytes, bytes | None] = {}

    def open(self, settings: Settings) -> None:
        """Make what the service asks for.

        Raises:
            OSError: There is no room for it.
        """
        if settings.notification_fd is not None:
            self._pipe, self._theirs = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            # Only our end: the service may rely on writing in one go.
            os.set_blocking(self._theirs, True)
            self.descriptors[settings.notification_fd] = self._theirs
            self._loop.watch(self._pipe, self._read_pipe)
        if settings.notify_from is not NotifyFrom.NOBODY:
            self._notify_from = settings.notify_from
            self._socket = socket.socket(
                socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
            )
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            name = b"harpsv/" + os.urandom(12).hex().encode()
            self._socket.bind(b"\0" + name)
            self.environment[b"NOTIFY_SOCKET"] = b"@" + name
            self._loop.watch(self._socket.fileno(), self._read_socket)

    def started(self, pid: int) -> None:
        """The service has them now."""
        self._pid = pid
        if self._theirs is not None:
            os.close(self._theirs)
            self._theirs = None

    def close(self) -> None:
        """Listen no more."""
        if self._theirs is not None:
            os.close(self._theirs)
            self._theirs = None
        self._close_pipe()
        if self._socket is not None:
            self._loop.unwatch(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def hear_last(self) -> None:
        """Read what it said before it died."""
        if self._pipe is not None:
            self._read_pipe()
        if self._socket is not None:
            self._read_socket()

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            self._loop.unwatch(self._pipe)
            os.close(self._pipe)
            self._pipe = None

    def _read_pipe(self) -> None:
        assert self._pipe is not None
        try:
            data = os.read(self._pipe, _PIECE)
        except BlockingIOError:
            return
        if b"\n" in data:
            self._close_pipe()  # once is enough
            self._ready()
        elif not data:
            self._close_pipe()

    def _read_socket(self) -> None:
        assert self._socket is not None
        try:
            data, ancillary, _, _ = self._socket.recvmsg(
                _PIECE, socket.CMSG_SPACE(_CREDENTIALS.size)
            )
        except BlockingIOError:
            return
        sender = 0
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_CREDENTIALS:
                sender = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])[0]
        if not self._may_speak(sender):
            return
        for line in data.decode("utf-8", "replace").splitlines():
            if line == "READY=1":
                self._ready()
            elif line.startswith("STATUS="):
                self._said(line.removeprefix("STATUS=")[:200])

    def _may_speak(self, sender: int) -> bool:
        if sender == self._pid:
            return sender != 0
        if self._notify_from is not NotifyFrom.ALL:
            return False
        for _ in range(_GENERATIONS):
            if sender <= 1:
                return False
            sender = _parent(sender)
            if sender == self._pid:
                return True
        return False


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as stream:
            # The command's name stands in brackets and may contain some.
            return int(stream.read().rpartition(b")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0
