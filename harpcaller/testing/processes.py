"""A process runner for tests, without processes: it passes the real one's tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from errno import ENOENT
from functools import partial
from signal import SIGTERM

import attrs
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.interfaces import IProcessRunner, ProcessEnded


@attrs.frozen
class Program:
    """What a command does.

    Args:
        output: What it prints.
        errors: The lines that it complains of.
        exit_code: With what it ends; None if ``signal`` is set.
        signal: What kills it.
        seconds: How long it runs; None is for ever.
    """

    output: bytes = b""
    errors: Sequence[bytes] = ()
    exit_code: int | None = 0
    signal: int | None = None
    seconds: float | None = 0.0


@implementer(IProcessRunner)
class FakeProcessRunner:
    """Runs programs that were put into ``programs``, by path; others don't exist.

    Args:
        clock: A turn of it has to pass before a program ends, also a cancelled one.
        programs: May be changed at any time.
        max_output: The most that a program may print, in bytes.

    Attributes:
        started: Every command, in the order of their starts.
        running: How many run now.
        most_running: How many ran at once, at most.
    """

    def __init__(
        self,
        clock: IReactorTime,
        programs: Mapping[str, Program] | None = None,
        max_output: int = 64 * 1024 * 1024,
    ) -> None:
        self._clock = clock
        self.programs = dict(programs or {})
        self._max_output = max_output
        self.started: list[tuple[str, ...]] = []
        self.running = 0
        self.most_running = 0

    def run(
        self,
        argv: Sequence[str],
        *,
        error_line: Callable[[bytes], None],
        timeout_seconds: float,
    ) -> Deferred[ProcessEnded]:
        """Run a program; see :meth:`~harpcaller.interfaces.IProcessRunner.run`."""
        self.started.append(tuple(argv))
        program = self.programs.get(argv[0])
        if program is None:
            return fail(OSError(ENOENT, os.strerror(ENOENT), argv[0]))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        end: list[IDelayedCall] = []
        gone: Deferred[None] = Deferred()

        def cancelled(result: Deferred[ProcessEnded]) -> None:
            end.pop().cancel()
            _ = self._clock.callLater(0, leave)

        def leave() -> None:
            self.running -= 1
            gone.callback(None)

        def after_it_is_gone(failure: Failure) -> Failure | Deferred[Failure]:
            return gone.addCallback(lambda _: failure) if failure.check(CancelledError) else failure

        def finish(ended: ProcessEnded) -> None:
            self.running -= 1
            result.callback(ended)

        result: Deferred[ProcessEnded] = Deferred(cancelled)
        _ = result.addErrback(after_it_is_gone)
        for line in program.errors:
            error_line(line)
        why = None
        seconds = program.seconds
        if len(program.output) > self._max_output:
            why, seconds = f"it printed more than {self._max_output} bytes", 0.0
        elif seconds is None or seconds > timeout_seconds:
            why, seconds = f"it ran longer than {timeout_seconds:g} seconds", timeout_seconds
        if why is None:
            ended = ProcessEnded(program.exit_code, program.signal, program.output)
        else:
            ended = ProcessEnded(None, SIGTERM, b"", why)
        end.append(self._clock.callLater(seconds, partial(finish, ended)))
        return result
