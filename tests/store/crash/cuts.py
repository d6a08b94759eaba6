"""Power cuts: at every change of the disk, with every kind of outcome, and again in recovery.

A case is named by a story, ``cut=N`` (after the N-th change of the disk), ``outcome=...`` (see
:class:`~harpcaller.testing.durability.Outcome`) and ``index=...`` (what happens to the index
besides: ``as-is``, ``missing``, ``garbage`` or ``half``).  ``again=N:...`` adds a second cut after
the N-th change that recovery makes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from random import Random

import attrs

from harpcaller.store.layout import INDEX
from harpcaller.testing.durability import Outcome
from harpcaller.testing.filesystem import FileSystem
from tests.store.crash.judge import Wrong, job_files, judge
from tests.store.crash.story import Story
from tests.store.crash.world import DIRECTORY, World

_name = re.compile(
    r"(?P<story>.*) cut=(?P<cut>[0-9]+) outcome=(?P<outcome>[a-z0-9:]+) index=(?P<index>[a-z-]+)"
    r"(?: again=(?P<again>[0-9]+):(?P<outcome2>[a-z0-9:]+))?"
).fullmatch

_INDEX = ("as-is", "missing", "garbage", "half")

_NONE = Outcome("none")


@attrs.frozen
class Cut:
    """A power cut, or two."""

    story: str
    at: int
    outcome: Outcome
    index: str = "as-is"
    again: int | None = None
    outcome2: Outcome = _NONE

    @property
    def name(self) -> str:
        """How it is written down."""
        again = "" if self.again is None else f" again={self.again}:{self.outcome2.name}"
        return f"{self.story} cut={self.at} outcome={self.outcome.name} index={self.index}{again}"

    @classmethod
    def named(cls, name: str) -> Cut:
        """Read what :attr:`name` wrote.

        Raises:
            ValueError: It isn't a name of ours.
        """
        found = _name(name)
        if found is None:
            raise ValueError(f"this is no power cut: {name!r}")
        again = found["again"]
        return cls(
            found["story"],
            int(found["cut"]),
            Outcome(found["outcome"]),
            found["index"],
            None if again is None else int(again),
            Outcome(found["outcome2"] or "none"),
        )


class Failed(Exception):
    """A case went wrong; the message begins with its name."""


def run(cut: Cut) -> None:
    """Do one case.

    Raises:
        Failed: A promise was broken.
    """
    tell(cut.story, lambda at, story: [cut] if at == cut.at else [])


def tell(
    text: str, cases: Callable[[int, Story], list[Cut]], files: FileSystem | None = None
) -> int:
    """Tell a story, and try power cuts at every change of the disk.

    Args:
        text: The story.
        cases: Gives what to try after the change with this number.
        files: Where it happens, if not on a new machine.

    Returns:
        How many changes there were.
    """
    story = Story(text, files)
    count = 0
    wrong: list[Failed] = []

    def changed() -> None:
        nonlocal count
        count += 1
        if not wrong:
            for cut in cases(count, story):
                try:
                    _try(cut, story)
                except Failed as error:
                    # Raised from here it would be the store's to deal with.
                    wrong.append(error)

    story.world.files.changed = changed
    story.tell()
    changed()
    story.world.files.changed = lambda: None
    if wrong:
        raise wrong[0]
    if any(one.is_aside for one in story.jobs.values()):
        raise Failed(f"{text}\na healthy disk, but a job can't be read")
    story.world.close()
    story.world.files.forget()
    return count


def some(
    text: str, at: int, files: FileSystem, random: Random, *, randoms: int, doubles: int
) -> Iterator[Cut]:
    """Give cases for one moment of a story: all the plain ones, and some of the others."""
    names = ["all", "none", "zeros", "empty", "nameless", "index"]
    moments = files.moments()
    names += [f"until:{moment}" for moment in random.sample(moments, min(2, len(moments)))]
    names += [f"random:{random.randrange(10**6)}" for _ in range(randoms)]
    names += [f"torn:{random.randrange(10**6)}"]
    for name in names:
        yield Cut(text, at, Outcome(name))
    kind = random.choice(_INDEX[1:])
    yield Cut(text, at, Outcome(random.choice(names)), kind)
    for _ in range(doubles):
        again = random.choice(["all", "none", "zeros", f"random:{random.randrange(10**6)}"])
        yield Cut(
            text, at, Outcome(random.choice(names)), random.choice(_INDEX),
            random.randrange(1, 25), Outcome(again),
        )  # fmt: skip


def _try(cut: Cut, story: Story) -> None:
    try:
        files = story.world.files.after_power_cut(cut.outcome)
        _treat_index(files, cut.index)
        try:
            _recover(cut, story, files)
        finally:
            files.forget()
    except Exception as error:
        raise Failed(f"{cut.name}\n{type(error).__name__}: {error}") from error


def _treat_index(files: FileSystem, kind: str) -> None:
    if kind != "as-is" and DIRECTORY[1:] in files.names(""):
        content = {"missing": None, "half": b"", "garbage": b"garbage" * 700}[kind]
        files.replace(f"{DIRECTORY}/{INDEX}", content)


def _recover(cut: Cut, story: Story, files: FileSystem) -> None:
    """Start after a power cut, perhaps with another cut on the way, and judge."""
    if cut.again is not None:
        files = _cut_recovery(cut, story, files)
    recovered(story, files)


def recovered(story: Story, files: FileSystem, *, doubts: bool = False) -> None:
    """Start on what a crash left, judge it, and go on; the story itself is left alone.

    Raises:
        Wrong: It isn't as it should be.
    """
    jobs = copy.deepcopy(story.jobs)
    world = World(files, story.durability, story.sizes)
    lost = story.is_troubled and story.durability == "end"
    found = judge(world, jobs, world.open(), doubts=doubts, lost_records=lost)
    if files.misused:
        raise Wrong(f"misused: {files.misused}")
    before = job_files(world)
    # Once more, killed: that changes nothing.
    world.kill()
    left_over = world.open()
    if job_files(world) != before:
        raise Wrong("a second recovery changes the jobs' files")
    again = story.sequel(world, jobs)
    again.adopt(found)
    again.adopt(judge(world, jobs, left_over))
    go_on(again)


def _cut_recovery(cut: Cut, story: Story, files: FileSystem) -> FileSystem:
    """Begin a recovery and cut the power in the middle of it, if it takes so long."""
    left: list[FileSystem] = []
    count = 0

    def changed() -> None:
        nonlocal count
        count += 1
        if count == cut.again:
            left.append(files.after_power_cut(cut.outcome2))

    files.changed = changed
    world = World(files, story.durability, story.sizes)
    world.open()
    if not left:
        left.append(files.after_power_cut(cut.outcome2))
    files.changed = lambda: None
    world.kill()
    files.forget()
    return left[0]


def go_on(story: Story) -> None:
    """Use the store as ever: it takes jobs, ends them, forgets them, and closes."""
    world = story.world
    new = story.submit(900)
    world.settle()
    if not new.sure and story.durability != "none":
        raise Wrong("a healthy store took no job")
    if world.listing()[-1].job_id != new.job_id:
        raise Wrong("a new job isn't the last in the list")
    for one in story.jobs.values():
        if one.is_there and not one.has_ended:
            story.end(one)
    world.settle()
    listed = [one.job_id for one in world.listing()]
    if listed != [one.job_id for one in story.jobs.values() if one.is_there]:
        raise Wrong(f"the list isn't what it should be: {listed}")
    pruned = world.result(world.store.prune(1e9))
    if pruned.failed or pruned.removed != len(listed):
        raise Wrong(f"{len(listed)} jobs were to be pruned, but {pruned}")
    if job_files(world):
        raise Wrong(f"left after pruning: {list(job_files(world))}")
    world.close()
