"""A job as those outside know it: all that was asked of it, and what its agent saw."""

from __future__ import annotations

import attrs

from tests.fire.history import Answer, Question, Run


@attrs.define(eq=False)
class Job:
    """A job that somebody was told of, or that a list has shown.

    Attributes:
        call: What it was made of.
        asked: Everything that was asked about it and answered, in the order of the answers.
        read: Everything that was asked of its stream, answered whole or not.
        run: What an agent saw of it.
        ending: How it ended, as the first who was told that was told.
        gone_at: When somebody was told that there is no such job.
    """

    job_id: str
    call: Question
    asked: list[Question] = attrs.Factory(list)
    read: list[Question] = attrs.Factory(list)
    run: Run | None = None
    ending: Answer | None = None
    gone_at: float | None = None

    def __str__(self) -> str:
        return f"job {self.call.marker} ({self.job_id})"
