"""What is remembered of jobs that have ended: bounded, and gone with the job."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.errors import InvalidJobId
from harpcaller.store.recent import ENTRY_COST, Recent
from harpcaller.store.sizes import Sizes
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Cancelled, Ending, Failed, Raised
from harpcaller.wire.values import Raw
from tests.store.filecase import FileCase
from tests.store.jobs import DONE, call, ended, job

ROOM = 40 * ENTRY_COST


class RecentTests(SynchronousTestCase):
    def test_longest_unasked_goes_first(self) -> None:
        """What was asked for lately stays when room is needed."""
        recent: Recent[int] = Recent(ROOM)
        for number in range(40):
            recent.put(job(number), number, 0)
        self.assertEqual(0, recent.get(job(0)))
        recent.put(job(40), 40, 0)
        self.assertEqual((0, None, 2), tuple(recent.get(job(number)) for number in range(3)))

    def test_too_large(self) -> None:
        """One large thing doesn't drive out all the others, and isn't remembered wrong either."""
        recent: Recent[str] = Recent(ROOM)
        recent.put(job(1), "small", 0)
        recent.put(job(2), "old", 0)
        recent.put(job(2), "large", ROOM // 4)
        self.assertEqual(("small", None), (recent.get(job(1)), recent.get(job(2))))

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["put", "get", "forget"]), st.integers(0, 60), st.integers(0, 3000)
            )
        )
    )
    def test_like_a_plain_table(self, steps: list[tuple[str, int, int]]) -> None:
        """It tells what was put last, or nothing; and is never larger than its room."""
        recent: Recent[int] = Recent(ROOM)
        plain: dict[JobId, tuple[int, int]] = {}
        for step, (what, number, size) in enumerate(steps):
            if what == "put":
                recent.put(job(number), step, size)
                plain[job(number)] = (step, size)
            elif what == "forget":
                recent.forget(job(number))
                plain.pop(job(number), None)
            else:
                found = recent.get(job(number))
                self.assertIn(found, (None, plain.get(job(number), (None, 0))[0]))
        left = [size for name, (_, size) in plain.items() if recent.get(name) is not None]
        self.assertLessEqual(sum(left) + len(left) * ENTRY_COST, ROOM)


class ToldAgainTests(FileCase):
    sizes = Sizes(recent=1024 * 1024)

    def setUp(self) -> None:
        super().setUp()
        self.open()

    def test_every_kind_of_ending(self) -> None:
        """The second answer is the first one, whatever it was; the file isn't needed for it."""
        endings: list[Ending] = [
            DONE,
            Raised("ValueError", "x", Raw(b"[1]")),
            Failed("timeout", "nothing heard"),
            Cancelled(),
        ]
        for number, ending in enumerate(endings):
            job_id = self.submit(number)
            self.finish(self.store.add(job_id, ended(ending=ending)))
            status = self.finish(self.store.status(job_id))
            self.assertEqual(ending, self.finish(self.store.ending(job_id)))
            os.unlink(self.file_of(job_id))
            self.assertEqual(ending, self.finish(self.store.ending(job_id)))
            self.assertEqual(status, self.finish(self.store.status(job_id)))

    def test_long_answer(self) -> None:
        """What is said of a job counts against the room, also where it isn't a carried value."""
        for number, host in enumerate(("short", "long" * 32 * 1024)):
            job_id = self.submit(number, of=call(host))
            self.finish(self.store.add(job_id, ended()))
            self.finish(self.store.status(job_id))
            os.unlink(self.file_of(job_id))
        self.finish(self.store.status(job(0)))
        self.failureResultOf(self.store.status(job(1)), InvalidJobId)

    def test_forgotten_with_the_job(self) -> None:
        """A job that was pruned is no job any more, however lately it was asked for."""
        job_id = self.run_job(1, records=0)
        self.finish(self.store.ending(job_id))
        self.finish(self.store.status(job_id))
        self.finish(self.store.prune(float("inf")))
        for asked in (self.store.ending(job_id), self.store.status(job_id)):
            self.failureResultOf(asked, InvalidJobId)

    def test_asked_while_being_pruned(self) -> None:
        """Nor is one that is asked for between the moments of its pruning."""
        jobs = [self.run_job(number, records=0) for number in range(3)]
        pruning = self.store.prune(float("inf"))
        while not pruning.called:
            for job_id in jobs:
                _ = self.store.ending(job_id).addErrback(lambda failure: failure.trap(InvalidJobId))
                _ = self.store.status(job_id).addErrback(lambda failure: failure.trap(InvalidJobId))
            self.clock.advance(0)
        for job_id in jobs:
            self.failureResultOf(self.store.ending(job_id), InvalidJobId)
            self.failureResultOf(self.store.status(job_id), InvalidJobId)
