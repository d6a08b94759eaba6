"""Where calls can't have control groups: a process above each worker that keeps its family.

::

    template ──fork──► keeper ──fork──► worker ──► whatever it starts

The keeper is a *subreaper*: a process that lost its parent becomes the keeper's child, so
that whatever the worker started is below the keeper, however many sessions it has made
since.  It takes orders as signals, all of which it waits for and none of which interrupts
it:

- SIGUSR1: kill everything now, until nothing is left.
- SIGHUP: the template died; end everything.
- any other: pass it on to everything, and don't leave before all of it is gone.

When the worker is through and nobody has asked for its end, the keeper leaves at once; what
still runs was meant to, and goes to init.  A worker that *died* takes its family along.
The keeper ends as the worker did, with its exit code or by its signal.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from harpcaller.agent.processes import Seen, children, descendants, everybody, signal_exactly

#: How long what a dead worker left may go on after SIGTERM, in seconds.
REMAINS_GRACE = 5.0
#: The signal that orders to kill.
KILL_NOW = signal.SIGUSR1
_TEMPLATE_DIED = signal.SIGHUP
#: How soon is killed what was born meanwhile, in seconds: first, and at most.
_AGAIN_FIRST, _AGAIN_LAST = 0.02, 0.5
#: How often is looked for more to stop before all are killed.
_STOPS = 20
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def keep(work: Callable[[], NoReturn], release: Callable[[], None]) -> NoReturn:
    """Be a keeper, and start the worker.

    Args:
        work: What the worker does.
        release: Closes what only the worker needs.
    """
    code = 1
    try:
        parent = os.getppid()
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        go_first()
        prctl(_PR_SET_CHILD_SUBREAPER, 1)
        prctl(_PR_SET_PDEATHSIG, _TEMPLATE_DIED)
        if os.getppid() == parent:  # else it died before we asked to be told
            worker = os.fork()  # noqa: TID251 - no threads here either
            if worker == 0:
                signal.pthread_sigmask(signal.SIG_SETMASK, [])
                work()
            release()
            code = Keeper(worker).watch()
    except BaseException:  # noqa: BLE001 - a bug of ours, told in the agent's log
        traceback.print_exc()
    finally:
        _leave(code)


def prctl(what: int, value: int) -> None:
    """Change something of this process, as ``prctl(2)`` does.

    Raises:
        OSError: The system doesn't.
    """
    call_system("prctl", what, value, 0, 0, 0)


def call_system(name: str, *arguments: int | bytes) -> None:
    """Call a function of libc's that gives 0 if all is well.

    Raises:
        OSError: It isn't.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc[name](*arguments) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def go_first() -> None:
    """Let this process, but not its children, run before others, however many those are.

    Whoever is to end a thousand processes must not be one of a thousand and one.  It is for
    processes that sleep nearly always.
    """
    with suppress(OSError):  # that's root's
        os.sched_setscheduler(0, os.SCHED_RR | os.SCHED_RESET_ON_FORK, os.sched_param(1))


def die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent dies.

    It holds until this process becomes another user, and isn't for its children.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before
        os.kill(os.getpid(), signal.SIGKILL)


def live_on() -> None:
    """Undo :func:`die_with`."""
    prctl(_PR_SET_PDEATHSIG, 0)


def _leave(code: int) -> NoReturn:
    """End with an exit code, or, if it is negative, by a signal."""
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the worker may have left one
        with suppress(OSError):  # SIGKILL has no disposition
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-code])
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 1)


class Keeper:
    """Waits for a worker and its family.

    Args:
        worker: The worker's process number.
    """

    def __init__(self, worker: int) -> None:
        self._worker = worker
        self._code: int | None = None  # as subprocess has them
        self._ending = False
        self._kill_at = math.inf
        self._again = _AGAIN_FIRST

    def watch(self) -> int:
        """Wait until the worker is through, or until all are gone; tells how it ended."""
        while True:
            self._collect()
            if self._code is not None and (not self._ending or self._is_alone()):
                _ = os.waitpid(self._worker, 0)
                return self._code
            wait = self._kill_at - time.monotonic()
            if wait <= 0:
                self._kill()
                wait, self._again = self._again, min(2 * self._again, _AGAIN_LAST)
            told = self._next_signal(wait)
            if told == KILL_NOW:
                self._kill_at = -math.inf
            elif told == _TEMPLATE_DIED:
                self._end(signal.SIGTERM, REMAINS_GRACE)
            elif told is not None and told != signal.SIGCHLD:
                self._end(told, math.inf)

    def _next_signal(self, seconds: float) -> int | None:
        waited_for = signal.valid_signals()
        if seconds == math.inf:
            return signal.sigwaitinfo(waited_for).si_signo
        told = signal.sigtimedwait(waited_for, seconds)
        return None if told is None else told.si_signo

    def _end(self, number: int, grace_seconds: float) -> None:
        self._ending = True
        self._kill_at = min(self._kill_at, time.monotonic() + grace_seconds)
        for seen in family():
            signal_exactly(seen, number)

    def _kill(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            # It isn't collected yet, so that this can't be another's number.
            os.killpg(self._worker, signal.SIGKILL)
        kill_all()

    def _collect(self) -> None:
        """Let go of the dead, orphans too, but for the worker."""
        self._note_code()
        for pid in children(os.getpid()):
            if pid != self._worker:
                with suppress(ChildProcessError):
                    _ = os.waitpid(pid, os.WNOHANG)

    def _note_code(self) -> None:
        if self._code is not None:
            return
        ended = os.waitid(os.P_PID, self._worker, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if ended is None:
            return
        exited = ended.si_code == os.CLD_EXITED
        self._code = ended.si_status if exited else -ended.si_status
        if self._code != 0 and not self._ending:
            self._end(signal.SIGTERM, REMAINS_GRACE)

    def _is_alone(self) -> bool:
        """Tell whether there is nobody but the dead worker."""
        return children(os.getpid()) == [self._worker]


def family() -> list[Seen]:
    """Look at all that is below this process."""
    return descendants(os.getpid(), everybody())


def kill_all() -> None:
    """Kill all that is below this process.

    They are stopped first: what stands still doesn't fork, so that a family which forks as
    fast as it is killed comes to an end.
    """
    stopped: set[Seen] = set()
    for _ in range(_STOPS):
        running = set(family()) - stopped
        if not running:
            break
        for seen in running:
            signal_exactly(seen, signal.SIGSTOP)
        stopped |= running
    for seen in family():
        signal_exactly(seen, signal.SIGKILL)
