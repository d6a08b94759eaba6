"""The life of a job, as a machine.

::

    state     turn_came   said       finished   cancelled
    --------  ----------  ---------  ---------  ---------
    queued    running     (late)     ended      ended
    running   (late)      running    ended      ended
    ended     (late)      (late)     (late)     (late)

Every input gives the :data:`~harpcaller.interfaces.Fact` to write down, or None where it
came too late to matter; so each job has one ending, whoever is first.  ``finished`` while
queued is a job that failed before it could start (an unknown host).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import attrs
from automat import TypeMachineBuilder

from harpcaller.interfaces import Ended, Recorded, Started
from harpcaller.wire.client_answers import Record
from harpcaller.wire.ending import Cancelled, Ending
from harpcaller.wire.values import Raw


class Life(Protocol):
    """What can happen to a job; times are Unix seconds."""

    def turn_came(self, now: float) -> Started | None:
        """The job's turn came."""

    def said(self, now: float, data: Raw) -> Recorded | None:
        """The agent sent a record."""

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


def _record(_life: Life, course: _Course, now: float, data: Raw) -> Recorded | None:
    number = course.records
    course.records += 1
    return Recorded(Record(number, data, now))


def _finish(_life: Life, _course: _Course, now: float, ending: Ending) -> Ended | None:
    return Ended(ending, now)


def _cancel(_life: Life, _course: _Course, now: float) -> Ended | None:
    return Ended(Cancelled(), now)


def _late_turn(_life: Life, _course: _Course, now: float) -> Started | None:
    return None


def _late_record(_life: Life, _course: _Course, now: float, data: Raw) -> Recorded | None:
    return None


def _late_finish(_life: Life, _course: _Course, now: float, ending: Ending) -> Ended | None:
    return None


def _late_cancel(_life: Life, _course: _Course, now: float) -> Ended | None:
    return None


def _machine() -> Callable[[_Course], Life]:
    builder = TypeMachineBuilder(Life, _Course)
    queued = builder.state("queued")
    running = builder.state("running")
    ended = builder.state("ended")

    queued.upon(Life.turn_came).to(running)(_start)
    queued.upon(Life.said).loop()(_late_record)
    queued.upon(Life.finished).to(ended)(_finish)
    queued.upon(Life.cancelled).to(ended)(_cancel)

    running.upon(Life.turn_came).loop()(_late_turn)
    running.upon(Life.said).loop()(_record)
    running.upon(Life.finished).to(ended)(_finish)
    running.upon(Life.cancelled).to(ended)(_cancel)

    ended.upon(Life.turn_came).loop()(_late_turn)
    ended.upon(Life.said).loop()(_late_record)
    ended.upon(Life.finished).loop()(_late_finish)
    ended.upon(Life.cancelled).loop()(_late_cancel)
    return builder.build()


_new = _machine()


def new_life() -> Life:
    """Begin the life of a job, queued."""
    return _new(_Course())
