"""A job in hand."""

from __future__ import annotations

from harpcaller.interfaces import Resumable, Started, Submitted
from harpcaller.store.living import LivingJob
from tests.house import HouseCase
from tests.store.jobs import call, ended, job, record


class LivingJobTests(HouseCase):
    """What may come next, and what is taken back."""

    def setUp(self) -> None:
        super().setUp()
        self.job = LivingJob(job(1), 1)
        self.tell(Submitted(call(), 1.0))

    def tell(self, *facts: object) -> None:
        """Accept facts, each with a line of one byte."""
        for fact in facts:
            self.accept(fact)
            self.job.accepted += 1

    def accept(self, *facts: object) -> None:
        self.job.accept(facts)  # type: ignore[arg-type]  # facts

    def test_order(self) -> None:
        """Facts that can't come next are refused."""
        self.assertRaises(ValueError, self.accept, Submitted(call(), 1.0))
        self.assertRaises(ValueError, self.accept, record(1))
        self.assertRaises(ValueError, self.accept, Resumable(1.0))
        self.tell(Started(1.0))
        self.assertRaises(ValueError, self.accept, Started(1.0))
        self.tell(Resumable(1.0))
        self.assertRaises(ValueError, self.accept, Resumable(1.0))
        self.tell(record(0), record(1))
        self.assertRaises(ValueError, self.accept, record(1))
        self.tell(ended())
        for late in (record(2), ended(), Started(1.0), Submitted(call(), 1.0)):
            self.assertRaises(ValueError, self.accept, late)

    def test_some_at_once(self) -> None:
        """Of some facts told at once all must be records in order, or none of them counts."""
        self.tell(Started(1.0))
        for odd in ((record(0), record(2)), (record(0), ended()), (Resumable(1.0), record(0))):
            self.assertRaises(ValueError, self.accept, *odd)
        self.accept(record(0), record(1))
        self.job.keep([record(0), record(1)], b"rr")
        self.assertEqual(2, self.job.records)
        self.tell(ended())
        self.assertRaises(ValueError, self.accept, record(2), record(3))

    def test_taken_back(self) -> None:
        """After a failure the job stands where it durably was."""
        self.job.keep([Submitted(call(), 1.0)], b"h")
        facts = (Started(1.0), Resumable(1.0), record(0), ended())
        self.tell(*facts)
        for fact in facts:
            self.job.take_back(fact)
        self.assertEqual((1, 0, True), (self.job.accepted, self.job.records, self.job.is_lossy))
        self.tell(Started(2.0), Resumable(2.0), ended())

    def test_found_again(self) -> None:
        """A job that was read from its file goes on where it was."""
        self.job = LivingJob.found(job(1), 7, 100, 5.0, True, 2)
        self.assertRaises(ValueError, self.accept, Started(1.0))
        self.tell(record(2))
        self.assertEqual((100, 101), (self.job.durable, self.job.accepted))
