"""When a process that died may live again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise.machine.restarts import Deaths, Ending, RestartPolicy, When

DOUBLING = RestartPolicy(When.ALWAYS, 1.0, 60.0)


class DeathsTests(SynchronousTestCase):
    @given(st.integers(0, 5000))
    def test_delay_is_bounded(self, number: int) -> None:
        """However often it died, the cap holds and nothing overflows."""
        deaths = Deaths()
        deaths.in_a_row = number
        self.assertEqual(
            60.0 if number > 6 else deaths.delay_seconds(DOUBLING), deaths.delay_seconds(DOUBLING)
        )
        self.assertLessEqual(deaths.delay_seconds(DOUBLING), 60.0)

    def test_no_delay_where_none_is_asked_for(self) -> None:
        """Without a backoff there is nothing but the second between two starts."""
        deaths = Deaths()
        deaths.count(RestartPolicy(), 0.0, 0.0)
        self.assertEqual(0.0, deaths.delay_seconds(RestartPolicy()))

    def test_memory_is_bounded(self) -> None:
        """Deaths that can't count any more are forgotten."""
        policy = RestartPolicy(give_up_deaths=5, give_up_seconds=10.0)
        deaths = Deaths()
        for number in range(1000):
            deaths.count(policy, number * 3.0, 2.0)
        self.assertEqual(4, len(deaths._recent))
        self.assertFalse(deaths.are_enough(policy))

    def test_forgetting_starts_anew(self) -> None:
        """After a word from somebody, old deaths don't count."""
        policy = RestartPolicy(When.ALWAYS, 1.0, 60.0, 1, 10.0)
        deaths = Deaths()
        deaths.count(policy, 0.0, 0.0)
        self.assertTrue(deaths.are_enough(policy))
        deaths.forget()
        self.assertFalse(deaths.are_enough(policy))
        self.assertEqual(0.0, deaths.delay_seconds(policy))


class PolicyTests(SynchronousTestCase):
    def test_which_endings_are_followed(self) -> None:
        """By exit code and signal, as the policy says."""
        good, bad, killed = Ending(0, None), Ending(3, None), Ending(None, 9)
        expected = {
            When.ALWAYS: (True, True, True),
            When.ON_FAILURE: (False, True, True),
            When.NEVER: (False, False, False),
        }
        for when, answers in expected.items():
            policy = RestartPolicy(when)
            self.assertEqual(answers, tuple(map(policy.restarts_after, (good, bad, killed))))
