"""What was told last of jobs that have ended: it never changes, so it needn't be read again.

Who polls a job asks for the same thing again and again, and who waits for a job's end asks for it
in the moment in which it was written.  What is here is bounded in bytes; what nobody has asked
for the longest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

from harpcaller.wire.client import JobId

_T = TypeVar("_T")

#: What an entry costs besides what it carries, in bytes.
ENTRY_COST = 400
#: No entry may have more than this part of the room.
_PART = 16


class Recent(Generic[_T]):
    """A thing for each of some jobs.

    Args:
        most_bytes: How much room there is.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._bytes = 0
        #: The longest unasked first; a plain dict is slow to tell which is its first.
        self._things: OrderedDict[JobId, tuple[_T, int]] = OrderedDict()

    def get(self, job_id: JobId) -> _T | None:
        """Give what is remembered of a job, if anything is."""
        found = self._things.get(job_id)
        if found is None:
            return None
        self._things.move_to_end(job_id)
        return found[0]

    def put(self, job_id: JobId, thing: _T, carried: int) -> None:
        """Remember a thing that carries so many bytes, unless that is too much."""
        self.forget(job_id)
        size = carried + ENTRY_COST
        if size * _PART > self._most:
            return
        self._things[job_id] = (thing, size)
        self._bytes += size
        while self._bytes > self._most:
            self.forget(next(iter(self._things)))

    def forget(self, job_id: JobId) -> None:
        """Forget what is remembered of a job, if anything is."""
        _, size = self._things.pop(job_id, (None, 0))
        self._bytes -= size
