"""``multilog``: reads standard input, heeds signals, sleeps while the disk is full.

TERM ends it at the end of a line: in the middle of one it reads on, byte by byte, so that what
follows stays in the pipe for its successor.  ALRM rotates.  During a pause either has what was
refused tried again at once; but it doesn't end before what it has read is written.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Sequence
from types import FrameType

from harpcaller.supervise.chain.inherited import environment
from harpcaller.supervise.messages import fatal
from harpcaller.supervise.multilog.log import Log
from harpcaller.supervise.multilog.processor import starter
from harpcaller.supervise.multilog.script import parse

#: How much is read at once, in bytes.
BLOCK = 65536


def main(arguments: Sequence[str]) -> int:
    """Run the tool; gives the exit code.

    Raises:
        Ended: It can't begin.
    """
    os.umask(0o022)
    try:
        here = os.open(".", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise fatal("multilog", "unable to switch to current directory", error) from None
    signals = Signals()
    log = Log(
        parse(map(os.fsencode, arguments)),
        at=here,
        clock=time.time_ns,
        monotonic=time.monotonic,
        start=starter(environment()),
    )
    try:
        log.open()
        settle(log, signals)
        while data := read(log, signals):
            log.feed(data)
            settle(log, signals)
        log.end()
        settle(log, signals)
    except MemoryError:
        raise fatal("multilog", "out of memory") from None
    return 0


class Signals:
    """The signals that are heeded, none of which can be missed by a poll."""

    def __init__(self) -> None:
        #: TERM has come.
        self.end = False
        #: ALRM has come; to be set back by who heeds it.
        self.rotate = False
        #: How many of both have come.
        self.count = 0
        self._woken, alarm = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(alarm, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD):
            signal.signal(number, self._came)
        # Ends it at once, as any program; Python would show where it was.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        # What the system refuses is told by its answer: these would kill it before it can wait.
        for number in (signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_IGN)

    def _came(self, number: int, frame: FrameType | None) -> None:
        self.end |= number == signal.SIGTERM
        self.rotate |= number == signal.SIGALRM
        self.count += number != signal.SIGCHLD

    def wait(self, seconds: float | None, *, for_input: bool = False) -> bool:
        """Wait for a signal, or input if that is asked for, or for time to pass.

        Args:
            seconds: How long at most; None for ever.
            for_input: Wait for something to read, too, or its end.

        Returns:
            There is input.
        """
        poll = select.poll()
        poll.register(self._woken, select.POLLIN)
        if for_input:
            poll.register(0, select.POLLIN)
        ready = dict(poll.poll(None if seconds is None else max(0.0, seconds) * 1000))
        if self._woken in ready:
            os.read(self._woken, 4096)
        return 0 in ready


def read(log: Log, signals: Signals) -> bytes:
    """Read what there is, when there is something; b"" means that it's time to end."""
    while True:
        if signals.rotate:
            signals.rotate = False
            log.rotate()
            settle(log, signals)
        if signals.end and not log.unfinished:
            return b""
        before = signals.count
        if signals.wait(None, for_input=True) and before == signals.count:
            try:
                return os.read(0, 1 if signals.end else BLOCK)
            except BlockingIOError:
                continue
            except OSError:
                return b""


def settle(log: Log, signals: Signals) -> None:
    """Wait until the log isn't busy any more, however long that takes."""
    while log.busy:
        if log.processor is not None:
            pid, status = os.waitpid(log.processor, os.WNOHANG)
            if pid:
                log.processor_ended(status)
            else:
                signals.wait(None)
        elif log.retry_at is not None:
            before = signals.count
            signals.wait(log.retry_at - time.monotonic())
            if time.monotonic() >= log.retry_at or before != signals.count:
                log.retry()
