"""Troubles: every system call of a story goes wrong, in every way it can.

A case is named by a story, ``call=N`` (the N-th system call, from 0) and ``trouble=KIND``: the
name of an error (``EIO``, ``ENOSPC``, ``EMFILE``, ``EACCES``, ``EROFS``), or ``short`` for a
write that takes a part only.  ``EIO/1`` takes all of the data and then fails, as a failed sync
does, ``ENOSPC/2`` a half.  A ``+`` behind it means that from there on all calls go wrong that the
error can meet, until the disk is healed: when the story is told.  ``then=KIND`` says what
follows: ``heal`` (the store has to go on as if nothing had been), ``kill``, ``unindexed`` (killed,
and the index is lost before the next start) or the outcome of a power cut, while the trouble lasts.
"""

from __future__ import annotations

import copy
import errno
import re
from collections.abc import Iterator

import attrs
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from harpcaller.errors import StorageError
from harpcaller.store.layout import INDEX
from harpcaller.testing.durability import Outcome
from harpcaller.testing.trouble import SystemCall, Trouble, no_trouble
from tests.store.crash.cuts import Failed, go_on, recovered
from tests.store.crash.judge import Wrong, judge
from tests.store.crash.story import Story
from tests.store.crash.world import DIRECTORY, World

_name = re.compile(
    r"(?P<story>.*) call=(?P<at>[0-9]+) trouble=(?P<kind>[a-zA-Z0-9/]+)(?P<lasts>\+?)"
    r" then=(?P<then>[a-z0-9:]+)"
).fullmatch

_WRITES = {"write", "pwrite", "execute"}
_SYNCS = {"fdatasync", "fsync", "syncfs"}
_CHANGES = {"create", "unlink", "mkdir", "rmdir", "truncate", "ftruncate", "database"}
_LOOKS = {"open", "size", "length", "names", "pread", "read", "lock"}
_OPENS = {"open", "create", "database"}
_BY_PATH = {"open", "create", "unlink", "mkdir", "rmdir", "truncate", "size", "names", "database"}


def meets(call: SystemCall, kind: str) -> bool:
    """Tell whether a call can go wrong in this way."""
    error, _, taken = kind.partition("/")
    if taken or kind == "short":
        return call.name in {"write", "pwrite"}
    if error == "ENOSPC":
        return call.grows or call.name in _SYNCS
    if error == "EMFILE":
        return call.name in _OPENS
    if error == "EACCES":
        return call.name in _BY_PATH
    if error == "EROFS":
        return call.name in _WRITES | _CHANGES
    return True


#: The kinds that a call is tried with.
KINDS = (
    "EIO", "EIO+", "EIO/1", "EIO/1+", "EIO/2", "short", "ENOSPC", "ENOSPC+", "ENOSPC/2+",
    "EMFILE", "EMFILE+", "EACCES", "EACCES+", "EROFS+",
)  # fmt: skip

_THENS = ("heal", "kill", "unindexed", "all", "none", "random:1")


@attrs.frozen
class Fault:
    """A trouble, when it comes, and what follows."""

    story: str
    at: int
    kind: str
    lasts: bool
    then: str = "heal"

    @property
    def name(self) -> str:
        """How it is written down."""
        lasts = "+" if self.lasts else ""
        return f"{self.story} call={self.at} trouble={self.kind}{lasts} then={self.then}"

    @classmethod
    def named(cls, name: str) -> Fault:
        """Read what :attr:`name` wrote.

        Raises:
            ValueError: It isn't a name of ours.
        """
        found = _name(name)
        if found is None:
            raise ValueError(f"this is no trouble: {name!r}")
        at, lasts = int(found["at"]), bool(found["lasts"])
        return cls(found["story"], at, found["kind"], lasts, found["then"])

    @property
    def leaves_doubts(self) -> bool:
        """Whether the disk may have taken what it then says it hasn't, and takes nothing more."""
        return self.lasts and self.kind.startswith(("EIO", "EROFS"))


def calls_of(text: str) -> list[SystemCall]:
    """Give the system calls of a story in which nothing goes wrong."""
    found: list[SystemCall] = []

    def note(call: SystemCall) -> Trouble | None:
        found.append(call)
        return None

    story = Story(text)
    story.world.files.trouble = note
    story.tell()
    story.world.files.forget()
    return found


def all_faults(text: str, calls: list[SystemCall]) -> Iterator[Fault]:
    """Give every case of a story."""
    for call in calls:
        for kind in KINDS:
            bare = kind.removesuffix("+")
            if meets(call, bare):
                for then in _THENS if kind != bare else ("heal",):
                    yield Fault(text, call.number, bare, kind != bare, then)


def run(fault: Fault) -> None:
    """Do one case.

    Raises:
        Failed: A promise was broken.
    """
    bugs: list[LogEvent] = []

    @implementer(ILogObserver)
    def watch(event: LogEvent) -> None:
        if "log_failure" in event:
            bugs.append(event)

    globalLogPublisher.addObserver(watch)
    story = Story(fault.story)
    try:
        _run(fault, story)
        if bugs:
            raise Wrong(f"logged as a bug: {bugs[0]['log_failure'].getTraceback()}")
        if story.world.files.misused:
            raise Wrong(f"misused: {story.world.files.misused}")
    except Exception as error:
        raise Failed(f"{fault.name}\n{type(error).__name__}: {error}") from error
    finally:
        globalLogPublisher.removeObserver(watch)
        story.world.files.forget()


def _run(fault: Fault, story: Story) -> None:
    files = story.world.files
    error, _, parts = fault.kind.partition("/")
    number = 0 if error == "short" else getattr(errno, error)
    taken = 0.5 if error == "short" else 1 / int(parts) if parts else 0.0
    trouble = Trouble(number, taken)
    is_healed = False

    def ask(call: SystemCall) -> Trouble | None:
        if is_healed or call.number < fault.at:
            return None
        if call.number == fault.at or (fault.lasts and meets(call, error)):
            # What lasts is the error; taking a part before it happens once.
            return trouble if call.number == fault.at or number == errno.EIO else Trouble(number)
        return None

    def heal(_: StorageError) -> None:
        nonlocal is_healed
        is_healed = True

    files.trouble = ask
    story.troubled = heal
    story.has_doubts = fault.leaves_doubts
    story.is_troubled = True
    story.tell()
    if fault.then == "heal":
        is_healed = True
        _after_healing(story)
        return
    _crash(fault, story, fault.then, doubts=fault.leaves_doubts and not is_healed)


def _after_healing(story: Story) -> None:
    """A healed disk: the store goes on by itself, and a crash then finds everything."""
    world = story.world
    world.wait(600.0)
    for one in story.jobs.values():
        if one.is_there and not one.has_ended and one.refused_end:
            story.end(one)
    world.settle()
    for one in story.jobs.values():
        if one.acknowledged != len(one.facts) and story.durability != "end":
            raise Wrong(f"{one.job_id}: {one.acknowledged} of {len(one.facts)} acknowledged")
        if one.facts and one.has_ended:
            continue
        if one.refused_end and one.is_there:
            raise Wrong(f"{one.job_id}: a healthy disk, but its end is refused")
    new = story.submit(800)
    world.settle()
    if new.acknowledged != 1:
        raise Wrong("a healthy disk, but a job is refused")
    for then in ("none", "all", "random:7"):
        _crash(None, story, then, doubts=False)
    _crash(None, story, "kill", doubts=False)


def _crash(fault: Fault | None, story: Story, then: str, *, doubts: bool) -> None:
    """Crash, start again on a healthy disk, and judge."""
    if then not in {"kill", "unindexed"}:
        files = story.world.files.after_power_cut(Outcome(then))
        try:
            recovered(story, files, doubts=doubts)
        finally:
            files.forget()
        return
    files = story.world.files
    files.trouble = no_trouble
    story.world.kill()
    if then == "unindexed":
        files.replace(f"{DIRECTORY}/{INDEX}", None)
    world = story.world
    jobs = copy.deepcopy(story.jobs)
    left_over = world.open()
    lost_records = story.durability == "end"
    found = judge(world, jobs, left_over, by_kill=True, doubts=doubts, lost_records=lost_records)
    again = story.sequel(World(files, story.durability, story.sizes), jobs)
    again.world = world
    again.adopt(found)
    # What a process that was killed left in memory only, a later power cut still takes.
    after = files.after_power_cut(Outcome("none"))
    try:
        recovered(again, after, doubts=False)
    finally:
        after.forget()
    go_on(again)
