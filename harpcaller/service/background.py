"""Going to the background: who started the daemon waits until it works, or hears why not.

To be done before there is a reactor, a thread or a process of ours: they wouldn't come
along.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress

_READY = b"\0"


class Starter:
    """The process that started us, on the other end of a pipe.

    Args:
        descriptor: The pipe's writing end; None if nobody waits there.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        self._descriptor = descriptor

    def tell(self, line: str) -> None:
        """Have a line shown on standard error."""
        if self._descriptor is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._write(f"{line}\n".encode(errors="replace"))

    def release(self) -> None:
        """Tell that the daemon works; nobody waits any more then."""
        if self._descriptor is not None:
            self._write(_READY)
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, data: bytes) -> None:
        assert self._descriptor is not None
        # Whoever started us may have been interrupted.
        with suppress(BrokenPipeError):
            while data:
                data = data[os.write(self._descriptor, data) :]


def go_to_background() -> Starter:
    """Go on as a daemon: of init, in a session of its own, without a terminal.

    The process that calls this doesn't return; it exits with 0 when the daemon is ready,
    or with 1, its complaints shown, when the daemon has ended before.

    Returns:
        Whom to tell; in the daemon.

    Raises:
        SystemExit: In the process that called this.
    """
    _flush()
    reading, writing = os.pipe2(os.O_CLOEXEC)
    usual = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    if os.fork() != 0:
        os.close(writing)
        raise SystemExit(_wait(reading, usual))
    os.close(reading)
    signal.pthread_sigmask(signal.SIG_SETMASK, usual)
    os.setsid()
    # Not the leader of the session, so that no terminal that it opens becomes its own.
    if os.fork() != 0:
        os._exit(0)
    os.chdir("/")
    os.umask(0o022)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    if null > 2:
        os.close(null)
    return Starter(writing)


def _wait(reading: int, signals: Iterable[int]) -> int:
    """Show what the daemon says until it is ready or gone; gives the exit code.

    Args:
        reading: Where the daemon is heard.
        signals: Which are blocked while waiting; until then, a ^C was, too.
    """
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
        while data := os.read(reading, 4096):
            if data.endswith(_READY):
                data, code = data[:-1], 0
            os.write(2, data)
    except KeyboardInterrupt:
        code = 130
    return code


def _flush() -> None:
    # What is in the buffers at a fork would be printed twice.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
