"""Who may be called when."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.client.rolling import Rolling


class RollingTests(SynchronousTestCase):
    def start(self, rolling: Rolling) -> list[str]:
        """Start all that may be."""
        started = []
        while (host := rolling.next_host()) is not None:
            started.append(host)
        return started

    def test_batch(self) -> None:
        """So many at once; as one ends the next may begin."""
        rolling = Rolling(["a", "b", "c", "d"], 2)
        self.assertEqual(["a", "b"], self.start(rolling))
        rolling.ended("b", succeeded=True)
        self.assertEqual(["c"], self.start(rolling))
        self.assertEqual(({"a", "c"}, ("d",)), (rolling.running, rolling.waiting))

    def test_all_succeed(self) -> None:
        """Then it is over, and well."""
        rolling = Rolling(["a", "b"], 2)
        for host in self.start(rolling):
            self.assertFalse(rolling.over)
            rolling.ended(host, succeeded=True)
        self.assertTrue(rolling.over and rolling.all_succeeded)

    def test_one_fails(self) -> None:
        """The others are called all the same, but it isn't well."""
        rolling = Rolling(["a", "b"], 1)
        for succeeded in (False, True):
            (host,) = self.start(rolling)
            rolling.ended(host, succeeded=succeeded)
        self.assertEqual((["b"], ["a"]), (rolling.succeeded, rolling.failed))
        self.assertTrue(rolling.over)
        self.assertFalse(rolling.all_succeeded)

    def test_max_failures(self) -> None:
        """At that many no more are called, but those that run come to their end."""
        rolling = Rolling(["a", "b", "c", "d", "e"], 2, max_failures=2)
        self.start(rolling)
        rolling.ended("a", succeeded=False)
        self.assertEqual(["c"], self.start(rolling))
        rolling.ended("b", succeeded=False)
        self.assertEqual([], self.start(rolling))
        self.assertFalse(rolling.over)
        rolling.ended("c", succeeded=True)
        self.assertTrue(rolling.over)
        self.assertFalse(rolling.all_succeeded)
        self.assertEqual(("d", "e"), rolling.waiting)

    def test_stop(self) -> None:
        """No more are called."""
        rolling = Rolling(["a", "b"], 1)
        self.start(rolling)
        rolling.stop()
        rolling.ended("a", succeeded=True)
        self.assertEqual([], self.start(rolling))
        self.assertTrue(rolling.over)
        self.assertFalse(rolling.all_succeeded)

    @given(
        st.integers(0, 12),
        st.integers(1, 5),
        st.none() | st.integers(1, 4),
        st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=12, max_size=12),
    )
    def test_any_course(
        self, count: int, batch: int, most: int | None, course: list[tuple[int, bool]]
    ) -> None:
        """Each host is in one place, never too many run, the order holds, and it ends."""
        hosts = [f"h{number}" for number in range(count)]
        rolling = Rolling(hosts, batch, most)
        started: list[str] = []
        for which, succeeded in course:
            if rolling.over:
                break
            started += self.start(rolling)
            places = [*rolling.running, *rolling.succeeded, *rolling.failed, *rolling.waiting]
            self.assertEqual(sorted(hosts), sorted(places))
            self.assertLessEqual(len(rolling.running), batch)
            running = sorted(rolling.running)
            rolling.ended(running[which % len(running)], succeeded=succeeded)
        self.assertTrue(rolling.over)
        self.assertEqual(hosts[: len(started)], started)
        self.assertEqual(len(rolling.succeeded) == count, rolling.all_succeeded)
        if most is None or len(rolling.failed) < most:
            self.assertEqual(hosts, started)
        else:
            # After the last that counted, those that ran may have failed, too.
            self.assertLess(len(rolling.failed), most + batch)
