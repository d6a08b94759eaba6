"""How the ends of jobs get into the store: written, written again if they can't be, waited for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from harpcaller.dispatcher.living import Crowd, LivingJob, NextTurn
from harpcaller.dispatcher.outcome import outcome
from harpcaller.errors import StorageError
from harpcaller.interfaces import Ended, IJobStore
from harpcaller.logs.events import EventLog

_log = EventLog("dispatcher")
_T = TypeVar("_T")


class Ends:
    """The ends that are on their way into the store.

    Args:
        store: Where they are written.
        clock: For waiting until one that couldn't be is tried again.
        dismiss: Called with each job whose end is stored, or never will be.
    """

    #: How long to wait before an end is written again that couldn't be.
    RETRY_SECONDS = 5.0

    def __init__(
        self, store: IJobStore, clock: IReactorTime, dismiss: Callable[[LivingJob], None]
    ) -> None:
        self._store = store
        self._clock = clock
        self._dismiss = dismiss
        self._under_way = 0
        self._none_under_way = Crowd(NextTurn(clock))
        self._retries: dict[LivingJob, tuple[Ended, IDelayedCall]] = {}
        self._last_chance = False

    def are_owed(self, job: LivingJob) -> bool:
        """Tell whether the job's end couldn't be stored, and is to be tried again."""
        return job in self._retries

    def write(self, job: LivingJob, ended: Ended) -> Deferred[None]:
        """Store a job's end, then dismiss it.

        Fails with StorageError, of which the log tells; the end is tried again then.
        """

        def stored(_: None) -> None:
            _log.info(
                "job.ended",
                job=job.job_id,
                host=job.host,
                procedure=job.procedure,
                client=job.client,
                **outcome(ended.ending),
            )
            self._dismiss(job)

        def failed(failure: Failure) -> None:
            if not isinstance(failure.value, StorageError):
                # Trying again won't help; nobody is to wait for it.
                _log.bug("job.bug", failure, job=job.job_id)
                self._dismiss(job)
                raise StorageError("the job's end couldn't be stored; the log tells more")
            _log.error("job.end_not_stored", job=job.job_id, reason=failure.value.message)
            if not self._last_chance:
                again = self._clock.callLater(self.RETRY_SECONDS, self._write_again, job)
                self._retries[job] = (ended, again)
            raise failure.value

        self._under_way += 1
        return (
            self._store.add(job.job_id, ended).addCallbacks(stored, failed).addBoth(self._settled)
        )

    def write_or_log(self, job: LivingJob, ended: Ended) -> Deferred[None]:
        """Store a job's end; fires when that was tried, whatever came of it."""
        return self.write(job, ended).addErrback(was_logged)

    def _write_again(self, job: LivingJob) -> None:
        ended, _call = self._retries.pop(job)
        _ = self.write_or_log(job, ended)

    def _settled(self, result: _T) -> _T:
        self._under_way -= 1
        if not self._under_way:
            self._none_under_way.tell()
        return result

    def try_once_more(self) -> None:
        """Try those that couldn't be stored now, and from here on none a second time."""
        self._last_chance = True
        for job, (_ended, again) in list(self._retries.items()):
            again.cancel()
            self._write_again(job)

    def settled(self) -> Deferred[None]:
        """Wait until none is on its way."""
        return self._none_under_way.wait() if self._under_way else succeed(None)


def was_logged(failure: Failure) -> None:
    """Take the failure of an end that was logged when it happened."""
    failure.trap(StorageError)
