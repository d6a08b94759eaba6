"""What is done to a store, as a text, and what the store acknowledged of it.

A story is ``DURABILITY SEGMENT | STEPS``: how durable, how long a segment of the journal may
become, and steps between spaces:

``s1 t1 m1 r1 R1 e1``
    Job 1 is submitted, starts, is kept by its agent, says a short record, a long one, ends.
``p``
    Everything that has ended is pruned.
``q`` ``x`` ``K``
    The store is closed and opened; the same, and the index is removed in between; the process is
    killed and another opens the store.
``w``
    A minute passes.
``[ ... ]``
    Nothing is waited for between these steps, so that facts gather in batches; here ``j`` and ``c``
    let the journal's thread and the checkpoint's do a piece of work, and ``+`` the reactor take a
    turn.

After each step outside of brackets everything comes to rest.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from harpcaller.errors import StorageError
from harpcaller.interfaces import (
    Ended,
    Fact,
    LeftOver,
    Pruned,
    Recorded,
    Resumable,
    Started,
    Submitted,
)
from harpcaller.store.layout import INDEX
from harpcaller.store.sizes import Durability, Sizes
from harpcaller.testing.filesystem import FileSystem
from harpcaller.testing.trouble import no_trouble
from harpcaller.wire.client import JobId, QueueSpec
from harpcaller.wire.values import Raw
from tests.store.crash.judge import JobStory, judge
from tests.store.crash.world import DIRECTORY, World
from tests.store.jobs import call, ended, job, record

_DURABILITY: dict[str, Durability] = {"full": "full", "end": "end", "none": "none"}
_step = re.compile(r"([stmrRe])([0-9]+)|[pqxKwjc+\[\]]").fullmatch


class Story:
    """A story that is being told.

    Args:
        text: As the module's docstring has it.
        files: The machine on which it happens.

    Attributes:
        world: Where it happens.
        jobs: In order of submission.
        is_troubled: Whether calls may fail.
        has_doubts: Whether what was refused may be there, if the store can't be opened.
        troubled: Called when the store can't be opened; it should put an end to the trouble.
    """

    def __init__(self, text: str, files: FileSystem | None = None) -> None:
        setting, _, steps = text.partition("|")
        durability, segment = setting.split()
        self.text = text
        self._steps = steps.split()
        for step in self._steps:
            if _step(step) is None:
                raise ValueError(f"there is no step {step!r}")
        self.durability = _DURABILITY[durability]
        self.sizes = Sizes(segment=int(segment), job_tail=900, all_tails=3000, page_records=3)
        self.world = World(files or FileSystem(), self.durability, self.sizes)
        self.jobs: dict[JobId, JobStory] = {}
        self.is_troubled = False
        self.has_doubts = False
        self.troubled: Callable[[StorageError], None] = _raise
        self._in_brackets = False
        self._prunings = 0  # under way
        self._at = 10.0

    def tell(self) -> None:
        """Do everything."""
        self.open()
        for step in self._steps:
            self._do(step)
            if not self._in_brackets:
                self.world.settle()
        self._in_brackets = False
        self.world.settle()

    def open(self) -> list[LeftOver]:
        """Open the store, after trouble at the second attempt."""
        try:
            return list(self.world.open())
        except StorageError as error:
            self.troubled(error)
            left_over = list(self.world.open())
            self._look(left_over)
            return left_over

    def _look(self, left_over: list[LeftOver]) -> None:
        """After a crash: what the last process didn't get to the disk is forgotten."""
        trouble = self.world.files.trouble
        self.world.files.trouble = no_trouble
        is_aside = {one.job_id for one in self.jobs.values()}
        found = judge(
            self.world,
            self.jobs,
            left_over,
            by_kill=True,
            doubts=self.has_doubts,
            troubled=self.is_troubled,
            lost_records=self.is_troubled and self.durability == "end",
        )
        self.world.files.trouble = trouble
        self.adopt(found)
        is_aside -= {one.job_id for one in left_over}
        for one in self.jobs.values():
            one.is_aside = one.is_there and not one.has_ended and one.job_id in is_aside

    def _do(self, step: str) -> None:
        world = self.world
        if step in "[]":
            self._in_brackets = step == "["
        elif step == "p":
            self.prune()
        elif step == "q":
            world.close()
            self.open()
        elif step == "x":
            world.close()
            world.files.replace(f"{DIRECTORY}/{INDEX}", None)
            self.open()
        elif step == "K":
            world.kill()
            self._prunings = 0
            self._look(self.open())
        elif step == "w":
            world.wait(60.0)
        elif step == "j":
            world.step("journal")
        elif step == "c":
            world.step("checkpoint")
        elif step == "+":
            world.turn()
        else:
            self._fact(step[0], job(int(step[1:])), int(step[1:]))

    def _fact(self, kind: str, job_id: JobId, number: int) -> None:
        self._at += 1.0
        one = self.jobs.get(job_id)
        if kind == "s":
            if one is None:
                queue = QueueSpec(Raw(b'{"q":%d}' % (number % 3)), 2) if number % 2 else None
                arguments = b'["%s"]' % (b"a" * (number * 97 % 700))
                self._add(job_id, Submitted(call(arguments=arguments, queue=queue), self._at))
            return
        if one is None or not one.is_there or one.has_ended or one.is_aside:
            return
        if kind == "t":
            if not one.has(Started) and not one.records:
                self._add(job_id, Started(self._at))
        elif kind == "m":
            if one.has(Started) and not one.has(Resumable) and not one.records:
                self._add(job_id, Resumable(self._at))
        elif kind == "e":
            self._add(job_id, ended(self._at))
        elif not one.is_lossy:
            text = f"{number}-{one.records} " + "b" * (1300 if kind == "R" else 30)
            one.records += 1
            self._add(job_id, record(one.records - 1, text))

    def end(self, one: JobStory) -> None:
        """End a job."""
        self._at += 1.0
        self._add(one.job_id, ended(self._at))

    def submit(self, number: int) -> JobStory:
        """Submit a job."""
        self._fact("s", job(number), number)
        return self.jobs[job(number)]

    def _add(self, job_id: JobId, fact: Fact) -> None:
        one = self.jobs.setdefault(job_id, JobStory(job_id))
        one.facts.append(fact)
        if isinstance(fact, Ended) and self._prunings:
            one.gone = None  # a pruning that is under way may come to it

        def added(_: None) -> None:
            place = next(n for n, known in enumerate(one.facts) if known is fact) + 1
            if self.durability == "end" and isinstance(fact, Recorded):
                return  # it isn't even written
            one.acknowledged = max(one.acknowledged, place)
            if self.durability != "none":
                one.sure = max(one.sure, place)

        def failed(failure: Failure) -> None:
            failure.trap(StorageError, ValueError)
            one.is_aside = failure.check(ValueError) is not None
            one.facts = [known for known in one.facts if known is not fact]
            one.refused.append(fact)
            if isinstance(fact, Recorded):
                one.is_lossy = True
                one.records -= 1

        _ = self.world.store.add(job_id, fact).addCallbacks(added, failed)

    def prune(self) -> None:
        """Prune everything that has ended."""
        due = [one for one in self.jobs.values() if one.has_ended and one.gone is not True]
        sure = [one for one in due if one.sure == len(one.facts)]
        was = {one.job_id: one.gone for one in due}
        for one in due:
            one.gone = None

        def done(result: object) -> object:
            self._prunings -= 1
            return result

        def pruned(found: Pruned) -> None:
            if found.removed == len(sure) and None not in was.values():
                for one in sure:
                    one.gone = True

        def failed(failure: Failure) -> None:
            failure.trap(StorageError)

        work: Deferred[Pruned] = self.world.store.prune(1e9)
        self._prunings += 1
        _ = work.addBoth(done).addCallbacks(pruned, failed)

    def sequel(self, world: World, jobs: dict[JobId, JobStory]) -> Story:
        """Give a story that goes on from here, in another world."""
        found = Story(f"{self.text.partition('|')[0]}|", world.files)
        found.world, found.jobs, found._at = world, jobs, self._at
        return found

    def adopt(self, found: dict[JobId, list[Fact]]) -> None:
        """Go on from what was found after a crash: that is what there is now."""
        for one in self.jobs.values():
            there = found.get(one.job_id)
            if there is None and one.is_aside:
                continue  # nobody knows
            if one.gone is None:
                one.gone = there is None
            one.facts = there or []
            one.sure = one.acknowledged = len(one.facts)
            one.records = sum(isinstance(fact, Recorded) for fact in one.facts)
            one.is_lossy = False
            one.refused.clear()


def _raise(error: StorageError) -> None:
    raise error
