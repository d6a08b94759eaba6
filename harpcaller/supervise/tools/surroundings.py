"""What ``supervise`` and ``svscan`` begin with: clocks, the loop, the door, and signals."""

from __future__ import annotations

import os
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


def fill_standard_descriptors() -> None:
    """See that 0, 1 and 2 are something: else the first files that are opened would be them.

    Services would have those as their input and output.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


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
