"""The thread that waits for the disk."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import current_thread
from threading import enumerate as threads
from typing import Any

from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.store.lane import ThreadLane
from tests.house import HouseCase


@implementer(IReactorFromThreads)
class Mailbox:
    """A reactor that only takes calls from threads, and makes them when asked to."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[tuple[Callable[..., Any], Any]] = SimpleQueue()

    def callFromThread(self, callable: Callable[..., Any], *args: object, **kwargs: object) -> None:
        """Take a call."""
        self.calls.put((callable, args))

    def make_one(self) -> None:
        """Wait for a call and make it."""
        callable, args = self.calls.get(timeout=10)
        callable(*args)


class ThreadLaneTests(HouseCase):
    """Work is done elsewhere, in order, and its outcome told here."""

    def setUp(self) -> None:
        super().setUp()
        self.mailbox = Mailbox()
        self.lane = ThreadLane("test lane", self.mailbox)
        self.addCleanup(self.lane.stop)

    def test_order_and_place(self) -> None:
        """All work is done in one thread that isn't ours, one piece after the other."""
        told: list[object] = []
        for number in range(5):
            self.lane.run(lambda n=number: (n, current_thread().name), told.append)  # type: ignore[misc]  # mypy can't type its default
        for _ in range(5):
            self.mailbox.make_one()
        self.assertEqual([(n, "test lane") for n in range(5)], told)

    def test_failure(self) -> None:
        """An exception is an outcome, and the lane goes on."""
        told: list[object] = []
        self.lane.run(lambda: 1 // 0, told.append)
        self.lane.run(lambda: 7, told.append)
        self.mailbox.make_one()
        self.mailbox.make_one()
        assert isinstance(told[0], Failure)
        self.assertIs(ZeroDivisionError, told[0].type)
        self.assertEqual(7, told[1])

    def test_stop(self) -> None:
        """A stopped lane leaves no thread behind."""
        lane = ThreadLane("short lane", self.mailbox)
        lane.stop()
        self.assertNotIn("short lane", [thread.name for thread in threads()])
