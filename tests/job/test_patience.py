"""How long a call is waited for."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.errors import CallTimeout
from harpcaller.interfaces import Limits
from harpcaller.job.patience import Patience, limits_of, seconds


class LimitsTests(SynchronousTestCase):
    """protocol.md on ``timeout`` and ``max_exec_time``; configured are 60 and 300 seconds."""

    def limits(self, timeout: float | None = None, total: float | None = None) -> Limits:
        return limits_of(timeout, total, default=60, most=300)

    def test_absent_means_configured(self) -> None:
        """A call that says nothing gets what the configuration says."""
        self.assertEqual(Limits(60, 300), self.limits())

    def test_timeout_may_be_less_or_more(self) -> None:
        """A request may ask for more patience with silence than the default, or less."""
        self.assertEqual(Limits(1.5, 300), self.limits(timeout=1.5))
        self.assertEqual(Limits(3600, 300), self.limits(timeout=3600))

    def test_total_may_only_be_less(self) -> None:
        """The configured max_exec_time is the most that anybody gets."""
        self.assertEqual(Limits(60, 2), self.limits(total=2))
        self.assertEqual(Limits(60, 300), self.limits(total=300))
        self.assertEqual(Limits(60, 300), self.limits(total=301))

    def test_they_are_told_apart(self) -> None:
        """Neither of the two changes the other."""
        self.assertEqual(Limits(7, 8), self.limits(timeout=7, total=8))


class PatienceTests(SynchronousTestCase):
    def patience(self, silence: float = 10, total: float = 30) -> Patience:
        return Patience(Limits(silence, total), started_at=100.0)

    def message(self, patience: Patience, now: float) -> str:
        error = patience.exhausted(now)
        assert isinstance(error, CallTimeout)
        return error.message

    def test_before_the_request_only_the_whole_run_counts(self) -> None:
        """While it connects and its start is stored, silence is nobody's fault."""
        patience = self.patience()
        self.assertEqual(130.0, patience.due())
        self.assertIsNone(patience.exhausted(129.9))

    def test_silence(self) -> None:
        """An agent that says nothing for so long is given up, to the moment."""
        patience = self.patience()
        patience.heard(105.0)
        self.assertEqual(115.0, patience.due())
        self.assertIsNone(patience.exhausted(114.99))
        self.assertEqual("nothing was heard from the agent for 10 s", self.message(patience, 115))

    def test_each_message_begins_the_silence_anew(self) -> None:
        """A stream that goes on is waited for."""
        patience = self.patience()
        for now in (101.0, 110.0, 119.0):
            patience.heard(now)
            self.assertIsNone(patience.exhausted(now + 9.5))
        self.assertEqual(129.0, patience.due())

    def test_whole_run(self) -> None:
        """However much it says, the whole run has its limit."""
        patience = self.patience()
        patience.heard(129.9)
        self.assertEqual(130.0, patience.due())
        self.assertEqual("the maximum execution time of 30 s is over", self.message(patience, 130))

    def test_whole_run_over_before_the_request(self) -> None:
        """Connecting and storing count towards the whole run."""
        self.assertEqual(
            "the maximum execution time of 30 s is over", self.message(self.patience(), 130)
        )

    def test_both_over(self) -> None:
        """Of two limits that are over, the message tells the final one."""
        patience = self.patience(silence=30, total=30)
        patience.heard(100.0)
        self.assertIn("maximum execution time", self.message(patience, 130.0))

    def test_three_messages(self) -> None:
        """Connecting, silence and the whole run can be told apart by their messages."""
        patience = self.patience()
        total = self.message(patience, 1000)
        patience.heard(110)
        silence = self.message(patience, 120)
        self.assertEqual(2, len({total, silence}))
        self.assertFalse("connecting" in total or "connecting" in silence)

    def test_durations_read_well(self) -> None:
        """As people write them."""
        self.assertEqual(["10 s", "0.5 s", "600 s"], [seconds(each) for each in (10.0, 0.5, 600)])


class DurationTests(SynchronousTestCase):
    def test_durations_read_as_people_write_them(self) -> None:
        """Neither a million seconds nor a tenth of one comes out in powers of ten."""
        for duration, text in ((1_000_000.0, "1000000 s"), (0.1, "0.1 s"), (10, "10 s")):
            self.assertEqual(text, seconds(duration))
