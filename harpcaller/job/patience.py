"""How long a running call is waited for: silence, and the whole run.

Pure; ``now`` is any clock that only goes forward (the reactor's), in seconds.
"""

from __future__ import annotations

import attrs

from harpcaller.errors import CallTimeout
from harpcaller.interfaces import Limits


def seconds(duration: float) -> str:
    """Say a duration as messages do: ``10 s``, ``0.5 s``."""
    return f"{duration:.12g} s"


@attrs.define
class Patience:
    """The two clocks of one call.

    Attributes:
        started_at: When the job started; the whole run counts from here.
        heard_at: When the request went out or the agent was last heard, whichever is later.
            Before, only the whole run counts.
    """

    limits: Limits
    started_at: float
    heard_at: float | None = None

    def heard(self, now: float) -> None:
        """Begin the silence anew."""
        self.heard_at = now

    def due(self) -> float:
        """Tell when the first of the clocks runs out if nothing is heard until then."""
        total = self.started_at + self.limits.total_seconds
        if self.heard_at is None:
            return total
        return min(total, self.heard_at + self.limits.silence_seconds)

    def exhausted(self, now: float) -> CallTimeout | None:
        """Give the error of the clock that has run out, or None."""
        if now >= self.started_at + self.limits.total_seconds:
            limit = seconds(self.limits.total_seconds)
            return CallTimeout(f"the maximum execution time of {limit} is over")
        if self.heard_at is not None and now >= self.heard_at + self.limits.silence_seconds:
            limit = seconds(self.limits.silence_seconds)
            return CallTimeout(f"nothing was heard from the agent for {limit}")
        return None


def limits_of(
    timeout: float | None, max_exec_time: float | None, *, default: float, most: float
) -> Limits:
    """Join what a request asks for with what is configured.

    Args:
        timeout: The request's longest silence, may be more than the default.
        max_exec_time: The request's limit of the whole run, may only be less than ``most``.
        default: The configured ``default_timeout``.
        most: The configured ``max_exec_time``.
    """
    return Limits(
        silence_seconds=default if timeout is None else timeout,
        total_seconds=most if max_exec_time is None else min(max_exec_time, most),
    )
