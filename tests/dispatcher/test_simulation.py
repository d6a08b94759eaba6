"""A dispatcher's whole life, at random, against a plain model.

Submits, cancels, records, ends, vanishing agents, slow and full disks, crashes and restarts in
any order; the promises are checked after each step:

- no acknowledged job is unknown, and each has at most one ending, which never changes;
- a request is never sent twice for a job, nor after its cancel was acknowledged;
- no queue runs more than its concurrency, and its jobs start in order;
- a follower's records have no gap and no repeat, whatever happens to the dispatcher;
- nobody hears of anything that isn't durable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.dispatcher.dispatcher import CallSettings, Dispatcher
from harpcaller.errors import Shutdown, StorageError
from harpcaller.interfaces import (
    Ended,
    Host,
    IFollower,
    LeftOver,
    Page,
    Recorded,
    Requester,
    Started,
)
from harpcaller.queues.board import Board
from harpcaller.testing.caller import FakeCall, FakeCaller, Stage
from harpcaller.testing.dispatcher import FakeHosts
from harpcaller.testing.store import MemoryJobStore
from harpcaller.wire.agent import Credentials
from harpcaller.wire.client import Call, JobId, QueueSpec
from harpcaller.wire.ending import Cancelled, Ending, Raised, Returned
from harpcaller.wire.values import Raw

HOST = Host("web01", "10.0.0.1", 4306, Credentials("u", "p"))
QUEUES = [None, b'{"q":1}', b'{"q":2}']
PICKS = st.integers(0, 1000)


class _Asked:
    """A question on its way, and what came of it."""

    def __init__(self, work: Deferred[Any]) -> None:
        self.work = work
        self.answer: object = None
        self.failure: BaseException | None = None
        _ = work.addCallbacks(self._answered, self._failed)

    @property
    def over(self) -> bool:
        return self.answer is not None or self.failure is not None

    def _answered(self, answer: object) -> None:
        self.answer = answer

    def _failed(self, failure: Failure) -> None:
        self.failure = failure.value


class _Reader:
    """Somebody who follows a job, and begins anew where they were after a restart."""

    def __init__(self, job_id: JobId, since: int) -> None:
        self.job_id = job_id
        self.first = since
        self.next = since
        self.numbers: list[int] = []
        self.ending: Ending | None = None
        self.failure: BaseException | None = None
        self._reading: Deferred[None] | None = None

    def begin(self, follow: Callable[[JobId, int], IFollower]) -> None:
        self._reading = Deferred.fromCoroutine(self._read(follow(self.job_id, self.next)))
        _ = self._reading.addErrback(self._failed)

    def stop(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
        self.failure = None

    async def _read(self, follower: IFollower) -> None:
        while self.ending is None:
            page: Page = await follower.next_page()
            self.numbers += [record.number for record in page.records]
            self.next = self.first + len(self.numbers)
            self.ending = page.ending

    def _failed(self, failure: Failure) -> None:
        self.failure = failure.value


class Simulation(RuleBasedStateMachine):
    """The dispatcher, what it stands on, and those who use it."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.random = Random(0)
        self.store = MemoryJobStore(page_records=3)
        self.count = 0
        self.submits: list[_Asked] = []
        self.cancels: list[tuple[JobId, _Asked]] = []
        self.waits: list[tuple[JobId, _Asked]] = []
        self.readers: list[_Reader] = []
        self.all_calls: list[FakeCall] = []
        self.endings: dict[JobId, Ending] = {}
        self.told: dict[JobId, Ending] = {}
        self.stopping: _Asked | None = None
        self.begin()

    # --- The dispatcher's own life ---------------------------------------------------------

    def begin(self) -> None:
        left_over: list[LeftOver] = []
        _ = self.store.open().addCallback(left_over.extend)
        # A clock of its own for each: what is left of a dead one is cleared away by the garbage
        # collector, who knows when, and then gives back its timers and its places in queues.
        now = self.clock.seconds()
        self.clock = Clock()
        self.clock.rightNow = now
        self.caller = FakeCaller()
        self.board = Board(self.clock)
        self.dispatcher = Dispatcher(
            store=self.store,
            board=self.board,
            hosts=FakeHosts(HOST),
            caller=self.caller,
            clock=self.clock,
            now=self.clock.seconds,
            random_bytes=self.random.randbytes,
            settings=CallSettings(60, 300),
        )
        self.stopping = None
        self.recovered = _Asked(self.dispatcher.recover(left_over))
        for reader in self.readers:
            if reader.ending is None:
                reader.begin(self.dispatcher.follow)

    def leave(self) -> None:
        """Let everybody's connection be closed."""
        self.all_calls += self.caller.calls
        for asked in (*self.submits, *(asked for _, asked in self.cancels + self.waits)):
            if not asked.over:
                asked.work.cancel()
        for reader in self.readers:
            reader.stop()
        for delayed in list(self.clock.getDelayedCalls()):
            delayed.cancel()

    @rule()
    def crash(self) -> None:
        self.store.crash()
        self.store.fail_next(0)
        self.leave()
        self.begin()

    @precondition(lambda self: self.stopping is None)
    @rule(grace=st.sampled_from([0, 3, 10]))
    def stop(self, grace: int) -> None:
        self.board.close()
        self.stopping = _Asked(self.dispatcher.stop(grace).addCallback(lambda _: True))

    @precondition(lambda self: self.stopping is not None)
    @rule()
    def restart(self) -> None:
        assert self.stopping is not None
        self.dispatcher.hurry()
        self.clock.advance(0)
        self.store.release()
        self.clock.advance(0)
        assert self.stopping.answer is True, self.stopping.failure
        _ = self.store.close()
        self.leave()
        self.store.fail_next(0)
        self.begin()

    # --- Disk and time -----------------------------------------------------------------------

    @rule()
    def hold(self) -> None:
        self.store.hold()

    @precondition(lambda self: self.store.waiting)
    @rule()
    def release_one(self) -> None:
        self.store.release_one()

    @rule()
    def release(self) -> None:
        self.store.release()

    @rule(times=st.integers(1, 2))
    def fail_next(self, times: int) -> None:
        self.store.fail_next(times)

    @rule(seconds=st.sampled_from([0, 0, 0, 1, 5]))
    def advance(self, seconds: int) -> None:
        self.clock.advance(seconds)

    # --- Clients -----------------------------------------------------------------------------

    @rule(
        queue=st.sampled_from(QUEUES),
        concurrency=st.integers(1, 2),
        known=st.sampled_from([True, True, True, False]),
    )
    def submit(self, queue: bytes | None, concurrency: int, known: bool) -> None:
        self.count += 1
        place = None if queue is None else QueueSpec(Raw(queue), concurrency)
        call = Call("web01" if known else "nowhere", str(self.count), Raw(b"[]"), queue=place)
        self.submits.append(_Asked(self.dispatcher.submit(call, Requester("peer"))))

    def known(self) -> list[JobId]:
        return [JobId(str(asked.answer)) for asked in self.submits if asked.answer is not None]

    def pick(self, number: int) -> JobId | None:
        known = self.known()
        return known[number % len(known)] if known else None

    @rule(number=PICKS)
    def cancel(self, number: int) -> None:
        job = self.pick(number)
        if job is not None:
            asked = self.dispatcher.cancel(job).addCallback(lambda done: "yes" if done else "no")
            self.cancels.append((job, _Asked(asked)))

    @rule(number=PICKS)
    def wait(self, number: int) -> None:
        job = self.pick(number)
        if job is not None:
            self.waits.append((job, _Asked(self.dispatcher.ending(job, True))))

    @rule(number=PICKS, since=st.integers(0, 3))
    def follow(self, number: int, since: int) -> None:
        job = self.pick(number)
        if job is not None:
            self.readers.append(_Reader(job, since))
            self.readers[-1].begin(self.dispatcher.follow)

    @rule(number=PICKS)
    def client_goes(self, number: int) -> None:
        everybody = [*self.submits, *(asked for _, asked in self.waits + self.cancels)]
        if everybody:
            asked = everybody[number % len(everybody)]
            if not asked.over:
                asked.work.cancel()

    @rule(queue=st.sampled_from(QUEUES[1:]))
    def cancel_queue(self, queue: bytes) -> None:
        _ = self.dispatcher.cancel_queue(Raw(queue))

    # --- Agents ------------------------------------------------------------------------------

    def pick_call(self, number: int, stage: Stage | None) -> FakeCall | None:
        calls = [call for call in self.caller.open() if stage is None or call.stage is stage]
        return calls[number % len(calls)] if calls else None

    @rule(slow=st.booleans())
    def network(self, slow: bool) -> None:
        self.caller.connects = not slow

    @rule(number=PICKS)
    def connected(self, number: int) -> None:
        call = self.pick_call(number, Stage.CONNECTING)
        if call is not None:
            call.connected()

    @rule(number=PICKS, count=st.integers(1, 5))
    def record(self, number: int, count: int) -> None:
        call = self.pick_call(number, Stage.ASKED)
        for _ in range(count):
            if call is not None and call.stage is Stage.ASKED and not call.ending_told:
                call.record(b"1")

    @rule(number=PICKS, ending=st.sampled_from([Returned(Raw(b"1")), Raised("E", "x")]))
    def end(self, number: int, ending: Ending) -> None:
        call = self.pick_call(number, Stage.ASKED)
        if call is not None and not call.ending_told:
            call.end(ending)

    @rule(number=PICKS)
    def vanish(self, number: int) -> None:
        call = self.pick_call(number, None)
        if call is not None:
            call.vanish()

    # --- The promises --------------------------------------------------------------------------

    @invariant()
    def promises(self) -> None:
        # In this order: the first gathers what the others compare with.
        self.one_ending_that_never_changes()
        self.acknowledged_jobs_are_known()
        self.nothing_runs_twice()
        self.requests_only_after_durable_starts()
        self.queues_keep_their_concurrency_and_order()
        self.followers_miss_nothing()
        self.only_what_is_durable_is_told()

    def one_ending_that_never_changes(self) -> None:
        for job, fact in self.store.facts:
            if isinstance(fact, Ended):
                assert self.endings.setdefault(job, fact.ending) is fact.ending, job
        assert len(self.endings) == sum(isinstance(fact, Ended) for _, fact in self.store.facts)

    def acknowledged_jobs_are_known(self) -> None:
        stored = {job for job, _ in self.store.facts}
        living = set(self.dispatcher.living())
        for job in self.known():
            assert job in stored
            # Whoever recovers has taken up all that hadn't ended.
            assert (job in living) != (job in self.endings), job
        for asked in self.submits:
            assert asked.failure is None or asked.work.called

    def nothing_runs_twice(self) -> None:
        asked = Counter(
            call.call.procedure for call in (*self.all_calls, *self.caller.calls) if call.asked
        )
        assert not asked or max(asked.values()) == 1, asked

    def requests_only_after_durable_starts(self) -> None:
        started = {self._procedure(job) for job, f in self.store.facts if isinstance(f, Started)}
        for call in self.caller.calls:
            assert not call.asked or call.call.procedure in started

    def queues_keep_their_concurrency_and_order(self) -> None:
        for queue in QUEUES[1:]:
            calls = [
                call
                for call in self.caller.calls
                if call.call.queue is not None and call.call.queue.name == queue
            ]
            running = [call for call in calls if call.stage is not Stage.OVER]
            assert len(running) <= max((_concurrency(call) for call in calls), default=0)
            for call in running:
                assert len(running) <= _concurrency(call)
            order = [int(call.call.procedure) for call in calls]
            assert order == sorted(order), order

    def followers_miss_nothing(self) -> None:
        for reader in self.readers:
            expected = range(reader.first, reader.first + len(reader.numbers))
            assert reader.numbers == list(expected), reader.numbers
            durable = [
                fact.record.number
                for job, fact in self.store.facts
                if job == reader.job_id and isinstance(fact, Recorded)
            ]
            assert len(reader.numbers) <= max(0, len(durable) - reader.first)
            assert reader.failure is None, reader.failure
            if reader.ending is not None:
                assert self.endings[reader.job_id] is reader.ending
                assert len(reader.numbers) == max(0, len(durable) - reader.first)

    def only_what_is_durable_is_told(self) -> None:
        for job, asked in self.waits:
            if asked.answer is not None:
                assert self.endings[job] is asked.answer
        for job, asked in self.cancels:
            if asked.answer is not None:
                assert job in self.endings
            if asked.answer == "yes":
                assert self.endings[job] == Cancelled()
            assert asked.failure is None or _cancelled_or(asked.failure, StorageError)
        for asked in self.submits:
            assert asked.failure is None or _cancelled_or(asked.failure, StorageError, Shutdown)

    def teardown(self) -> None:
        """Let everything end: then every job has, everybody was told, and nothing is left."""
        self.store.fail_next(0)
        self.store.release()
        if self.stopping is not None:
            self.restart()
        for _ in range(2 * self.count + 3):
            self.clock.advance(5)
            for call in self.caller.open():
                call.vanish()
        self.clock.advance(0)
        self.promises()
        for job in self.known():
            assert job in self.endings
        for asked in (*self.submits, *(asked for _, asked in self.waits + self.cancels)):
            assert asked.over
        for reader in self.readers:
            assert reader.ending is not None
        assert list(self.dispatcher.living()) == []
        assert list(self.board.queues()) == []
        assert self.clock.getDelayedCalls() == []

    def _procedure(self, job: JobId) -> str:
        called: Deferred[Call] = self.store.call(job)
        found: list[Call] = []
        _ = called.addCallback(found.append)
        return found[0].procedure


def _concurrency(call: FakeCall) -> int:
    assert call.call.queue is not None
    return call.call.queue.concurrency


def _cancelled_or(failure: BaseException, *kinds: type[BaseException]) -> bool:
    return isinstance(failure, (CancelledError, *kinds))


def walk(seed: int, steps: int) -> None:
    """Go a random way of so many steps; busier than what Hypothesis finds by itself."""
    random = Random(seed)
    life = Simulation()

    def number() -> int:
        return random.randrange(1000)

    ways: list[tuple[int, Callable[[], object]]] = [
        (8, lambda: life.submit(random.choice(QUEUES), random.randint(1, 2), number() % 10 > 0)),
        (3, lambda: life.cancel(number())),
        (3, lambda: life.wait(number())),
        (3, lambda: life.follow(number(), random.randint(0, 3))),
        (1, lambda: life.client_goes(number())),
        (1, lambda: life.cancel_queue(random.choice([b'{"q":1}', b'{"q":2}']))),
        (1, lambda: life.network(number() % 2 > 0)),
        (5, lambda: life.connected(number())),
        (5, lambda: life.record(number(), random.randint(1, 5))),
        (8, lambda: life.end(number(), Returned(Raw(b"1")))),
        (2, lambda: life.vanish(number())),
        (3, life.hold),
        (6, lambda: life.store.waiting and life.release_one()),
        (3, life.release),
        (2, lambda: life.fail_next(random.randint(1, 2))),
        (8, lambda: life.advance(random.choice([0, 0, 0, 1, 5]))),
        (1, life.crash),
        (1, lambda: life.stopping is None and life.stop(random.choice([0, 3, 10]))),
        (5, lambda: life.stopping is not None and life.restart()),
    ]
    weights = [weight for weight, _ in ways]
    for _, step in random.choices(ways, weights, k=steps):
        step()
        life.promises()
    life.teardown()


class SimulationTests(SynchronousTestCase):
    def test_random_walks(self) -> None:
        """The dispatcher keeps its promises on each of these ways; the note tells which."""
        for seed in range(60):
            try:
                walk(seed, steps=120)
            except BaseException as error:
                error.add_note(f"on the way of seed {seed}: walk({seed}, steps=120)")
                raise

    def test_whatever_happens(self) -> None:
        """The dispatcher keeps its promises in any order of events."""
        run_state_machine_as_test(
            Simulation, settings=settings(stateful_step_count=60, deadline=None)
        )
