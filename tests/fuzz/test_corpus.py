"""Every parser bears what hunts have found, some inputs that are nearly those, and long ones."""

from __future__ import annotations

import signal
from types import FrameType

from hypothesis import HealthCheck, given, settings
from twisted.trial.unittest import SynchronousTestCase

from tests.effort import tries
from tests.fuzz.changing import changed, pumped
from tests.fuzz.corpus import FOLDER, kept
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

#: How long long inputs are, in bytes, and how much processor time one may take, in seconds: a
#: hundred times what it takes, and little of what it would if the work weren't linear.
LONG, PATIENCE_SECONDS = min(16, tries(16)) * 1024, 10.0


class TooLong(BaseException):
    """An input takes too much processor time; no ``except Exception`` swallows it."""


def _ring(_number: int, _frame: FrameType | None) -> None:
    raise TooLong


class CorpusTests(SynchronousTestCase):
    """Each target in turn; what fails names it and the input."""

    def test_kept_inputs(self) -> None:
        """What was once of interest is borne."""
        for target in TARGETS.values():
            inputs = kept(target.name)
            self.assertTrue(inputs, f"{target.name}: no corpus")
            for data in (b"", *target.seeds, *inputs):
                self.look(target, data)

    def test_no_corpus_without_a_target(self) -> None:
        """A renamed target takes its corpus along."""
        self.assertEqual(set(TARGETS), {file.stem for file in FOLDER.glob("*.txt")})

    def test_changed_inputs(self) -> None:
        """What is nearly good is borne."""
        for target in TARGETS.values():
            self.hunt(target)

    def hunt(self, target: Target) -> None:
        @settings(suppress_health_check=list(HealthCheck), max_examples=tries(60))
        @given(changed(target))
        def look(data: bytes) -> None:
            target.look_at(data)

        look()

    def test_long_inputs(self) -> None:
        """Work grows no faster than the input."""
        before = signal.signal(signal.SIGVTALRM, _ring)
        try:
            for target in TARGETS.values():
                for data in pumped(target, LONG):
                    signal.setitimer(signal.ITIMER_VIRTUAL, PATIENCE_SECONDS)
                    self.look(target, data)
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)

    def look(self, target: Target, data: bytes) -> None:
        try:
            target.look_at(data)
        except (Exception, TooLong) as error:
            shown = repr(data) if len(data) < 1000 else f"{data[:200]!r}... ({len(data)} bytes)"
            what = f"{target.name}: {type(error).__name__}: {error!s:.500}"
            raise AssertionError(f"{what}: {shown}") from error
