"""The clock of a whole world, on which much is to come at any time."""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable
from typing import Any

from twisted.internet.base import DelayedCall
from twisted.internet.task import Clock


class Timeline(Clock):
    """A clock that doesn't sort all that is to come with each new call."""

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kw: object
    ) -> DelayedCall:
        """See :class:`Clock`."""
        call = DelayedCall(
            self.rightNow + delay,
            callable,
            args,
            kw,
            self.calls.remove,
            lambda call: self.calls.sort(key=DelayedCall.getTime),
            self.seconds,
        )
        insort(self.calls, call, key=DelayedCall.getTime)
        return call
