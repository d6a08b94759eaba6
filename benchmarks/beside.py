"""Holding the dispatcher against a bare program that has the same load, by turns in one run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

import attrs

from benchmarks.report import Cell, Finding, Report

US = "dispatcher"


@attrs.frozen
class Taken:
    """What one of them did, and what processor time that took it."""

    count: float
    per_second: float
    processor_seconds: float


@attrs.frozen
class Beside:
    """Both, over all rounds.

    Attributes:
        what: What was counted.
        than: What the dispatcher is held against.
        rates: How many a second, the median of all rounds.
        each: The processor time of one, over all rounds, in seconds.
    """

    what: str
    than: str
    rates: dict[str, float]
    each: dict[str, float]

    @property
    def rate_ratio(self) -> float:
        """Tell how many times the other's rate ours is."""
        return self.rates[US] / self.rates[self.than]

    @property
    def processor_ratio(self) -> float:
        """Tell how many times what the other does for the same processor time ours does."""
        return self.each[self.than] / self.each[US]

    def table(self) -> list[dict[str, Cell]]:
        """Give it as a table."""
        return [
            {"": name, "a second": self.rates[name], "processor µs each": 1e6 * self.each[name]}
            for name in self.rates
        ]

    def find(self, report: Report, *, per_second: float | None, least: float | None) -> None:
        """Keep what came of it: a rate, if one is expected, and two ratios.

        Args:
            report: Where.
            per_second: How many there should be a second, if anybody has said.
            least: What the ratios should be.
        """
        rates, each = self.rates, self.each
        if per_second is not None:
            report.find(Finding(self.what, rates[US], "/s", least=per_second))
        report.find(Finding(self.what, rates[US], "/s", self.than, rates[self.than], least=least))
        ours, theirs = 1 / each[US], 1 / each[self.than]
        report.find(Finding(self.what, ours, "/processor s", self.than, theirs, least=least))

    def __str__(self) -> str:
        """Say it in words."""
        return (
            f"{self.what}: {self.rates[US]:,.0f} a second, {self.rate_ratio:.2f} of the"
            f" {self.than}, {self.processor_ratio:.2f} for the same processor time"
        )


def by_turns(
    what: str, than: str, rounds: int, ours: Callable[[], Taken], theirs: Callable[[], Taken]
) -> Beside:
    """Measure one after the other, some times."""
    runs: Mapping[str, list[Taken]] = {US: [], than: []}
    for _ in range(rounds):
        runs[US].append(ours())
        runs[than].append(theirs())
    return Beside(
        what,
        than,
        {name: statistics.median(one.per_second for one in runs[name]) for name in runs},
        {
            # The kernel counts in steps of 10 ms.
            name: max(0.01, sum(one.processor_seconds for one in runs[name]))
            / sum(one.count for one in runs[name])
            for name in runs
        },
    )


def spending(usage: Callable[[], float], work: Callable[[], Mapping[str, float]]) -> Taken:
    """Do something, and note what processor time it took somebody.

    Args:
        usage: Tells the processor time so far.
        work: Gives ``count`` or ``total``, all that was done, and ``per_second``.
    """
    before = usage()
    found = work()
    count = found["total"] if "total" in found else found["count"]
    return Taken(count, found["per_second"], usage() - before)
