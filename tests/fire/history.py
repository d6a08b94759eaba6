"""What happened, as those outside could see it: questions and answers, runs, strikes.

Times are seconds of one clock that only goes forward; wall clocks are told of apart.  Nothing is
judged here.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from typing import Any

import attrs

from harpcaller.wire.values import Raw, canonical, encode

#: An answer line, decoded.
Answer = dict[str, Any]

_OPERATIONS = {"get_result", "get_status", "cancel", "follow_stream", "read_stream"}


@attrs.define(eq=False)
class Question:
    """One request and what came of it.

    Attributes:
        request: As it was sent.
        asked_at: Before the first byte of it left.
        answers: Every line that came.
        answered_at: When the last of them came, None if the answer was never complete.
        kind: What was asked: the operation's key in the request, ``call`` for a call.
    """

    request: Answer
    asked_at: float
    answers: list[Answer] = attrs.Factory(list)
    answered_at: float | None = None
    kind: str = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.kind = next(iter(_OPERATIONS & self.request.keys()), "call")

    def take(self, line: bytes, now: float) -> bool:
        """Take a line of the answer; tells whether it was the last one."""
        answer = json.loads(line)
        assert isinstance(answer, dict)
        self.answers.append(answer)
        if "packet" in answer:
            return False
        self.answered_at = now
        return True

    @property
    def job_id(self) -> str | None:
        """The job asked about; of a call the one that it became, None if that isn't known."""
        if self.kind == "call":
            return None if self.last is None else self.last.get("job_id")
        return str(self.request[self.kind])

    @property
    def marker(self) -> int:
        """The number that a call carries to be known by, wherever it turns up."""
        return marker_of(self.request["info"])

    @property
    def last(self) -> Answer | None:
        """The line that completed the answer."""
        return self.answers[-1] if self.answered_at is not None else None

    @property
    def records(self) -> list[Answer]:
        """The records that came."""
        return [answer for answer in self.answers if "packet" in answer]

    @property
    def error(self) -> str | None:
        """The type of the error that came last, if it is one."""
        if self.last is None or "error" not in self.last:
            return None
        return str(self.last["error"]["type"])


def marker_of(info: Any) -> int:
    """Read the number that a call carries from its info."""
    return int(info["marker"])


@attrs.define(eq=False)
class Run:
    """One request that reached an agent, as the agent saw it.

    Attributes:
        marker: The call's.
        begun_at: When the request was read.
        over_at: Until when the dispatcher certainly counted it as running, None if that
            isn't known.
        records: What it said.
        ending: Its last word, None if it had none.
        is_kept: The agent keeps it when the connection breaks; ``over_at`` is then when it
            had said its last word.
    """

    marker: int
    begun_at: float
    over_at: float | None = None
    records: list[Any] = attrs.Factory(list)
    ending: Answer | None = None
    is_kept: bool = False


@attrs.define(eq=False)
class Listing:
    """All jobs, as an operator's list gave them: ids and markers in order."""

    asked_at: float
    jobs: list[tuple[str, int]] = attrs.Factory(list)


@attrs.define
class History:
    """All of it.

    Attributes:
        questions: What clients asked, in order.
        runs: What agents were asked, in order.
        listings: Complete lists of jobs.
        deaths: When the daemon was killed or began to stop.
        disk_fails: Since when the disk may have failed, if it ever did.
        queue_cancels: When an operator began to cancel a queue, and which.
        prunings: When an operator began to prune, and what had ended before which wall time.
        unsure_hosts: Hosts that were not in the registry for a time, or never.
        dead_agents: Hosts whose agents died at some time.
        is_swift: Whether disk and network never were slow, nor any host hard to reach.
        jumps: When the wall clock began to be how much ahead of this one; the first at 0.
        slack_seconds: How far a recorded time may be from when it must have been.
        settled: When everything had been given the time to end: who asks later must hear how.
        is_calm: Whether nothing went wrong but what agents do by themselves.
        keeps_records: Whether a job that returned must have all its records.
    """

    questions: list[Question] = attrs.Factory(list)
    runs: list[Run] = attrs.Factory(list)
    listings: list[Listing] = attrs.Factory(list)
    deaths: list[float] = attrs.Factory(list)
    disk_fails: float | None = None
    queue_cancels: list[tuple[float, bytes]] = attrs.Factory(list)
    prunings: list[tuple[float, float]] = attrs.Factory(list)
    unsure_hosts: set[str] = attrs.Factory(set)
    dead_agents: set[str] = attrs.Factory(set)
    is_swift: bool = False
    jumps: list[tuple[float, float]] = attrs.Factory(lambda: [(0.0, 0.0)])
    slack_seconds: float = 0.002
    settled: float | None = None
    is_calm: bool = False
    keeps_records: bool = True

    def cancelled_queue(self, queue: Any, before: float) -> bool:
        """Tell whether an operator asked to cancel this queue before some time."""
        name = queue_key(queue)
        return any(at <= before and key == name for at, key in self.queue_cancels)

    def was_wall_time(self, time: float, since: float, until: float) -> bool:
        """Tell whether the wall clock can have shown this between two moments."""
        begins = [at for at, _ in self.jumps]
        first = max(0, bisect_right(begins, since) - 1)
        for number in range(first, len(self.jumps)):
            at, ahead = self.jumps[number]
            if at > until:
                return False
            ends = self.jumps[number + 1][0] if number + 1 < len(self.jumps) else until
            low, high = max(at, since) + ahead, min(ends, until) + ahead
            if low - self.slack_seconds <= time <= high + self.slack_seconds:
                return True
        return False


def queue_key(queue: Any) -> bytes:
    """Give what makes two queue names the same."""
    return canonical(Raw(encode(queue)))
