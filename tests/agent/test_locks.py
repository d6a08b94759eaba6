"""Which call has which lock, and who is next."""

from __future__ import annotations

from functools import partial

from harpcaller.agent.locks import Locks
from tests.house import HouseCase


class LocksTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.locks = Locks()
        self.told: list[int] = []

    def enter(self, name: str, call: int) -> bool:
        return self.locks.enter(name, call, partial(self.told.append, call))

    def test_first_come_first_served(self) -> None:
        """The first has the lock at once, the others in their order."""
        self.assertEqual([True, False, False], [self.enter("a", call) for call in (1, 2, 3)])
        self.locks.leave("a", 1)
        self.assertEqual([2], self.told)
        self.locks.leave("a", 2)
        self.assertEqual([2, 3], self.told)
        self.locks.leave("a", 3)
        self.assertTrue(self.enter("a", 4))

    def test_names(self) -> None:
        """Locks don't know of each other."""
        self.assertTrue(self.enter("a", 1))
        self.assertTrue(self.enter("b", 2))

    def test_gives_up(self) -> None:
        """Whoever gives up waiting is passed over, and nobody is told before the time."""
        for call in (1, 2, 3):
            _ = self.enter("a", call)
        self.locks.leave("a", 2)
        self.assertEqual([], self.told)
        self.locks.leave("a", 1)
        self.assertEqual([3], self.told)

    def test_nothing_is_kept(self) -> None:
        """A lock that nobody has or wants isn't remembered."""
        _ = self.enter("a", 1)
        self.locks.leave("a", 1)
        self.assertEqual({}, self.locks._lines)
