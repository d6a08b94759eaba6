"""The store in memory does what tests ask of it."""

from __future__ import annotations

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.interfaces import Recorded, Started, Submitted
from harpcaller.testing.store import MemoryJobStore
from tests.store.jobs import StoreCase, call, job


class KnobTests(StoreCase):
    """Bad luck on demand."""

    def setUp(self) -> None:
        super().setUp()
        self.store = MemoryJobStore()
        self.open()

    def test_hold_and_release(self) -> None:
        """Held writes neither fire nor show, and happen in order when they are released."""
        self.store.hold()
        first = self.store.add(job(1), Submitted(call(), 1.0))
        second = self.store.add(job(1), Started(2.0))
        self.assertEqual(2, self.store.waiting)
        self.assertNoResult(first)
        self.failureResultOf(self.store.status(job(1)), InvalidJobId)
        self.store.release_one()
        self.successResultOf(first)
        self.assertNoResult(second)
        self.store.release()
        self.successResultOf(second)
        self.submit(2)
        self.assertEqual([Submitted(call(), 1.0), Started(2.0)], self.store.facts_of(job(1)))

    def test_write_during_release(self) -> None:
        """What is stored by someone who was just told waits its turn."""
        self.store.hold()
        first = self.store.add(job(1), Submitted(call(), 1.0))
        second = self.store.add(job(2), Submitted(call(), 1.0))
        third = first.addCallback(lambda _: self.store.add(job(2), Started(1.0)))
        self.store.release()
        self.successResultOf(second)
        self.successResultOf(third)

    def test_failures(self) -> None:
        """So many writes fail as was asked for, held ones when they are released."""
        self.store.fail_next(2)
        self.failureResultOf(self.store.add(job(1), Submitted(call(), 1.0)), StorageError)
        self.store.hold()
        held = self.store.add(job(1), Submitted(call(), 1.0))
        self.store.release()
        self.failureResultOf(held, StorageError)
        self.submit(1)
        self.assertEqual(1, len(self.store.facts))

    def test_crash(self) -> None:
        """A crash loses what was under way, and nothing else."""
        self.submit(1)
        self.store.hold()
        lost = self.store.add(job(2), Submitted(call(), 1.0))
        self.store.crash()
        self.failureResultOf(self.store.status(job(1)), StorageError)
        self.assertEqual([job(1)], [one.job_id for one in self.open()])
        self.assertNoResult(lost)
        self.failureResultOf(self.store.status(job(2)), InvalidJobId)

    def test_out_of_place_after_crash(self) -> None:
        """Facts are checked when they are written."""
        self.submit(1)
        self.failureResultOf(self.store.add(job(1), Submitted(call(), 1.0)), ValueError)
        self.assertFalse(any(isinstance(fact, Recorded) for _, fact in self.store.facts))
