"""The board against a plain model: lists of names."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.interfaces import IPlace
from harpcaller.queues.board import Board
from harpcaller.wire.client import JobId, QueueSpec
from harpcaller.wire.values import Raw

QUEUES = st.sampled_from([b'{"q":1}', b'{"q":2}'])
PICKS = st.integers(0, 1000)


class _ModelQueue:
    def __init__(self, concurrency: int) -> None:
        self.concurrency = concurrency
        self.reserved: list[str] = []
        self.line: list[str] = []
        self.running: list[str] = []

    def jobs(self) -> list[str]:
        return [*self.reserved, *self.running, *self.line]


class _Boards(RuleBasedStateMachine):
    """Does the same to both, and compares what can be seen."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.board = Board(self.clock)
        self.places: dict[str, IPlace] = {}
        self.started: list[str] = []
        self.model: dict[bytes, _ModelQueue] = {}
        self.model_started: list[str] = []
        self.due: list[bytes] = []
        self.leaves_at_once: set[str] = set()
        self.closed = False
        self.count = 0

    def _touch(self, name: bytes) -> None:
        if not self.model[name].jobs():
            del self.model[name]
            if name in self.due:
                self.due.remove(name)
        elif name not in self.due and not self.closed:
            self.due.append(name)

    def _pick(self, which: str, number: int) -> tuple[bytes, str] | None:
        found = [(name, job) for name, q in self.model.items() for job in getattr(q, which)]
        return found[number % len(found)] if found else None

    @rule(name=QUEUES, concurrency=st.integers(1, 3))
    def reserve(self, name: bytes, concurrency: int) -> None:
        self.count += 1
        job = str(self.count)
        self.places[job] = self.board.reserve(JobId(job), QueueSpec(Raw(name), concurrency))
        queue = self.model.setdefault(name, _ModelQueue(concurrency))
        queue.reserved.append(job)
        assert self.places[job].concurrency == queue.concurrency

    @rule(number=PICKS, at_once=st.booleans())
    def wait(self, number: int, at_once: bool) -> None:
        picked = self._pick("reserved", number)
        if picked is None:
            return
        name, job = picked
        if at_once:
            self.leaves_at_once.add(job)

        def start() -> None:
            self.started.append(job)
            if at_once:
                self.places[job].leave()

        self.places[job].wait(start)
        self.model[name].reserved.remove(job)
        self.model[name].line.append(job)
        self._touch(name)

    @rule(name=QUEUES, concurrency=st.integers(1, 3), at_once=st.booleans())
    def line_up(self, name: bytes, concurrency: int, at_once: bool) -> None:
        self.reserve(name, concurrency)
        self.wait(-1, at_once)

    @rule(which=st.sampled_from(["reserved", "line", "running"]), number=PICKS, twice=st.booleans())
    def leave(self, which: str, number: int, twice: bool) -> None:
        picked = self._pick(which, number)
        if picked is None:
            return
        name, job = picked
        self.places[job].leave()
        if twice:
            self.places[job].leave()
        getattr(self.model[name], which).remove(job)
        self._touch(name)

    @rule()
    def turn(self) -> None:
        self.clock.advance(0)
        due, self.due = self.due, []
        for name in due:
            queue = self.model[name]
            while queue.line and len(queue.running) < queue.concurrency and not self.closed:
                job = queue.line.pop(0)
                self.model_started.append(job)
                if job not in self.leaves_at_once:
                    queue.running.append(job)
            # Those that left at once ask for one more turn.
            if not queue.jobs():
                del self.model[name]

    @rule(sure=st.sampled_from([False] * 19 + [True]))
    def close(self, sure: bool) -> None:
        if sure:
            self.closed = True
            self.due.clear()
            self.board.close()

    @invariant()
    def same(self) -> None:
        assert self.started == self.model_started
        assert list(self.board.queues()) == list(self.model)
        for name in (b'{"q":1}', b'{"q":2}'):
            queue = self.model.get(name)
            expected = [] if queue is None else [*queue.running, *queue.line]
            assert list(self.board.members(Raw(name))) == expected
            assert queue is None or len(queue.running) <= queue.concurrency


class ModelTests(SynchronousTestCase):
    def test_board_does_what_lists_do(self) -> None:
        """Whatever jobs do in whatever order, turns, lists and queues are those of the model."""
        run_state_machine_as_test(_Boards)
