"""Reading a job's stream from a place in it, and waiting for more.

Replay and live following are one path: read what is stored from a position, and when
nothing is there, wait until something is.  So there is no seam between them to lose or repeat
a record at, and no copy of a record that a slow reader could make pile up.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from zope.interface import implementer

from harpcaller.dispatcher.living import LivingJob, NextTurn
from harpcaller.errors import MissingResult
from harpcaller.interfaces import IFollower, IJobStore, Page
from harpcaller.wire.client import JobId


@implementer(IFollower)
class Follower:
    """One reader's place in one job's stream.

    Args:
        living: Finds the job while it lives.
        since: The number of the first record wanted.
        next_turn: When those who wait go on.
    """

    def __init__(
        self,
        job_id: JobId,
        since: int,
        *,
        store: IJobStore,
        living: Callable[[JobId], LivingJob | None],
        next_turn: NextTurn,
    ) -> None:
        self._job_id = job_id
        self._since = since
        self._store = store
        self._living = living
        self._next_turn = next_turn

    def next_page(self) -> Deferred[Page]:
        """Wait for records or the ending."""
        return Deferred.fromCoroutine(self._next_page())

    async def _next_page(self) -> Page:
        while True:
            # The job and its version are looked at before the store: what is stored while
            # we read changes the version, and then there is nothing to wait for.
            job = self._living(self._job_id)
            version = 0 if job is None else job.version
            page = await self._store.read(self._job_id, self._since)
            if page.records:
                self._since = page.records[-1].number + 1
            if page.records or page.ending is not None:
                return page
            if job is None:
                raise unaccounted()
            await job.wait_for_news(self._next_turn, version)


def unaccounted() -> MissingResult:
    """Give the error of a job that neither lives nor has an end (which only a bug can make)."""
    return MissingResult("the job is over, but the dispatcher could not keep how it ended")
