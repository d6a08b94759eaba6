"""How much the store may hold, and what it waits for."""

from __future__ import annotations

from typing import Literal

import attrs

#: What :meth:`FileJobStore.add` waits for.  ``full``: every fact is synced.  ``end``: all are but
#: stream records, whose writing isn't waited for.  ``none``: facts are written, not synced;
#: they survive the daemon, but maybe not the machine.
Durability = Literal["full", "end", "none"]


@attrs.frozen
class Sizes:
    """Where the store's bounds are, in bytes if nothing else is said.

    Attributes:
        segment: A journal segment that is longer is followed by a checkpoint.
        job_tail: So much of one job waits in memory to be filed.
        all_tails: So much of all jobs does.
        page: How long a page of records is, its first one excepted.
        page_records: How many records a page has at most.
        recent: How much is remembered of the ends that were told last, and of the states of jobs
            that have ended, each.
        list_jobs: How many jobs are listed at once at most.
    """

    segment: int = 64 * 1024 * 1024
    job_tail: int = 64 * 1024
    all_tails: int = 32 * 1024 * 1024
    page: int = 64 * 1024
    page_records: int = 128
    recent: int = 8 * 1024 * 1024
    list_jobs: int = 500
