"""``log/multilog``: a log that is kept by ``svscan`` itself, instead of a process of its own.

The file has a multilog script: words on any number of lines, quoted as for a shell, ``#`` begins
a comment.  The log has its ``supervise`` directory as any service, its pid is that of
``svscan``, and signals mean to it what they mean to multilog: ``svc -a`` rotates, ``svc -t``
ends it at the end of a line.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping

from harpcaller.supervise.chain.inherited import environment
from harpcaller.supervise.machine.restarts import Ending
from harpcaller.supervise.messages import FAILED, Ended, fatal, say
from harpcaller.supervise.multilog.log import Log
from harpcaller.supervise.multilog.processor import starter
from harpcaller.supervise.multilog.script import Script, parse_file
from harpcaller.supervise.servicedir.folder import Folder, read_beginning
from harpcaller.supervise.servicedir.settings import Settings
from harpcaller.supervise.tools.bodies import LOG_SCRIPT, Heard
from harpcaller.supervise.tools.loop import Loop, Timer

#: How much of the pipe is read in one turn: other services wait meanwhile.
BLOCK = 65536
_LONGEST_SCRIPT = 65536

#: Signals that multilog dies of at once.
_FATAL = frozenset(
    (signal.SIGKILL, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
)


def read_script(name: str, text: bytes) -> Script:
    """Read a script's file.

    Raises:
        Ended: A quotation has no end.
    """
    try:
        return parse_file(text)
    except ValueError as error:
        raise fatal("multilog", f"{name}/{LOG_SCRIPT}: {error}") from None


class LoggedHere:
    """A log script that runs in this process.

    Args:
        folder: The log's service directory.
        loop: Tells when there is something to read.
        wall: Gives Unix time in nanoseconds.
    """

    def __init__(self, folder: Folder, loop: Loop, wall: Callable[[], int]) -> None:
        self._folder = folder
        self._loop = loop
        self._wall = wall
        self._log: Log | None = None
        self._heard: Heard | None = None
        self._input = -1
        self._watching = False
        self._paused = False
        self._ending = False  # TERM came: up to the next end of a line, byte by byte
        self._closing = False  # the log was told that nothing more comes
        self._retry: Timer | None = None

    def start(self, _settings: Settings, descriptors: Mapping[int, int], heard: Heard) -> int:
        """Begin to log."""
        self._heard = heard
        self._ending = self._closing = self._paused = False
        self._input = os.dup(descriptors[0])
        try:
            self._log = self._open()
        except Ended as error:
            say(error.line)
            self._log = None
            # Like a process that couldn't begin, its end is told later.
            _ = self._loop.at(self._loop.clock(), lambda: self._die(Ending(FAILED, None)))
            return os.getpid()
        except (OSError, MemoryError):
            self._close_input()
            raise
        self._settle()
        return os.getpid()

    def _open(self) -> Log:
        script = read_beginning(LOG_SCRIPT, _LONGEST_SCRIPT, self._folder.fd)
        name = self._folder.name
        log = Log(
            read_script(name, script),
            at=self._folder.fd,
            clock=self._wall,
            monotonic=self._loop.clock,
            start=starter(environment()),
            warn=lambda message: say(f"multilog: warning: {name}: {message}"),
        )
        log.open()
        return log

    def send(self, number: int) -> None:
        """Do what multilog does with a signal."""
        log = self._log
        if log is None:
            return
        if number == signal.SIGTERM:
            self._ending = True
            self._do(log.retry)
        elif number == signal.SIGALRM:
            self._do(log.rotate)
        elif number == signal.SIGSTOP:
            self._paused = True
        elif number == signal.SIGCONT:
            self._paused = False
        elif number in _FATAL:
            log.release()
            self._die_soon(Ending(None, number))
        self._settle()

    def _do(self, action: Callable[[], None]) -> None:
        """Have the log do something; it may find only now that it can't have a directory."""
        try:
            action()
        except Ended as error:
            say(error.line)
            self._die_soon(Ending(error.exit_code, None))
        except MemoryError:
            # A new one finds its directories as after a kill, and room, maybe.
            if self._log is not None:
                self._log.release()
            say("multilog: fatal: out of memory")
            self._die_soon(Ending(FAILED, None))

    def _settle(self) -> None:
        """See what the log waits for, and wait for that."""
        log = self._log
        if log is None:
            return
        if not log.busy and self._ending and not log.unfinished and not self._closing:
            self._closing = True
            self._do(log.end)
            if self._log is None:
                return
        self._watch(not log.busy and not self._paused and not self._closing)
        if log.processor is not None:
            self._await_processor(log, log.processor)
        elif log.retry_at is not None:
            self._await_time(log, log.retry_at)
        elif self._closing and not log.busy:
            self._log = None
            self._die_soon(Ending(0, None))

    def _watch(self, wanted: bool) -> None:
        if wanted and not self._watching:
            self._loop.watch(self._input, self._read)
        elif self._watching and not wanted:
            self._loop.unwatch(self._input)
        self._watching = wanted

    def _await_processor(self, log: Log, pid: int) -> None:
        def ended(ending: Ending) -> None:
            if log is self._log:
                code = 0 if ending.code is None else ending.code
                self._do(lambda: log.processor_ended(code << 8 | (ending.signal or 0)))
                self._settle()

        self._loop.on_exit(pid, ended)

    def _await_time(self, log: Log, when: float) -> None:
        if self._retry is not None:
            self._retry.cancel()

        def again() -> None:
            if log is self._log:
                self._do(log.retry)
                self._settle()

        self._retry = self._loop.at(when, again)

    def _read(self) -> None:
        log = self._log
        assert log is not None
        try:
            data = os.read(self._input, 1 if self._ending else BLOCK)
        except BlockingIOError:
            return
        if data:
            self._do(lambda: log.feed(data))
        else:
            self._closing = True
            self._do(log.end)
        self._settle()

    def _die_soon(self, ending: Ending) -> None:
        self._log = None
        self._watch(wanted=False)
        if self._retry is not None:
            self._retry.cancel()
        _ = self._loop.at(self._loop.clock(), lambda: self._die(ending))

    def _die(self, ending: Ending) -> None:
        self._watch(wanted=False)
        self._close_input()
        assert self._heard is not None
        self._heard.died(ending)

    def _close_input(self) -> None:
        if self._input >= 0:
            os.close(self._input)
            self._input = -1
