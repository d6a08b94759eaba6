"""What the tests of this room stand on: a dispatcher between fakes, and a clock."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from harpcaller.dispatcher.dispatcher import CallSettings, Dispatcher
from harpcaller.interfaces import (
    Ended,
    Host,
    LeftOver,
    Page,
    Recorded,
    Requester,
    Resumable,
    Started,
    Submitted,
)
from harpcaller.queues.board import Board
from harpcaller.testing.caller import FakeCall, FakeCaller
from harpcaller.testing.dispatcher import FakeHosts
from harpcaller.testing.store import MemoryJobStore
from harpcaller.wire.agent import Credentials
from harpcaller.wire.client import Call, JobId, QueueSpec
from harpcaller.wire.client_answers import JobStatus, Record
from harpcaller.wire.ending import Ending, Returned
from harpcaller.wire.values import Raw
from tests.house import HouseCase

_T = TypeVar("_T")

DONE = Returned(Raw(b'"done"'))
DISKS = Raw(b'{"queue":"disks"}')
NOBODY = JobId("00000000-0000-4000-8000-000000000000")
WEB01 = Host("web01", "10.0.0.1", 4306, Credentials("rpc", "caixaudakuPus6yo"))
PEER = Requester("192.0.2.7:4711")

#: The wall clock's time when the test's clock says 0.
EPOCH = 1455282411.5


def call(
    procedure: str = "p",
    queue: bytes | None = None,
    concurrency: int = 1,
    host: str = "web01",
    timeout: float | None = None,
    max_exec_time: float | None = None,
) -> Call:
    """Give a call."""
    return Call(
        host,
        procedure,
        Raw(b'["argument"]'),
        timeout,
        max_exec_time,
        None if queue is None else QueueSpec(Raw(queue), concurrency),
        Raw(b'{"by":"test"}'),
    )


class DispatcherCase(HouseCase):
    """A dispatcher that can be restarted, and all that it stands on."""

    def setUp(self) -> None:
        super().setUp()
        self.random = Random(1)
        self.store = MemoryJobStore(page_records=3)
        self.hosts = FakeHosts(WEB01)
        self.settings = CallSettings(default_timeout=60, max_exec_time=300)
        self.begin()

    def begin(self) -> list[LeftOver]:
        """Make a new dispatcher of the store, as after a start; gives what it has to recover."""
        opened: Deferred[Any] = self.store.open()
        left_over: list[LeftOver] = list(self.successResultOf(opened))
        self.caller = FakeCaller()
        self.board = Board(self.clock)
        self.dispatcher = Dispatcher(
            store=self.store,
            board=self.board,
            hosts=self.hosts,
            caller=self.caller,
            clock=self.clock,
            now=self.now,
            random_bytes=self.random.randbytes,
            settings=self.settings,
        )
        return left_over

    def crash(self) -> None:
        """Die as by kill -9, and start anew."""
        self.store.crash()
        for delayed in list(self.clock.getDelayedCalls()):
            delayed.cancel()
        self.begin_and_recover()

    def begin_and_recover(self) -> None:
        left_over = self.begin()
        self.successResultOf(self.dispatcher.recover(left_over))
        self.turn()

    def now(self) -> float:
        """The wall clock."""
        return EPOCH + self.clock.seconds()

    def turn(self, times: int = 1) -> None:
        """Let the reactor turn."""
        for _ in range(times):
            self.clock.advance(0)

    def submit(self, procedure: str = "p", queue: bytes | None = None, **more: Any) -> JobId:
        """Submit a call and let its turn come, if it comes at once."""
        job_id = self.successResultOf(self.dispatcher.submit(call(procedure, queue, **more), PEER))
        self.turn()
        return job_id

    def running(self, procedure: str = "p") -> FakeCall:
        """Give the call that runs the procedure."""
        return self.caller.of(procedure)

    def kinds(self, job_id: JobId) -> list[str]:
        """Name the facts that are durable of a job."""
        names = {
            Submitted: "submitted",
            Started: "started",
            Resumable: "resumable",
            Recorded: "recorded",
            Ended: "ended",
        }
        return [names[type(fact)] for fact in self.store.facts_of(job_id)]

    def result(self, work: Deferred[_T]) -> _T:
        """Let the reactor turn once and give what came of the work."""
        self.turn()
        return self.successResultOf(work)

    def ending(self, job_id: JobId) -> Ending | None:
        """Tell how a job ended, without waiting."""
        return self.successResultOf(self.dispatcher.ending(job_id, False))

    def failure_type(self, job_id: JobId) -> str | None:
        """Give the wire type of the error that a job ended with."""
        return getattr(self.ending(job_id), "type", None)

    def status(self, job_id: JobId) -> JobStatus:
        return self.successResultOf(self.dispatcher.status(job_id))

    def all_records(self, job_id: JobId) -> list[Record]:
        """Read what there is."""
        found: list[Record] = []
        while True:
            page: Page = self.successResultOf(self.dispatcher.read(job_id, len(found)))
            found.extend(page.records)
            if not page.records:
                return found

    def log(self) -> list[tuple[str, Mapping[str, Any]]]:
        """Gather the kinds and contexts of what is logged from now on."""
        events: list[tuple[str, Mapping[str, Any]]] = []

        @implementer(ILogObserver)
        def observe(event: Mapping[str, Any]) -> None:
            if "kind" in event:
                events.append((event["kind"], event["context"]))

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        return events
