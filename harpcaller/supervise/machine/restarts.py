"""When a process that died may be started again, or whether it is given up.

The rule of the original daemontools, which holds where nothing else is said: from start to
start at least a second, for ever.  On top of it, a growing delay with a cap, and a number
of deaths within a time after which nobody tries any more.

PURE.  Times are seconds on a clock that never jumps.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

#: From one start to the next, at the least.
BETWEEN_STARTS = 1.0


class When(Enum):
    """After which deaths a process that is wanted up is started again."""

    ALWAYS = "always"
    ON_FAILURE = "on-failure"
    NEVER = "never"


class Ending(NamedTuple):
    """How a process ended: with an exit code, or by a signal."""

    code: int | None
    signal: int | None

    @property
    def is_success(self) -> bool:
        """Whether it ended by itself and found all well."""
        return self.code == 0


class RestartPolicy(NamedTuple):
    """What a service wants to happen after its deaths.

    Attributes:
        when: After which deaths it is started at all.
        first_delay_seconds: How long the first wait after a death is; it doubles with each
            further one.  0: no wait but that between starts.
        longest_delay_seconds: Where it stops growing.  A run as long as this ends the streak.
        give_up_deaths: How many deaths within ``give_up_seconds`` are enough; 0: never.
        give_up_seconds: See there.
    """

    when: When = When.ALWAYS
    first_delay_seconds: float = 0.0
    longest_delay_seconds: float = 0.0
    give_up_deaths: int = 0
    give_up_seconds: float = 0.0

    def restarts_after(self, ending: Ending) -> bool:
        """Tell whether this kind of death is followed by a start."""
        if self.when is When.ON_FAILURE:
            return not ending.is_success
        return self.when is When.ALWAYS


class Deaths:
    """The deaths of one process that nobody asked for.

    Attributes:
        in_a_row: How many there were since the last good run.
    """

    __slots__ = ("_recent", "in_a_row")

    def __init__(self) -> None:
        self.in_a_row = 0
        self._recent: list[float] = []

    def forget(self) -> None:
        """Begin anew: somebody says that it's worth a try."""
        self.in_a_row = 0
        self._recent.clear()

    def count(self, policy: RestartPolicy, now: float, lived_seconds: float) -> None:
        """Take note of a death."""
        if lived_seconds >= max(policy.longest_delay_seconds, BETWEEN_STARTS):
            self.in_a_row = 0
        self.in_a_row += 1
        if policy.give_up_deaths:
            self._recent = [at for at in self._recent if now - at < policy.give_up_seconds]
            self._recent.append(now)

    def are_enough(self, policy: RestartPolicy) -> bool:
        """Tell whether it is time to give up."""
        return 0 < policy.give_up_deaths <= len(self._recent)

    def delay_seconds(self, policy: RestartPolicy) -> float:
        """Tell how long to wait from the last death on."""
        if not self.in_a_row or policy.first_delay_seconds <= 0:
            return 0.0
        # Beyond this the delay is far over any cap, and the power would not fit a float.
        doublings = min(self.in_a_row - 1, 64)
        return min(policy.first_delay_seconds * 2.0**doublings, policy.longest_delay_seconds)
