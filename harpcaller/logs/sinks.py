"""Where log lines go: a descriptor, a file that can be reopened, a datagram socket.

A sink raises :class:`OSError` for a line that it couldn't get rid of, and may be tried
again with the next.  None waits long: a logger that hangs hangs the daemon.  The observer
sees to it that one thread at a time is in here.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from harpcaller.logs.entry import Entry

#: Makes a line, newline included, or a datagram of an entry.
Format = Callable[[Entry], bytes]

#: How long a line may wait for a reader that is slow.
PATIENCE_SECONDS = 0.2


class Sink(Protocol):
    """Where one handler's lines go."""

    def write(self, entry: Entry) -> None:
        """Write a line, or raise OSError."""

    def reopen(self) -> None:
        """Let go of what is open and open it anew; on OSError the old one stays in use."""

    def close(self) -> None:
        """Let go of it for good."""


class DescriptorLog:
    """Lines on an open descriptor, such as standard output.

    Args:
        fd: It isn't closed by us.
        line: Makes a line of an entry.
    """

    def __init__(self, fd: int, line: Format) -> None:
        self._fd = fd
        self._line = line
        self._torn = False  # the last line was written in part

    def write(self, entry: Entry) -> None:
        """Write a line; after a torn one, on a line of its own."""
        line = self._line(entry)
        rest = b"\n" + line if self._torn else line
        whole = len(rest)
        try:
            while rest:
                rest = rest[self._some(rest) :]
        except OSError:
            self._torn = self._torn or len(rest) < whole
            raise
        self._torn = False

    def _some(self, data: bytes) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            # Somebody who shares our terminal or pipe made it so.
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            if not poll.poll(PATIENCE_SECONDS * 1000):
                raise
            return os.write(self._fd, data)

    def reopen(self) -> None:
        """There is nothing to open."""

    def close(self) -> None:
        """The descriptor is not ours."""


class FileLog(DescriptorLog):
    """Lines at the end of a file, made with mode 0640.

    Args:
        path: The file.
        line: Makes a line of an entry.

    Raises:
        OSError: It can't be opened.
    """

    def __init__(self, path: Path, line: Format) -> None:
        self._path = path
        super().__init__(self._open(), line)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def reopen(self) -> None:
        """Go on in the file that has the path's name now.

        The descriptor is exchanged in one step, so there is no moment in which a line
        would find none.

        Raises:
            OSError: It can't be opened; lines go on to the old file.
        """
        fresh = self._open()
        os.dup2(fresh, self._fd, inheritable=False)
        os.close(fresh)
        self._torn = False

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)
        self._fd = -1


class DatagramLog:
    """Entries as datagrams to a local daemon: syslogd or journald.

    It may be restarted, or not be there at first; each entry tries.

    Args:
        path: Its socket.
        message: Makes a datagram of an entry.
    """

    def __init__(self, path: Path, message: Format) -> None:
        self._path = path
        self._message = message
        self._socket: socket.socket | None = None
        self._stuck = False

    def write(self, entry: Entry) -> None:
        """Send a datagram."""
        message = self._message(entry)
        if self._socket is not None:
            try:
                self._send(self._socket, message)
            except (TimeoutError, BlockingIOError):
                raise
            except OSError:
                # The daemon was restarted.
                self.close()
            else:
                return
        self._send(self._connect(), message)

    def _connect(self) -> socket.socket:
        fresh = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            fresh.connect(str(self._path))
        except OSError:
            fresh.close()
            raise
        self._socket = fresh
        return fresh

    def _send(self, to: socket.socket, message: bytes) -> None:
        # Once its reader is known to be stuck, waiting for each line would add up.
        to.settimeout(0 if self._stuck else PATIENCE_SECONDS)
        try:
            to.send(message)
        except (TimeoutError, BlockingIOError):
            self._stuck = True
            raise
        self._stuck = False

    def reopen(self) -> None:
        """Connect anew with the next entry."""
        self.close()

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
