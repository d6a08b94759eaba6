"""The life of a job, as a machine.

::

    state     turn_came   kept       said       finished   cancelled
    --------  ----------  ---------  ---------  ---------  ---------
    queued    running     (late)     (late)     ended      ended
    running   (late)      resumable  running    ended      ended
    resumable (late)      (late)     resumable  ended      ended
    ended     (late)      (late)     (late)     (late)     (late)

Every input gives the :data:`~harpcaller.interfaces.Fact` to write down (``said`` gives some),
or None where it came too late to matter; so each job has one ending, whoever is first.
``finished`` while
queued is a job that failed before it could start (an unknown host).  In ``resumable`` the agent
has said that it keeps the call, so that a later dispatcher can go on with it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import attrs
from automat import TypeMachineBuilder

from harpcaller.interfaces import Ended, Recorded, Resumable, Started
from harpcaller.wire.client_answers import Record
from harpcaller.wire.ending import Cancelled, Ending
from harpcaller.wire.values import Raw


class Life(Protocol):
    """What can happen to a job; times are Unix seconds."""

    def turn_came(self, now: float) -> Started | None:
        """The job's turn came."""

    def kept(self, now: float) -> Resumable | None:
        """The agent said that it keeps the call; before the first record."""

    def said(self, now: float, data: Sequence[Raw]) -> Sequence[Recorded] | None:
        """The agent sent records."""

    def finished(self, now: float, ending: Ending) -> Ended | None:
        """The call ended by itself."""

    def cancelled(self, now: float) -> Ended | None:
        """Somebody wants it ended."""


@attrs.define
class _Course:
    """How far the job came."""

    records: int = 0


def _start(_life: Life, _course: _Course, now: float) -> Started | None:
    return Started(now)


def _keep(_life: Life, _course: _Course, now: float) -> Resumable | None:
    return Resumable(now)


def _record(
    _life: Life, course: _Course, now: float, data: Sequence[Raw]
) -> Sequence[Recorded] | None:
    first = course.records
    course.records += len(data)
    return [Recorded(Record(number, each, now)) for number, each in enumerate(data, first)]


def _finish(_life: Life, _course: _Course, now: float, ending: Ending) -> Ended | None:
    return Ended(ending, now)


def _cancel(_life: Life, _course: _Course, now: float) -> Ended | None:
    return Ended(Cancelled(), now)


def _late_turn(_life: Life, _course: _Course, now: float) -> Started | None:
    return None


def _late_keep(_life: Life, _course: _Course, now: float) -> Resumable | None:
    return None


def _late_record(
    _life: Life, _course: _Course, now: float, data: Sequence[Raw]
) -> Sequence[Recorded] | None:
    return None


def _late_finish(_life: Life, _course: _Course, now: float, ending: Ending) -> Ended | None:
    return None


def _late_cancel(_life: Life, _course: _Course, now: float) -> Ended | None:
    return None


def _machine() -> Callable[[_Course], Life]:
    builder = TypeMachineBuilder(Life, _Course)
    queued = builder.state("queued")
    running = builder.state("running")
    resumable = builder.state("resumable")
    ended = builder.state("ended")

    queued.upon(Life.turn_came).to(running)(_start)
    queued.upon(Life.kept).loop()(_late_keep)
    queued.upon(Life.said).loop()(_late_record)
    queued.upon(Life.finished).to(ended)(_finish)
    queued.upon(Life.cancelled).to(ended)(_cancel)

    running.upon(Life.turn_came).loop()(_late_turn)
    running.upon(Life.kept).to(resumable)(_keep)
    running.upon(Life.said).loop()(_record)
    running.upon(Life.finished).to(ended)(_finish)
    running.upon(Life.cancelled).to(ended)(_cancel)

    resumable.upon(Life.turn_came).loop()(_late_turn)
    resumable.upon(Life.kept).loop()(_late_keep)
    resumable.upon(Life.said).loop()(_record)
    resumable.upon(Life.finished).to(ended)(_finish)
    resumable.upon(Life.cancelled).to(ended)(_cancel)

    ended.upon(Life.turn_came).loop()(_late_turn)
    ended.upon(Life.kept).loop()(_late_keep)
    ended.upon(Life.said).loop()(_late_record)
    ended.upon(Life.finished).loop()(_late_finish)
    ended.upon(Life.cancelled).loop()(_late_cancel)
    return builder.build()


_new = _machine()


def new_life(records: int = 0) -> Life:
    """Begin the life of a job, queued; or anew, with the records that it has."""
    return _new(_Course(records))
