"""Fork, set up, exec: how services and their scripts start.

A child gets what this process was given, and nothing that this process made for itself: all
signals have their default action and none is blocked, no descriptor is left open but those
that were there before and those that are passed, limits are as they were, the working folder
is the service's.  What Python changes for itself was put back when the tool started
(:mod:`harpcaller.supervise.chain.inherited`).

Plain ``fork`` is right here: these processes are small and have no threads.
"""

from __future__ import annotations

import fcntl
import os
import resource
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, NoReturn

if TYPE_CHECKING:
    import signal as _signal
else:
    # Each call of ``signal`` makes enumerations of all numbers, which takes as long as the fork.
    import _signal

_SIGNALS = frozenset(_signal.valid_signals())
_UNCHANGEABLE = (_signal.SIGKILL, _signal.SIGSTOP)
#: What a child exits with when it can't become the program.
NOT_STARTED = 111


class Program(NamedTuple):
    """What to start.

    Attributes:
        argv: The program's file, seen from its folder, and its arguments.
        folder: A descriptor of the working folder; None: this process' own.
        descriptors: Which descriptors it gets as which: target to source.
        environment: What changes in the environment; None takes a variable away.
        own_session: Whether it leads a session and a process group of its own.
        complaint: What is said on its standard error if it can't be started; the reason follows.
    """

    argv: Sequence[bytes]
    folder: int | None = None
    descriptors: Mapping[int, int] = {}
    environment: Mapping[bytes, bytes | None] = {}
    own_session: bool = False
    complaint: bytes = b"unable to start"


class Door:
    """Starts programs.

    Args:
        words_for: Gives the words in which a failure is told.
    """

    def __init__(self, words_for: Callable[[OSError], str]) -> None:
        self._words_for = words_for
        self._soft_limit: tuple[int, int] | None = None

    def raise_descriptor_limit(self) -> None:
        """Let this process open as many files as it may; its children keep the limit as it was."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        if before[0] == before[1]:
            return
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
        except (OSError, ValueError):
            return  # fewer services find room then, and say so
        self._soft_limit = before

    def start(self, program: Program) -> int:
        """Start a program.

        Returns:
            Its process; whether it became the program isn't known yet.

        Raises:
            OSError: There can't be one more process.
        """
        # Until it is somebody else, a child must not take our signals for its own.
        before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _SIGNALS)
        try:
            pid = os.fork()  # noqa: TID251 - this is the door
            if pid == 0:
                self._become(program)
        finally:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
        return pid

    def _become(self, program: Program) -> NoReturn:
        """Go on as the program; never returns, whatever happens."""
        try:
            _default_signals()
            if program.own_session:
                os.setsid()
            if program.folder is not None:
                os.fchdir(program.folder)
            _map(program.descriptors)
            if self._soft_limit is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, self._soft_limit)
            for name, value in program.environment.items():
                if value is None:
                    os.unsetenv(name)
                else:
                    os.putenv(name, value)
            _signal.pthread_sigmask(_signal.SIG_SETMASK, ())
            os.execv(program.argv[0], list(program.argv))  # noqa: S606 - no shell is what it's about
        except OSError as error:
            _complain(program.complaint + b": " + os.fsencode(self._words_for(error)))
        except BaseException as error:  # noqa: BLE001 - there must never be two supervisors
            _complain(program.complaint + b": " + os.fsencode(repr(error)))
        finally:
            os._exit(NOT_STARTED)


def _default_signals() -> None:
    """Take back what this process does with signals."""
    _signal.set_wakeup_fd(-1)
    for number in _SIGNALS.difference(_UNCHANGEABLE):
        if _signal.getsignal(number) != _signal.SIG_DFL:
            _signal.signal(number, _signal.SIG_DFL)


def _map(descriptors: Mapping[int, int]) -> None:
    """Give each target its source, also where one's target is another's source."""
    above = max(descriptors, default=-1) + 1
    moved = {
        target: fcntl.fcntl(source, fcntl.F_DUPFD_CLOEXEC, above)
        for target, source in descriptors.items()
    }
    for target, source in moved.items():
        os.dup2(source, target, inheritable=True)


def _complain(line: bytes) -> None:
    try:
        os.write(2, line + b"\n")
    except OSError:
        return  # nobody is left to be told
