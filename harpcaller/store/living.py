"""A job that the store has in its hands: what was asked for, what is durable, what is filed.

A waiting job costs little more than its lines: there are tens of thousands of them.  Nothing
here touches the disk.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from harpcaller.facts import Ended, Fact, Recorded, Resumable, Started, Submitted
from harpcaller.wire.client import JobId


@attrs.define(eq=False)
class LivingJob:
    """A job that hasn't ended, or whose end isn't in its file yet.

    A fact is first accepted (it has a place in the file), then durable (it can be read), and its
    line filed some time later.

    Attributes:
        accepted: The file's length once all that was accepted is in it, in bytes.
        filed: How many bytes of the file are written.
        tail: The durable lines that follow them.
        started_at: None while that isn't durable.
        ended_at: Likewise.
        is_resumable: Whether it is durable that the agent keeps the call.
        records: How many are durable.
        is_lossy: A record couldn't be written; those after it have no place.
    """

    job_id: JobId
    serial: int
    accepted: int = 0
    filed: int = 0
    tail: bytearray = attrs.Factory(bytearray)
    started_at: float | None = None
    ended_at: float | None = None
    is_resumable: bool = False
    records: int = 0
    is_lossy: bool = False
    _next_record: int = 0
    _has_started: bool = False
    _has_kept: bool = False
    _has_ended: bool = False

    @classmethod
    def found(
        cls,
        job_id: JobId,
        serial: int,
        length: int,
        started_at: float | None,
        is_resumable: bool,
        records: int,
    ) -> LivingJob:
        """Take up a job again whose file is complete."""
        job = cls(job_id, serial, length, length)
        job.started_at, job.is_resumable, job.records = started_at, is_resumable, records
        job._settle()
        return job

    @property
    def durable(self) -> int:
        """How many bytes of the job can be read."""
        return self.filed + len(self.tail)

    def accept(self, facts: Sequence[Fact]) -> None:
        """Check that a fact can come next, or records; the caller counts their length.

        Raises:
            ValueError: One can't, which is a bug of who told it; none is accepted then.
        """
        if len(facts) != 1:
            self._accept_records(facts)
            return
        (fact,) = facts
        if self._has_ended:
            raise ValueError(f"the job {self.job_id} has ended, but has news: {_name(fact)}")
        if isinstance(fact, Submitted):
            if self.accepted:
                raise ValueError(f"the job {self.job_id} was submitted before")
        elif isinstance(fact, Recorded):
            self._accept_records(facts)
        elif isinstance(fact, Started):
            if self._has_started or self._next_record:
                raise ValueError(f"the job {self.job_id} started before")
            self._has_started = True
        elif isinstance(fact, Resumable):
            if not self._has_started or self._has_kept or self._next_record:
                raise ValueError(f"the job {self.job_id} can't become resumable now")
            self._has_kept = True
        else:
            self._has_ended = True

    def _accept_records(self, facts: Sequence[Fact]) -> None:
        number = self._next_record
        for fact in facts:
            if not isinstance(fact, Recorded) or self._has_ended:
                raise ValueError(f"the job {self.job_id} can't take this now: {_name(fact)}")
            if fact.record.number != number:
                odd = fact.record.number
                raise ValueError(f"the job {self.job_id}: record {odd} is out of place")
            number += 1
        self._next_record = number

    def keep(self, facts: Sequence[Fact], lines: bytes) -> None:
        """Note that a fact is durable, or records."""
        self.tail += lines
        fact = facts[0]
        if isinstance(fact, Recorded):
            self.records += len(facts)
        elif isinstance(fact, Started):
            self.started_at = fact.at
        elif isinstance(fact, Resumable):
            self.is_resumable = True
        elif isinstance(fact, Ended):
            self.ended_at = fact.at

    def file(self) -> None:
        """Note that the tail is written to the file."""
        self.filed += len(self.tail)
        self.tail = bytearray()

    def take_back(self, fact: Fact) -> None:
        """Note that a fact could not be written, nor any that was accepted after it."""
        if isinstance(fact, Recorded):
            self.is_lossy = True
        self._settle()

    def _settle(self) -> None:
        self.accepted = self.durable
        self._next_record = self.records
        self._has_started = self.started_at is not None
        self._has_kept = self.is_resumable
        self._has_ended = self.ended_at is not None


def _name(fact: Fact) -> str:
    return type(fact).__name__.lower()
