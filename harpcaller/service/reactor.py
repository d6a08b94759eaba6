"""What the daemons ask of a reactor: everything that those of Unix can do, and a steady clock."""

from __future__ import annotations

import time
from typing import cast

from twisted.internet.posixbase import PosixReactorBase

Reactor = PosixReactorBase


def steady_reactor() -> Reactor:
    """Give the reactor, with a clock that only goes forward.

    Twisted's own goes by the wall clock.  When that is set back, nothing that waits for a time
    would come before the clock is where it was; when it is set forward, everything would at
    once, so that calls which have just begun would have taken too long.

    Must be called before anything waits.
    """
    from twisted.internet import reactor

    steady = cast(Reactor, reactor)
    assert not steady.getDelayedCalls()
    # Of the class it's a static method, of which mypy thinks that nobody may replace it.
    vars(steady)["seconds"] = time.monotonic
    return steady
