"""Where a running job's records go."""

from __future__ import annotations

from collections.abc import Callable

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.dispatcher.living import LivingJob
from harpcaller.errors import StorageError
from harpcaller.interfaces import ICallSink, IJobStore
from harpcaller.wire.values import Raw


@implementer(ICallSink)
@attrs.frozen
class JobSink:
    """Takes records through the job's machine into the store."""

    _job: LivingJob
    _store: IJobStore
    _now: Callable[[], float]
    _kept: Callable[[LivingJob], None]

    def resumable(self) -> None:
        """Store that the agent keeps the call; until that is stored it counts for nothing."""
        fact = self._job.life.kept(self._now())
        if fact is not None:
            stored = self._store.add(self._job.job_id, fact)
            # A failure is that of the records and the end that follow, too.
            _ = stored.addCallbacks(lambda _: self._kept(self._job), _is_told_later)

    def record(self, *data: Raw) -> Deferred[None]:
        """Store records, unless the job has ended."""
        facts = self._job.life.said(self._now(), data)
        if facts is None:
            return succeed(None)
        return self._store.add(self._job.job_id, *facts).addCallback(self._stored)

    def _stored(self, _: None) -> None:
        self._job.stored()


def _is_told_later(failure: Failure) -> None:
    failure.trap(StorageError)
