"""Group commit: what makes a thousand small writes durable with a few syncs.

A batch is whatever came while the previous one was written and synced; nobody waits on
purpose.  The writing is done in a lane of its own by a
:class:`~harpcaller.store.segments.SegmentWriter`; here is decided what is written when, and who
is told.  What the entries mean is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from harpcaller.logs.events import EventLog
from harpcaller.store.lane import Lane
from harpcaller.store.segments import SegmentWriter, Written

_T = TypeVar("_T")


class Journal(Generic[_T]):
    """The reactor's end of the journal.

    Args:
        writer: From now on used in the lane only.
        lane: Where writing happens.
        serial: Gives the first submission number that wasn't given away yet.
        committed: Told the tickets of a batch that is written, in order.
        failed: Told the tickets of everything that could not be written, in order: the batch,
            and all that came after it, for that builds on it.
        log: Where setbacks are told.
    """

    def __init__(
        self,
        writer: SegmentWriter,
        lane: Lane,
        *,
        serial: Callable[[], int],
        committed: Callable[[Sequence[_T]], None],
        failed: Callable[[Sequence[_T], Exception], None],
        log: EventLog,
    ) -> None:
        self._writer = writer
        self._lane = lane
        self._serial = serial
        self._committed = committed
        self._failed = failed
        self._log = log
        self._entries: list[bytes] = []
        self._tickets: list[_T] = []
        self._sync = False
        self._busy = False
        self._rolls: Deferred[int] | None = None
        self._drained: Deferred[None] | None = None
        self._oldest = 0
        #: How long the segment that is written has become, in bytes.
        self.length = 0
        #: Whether all that was committed so far is durable.
        self.is_durable = True

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is being written."""
        return not self._busy

    def add(self, entry: bytes, ticket: _T, *, sync: bool) -> None:
        """Write an entry; its ticket will be among the committed or the failed.

        Args:
            entry: What to write; nothing, to have durable what was added before.
            ticket: Whatever tells the caller what it was.
            sync: Whether it must be durable to count as written.
        """
        self._entries.append(entry)
        self._tickets.append(ticket)
        if sync:
            self._sync = True
        if not self._busy:
            self._start()

    def roll(self, oldest: int = 0) -> Deferred[int]:
        """Begin a new segment, with the next batch or at once; one at a time.

        It can't be cancelled: what is handed to the lane is written.

        Args:
            oldest: The first segment that is still there.

        Returns:
            The number of the segment in which writing goes on.  If no new one could be
            begun, this is the old one's.
        """
        assert self._rolls is None
        self._oldest = oldest
        rolls: Deferred[int] = Deferred()
        self._rolls = rolls
        if not self._busy:
            self._start()
        return rolls

    def drained(self) -> Deferred[None]:
        """Wait until nothing is left to write; one at a time."""
        assert self._drained is None
        drained: Deferred[None] = Deferred()
        if self._busy:
            self._drained = drained
        else:
            drained.callback(None)
        return drained

    def _start(self) -> None:
        """Hand what has gathered to the lane."""
        self._busy = True
        entries, self._entries = self._entries, []
        tickets, self._tickets = self._tickets, []
        sync, self._sync = self._sync, False
        rolls, self._rolls = self._rolls, None
        serial, oldest = self._serial(), self._oldest

        def work() -> Written:
            return self._writer.write(
                entries, serial=serial, sync=sync, roll=rolls is not None, oldest=oldest
            )

        def done(outcome: Written | Failure) -> None:
            self._done(outcome, tickets, rolls)

        self._lane.run(work, done)

    def _done(
        self, outcome: Written | Failure, tickets: list[_T], rolls: Deferred[int] | None
    ) -> None:
        if isinstance(outcome, Failure):
            error = outcome.value
            if isinstance(error, OSError):
                self._log.error("store.journal_failed", error=error.strerror or str(error))
            else:
                self._log.bug("store.journal_bug", outcome)
            # What gathered meanwhile stands after what failed, in the jobs' files too.
            tickets = tickets + self._tickets
            self._entries, self._tickets, self._sync = [], [], False
            self._go_on()
            self._failed(tickets, error if isinstance(error, Exception) else Exception(error))
            if rolls is not None:
                rolls.errback(outcome)
            self._tell_drained()
            return
        if outcome.setback is not None:
            text = outcome.setback.strerror or str(outcome.setback)
            self._log.warn("store.journal_setback", error=text, segment=outcome.number)
        self.length = outcome.length
        self.is_durable = outcome.is_durable
        # The lane has its next batch before anyone is told of this one.
        self._go_on()
        self._committed(tickets)
        if rolls is not None:
            rolls.callback(outcome.number)
        self._tell_drained()

    def _go_on(self) -> None:
        self._busy = False
        if self._entries or self._rolls is not None:
            self._start()

    def _tell_drained(self) -> None:
        if self._drained is not None and not self._busy:
            drained, self._drained = self._drained, None
            drained.callback(None)
