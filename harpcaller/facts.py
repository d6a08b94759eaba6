"""What happens to a job, as values: a part of the seams that needs no Twisted.

:mod:`harpcaller.interfaces` gives them on; they stand apart for the rooms' pure modules and the
tools that must start quickly.
"""

from __future__ import annotations

import attrs

from harpcaller.wire.client import Call
from harpcaller.wire.client_answers import Record
from harpcaller.wire.ending import Ending


@attrs.frozen
class Submitted:
    """A call became a job.  Its queue carries the concurrency that is in force there.

    Attributes:
        client: The name of who asked for it; None if nobody knows.
    """

    call: Call
    at: float
    client: str | None = None


@attrs.frozen
class Started:
    """The job's turn came."""

    at: float


@attrs.frozen
class Resumable:
    """The agent has the call and keeps it, whatever becomes of us or the connection."""

    at: float


@attrs.frozen
class Recorded:
    """The agent said something; ``record.time`` is set."""

    record: Record


@attrs.frozen
class Ended:
    """The job ended, in one way or the other."""

    ending: Ending
    at: float


#: What happens to a job, in the order ``Submitted Started? Resumable? Recorded* Ended``.
Fact = Submitted | Started | Resumable | Recorded | Ended


@attrs.frozen
class Page:
    """Some records of a job, and its ending once no more records follow them."""

    records: tuple[Record, ...]
    ending: Ending | None
