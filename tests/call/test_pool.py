"""What waits, how long, and what has to go: the decisions alone."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from harpcaller.call.pool import PoolSettings, Shelf
from tests.house import HouseCase

SETTINGS = PoolSettings(idle_seconds=10, age_seconds=100, most_per_host=2, most=3)


class ShelfTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.shelf: Shelf[str, int] = Shelf(SETTINGS)

    def put(self, key: str, item: int, now: float = 0.0, made_at: float = 0.0) -> list[int]:
        return self.shelf.put(key, item, made_at, now)

    def test_last_comes_first(self) -> None:
        """So that those that are too many get to wait too long."""
        self.put("a", 1)
        self.put("a", 2)
        self.put("b", 3)
        self.assertEqual([2, 1, None, 3], [self.shelf.take(key, 1) for key in ("a", "a", "a", "b")])
        self.assertEqual(0, len(self.shelf))

    def test_too_many(self) -> None:
        """Of one host, or in all: the one that has waited longest goes."""
        self.put("a", 1)
        self.put("a", 2)
        self.assertEqual([1], self.put("a", 3))
        self.put("b", 4)
        self.assertEqual([2], self.put("c", 5))
        self.assertEqual([3], self.put("c", 6))

    def test_time(self) -> None:
        """What has waited too long or got too old isn't given."""
        self.put("a", 1)
        self.put("a", 2, now=5)
        self.assertEqual(10, self.shelf.due())
        self.assertEqual([1], self.shelf.overdue(10))
        self.assertEqual(15, self.shelf.due())
        self.assertIsNone(self.shelf.take("a", 15))
        self.assertEqual([2], self.shelf.overdue(15))
        self.assertIsNone(self.shelf.due())
        self.put("a", 3, now=95)
        self.assertIsNone(self.shelf.take("a", 100))
        self.assertEqual([3], self.shelf.overdue(100))
        self.assertEqual([4], self.put("a", 4, now=100))

    def test_kept_for_none(self) -> None:
        """With an idle limit of 0 nothing waits."""
        self.shelf.settings = PoolSettings(idle_seconds=0)
        self.assertEqual([1], self.put("a", 1))

    def test_not_there(self) -> None:
        """What isn't there can be forgotten."""
        self.shelf.remove(7)
        self.assertEqual([], self.shelf.overdue(1000))

    def test_drop(self) -> None:
        """All of some keys."""
        self.put("a", 1)
        self.put("b", 2)
        self.put("a", 3)
        self.assertEqual([1, 3], self.shelf.drop(lambda key: key == "a"))
        self.assertEqual(2, self.shelf.take("b", 0))

    def test_against_a_model(self) -> None:
        """Whatever comes in whatever order: a plain list says the same."""
        run_state_machine_as_test(ShelfMachine)


class ShelfMachine(RuleBasedStateMachine):
    """A shelf and a list of (key, item, made at, put at)."""

    def __init__(self) -> None:
        super().__init__()
        self.shelf: Shelf[str, int] = Shelf(SETTINGS)
        self.model: list[tuple[str, int, float, float]] = []
        self.now = 0.0
        self.count = 0

    def good(self, one: tuple[str, int, float, float]) -> bool:
        return self.now < one[3] + 10 and self.now < one[2] + 100

    @rule(seconds=st.sampled_from([0, 1, 4, 30]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=st.sampled_from("abc"), age=st.sampled_from([0, 50, 99, 100]))
    def put(self, key: str, age: float) -> None:
        self.count += 1
        gone = self.shelf.put(key, self.count, self.now - age, self.now)
        if age == 100:
            assert gone == [self.count]
            return
        self.model.append((key, self.count, self.now - age, self.now))
        expected = []
        mates = [one for one in self.model if one[0] == key]
        if len(mates) > 2:
            expected = [mates[0]]
        elif len(self.model) > 3:
            expected = [self.model[0]]
        for one in expected:
            self.model.remove(one)
        assert gone == [one[1] for one in expected]

    @rule(key=st.sampled_from("abc"))
    def take(self, key: str) -> None:
        mates = [one for one in self.model if one[0] == key and self.good(one)]
        item = self.shelf.take(key, self.now)
        assert item == (mates[-1][1] if mates else None)
        if mates:
            self.model.remove(mates[-1])

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.model:
            one = data.draw(st.sampled_from(self.model))
            self.model.remove(one)
            self.shelf.remove(one[1])

    @rule()
    def look(self) -> None:
        bad = [one for one in self.model if not self.good(one)]
        assert self.shelf.overdue(self.now) == [one[1] for one in bad]
        self.model = [one for one in self.model if self.good(one)]

    @invariant()
    def same(self) -> None:
        assert len(self.shelf) == len(self.model)
        assert self.shelf.due() == (self.model[0][3] + 10 if self.model else None)
