"""What ``supervise`` and ``svscan`` begin with: clocks, the loop, the door, and signals."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from harpcaller.supervise.messages import reason, say
from harpcaller.supervise.spawn.door import Door
from harpcaller.supervise.tools.loop import Loop
from harpcaller.supervise.tools.supervised import Surroundings

#: How long a service may take to end when all are told to, in seconds, if it doesn't say itself.
STOP_GRACE = 60.0

#: Signals that have nothing to say here, and would kill.
_IGNORED = (signal.SIGPIPE, signal.SIGUSR1, signal.SIGUSR2)


def make_surroundings(tool: str) -> Surroundings:
    """Make what services need around them.

    Args:
        tool: Whose warnings they are.
    """

    def warn(line: str) -> None:
        say(f"{tool}: warning: {line}")

    def clock() -> float:
        # Goes on while the system sleeps, and nobody can set it.
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    door = Door(reason)
    door.raise_descriptor_limit()
    return Surroundings(Loop(clock, warn), door, time.time_ns, warn)


def on_stop(around: Surroundings, stop: Callable[[], None], kill: Callable[[], None]) -> None:
    """Call ``stop`` at the first signal that asks for an end, and ``kill`` at each further one."""
    stopping = False

    def asked() -> None:
        nonlocal stopping
        if stopping:
            kill()
        stopping = True
        stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
        around.loop.on_signal(number, asked)
