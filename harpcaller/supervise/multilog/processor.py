"""Starts a processor: the shell command that an old file is passed through.

It runs in the log directory with ``previous`` as input, ``processed`` as output, the last one's
state at descriptor 4, and the next one's at 5.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from harpcaller.supervise.multilog import rotation

#: Starts a command in a directory, given as an open descriptor; gives the pid.
StartProcessor = Callable[[bytes, int], int]

SHELL = b"/bin/sh"
#: Which file it has at which descriptor.
_FILES = (
    (rotation.PREVIOUS, 0, os.O_RDONLY),
    (rotation.PROCESSED, 1, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    (rotation.STATE, 4, os.O_RDONLY),
    (rotation.NEW_STATE, 5, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
)
#: What is opened is kept clear of the descriptors that the processor gets.
_CLEAR = 10
#: Ours aren't its business: it shall die of these, as programs do.
_DEFAULTS = (signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ)


class CantStart(Exception):
    """The processor's files couldn't be opened, or there is no shell."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error)
        self.error = error


def starter(environment: Mapping[bytes, bytes]) -> StartProcessor:
    """Give what starts processors with this environment."""

    def start(command: bytes, directory: int) -> int:
        """Start one; raises OSError if there can be no process, else CantStart."""
        with ExitStack() as opened:
            try:
                actions = [
                    (os.POSIX_SPAWN_DUP2, _open(opened, name, flags, directory), target)
                    for name, target, flags in _FILES
                ]
            except OSError as error:
                raise CantStart(error) from None
            # posix_spawn can't change the directory, and it waits until the shell is there.
            # Nothing else of this process runs meanwhile.
            before = os.open(".", os.O_PATH | os.O_CLOEXEC)
            opened.callback(os.close, before)
            opened.callback(os.fchdir, before)
            os.fchdir(directory)
            try:
                return os.posix_spawn(
                    SHELL,
                    [b"sh", b"-c", command],
                    environment,
                    file_actions=actions,
                    setsigmask=(),
                    setsigdef=_DEFAULTS,
                )
            except FileNotFoundError as error:
                raise CantStart(error) from None

    return start


def _open(opened: ExitStack, name: str, flags: int, directory: int) -> int:
    """Open one of its files; gives a descriptor that none of its own collides with."""
    low = os.open(
        name, flags | os.O_CLOEXEC | os.O_NONBLOCK, rotation.WRITTEN_MODE, dir_fd=directory
    )
    try:
        high = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, _CLEAR)
    finally:
        os.close(low)
    opened.callback(os.close, high)
    return high
