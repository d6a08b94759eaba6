"""The real process runner.

It starts a command by way of :mod:`harpcaller.hosts.launch`, in a session of its own.  What
it prints is collected up to a bound; what it complains of is handed on line by line.
A command that takes too long or prints too much is told to end, its whole process
group, and a moment later killed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import (
    IDelayedCall,
    IProcessTransport,
    IReactorProcess,
    IReactorTime,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.hosts import launch
from harpcaller.interfaces import IProcessRunner, ProcessEnded

#: The longest piece of error output that is handed on at once, in bytes.
MAX_ERROR_LINE = 4096

# What tells the daemon itself about its service manager; children that believe it are meant
# get things wrong.  LC_CTYPE is Python's own work.
_NOT_FOR_CHILDREN = frozenset(
    {
        "LC_CTYPE",
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    }
)


def environment_for_children(environment: Mapping[str, str]) -> dict[str, str]:
    """Take out of the daemon's environment what isn't meant for the commands it runs."""
    clean = {key: value for key, value in environment.items() if key not in _NOT_FOR_CHILDREN}
    clean.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    return clean


@attrs.frozen
class Bounds:
    """What a command may do.

    Args:
        max_output: The most that it may print, in bytes.
        kill_after_seconds: From the polite signal to the other one.
        linger_seconds: How long what it has left behind may keep its pipes open, once the
            command itself has ended.
    """

    max_output: int = 64 * 1024 * 1024
    kill_after_seconds: float = 2.0
    linger_seconds: float = 5.0


class ISpawningReactor(IReactorTime, IReactorProcess):
    """What of a reactor is needed to run commands."""


@implementer(IProcessRunner)
class ProcessRunner:
    """Starts commands on a reactor.

    Args:
        reactor: It must handle SIGCHLD, as a running one does.
        environment: What the commands get; see :func:`environment_for_children`.
        bounds: What the commands may do.
    """

    def __init__(
        self,
        reactor: ISpawningReactor,
        environment: Mapping[str, str],
        bounds: Bounds | None = None,
    ) -> None:
        self._reactor = reactor
        self._environment = dict(environment)
        self._bounds = bounds or Bounds()

    def run(
        self,
        argv: Sequence[str],
        *,
        error_line: Callable[[bytes], None],
        timeout_seconds: float,
    ) -> Deferred[ProcessEnded]:
        """Run a command; see :meth:`~harpcaller.interfaces.IProcessRunner.run`."""
        process = _Process(self._reactor, argv[0], error_line, timeout_seconds, self._bounds)
        try:
            _ = self._reactor.spawnProcess(
                process,
                sys.executable,
                [sys.executable, "-I", "-S", launch.__file__, *argv],
                env=self._environment,
                childFDs={0: "w", 1: "r", 2: "r", launch.STATUS_FD: "r"},
            )
        except OSError as error:
            return fail(error)
        return process.ended


class _Process(ProcessProtocol):
    """One command from its start until it is gone and its pipes are closed."""

    def __init__(
        self,
        reactor: IReactorTime,
        program: str,
        error_line: Callable[[bytes], None],
        timeout_seconds: float,
        bounds: Bounds,
    ) -> None:
        self._reactor = reactor
        self._program = program
        self._error_line = error_line
        self._timeout_seconds = timeout_seconds
        self._bounds = bounds
        self._pid = 0
        self._output = bytearray()
        self._printing = True
        self._errors = b""
        self._status = b""
        self._killed_because: str | None = None
        self._timers: list[IDelayedCall] = []
        # No canceller: cancelled twice, it lets its waiter go before the process is gone.
        self._gone: Deferred[None] = Deferred()
        self.ended: Deferred[ProcessEnded] = Deferred(lambda _: self._end("cancelled"))
        _ = self.ended.addErrback(self._after_it_is_gone)

    def connectionMade(self) -> None:
        """The launcher was started."""
        transport = self._transport()
        assert transport.pid is not None
        self._pid = transport.pid
        transport.closeStdin()
        why = f"it ran longer than {self._timeout_seconds:g} seconds"
        self._later(self._timeout_seconds, lambda: self._end(why))

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """The command, or the launcher, said something."""
        if childFD == 1:
            self._printed(data)
        elif childFD == 2:
            self._complained(data)
        else:
            self._status += data[:10]

    def childConnectionLost(self, childFD: int) -> None:
        """One of the pipes was closed."""
        if childFD == 1:
            self._printing = False

    def processExited(self, reason: Failure) -> None:
        """The command ended; what it has started may go on."""
        self._later(self._bounds.linger_seconds, self._let_go)

    def processEnded(self, reason: Failure) -> None:
        """The command has ended and the pipes are closed."""
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        if self._errors:
            self._error_line(self._errors)
        if self.ended.called:
            self._gone.callback(None)
        elif self._status:
            number = int(self._status)
            self.ended.errback(OSError(number, os.strerror(number), self._program))
        else:
            how = reason.value
            assert isinstance(how, (ProcessDone, ProcessTerminated))
            self.ended.callback(
                ProcessEnded(how.exitCode, how.signal, bytes(self._output), self._killed_because)
            )

    def _transport(self) -> IProcessTransport:
        transport: IProcessTransport | None = self.transport
        assert transport is not None
        return transport

    def _printed(self, data: bytes) -> None:
        if self._killed_because is None:
            self._output += data
            if len(self._output) > self._bounds.max_output:
                self._output.clear()
                self._end(f"it printed more than {self._bounds.max_output} bytes")

    def _complained(self, data: bytes) -> None:
        *lines, last = (self._errors + data).split(b"\n")
        for line in lines:
            for start in range(0, max(1, len(line)), MAX_ERROR_LINE):
                self._error_line(line[start : start + MAX_ERROR_LINE])
        whole = len(last) - len(last) % MAX_ERROR_LINE
        for start in range(0, whole, MAX_ERROR_LINE):
            self._error_line(last[start : start + MAX_ERROR_LINE])
        self._errors = last[whole:]

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        self._timers.append(self._reactor.callLater(seconds, what))

    def _end(self, why: str) -> None:
        """Make it end, unless that is under way."""
        if self._killed_because is None:
            self._killed_because = why
            self._signal(signal.SIGTERM)
            self._later(self._bounds.kill_after_seconds, lambda: self._signal(signal.SIGKILL))

    def _let_go(self) -> None:
        """Wait no longer for what the command has left behind."""
        if self._printing and self._killed_because is None:
            # Then what was printed is perhaps not all.
            self._killed_because = "it left a process behind that kept its output open"
        self._signal(signal.SIGKILL)
        self._transport().loseConnection()

    def _signal(self, number: signal.Signals) -> None:
        """Signal the process group; in its first moments there is only a process."""
        try:
            os.killpg(self._pid, number)
        except ProcessLookupError:
            with suppress(ProcessExitedAlready):
                self._transport().signalProcess(number.name.removeprefix("SIG"))
        except PermissionError:
            # It has become somebody else; it will notice when its pipes close.
            self._transport().loseConnection()

    def _after_it_is_gone(self, failure: Failure) -> Failure | Deferred[Failure]:
        if failure.check(CancelledError):
            return self._gone.addCallback(lambda _: failure)
        return failure
