"""A call as the template process knows it: a process, what belongs to it, and its end."""

from __future__ import annotations

import os
import signal

from harpcaller.agent import keeper
from harpcaller.agent.cgroups import Cgroup
from harpcaller.agent.orders import Exited
from harpcaller.agent.processes import count_below, look, signal_exactly


class ForkedCall:
    """A process that was forked for a call, and what is known of its end.

    Args:
        number: The call's number.
        pid: The worker's process number, or the keeper's if there is no control group.
        pidfd: A descriptor that tells of its end.
        cgroup: Where the worker is.
    """

    def __init__(self, number: int, pid: int, pidfd: int, cgroup: Cgroup | None) -> None:
        self.number = number
        self.pid = pid
        self.pidfd = pidfd
        self.cgroup = cgroup
        self.code: int | None = None  # None: it runs
        self.kill_at: float | None = None  # None: nobody asked for its end
        self.why: str | None = None  # why we killed it ourselves

    def signal(self, number: int) -> None:
        """Signal all that belongs to the call.

        The process isn't collected before all is over, so that nobody else can have its
        number, nor its group's.
        """
        if self.cgroup is None:
            # The keeper passes everything on, but can't be told to kill by SIGKILL.
            os.kill(self.pid, keeper.KILL_NOW if number == signal.SIGKILL else number)
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # It was forked but isn't the leader of a group yet; nor has it run anything.
            os.kill(self.pid, number)
        except PermissionError:
            pass  # whoever is left in it is another user's
        if number == signal.SIGKILL:
            self.cgroup.kill()
            return
        for pid in self.cgroup.members():
            seen = look(pid)
            if seen is not None and seen.group != self.pid:
                signal_exactly(seen, number)

    def has_more_than(self, most: int) -> bool:
        """Tell whether more processes than this belong to it."""
        if self.cgroup is None:
            return count_below(self.pid, most + 1) > most
        return len(self.cgroup.members()) > most

    def is_gone(self) -> bool:
        """Tell whether nothing of the call is left."""
        if self.code is None:
            return False
        return self.cgroup is None or self.cgroup.is_empty()

    def exited(self) -> Exited:
        """Tell how the worker ended."""
        assert self.code is not None
        if self.code < 0:
            return Exited(self.number, None, -self.code, self.why)
        return Exited(self.number, self.code, None, self.why)
