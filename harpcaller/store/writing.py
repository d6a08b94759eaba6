"""How facts get into the journal, and what is done when they are there, or can't be.

A fact is checked and gets its place in the job's file at once; it counts when its batch is
written.  What can't be written is taken back, with all that builds on it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.defer import Deferred, succeed

from harpcaller.errors import StorageError
from harpcaller.facts import Ended, Fact, Recorded, Started, Submitted
from harpcaller.logs.events import EventLog
from harpcaller.store.background import Background
from harpcaller.store.heads import head_line
from harpcaller.store.index import Index
from harpcaller.store.journal import Journal
from harpcaller.store.lane import Lane
from harpcaller.store.living import LivingJob
from harpcaller.store.records import fact_line
from harpcaller.store.segments import SegmentWriter, entry, pruned_line
from harpcaller.store.shelf import Shelf
from harpcaller.store.sizes import Durability
from harpcaller.wire.client import JobId

#: After a failure the journal is tried again so often, in seconds.
RETRY_SECONDS = 5.0


@attrs.define(eq=False)
class _Ticket:
    """What is to be done when an entry is written, or can't be."""

    job: LivingJob | None
    facts: Sequence[Fact]
    lines: bytes
    done: Deferred[None] | None


class Writing:
    """Takes facts.

    Args:
        writer: The segment that is written.
        lane: In which it is.
        serial: The next submission's.
        durability: What :meth:`add` waits for.
        shelf: Where the jobs are, and the lines that count.
        index: Told of what counts.
        grown: Called when something was written, with the length of the segment in bytes.
        background: Where the journal is mended.
        log: Where trouble is told.
    """

    def __init__(
        self,
        writer: SegmentWriter,
        lane: Lane,
        *,
        serial: int,
        durability: Durability,
        shelf: Shelf,
        index: Index,
        grown: Callable[[int], None],
        background: Background,
        log: EventLog,
    ) -> None:
        self._serial = serial
        self._durability = durability
        self._shelf = shelf
        self._index = index
        self._grown = grown
        self._background = background
        self._log = log
        self._is_mending = False
        self._is_filing = False
        self.journal: Journal[_Ticket] = Journal(
            writer,
            lane,
            serial=lambda: self._serial,
            committed=self._committed,
            failed=self._failed,
            log=log,
        )

    def add(self, job_id: JobId, facts: Sequence[Fact]) -> Deferred[None]:
        """See :meth:`IJobStore.add`.

        Raises:
            StorageError: A record before these couldn't be written.
            InvalidJobId: It isn't a job id.
            ValueError: The facts can't be true, or not written.
            OSError: It can't be told whether there was such a job.
        """
        job = self._shelf.get(job_id)
        fact = facts[0]
        if isinstance(fact, Submitted):
            if job is not None or self._shelf.has_file(job_id):
                raise ValueError(f"the job {job_id} was submitted before")
            lines = [head_line(job_id, self._serial, fact)]
            job = LivingJob(job_id, self._serial)
            job.accept(facts)
            self._serial += 1
            self._shelf.put(job)
        elif job is None:
            kind = type(fact).__name__
            raise ValueError(f"the job {job_id} isn't living, but has news: {kind}")
        else:
            if job.is_lossy and isinstance(fact, Recorded):
                raise StorageError("an earlier record of the job couldn't be written")
            lines = [fact_line(each) for each in facts]  # type: ignore[arg-type]  # see accept
            job.accept(facts)
        entries = []
        for line in lines:
            entries.append(entry(job_id, job.accepted, line))
            job.accepted += len(line)
        done: Deferred[None] | None = Deferred()
        sync = self._durability != "none"
        if self._durability == "end" and isinstance(fact, Recorded):
            done, sync = None, False
        ticket = _Ticket(job, facts, b"".join(lines), done)
        self.journal.add(b"".join(entries), ticket, sync=sync)
        return succeed(None) if done is None else done

    def synced(self) -> Deferred[None]:
        """Wait until nothing that can be read waits for a sync; it may be filed then."""
        return succeed(None) if self.journal.is_durable else self._written()

    def _written(self) -> Deferred[None]:
        """Wait until all that was added before is durable in the journal."""
        done: Deferred[None] = Deferred()
        self.journal.add(b"", _Ticket(None, (), b"", done), sync=True)
        return done

    def announce_pruned(self, jobs: Sequence[tuple[JobId, int]]) -> Deferred[None]:
        """Write durably that these jobs, given with their serials, are forgotten."""
        done: Deferred[None] = Deferred()
        for job_id, serial in jobs[:-1]:
            written = entry(job_id, 0, pruned_line(serial))
            self.journal.add(written, _Ticket(None, (), b"", None), sync=False)
        job_id, serial = jobs[-1]
        ticket = _Ticket(None, (), b"", done)
        self.journal.add(entry(job_id, 0, pruned_line(serial)), ticket, sync=True)
        return done

    def _committed(self, tickets: Sequence[_Ticket]) -> None:
        for ticket in tickets:
            if ticket.job is not None:
                self._shelf.keep(ticket.job, ticket.facts, ticket.lines)
                self._tell_index(ticket.job, ticket.facts[0])
        for ticket in tickets:
            if ticket.done is not None:
                ticket.done.callback(None)
        self._index.write_if_many()
        if self._file_due() and not (self._is_filing or self._background.is_stopping):
            self._is_filing = True
            self._background.start(self._file_at_rest(), "store.filing_bug")
        self._grown(self.journal.length)

    def _file_due(self) -> bool:
        """File what is due; tells whether there is more to file now.

        A file is never ahead of the journal: a power cut could leave half a line in it that
        nothing mends.
        """
        is_at_rest = self.journal.is_at_rest
        return self.journal.is_durable and self._shelf.file_due(at_rest=is_at_rest) and is_at_rest

    async def _file_at_rest(self) -> None:
        """Go on as long as the journal rests; afterwards the next batch sees to it."""
        try:
            await self._background.turn()
            while not self._background.is_stopping and self._file_due():
                await self._background.turn()
        finally:
            self._is_filing = False

    def _tell_index(self, job: LivingJob, fact: Fact) -> None:
        if isinstance(fact, Submitted):
            self._index.add(job.serial, job.job_id, fact.call, fact.at)
        elif isinstance(fact, Started):
            self._index.started(job.serial, fact.at)
        elif isinstance(fact, Ended):
            self._index.ended(job.serial, fact.at)

    def _failed(self, tickets: Sequence[_Ticket], error: Exception) -> None:
        for ticket in tickets:
            if ticket.job is not None:
                ticket.job.take_back(ticket.facts[0])
                if isinstance(ticket.facts[0], Submitted):
                    self._shelf.drop(ticket.job)
        text = getattr(error, "strerror", None) or str(error)
        for ticket in tickets:
            if ticket.done is not None:
                ticket.done.errback(StorageError(f"the journal can't be written: {text}"))
        if not self._is_mending and not self._background.is_stopping:
            self._is_mending = True
            self._background.start(self._mend(), "store.mend_bug")

    async def _mend(self) -> None:
        """Try until the journal can be written again, also if nobody has anything to tell it.

        What was refused may stand in a segment that couldn't even be cut; a start would take it
        for true unless a newer segment tells otherwise.
        """
        try:
            while not self._background.is_stopping:
                await self._background.pause(RETRY_SECONDS)
                try:
                    await self._written()
                except StorageError:
                    continue
                self._log.info("store.journal_mended")
                return
        finally:
            self._is_mending = False
