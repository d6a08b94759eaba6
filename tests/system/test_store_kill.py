"""A real process stores jobs and is killed: everything it was told is stored, is."""

from __future__ import annotations

import os
import signal
import sys
import textwrap

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ProcessTerminated
from twisted.internet.interfaces import IReactorFromThreads, IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from harpcaller.errors import InvalidJobId, StorageError
from harpcaller.interfaces import LeftOver
from harpcaller.store.disk import RealDisk
from harpcaller.store.filestore import FileJobStore
from harpcaller.wire.client import JobId
from harpcaller.wire.lines import LineBuffer

_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# It runs jobs as fast as it can, and says each fact once the store has acknowledged it.
_WRITER = """
    import sys
    from uuid import uuid4
    from twisted.internet import reactor, task
    from twisted.internet.defer import Deferred
    from harpcaller.interfaces import Ended, Recorded, Started, Submitted
    from harpcaller.store.disk import RealDisk
    from harpcaller.store.filestore import FileJobStore
    from harpcaller.store.sizes import Sizes
    from harpcaller.wire.client import Call
    from harpcaller.wire.client_answers import Record
    from harpcaller.wire.ending import Returned
    from harpcaller.wire.values import Raw

    store = FileJobStore(
        sys.argv[1], disk=RealDisk(), clock=reactor, reactor=reactor,
        durability=sys.argv[2], sizes=Sizes(segment=300_000, job_tail=2000),
    )

    async def life(number):
        while True:
            job = str(uuid4())
            call = Call("h", "p", Raw(b"[1]"))
            facts = [("submit", Submitted(call, 1.0)), ("start", Started(2.0))]
            facts += [("record", Recorded(Record(n, Raw(b'"%d"' % n), 3.0))) for n in range(number)]
            facts += [("end", Ended(Returned(Raw(b'"x"')), 4.0))]
            for kind, fact in facts[: len(facts) - (number % 3 == 0)]:
                await store.add(job, fact)
                sys.stdout.write(f"{job} {kind}\\n")
            sys.stdout.flush()

    async def main():
        await store.open()
        for number in range(20):
            Deferred.fromCoroutine(life(number))
        await Deferred()

    task.react(lambda _: Deferred.fromCoroutine(main()))
"""


class _Writer(ProcessProtocol):
    """The process and what it said.

    Attributes:
        told: How many facts of each job were acknowledged, and the last one's kind.
        ended: Fires when the process is gone.
    """

    def __init__(self) -> None:
        self.told: dict[JobId, tuple[int, str]] = {}
        self.errors = b""
        self.ended: Deferred[None] = Deferred()
        self._lines = LineBuffer(1000)

    def outReceived(self, data: bytes) -> None:
        self._lines.feed(data)
        while (line := self._lines.next_line()) is not None:
            job_id, kind = line.decode().split()
            count, _ = self.told.get(JobId(job_id), (0, ""))
            self.told[JobId(job_id)] = (count + 1, kind)

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def processEnded(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008 - Twisted's
        self.signal = getattr(reason.value, "signal", None)
        self.is_killed = isinstance(reason.value, ProcessTerminated)
        self.ended.callback(None)


class StoreKillTests(TestCase):
    """``kill -9`` at any moment loses nothing that was acknowledged."""

    async def run_and_kill(self, directory: str, durability: str, seconds: float) -> _Writer:
        """Let a process store jobs for a while, then kill it."""
        writer = _Writer()
        spawner = IReactorProcess(reactor)
        process = spawner.spawnProcess(
            writer,
            sys.executable,
            [sys.executable, "-c", textwrap.dedent(_WRITER), directory, durability],
            env={"PYTHONPATH": _ROOT},
        )
        for _ in range(600):
            if writer.told or writer.ended.called:
                break
            await deferLater(reactor, 0.05)
        await deferLater(reactor, seconds)
        if not writer.ended.called:
            process.signalProcess("KILL")
        await writer.ended
        self.assertEqual(signal.SIGKILL, writer.signal, writer.errors.decode())
        self.assertGreater(len(writer.told), 20)
        return writer

    async def check(self, store: FileJobStore, told: dict[JobId, tuple[int, str]]) -> None:
        """Find everything that was acknowledged, and no hole in what wasn't."""
        left: dict[JobId, LeftOver] = {one.job_id: one for one in await store.open()}
        for job_id, (facts, kind) in told.items():
            status = await store.status(job_id)
            records = await store.count(job_id)
            page = await store.read(job_id, 0)
            self.assertEqual(list(range(records)), [one.number for one in page.records])
            if kind == "end":
                self.assertEqual("ended", status.state)
                self.assertNotIn(job_id, left)
                self.assertEqual(facts, records + 3)
            elif status.state != "ended":
                self.assertIn(job_id, left)
                self.assertGreaterEqual(records, facts - 2)
                self.assertGreaterEqual(2 if left[job_id].started_at else 1, min(facts, 2))

    async def try_it(self, durability: str) -> None:
        """Kill a writer a few times on the same store."""
        directory = os.path.abspath(self.mktemp())
        told: dict[JobId, tuple[int, str]] = {}
        for seconds in (0.1, 0.3, 0.7):
            told.update((await self.run_and_kill(directory, durability, seconds)).told)
            store = FileJobStore(
                directory,
                disk=RealDisk(),
                clock=reactor,
                reactor=IReactorFromThreads(reactor),
            )
            try:
                await self.check(store, told)
            finally:
                await store.close()

    async def test_full(self) -> None:
        """Every acknowledged fact is there after the kill."""
        await self.try_it("full")

    async def test_none(self) -> None:
        """The same without syncs: a killed process isn't a power cut."""
        await self.try_it("none")

    async def test_second_process(self) -> None:
        """A store that a living process holds is refused, and free when that was killed."""
        directory = os.path.abspath(self.mktemp())
        store = FileJobStore(
            directory,
            disk=RealDisk(),
            clock=reactor,
            reactor=IReactorFromThreads(reactor),
        )
        _ = await store.open()
        writer = _Writer()
        IReactorProcess(reactor).spawnProcess(
            writer,
            sys.executable,
            [sys.executable, "-c", textwrap.dedent(_WRITER), directory, "full"],
            env={"PYTHONPATH": _ROOT},
        )
        await writer.ended
        self.assertIn(b"in use by another daemon", writer.errors)
        self.assertIn(str(os.getpid()).encode(), writer.errors)
        await store.close()
        with self.assertRaises(StorageError):
            await store.status(JobId("x"))
        _ = await store.open()
        with self.assertRaises(InvalidJobId):
            await store.status(JobId("x"))
        await store.close()
