"""What must be true of a store after a crash."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import attrs

from harpcaller.errors import StorageError
from harpcaller.interfaces import Ended, Fact, LeftOver, Recorded, Resumable, Started, Submitted
from harpcaller.store.layout import IDENTITY, INDEX, JOURNAL, LOCK, job_id_at
from harpcaller.wire.client import JobId
from harpcaller.wire.client_answers import JobStatus
from tests.store.crash.world import DIRECTORY, World


class Wrong(AssertionError):
    """The store broke a promise."""


@attrs.define
class JobStory:
    """A job as the outside knows it.

    Attributes:
        facts: What the store was told, and didn't refuse, in order.
        sure: How many of them must be there after a power cut.
        acknowledged: How many of them were acknowledged.
        refused: What the store refused.
        is_aside: Whether its file couldn't be read as the store was opened.
        gone: Whether it was pruned; None if it may have been.
    """

    job_id: JobId
    facts: list[Fact] = attrs.Factory(list)
    sure: int = 0
    acknowledged: int = 0
    refused: list[Fact] = attrs.Factory(list)
    gone: bool | None = False
    records: int = 0
    is_lossy: bool = False
    is_aside: bool = False

    @property
    def is_there(self) -> bool:
        """Whether it was told to the store, and not refused."""
        return bool(self.facts)

    def has(self, kind: type[Fact]) -> bool:
        """Tell whether the store was told of such a fact."""
        return any(isinstance(fact, kind) for fact in self.facts)

    @property
    def refused_end(self) -> bool:
        """Whether its end was refused; who ends jobs tells it again later."""
        return any(isinstance(fact, Ended) for fact in self.refused)

    @property
    def has_ended(self) -> bool:
        """Whether the store was told of its end."""
        return self.has(Ended)


def judge(
    world: World,
    jobs: Mapping[JobId, JobStory],
    left_over: Sequence[LeftOver],
    *,
    by_kill: bool = False,
    doubts: bool = False,
    troubled: bool = False,
    lost_records: bool = False,
) -> dict[JobId, list[Fact]]:
    """Compare what an opened store has with what was acknowledged.

    Args:
        world: Where the store is open.
        jobs: What it was told before the crash, in order of submission.
        left_over: What opening it gave.
        by_kill: The process was killed, but the machine went on.
        doubts: The disk took no call any more from some refusal to the crash, so that what
            was refused may be there.
        troubled: The store was opened while calls failed, so that jobs may be set aside.
        lost_records: Records may be missing that nobody waited for.

    Returns:
        The facts that are there.

    Raises:
        Wrong: It isn't as it should be.
    """
    found: dict[JobId, list[Fact]] = {}
    for one in jobs.values():
        try:
            there = world.facts(one.job_id)
        except StorageError:
            if not troubled:
                raise
            one.is_aside = True
            continue
        _check_job(one, there, by_kill=by_kill, doubts=doubts, loses_records=lost_records)
        if there is not None:
            found[one.job_id] = there
    _check_left_over(found, left_over, may_miss=troubled)
    # Before the index is whole again lists may be shorter.
    world.settle()
    if not troubled:
        _check_listing(found, world)
        _check_files(found, world)
    return found


def _check_job(
    one: JobStory, there: list[Fact] | None, *, by_kill: bool, doubts: bool, loses_records: bool
) -> None:
    least = one.acknowledged if by_kill else one.sure
    if there is None:
        if least and one.gone is False:
            raise Wrong(f"{one.job_id} was acknowledged, and isn't there")
        return
    if one.gone is True:
        raise Wrong(f"{one.job_id} was pruned, and is there")
    told, sure, found = one.facts, one.facts[:least], there
    if loses_records:
        # Nobody waited for them; of those that came, the first ones are there.
        records = [fact for fact in there if isinstance(fact, Recorded)]
        if records != _records(one.facts + one.refused)[: len(records)]:
            raise Wrong(f"{one.job_id}: its records aren't the first ones")
        told, sure, found = _others(told), _others(sure), _others(there)
    if found[: len(sure)] != sure:
        raise Wrong(f"{one.job_id}: acknowledged {_names(sure)}, found {_names(found)}")
    if found == told[: len(found)]:
        return
    known = [*one.facts, *one.refused]
    if not doubts or any(fact not in known for fact in found):
        raise Wrong(f"{one.job_id}: told {_names(told)}, found {_names(found)}")


def _records(facts: Iterable[Fact]) -> list[Fact]:
    return [fact for fact in facts if isinstance(fact, Recorded)]


def _others(facts: Iterable[Fact]) -> list[Fact]:
    return [fact for fact in facts if not isinstance(fact, Recorded)]


def _names(facts: Iterable[Fact]) -> str:
    return " ".join(type(fact).__name__ for fact in facts) or "nothing"


def _check_left_over(
    found: Mapping[JobId, list[Fact]], left_over: Sequence[LeftOver], *, may_miss: bool
) -> None:
    expected = []
    for job_id, facts in found.items():
        if not isinstance(facts[-1], Ended):
            assert isinstance(facts[0], Submitted)
            started = [fact.at for fact in facts if isinstance(fact, Started)]
            records = sum(isinstance(fact, Recorded) for fact in facts)
            at = started[0] if started else None
            kept = any(isinstance(fact, Resumable) for fact in facts)
            expected.append(LeftOver(job_id, facts[0].call, facts[0].at, at, records, kept))
    if may_miss:
        expected = [one for one in expected if one in left_over]
    if list(left_over) != expected:
        raise Wrong(f"left over: {left_over}, expected {expected}")


def _check_listing(found: Mapping[JobId, list[Fact]], world: World) -> None:
    listed = world.listing()
    if [one.job_id for one in listed] != list(found):
        raise Wrong(f"listed: {[one.job_id for one in listed]}, expected {list(found)}")
    for one in listed:
        if one.status != _status(found[one.job_id]):
            raise Wrong(f"listed as {one.status}, expected {_status(found[one.job_id])}")


def _status(facts: list[Fact]) -> JobStatus:
    assert isinstance(facts[0], Submitted)
    call = facts[0].call
    return JobStatus(
        host=call.host,
        procedure=call.procedure,
        arguments=call.arguments,
        submitted_at=facts[0].at,
        started_at=next((fact.at for fact in facts if isinstance(fact, Started)), None),
        ended_at=next((fact.at for fact in facts if isinstance(fact, Ended)), None),
        info=call.info,
        queue_name=None if call.queue is None else call.queue.name,
    )


def job_files(world: World) -> dict[JobId, bytes]:
    """Give the content of all jobs' files."""
    found = {}
    for path in world.files.files(DIRECTORY):
        parts = path.removeprefix(f"{DIRECTORY}/").split("/")
        job_id = job_id_at(*parts) if len(parts) == 3 else None
        if job_id is not None:
            found[job_id] = world.files.content(path)
        elif parts[0] != JOURNAL and not parts[0].startswith((INDEX, LOCK, IDENTITY)):
            raise Wrong(f"a strange file: {path}")
    return found


def _check_files(found: Mapping[JobId, list[Fact]], world: World) -> None:
    for job_id, content in job_files(world).items():
        if job_id not in found:
            raise Wrong(f"{job_id} is no job, but has a file: {content!r}")
        lines = content.splitlines(keepends=True)
        if len(lines) != len(found[job_id]) or not lines[-1].endswith(b"\n"):
            raise Wrong(f"{job_id}: its file has {lines}, but found is {_names(found[job_id])}")
    journal = world.files.files(f"{DIRECTORY}/{JOURNAL}")
    if len(journal) > 2:
        raise Wrong(f"left in the journal: {journal}")
