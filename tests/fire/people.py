"""Who is around the daemon: clients that ask and agents that are called."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from harpcaller.testing.agent import (
    BREAK_OFF,
    HANG_UP,
    Say,
    Step,
    Wait,
    acknowledge,
    end,
    record,
)
from harpcaller.wire.ending import Failed, Raised, Returned
from harpcaller.wire.lines import LineBuffer
from harpcaller.wire.values import Raw
from tests.fire.history import Answer, Question, Run
from tests.fire.network import End

NOBODY = "00000000-0000-4000-8000-000000000000"


class Client(Protocol):
    """One client's connection: requests go out in order, answers come back in order.

    Args:
        seconds: The clock.
        trace: Told what comes.
        over: Told when the connection is lost.
    """

    transport: End

    def __init__(
        self,
        seconds: Callable[[], float],
        trace: Callable[..., None],
        over: Callable[[Client], None],
    ) -> None:
        self.waiting: deque[Question] = deque()
        self.is_lost = False
        self.is_mad = False  # it gets answers to what nobody asked
        self._seconds = seconds
        self._trace = trace
        self._over = over
        self._lines = LineBuffer(2**20)

    def ask(self, question: Question) -> None:
        """Send a request; several may be on their way."""
        self.waiting.append(question)
        self.transport.write(json.dumps(question.request).encode() + b"\n")

    def dataReceived(self, data: bytes) -> None:
        self._lines.feed(data)
        while (line := self._lines.next_line()) is not None:
            self._trace("answer", line)
            if self.waiting and self.waiting[0].take(line, self._seconds()):
                _ = self.waiting.popleft()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True
        self._over(self)


def script_of(random: Random, run: Run) -> list[Step]:
    """Make up what an agent does for one call, and note what it is going to say."""
    kind = random.choices(
        ("result", "stream", "burst", "exception", "refusal", "crash", "silence", "garbage"),
        (30, 25, 8, 8, 5, 8, 5, 4),
    )[0]
    run.records, run.ending = [], None
    if kind == "refusal":
        failed = Failed("no_such_procedure", f"no procedure for {run.marker}")
        run.ending = {"error": {"type": failed.type, "message": failed.message}}
        return [end(failed), HANG_UP]
    steps: list[Step] = [acknowledge(streaming=kind != "result")]
    if kind == "garbage":
        return [
            *steps,
            Say(random.choice((b"}{\n", b"\xff\xfe\n", b'{"stream":1}{}\n', b"null\n"))),
        ]
    count = {"result": 0, "burst": random.randint(20, 60)}.get(kind, random.randint(0, 9))
    for number in range(count):
        if kind != "burst":
            steps.append(Wait(random.choice((0.0, 0.01, 0.3, 1.0))))
        value = [run.marker, number, "x" * random.choice((0, 0, 0, 200))]
        run.records.append(value)
        steps.append(record(json.dumps(value).encode()))
    if kind == "silence":
        return [*steps, Wait(1e6)]
    if kind == "crash":
        return [*steps, Wait(random.choice((0.0, 0.5))), BREAK_OFF]
    steps.append(Wait(random.choice((0.0, 0.0, 0.2, 1.0, 3.0))))
    if kind == "exception":
        raised = Raised("Oops", f"call {run.marker}")
        run.ending = {"exception": {"type": raised.type, "message": raised.message}}
        return [*steps, end(raised), HANG_UP]
    value = [run.marker, "done"]
    run.ending = {"result": value}
    return [
        *steps,
        end(Returned(Raw(json.dumps(value).encode()))),
        random.choice((HANG_UP, Wait(1e6))),
    ]


def request_of(random: Random, marker: int, hosts: list[str], queues: int) -> Answer:
    """Make up a call."""
    request: Answer = {
        "harpcaller": 1,
        "host": random.choice(hosts),
        "procedure": random.choice(("p", "q")),
        "arguments": [marker],
        "info": {"marker": marker},
    }
    if queues and random.random() < 0.6:
        number = random.randrange(queues)
        # Two spellings of one name.
        name = {"q": number, "x": 1} if random.random() < 0.5 else {"x": 1, "q": number}
        request["queue"] = {"name": name, "concurrency": number + 1}
    if random.random() < 0.1:
        request["timeout"] = random.choice((0.2, 1, 5))
    if random.random() < 0.1:
        request["max_exec_time"] = random.choice((0.5, 2, 50))
    return request


def question_about(random: Random, job_id: str) -> dict[str, Any]:
    """Make up a question about a job."""
    kind = random.choices(
        ("get_result", "no_wait", "get_status", "cancel", "follow_stream", "read_stream"),
        (18, 8, 16, 9, 22, 12),
    )[0]
    if random.random() < 0.02:
        job_id = NOBODY
    if kind in ("get_result", "get_status", "cancel"):
        return {"harpcaller": 1, kind: job_id}
    if kind == "no_wait":
        return {"harpcaller": 1, "get_result": job_id, "wait": False}
    where = random.choice(("since", "recent", "since", ""))
    return {"harpcaller": 1, kind: job_id} | ({where: random.randrange(5)} if where else {})
