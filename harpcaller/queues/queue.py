"""One queue: a semaphore for those who run, a line for those who wait.

The line is ours and not the semaphore's own, because a job in the middle of it can be
cancelled (theirs is a list), and because a semaphore that hands its slot from waiter to
waiter recurses: about 125 that end at once overflow the stack, and the slot is lost.  So
the semaphore is only asked when it has a slot, and turns are given from the reactor's next
turn (:mod:`.board`).
"""

from __future__ import annotations

import enum
from collections import OrderedDict
from collections.abc import Callable

from twisted.internet.defer import DeferredSemaphore
from zope.interface import implementer

from harpcaller.interfaces import IPlace
from harpcaller.wire.client import JobId
from harpcaller.wire.values import Raw


class Stage(enum.Enum):
    """What a place is held for."""

    RESERVED = "reserved"
    WAITING = "waiting"
    RUNNING = "running"
    LEFT = "left"


@implementer(IPlace)
class Place:
    """One job's place in a queue; goes through the stages in order, may leave at any."""

    __slots__ = ("_queue", "job_id", "stage", "start")

    def __init__(self, queue: Queue, job_id: JobId) -> None:
        self._queue = queue
        self.job_id = job_id
        self.stage = Stage.RESERVED
        self.start: Callable[[], None] | None = None

    @property
    def concurrency(self) -> int:
        """How many of the queue's jobs may run at once."""
        return self._queue.concurrency

    def wait(self, start: Callable[[], None]) -> None:
        """Stand in line."""
        if self.stage is Stage.RESERVED:
            self.stage = Stage.WAITING
            self.start = start
            self._queue.joined(self)

    def leave(self) -> None:
        """Give the place up; once is enough, more do no harm."""
        stage, self.stage = self.stage, Stage.LEFT
        self.start = None  # it holds the job, which holds us: nothing is left to the collector
        if stage is not Stage.LEFT:
            self._queue.left(self, stage)


class Queue:
    """Places in order.

    Args:
        name: As the call that created the queue wrote it.
        concurrency: How many may run at once.
        changed: Called with the queue when there may be a turn to give, or nobody left.
    """

    def __init__(self, name: Raw, concurrency: int, changed: Callable[[Queue], None]) -> None:
        self.name = name
        self.concurrency = concurrency
        self._changed = changed
        self._slots = DeferredSemaphore(concurrency)
        self._reserved = 0
        self._line: OrderedDict[JobId, Place] = OrderedDict()
        self._running: dict[JobId, Place] = {}

    def reserve(self, job_id: JobId) -> Place:
        """Make a place that isn't in line yet."""
        self._reserved += 1
        return Place(self, job_id)

    def joined(self, place: Place) -> None:
        """Take a reserved place into the line."""
        self._reserved -= 1
        self._line[place.job_id] = place
        self._changed(self)

    def left(self, place: Place, stage: Stage) -> None:
        """Forget a place that was in the given stage."""
        if stage is Stage.RESERVED:
            self._reserved -= 1
        elif stage is Stage.WAITING:
            del self._line[place.job_id]
        else:
            del self._running[place.job_id]
            self._slots.release()
        self._changed(self)

    def give_turn(self) -> bool:
        """Start the first in line if there is a slot; False if there was nothing to do."""
        if not (self._line and self._slots.tokens):
            return False
        job_id, place = self._line.popitem(last=False)
        # There is a slot, so this fires at once.
        _ = self._slots.acquire()
        self._running[job_id] = place
        place.stage = Stage.RUNNING
        start, place.start = place.start, None
        assert start is not None
        start()
        return True

    def empty(self) -> bool:
        """Tell whether the last job has gone."""
        return not (self._reserved or self._line or self._running)

    def members(self) -> list[JobId]:
        """Give the running jobs, then those in line."""
        return [*self._running, *self._line]
