"""Repairing a store: steps that keep whatever they replace, a start, and a look whether it helped.

A start of the store does much of it: what the journal tells is written into the jobs' files, the
list of living jobs is made anew, and so is the index.  What stands between is done by
:mod:`harpcaller.store.salvage`.  All that is repeated while it helps: a job can have more than one
fault, and where the journal has lines of a job these are written first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.errors import StorageError
from harpcaller.store.check import Check
from harpcaller.store.disk import Disk
from harpcaller.store.filestore import FileJobStore
from harpcaller.store.findings import HANDS_OFF, Finding
from harpcaller.store.lane import InlineLane
from harpcaller.store.opening import take_lock
from harpcaller.store.premises import Premises
from harpcaller.store.salvage import Salvage

_T = TypeVar("_T")

_MOST_ROUNDS = 6
# A start may still write lines into the file of which these tell.
_AFTER_A_START = frozenset(
    {"torn_line", "damaged_lines", "records_missing", "no_end", "serial_twice"}
)
# These don't change what the index should tell.
_BESIDE_THE_INDEX = frozenset({"permissions", "stray", "empty_directory"})


@attrs.frozen
class Repaired:
    """What a repair came to.

    Attributes:
        jobs: How many there are.
        found: How many findings there were at first.
        remaining: Those that couldn't be helped, and why, as far as that is known.
    """

    jobs: int
    found: int
    remaining: list[tuple[Finding, str]]


def repair(disk: Disk, directory: str, tell: Callable[[Finding], None]) -> Repaired:
    """Repair a store that no daemon uses.

    Args:
        disk: How files are read and written.
        directory: The store's.
        tell: Told of each finding, before anything is changed.

    Raises:
        StorageError: It is in use, can't be started, or is of a newer version.
        OSError: It can't be read.
    """
    owner = Premises(disk, directory).owner
    # Before the lock is taken, whose file would be made: it may be nobody's store.
    check = Check(disk, directory)
    with _held(disk, directory):
        before = set()
        found = 0
        for finding in check.run():
            tell(finding)
            found += 1
            before.add(_key(finding))
            if finding.kind in HANDS_OFF:
                raise StorageError(
                    f"{directory}: a newer harpcallerd wrote this store; nothing was changed"
                )
    remaining: list[tuple[Finding, str]] = []
    for _ in range(_MOST_ROUNDS):
        if not before:
            break
        salvage = Salvage(disk, directory, owner, check.next_serial)
        with _held(disk, directory):
            failed, must_go_on = _steps(Check(disk, directory), salvage)
        _start(disk, directory)
        salvage.hand_over()
        with _held(disk, directory):
            check = Check(disk, directory)
            remaining = [(one, failed.get(_key(one), "")) for one in check.run()]
        now = {_key(finding) for finding, _ in remaining}
        if now == before and not must_go_on:
            break
        before = now
    return Repaired(check.jobs, found, remaining)


def _key(finding: Finding) -> int:
    return hash((finding.kind, finding.path, finding.job))


def _steps(check: Check, salvage: Salvage) -> tuple[dict[int, str], bool]:
    """Do what is to be done before a start.

    Returns:
        What didn't work, and why; and whether there is more to do after the start.
    """
    failed = {}
    must_go_on = False
    is_index_bad = False
    for finding in check.run():
        is_index_bad |= finding.kind not in _BESIDE_THE_INDEX
        if finding.kind in _AFTER_A_START and check.is_told(finding.job):
            must_go_on = True
            continue
        try:
            salvage.step(finding)
        except OSError as error:
            failed[_key(finding)] = error.strerror or str(error)
    if is_index_bad:
        salvage.drop_index()
    return failed, must_go_on


@contextmanager
def _held(disk: Disk, directory: str) -> Iterator[None]:
    try:
        handle = take_lock(disk, directory)
    except IsADirectoryError:
        # It lies in the lock's place; no daemon runs with that, and it is moved away soon.
        yield
        return
    try:
        yield
    finally:
        disk.close(handle)


@implementer(IReactorFromThreads)
class _NoThreads:
    """What a store reports to that has no threads."""

    def callFromThread(
        self, callable: Callable[..., object], *args: object, **kwargs: object
    ) -> None:
        """Never called."""
        raise AssertionError("there are no threads")


def _start(disk: Disk, directory: str) -> None:
    """Start the store as a daemon does, let it make what it makes anew, and stop it.

    Raises:
        StorageError: It can't be started.
    """
    clock = Clock()
    store = FileJobStore(
        directory,
        disk=disk,
        clock=clock,
        reactor=_NoThreads(),
        lane=lambda name, reactor: InlineLane(),
    )
    _finish(clock, store.open())
    while clock.getDelayedCalls():
        clock.advance(0)
    _finish(clock, store.close())


def _finish(clock: Clock, work: Deferred[_T]) -> _T:
    outcome: list[_T | Failure] = []
    _ = work.addBoth(outcome.append)
    while not outcome:
        clock.advance(0)
    if isinstance(outcome[0], Failure):
        outcome[0].raiseException()
    return outcome[0]
