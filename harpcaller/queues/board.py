"""All queues: born with their first job, gone with their last."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from harpcaller.interfaces import IBoard, IPlace
from harpcaller.queues.queue import Queue
from harpcaller.wire.client import JobId, QueueSpec
from harpcaller.wire.values import Raw, canonical


@implementer(IBoard)
class Board:
    """The queues of this dispatcher.

    Args:
        clock: Turns are given on its next turn after something changed.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._queues: dict[bytes, Queue] = {}
        self._keys: dict[Queue, bytes] = {}
        self._unsettled: dict[Queue, None] = {}
        self._turn: IDelayedCall | None = None
        self._closed = False

    def reserve(self, job_id: JobId, queue: QueueSpec) -> IPlace:
        """Announce a job; creates its queue if it is the first."""
        key = queue.key()
        found = self._queues.get(key)
        if found is None:
            found = self._queues[key] = Queue(queue.name, queue.concurrency, self._changed)
            self._keys[found] = key
        return found.reserve(job_id)

    def queues(self) -> Sequence[Raw]:
        """Give the names of the queues that live, oldest first."""
        return [queue.name for queue in self._queues.values()]

    def members(self, name: Raw) -> Sequence[JobId]:
        """Give the jobs of a queue; none if there is no such queue."""
        queue = self._queues.get(canonical(name))
        return [] if queue is None else queue.members()

    def close(self) -> None:
        """Give no more turns."""
        self._closed = True
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _changed(self, queue: Queue) -> None:
        if queue.empty():
            key = self._keys.pop(queue)
            del self._queues[key]
            self._unsettled.pop(queue, None)
        elif not self._closed:
            self._unsettled[queue] = None
            if self._turn is None:
                self._turn = self._clock.callLater(0, self._give_turns)

    def _give_turns(self) -> None:
        self._turn = None
        queues, self._unsettled = self._unsettled, {}
        for queue in queues:
            # A job that starts may close the board.
            while not self._closed and queue.give_turn():
                pass
