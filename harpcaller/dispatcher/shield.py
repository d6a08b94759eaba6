"""Work that goes on when whoever asked for it goes away."""

from __future__ import annotations

from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from harpcaller.errors import WireError
from harpcaller.logs.events import EventLog

_log = EventLog("dispatcher")
_T = TypeVar("_T")


def shielded(work: Deferred[_T]) -> Deferred[_T]:
    """Give an asker's Deferred: cancelling it ends the waiting, and not the work.

    What is on its way into the store stays there.  A bug that the asker isn't there to be told
    of is logged.
    """
    asker: Deferred[_T] = Deferred()  # needs no canceller, see above

    def failed(failure: Failure) -> None:
        if asker.called and not isinstance(failure.value, WireError):
            _log.bug("dispatcher.bug", failure)
        else:
            asker.errback(failure)

    _ = work.addCallbacks(asker.callback, failed)
    return asker
