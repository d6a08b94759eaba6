"""Where selected lines go: to a log directory, a status file, or standard error.

A sink gets whole lines, many at once.  Of a line that is too long to be kept it gets the beginning
first, as soon as that can be judged, then the rest in pieces.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from harpcaller.supervise.messages import fatal
from harpcaller.supervise.multilog.directory import LogDirectory
from harpcaller.supervise.multilog.selector import COMPARED
from harpcaller.supervise.multilog.steps import Steps, trouble, write_all

#: How much of a line standard error gets, in bytes.
SHOWN = 200
#: How long a status file is at least, in bytes: what is compared of a line, and a newline.
STATUS_LENGTH = COMPARED + 1

_STATUS_MODE = 0o600
_STATUS_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC


class Sink(Protocol):
    """Something that gets lines."""

    def open(self, at: int) -> Steps[None]:
        """Get ready; paths are relative to the directory with this descriptor.

        Raises:
            Ended: It can't be had.
        """

    def take(self, data: bytes) -> Steps[None]:
        """Take lines, each with its newline; at least one."""

    def begin(self, data: bytes) -> Steps[None]:
        """Take the first 1000 bytes, or more, of a line."""

    def go_on(self, data: bytes) -> Steps[None]:
        """Take more of that line; a newline ends it and is the last byte."""

    def end(self) -> Steps[None]:
        """Leave everything as it is to be when nothing more comes."""

    def release(self) -> None:
        """Let go of what is open, just as it is."""


class Appended:
    """Lines that go to a log directory."""

    def __init__(self, directory: LogDirectory) -> None:
        self.open = directory.open
        self.take = self.begin = self.go_on = directory.write
        self.end = directory.close
        self.release = directory.release


class Shown:
    """Lines that are shown, the long ones shortened.

    Args:
        show: Shows them; nobody need look, so it raises nothing.
    """

    def __init__(self, show: Callable[[bytes], None]) -> None:
        self._show = show

    def open(self, at: int) -> Steps[None]:
        """Nothing to do."""
        yield from ()

    def take(self, data: bytes) -> Steps[None]:
        """Show lines."""
        lines = data[:-1].split(b"\n")
        self._show(b"".join(map(_shortened, lines)))
        yield from ()

    def begin(self, data: bytes) -> Steps[None]:
        """Show what is ever shown of a long line."""
        self._show(_shortened(data))
        yield from ()

    def go_on(self, data: bytes) -> Steps[None]:
        """Nothing to do."""
        yield from ()

    def end(self) -> Steps[None]:
        """Nothing to do."""
        yield from ()

    def release(self) -> None:
        """Nothing to do."""


def _shortened(line: bytes) -> bytes:
    return line + b"\n" if len(line) <= SHOWN else line[:SHOWN] + b"...\n"


class StatusFile:
    """A file whose beginning is the last line that was selected.

    It is written in place: 1001 bytes, the line's first 1000 and newlines.  A longer file keeps
    what follows.

    Args:
        path: The file.
    """

    def __init__(self, path: bytes) -> None:
        self._path = path
        self._name = os.fsdecode(path)
        self._file = -1

    def open(self, at: int) -> Steps[None]:
        """Make the file if it isn't there."""
        what = "create"
        try:
            os.close(os.open(self._path, _STATUS_FLAGS, _STATUS_MODE, dir_fd=at))
            what = "write"
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
            self._file = os.open(self._path, flags, dir_fd=at)
        except OSError as error:
            raise fatal("multilog", f"unable to {what} {self._name}", error) from None
        yield from ()

    def take(self, data: bytes) -> Steps[None]:
        """Keep the last line; nobody could have relied on seeing those before."""
        return self._write(data[data.rfind(b"\n", 0, -1) + 1 : -1])

    def begin(self, data: bytes) -> Steps[None]:
        """Keep what is ever kept of a long line."""
        return self._write(data)

    def go_on(self, data: bytes) -> Steps[None]:
        """Nothing to do."""
        yield from ()

    def end(self) -> Steps[None]:
        """Close it."""
        self.release()
        yield from ()

    def release(self) -> None:
        """Close it."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _write(self, line: bytes) -> Steps[None]:
        what = "move to beginning of"
        text = line[:COMPARED].ljust(STATUS_LENGTH, b"\n")
        while True:
            try:
                os.lseek(self._file, 0, os.SEEK_SET)
                what = "write"
                write_all(self._file, text)
                return
            except OSError as error:
                yield trouble(f"unable to {what} {self._name}", error)
