"""Forgetting old jobs on a schedule, where ``max_age`` is set."""

from __future__ import annotations

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from harpcaller.interfaces import IDispatcher
from harpcaller.logs.events import EventLog

_log = EventLog("retention")


class Retention(Service):
    """Prunes the store every hour, or more often if jobs are kept for less than ten hours.

    Args:
        max_age_seconds: How long ended jobs are kept; None is for ever.
    """

    name = "retention"

    def __init__(
        self, dispatcher: IDispatcher, clock: IReactorTime, max_age_seconds: float | None
    ) -> None:
        self._dispatcher = dispatcher
        self._clock = clock
        self._max_age_seconds = max_age_seconds
        self._loop: LoopingCall | None = None
        self._pruning: Deferred[None] | None = None

    def startService(self) -> None:
        """Begin the schedule; the first pruning is one interval away."""
        super().startService()
        if self._max_age_seconds is not None:
            self._loop = LoopingCall(self._prune)
            self._loop.clock = self._clock
            interval = min(3600.0, max(1.0, self._max_age_seconds / 10))
            # It ends with stopService, and what it repeats doesn't fail.
            _ = self._loop.start(interval, now=False)

    def stopService(self) -> Deferred[None] | None:
        """End the schedule, and wait for a pruning that is under way."""
        _ = super().stopService()
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        self._loop = None
        return self._pruning

    def reconfigure(self, max_age_seconds: float | None) -> None:
        """Keep jobs for another time from now on."""
        if max_age_seconds != self._max_age_seconds:
            self._max_age_seconds = max_age_seconds
            if self.running:
                _ = self.stopService()
                self.startService()

    def _prune(self) -> Deferred[None]:
        assert self._max_age_seconds is not None
        self._pruning = Deferred.fromCoroutine(self._prune_once(self._max_age_seconds))
        return self._pruning

    async def _prune_once(self, max_age_seconds: float) -> None:
        try:
            pruned = await self._dispatcher.prune(max_age_seconds)
        except Exception:  # noqa: BLE001  # a loop that raises never runs again
            _log.bug("retention.failed", Failure())
            return
        if pruned.removed or pruned.failed:
            _log.info("retention.pruned", removed=pruned.removed, failed=pruned.failed)
