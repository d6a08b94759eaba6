"""Thousands of crashes and troubles of the disk, and what must be true after each.

``tests.store.crash`` tells what is tried and how.  What fails prints a name; ``python -m
tests.store.crash NAME`` does that case alone again.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.effort import every
from tests.house import HouseCase
from tests.store.crash import cuts, faults
from tests.store.crash.stories import SYSTEMATIC, most, random_story, seed
from tests.store.crash.story import Story

# A case has a name; making it smaller would take longer than reading it.
_PHASES = (Phase.explicit, Phase.generate)


class PowerCutTests(HouseCase):
    """The power goes at any moment, and takes what wasn't synced, all, none or parts of it."""

    def _tell(self, text: str, random: Random, wanted: int) -> None:
        """Try so many power cuts on a story, at moments evenly spread over it."""
        changes = cuts.tell(text, lambda at, story: [])
        share = wanted / changes
        count = 0.0

        def cases(at: int, story: Story) -> list[cuts.Cut]:
            nonlocal count
            count += share
            files = story.world.files
            found = list(cuts.some(text, at, files, random, randoms=2, doubles=3))
            chosen = random.sample(found, min(len(found), int(count)))
            count -= int(count)
            return chosen

        cuts.tell(text, cases)

    def test_life(self) -> None:
        """A job's life with a checkpoint in it survives a power cut at any moment."""
        self._tell(SYSTEMATIC[0], Random(seed()), most(400))

    def test_batches_checkpoint_pruning(self) -> None:
        """So do batches, and a pruning that crosses a checkpoint."""
        self._tell(SYSTEMATIC[1], Random(seed()), most(500))

    def test_index_lost(self) -> None:
        """So does a store whose index was lost and is made anew."""
        self._tell(SYSTEMATIC[2], Random(seed()), most(400))

    def test_unsynced_records(self) -> None:
        """Records that nobody waited for are there from the first to some last one, whole."""
        self._tell(SYSTEMATIC[3], Random(seed()), most(400))

    def test_unsynced_everything(self) -> None:
        """Without any sync a power cut takes the newest facts, but leaves no half one."""
        self._tell(SYSTEMATIC[4], Random(seed()), most(400))

    @settings(max_examples=most(25), deadline=None, phases=_PHASES)
    @given(st.integers(0, 2**32))
    def test_any_story(self, number: int) -> None:
        """So does whatever else a store may be told."""
        random = Random(number)
        self._tell(random_story(random), random, 30)


class TroubleTests(HouseCase):
    """Every system call fails, in every way it can, once or from there on."""

    def _try(
        self,
        text: str,
        random: Random,
        wanted: int,
        among: Callable[[faults.Fault], bool] = lambda fault: True,
    ) -> None:
        found = list(filter(among, faults.all_faults(text, faults.calls_of(text))))
        for fault in random.sample(found, min(len(found), wanted)):
            faults.run(fault)

    def test_each_call_of_a_life(self) -> None:
        """Each call in a job's life goes wrong in each way, in turn; who hits that is told."""
        found = faults.all_faults(SYSTEMATIC[0], faults.calls_of(SYSTEMATIC[0]))
        for fault in [fault for fault in found if not fault.lasts][:: every(1)]:
            faults.run(fault)

    def test_life(self) -> None:
        """Trouble in a job's life that lasts is told, and over when the disk is healed."""
        self._try(SYSTEMATIC[0], Random(seed()), most(150), lambda fault: fault.lasts)

    def test_batches_checkpoint_pruning(self) -> None:
        """So is trouble with batches, checkpoints and prunings."""
        self._try(SYSTEMATIC[1], Random(seed()), most(250))

    def test_index_lost(self) -> None:
        """So is trouble while the index is made anew."""
        self._try(SYSTEMATIC[2], Random(seed()), most(200))

    def test_unsynced_records(self) -> None:
        """So is trouble with records that nobody waits for."""
        self._try(SYSTEMATIC[3], Random(seed()), most(200))

    def test_unsynced_everything(self) -> None:
        """So is trouble where nothing is waited for."""
        self._try(SYSTEMATIC[4], Random(seed()), most(200))

    @settings(max_examples=most(15), deadline=None, phases=_PHASES)
    @given(st.integers(0, 2**32))
    def test_any_story(self, number: int) -> None:
        """So is trouble with whatever else a store may be told."""
        random = Random(number)
        self._try(random_story(random), random, 10)
