"""The store on disk does what the one in memory does, whatever happens to it."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from harpcaller.errors import StorageError
from harpcaller.interfaces import Ended, Fact, Recorded, Resumable, Started, StoredJob
from harpcaller.store.filestore import FileJobStore
from harpcaller.store.layout import INDEX
from harpcaller.store.sizes import Sizes
from harpcaller.testing.store import MemoryJobStore
from harpcaller.wire.client import JobId
from harpcaller.wire.client_answers import Record
from harpcaller.wire.values import Raw
from tests.effort import tries
from tests.house import HouseCase
from tests.store import strategies
from tests.store.fakes import FaultyDisk, file_store
from tests.store.jobs import job

_T = TypeVar("_T")


class Stores(RuleBasedStateMachine):
    """A store on disk with tiny bounds, and the model."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.disk = FaultyDisk()
        self.root = tempfile.mkdtemp()
        self.lives = 0
        self.directory = f"{self.root}/0"
        self.model = MemoryJobStore(page_records=3, page_bytes=60)
        self.running: list[FileJobStore] = []
        self.store = self.make()
        self.submitted = 0
        self.living: dict[JobId, int] = {}  # records so far
        self.lossy: set[JobId] = set()
        self.both("open")

    def make(self) -> FileJobStore:
        store = file_store(
            self.directory,
            self.clock,
            disk=self.disk,
            sizes=Sizes(segment=3000, job_tail=300, all_tails=1500, page_records=3, page=130),
        )
        self.running.append(store)
        return store

    def teardown(self) -> None:
        self.disk.recover()
        for store in self.running:
            self.result(store.close())
        shutil.rmtree(self.root)

    def result(self, work: Deferred[_T]) -> _T:
        found: list[_T | Failure] = []
        _ = work.addBoth(found.append)
        while not found:
            self.clock.advance(0)
        if isinstance(found[0], Failure):
            found[0].raiseException()
        return found[0]

    def both(self, name: str, *values: object) -> object:
        """Ask both stores the same, and give what they agree on."""
        expected = self.result(getattr(self.model, name)(*values))
        found = self.result(getattr(self.store, name)(*values))
        if name != "jobs":
            assert found == expected, (name, values, found, expected)
        return found

    def add(self, job_id: JobId, fact: Fact) -> bool:
        """Tell both stores, or neither if the disk is broken."""
        try:
            self.result(self.store.add(job_id, fact))
        except StorageError:
            assert self.disk.failing or job_id in self.lossy
            if isinstance(fact, Recorded) and self.disk.failing:
                self.lossy.add(job_id)
            return False
        self.result(self.model.add(job_id, fact))
        return True

    # --- What the dispatcher does ------------------------------------------------------

    @rule(fact=strategies.submitted)
    def submit(self, fact: Fact) -> None:
        self.submitted += 1
        if self.add(job(self.submitted), fact):
            self.living[job(self.submitted)] = 0

    @rule(data=st.data(), fact=strategies.started)
    def start(self, data: st.DataObject, fact: Started) -> None:
        waiting = [
            job_id
            for job_id, records in self.living.items()
            if not records and Started not in map(type, self.model.facts_of(job_id))
        ]
        if waiting:
            self.add(data.draw(st.sampled_from(waiting)), fact)

    @rule(data=st.data(), fact=strategies.resumable)
    def keep(self, data: st.DataObject, fact: Resumable) -> None:
        fresh = [
            job_id
            for job_id in self.living
            if [Started] == list(map(type, self.model.facts_of(job_id)))[1:]
        ]
        if fresh:
            self.add(data.draw(st.sampled_from(fresh)), fact)

    @rule(data=st.data(), value=strategies.values, time=strategies.times, many=st.integers(1, 9))
    def say(self, data: st.DataObject, value: Raw, time: float, many: int) -> None:
        if not self.living:
            return
        job_id = data.draw(st.sampled_from(list(self.living)))
        for _ in range(many):
            if self.add(job_id, Recorded(Record(self.living[job_id], value, time))):
                self.living[job_id] += 1

    @rule(data=st.data(), fact=strategies.ended)
    def end(self, data: st.DataObject, fact: Ended) -> None:
        if self.living:
            job_id = data.draw(st.sampled_from(list(self.living)))
            if self.add(job_id, fact):
                del self.living[job_id]

    @rule(before=strategies.times)
    def prune(self, before: float) -> None:
        if not self.disk.failing:
            self.both("prune", before)

    # --- What happens to it ------------------------------------------------------------

    @rule(partly=st.sampled_from([0, 1, 50, 100_000]))
    def break_disk(self, partly: int) -> None:
        self.disk.fill_up()
        self.disk.partly = partly

    @rule()
    def mend_disk(self) -> None:
        self.disk.recover()

    @rule(name=st.sampled_from(["sync_tree", "sync", "write_at", "create_log", "remove"]))
    def break_one_thing(self, name: str) -> None:
        self.disk.failing[name] = 5

    @rule()
    def close_and_open(self) -> None:
        self.result(self.store.close())
        self.result(self.model.close())
        self.disk.recover()
        self.lossy.clear()
        self.both("open")

    @rule(lose_index=st.booleans())
    def kill(self, lose_index: bool) -> None:
        self.lives += 1
        copy = f"{self.root}/{self.lives}"
        shutil.copytree(self.directory, copy)
        if lose_index:
            for suffix in ("", "-wal", "-shm"):
                if os.path.exists(f"{copy}/{INDEX}{suffix}"):
                    os.unlink(f"{copy}/{INDEX}{suffix}")
        self.disk.recover()
        self.directory = copy
        self.store = self.make()
        self.model.crash()
        self.lossy.clear()
        self.both("open")

    # --- What anyone sees --------------------------------------------------------------

    @rule(data=st.data(), since=st.integers(0, 30))
    def look(self, data: st.DataObject, since: int) -> None:
        if not self.submitted:
            return
        job_id = job(data.draw(st.integers(1, self.submitted)))
        for name in ("call", "status", "ending", "count"):
            self.ask_both(name, job_id)
        self.ask_both("read", job_id, since)

    def ask_both(self, name: str, *values: object) -> None:
        """Both tell the same, or have the same complaint."""
        try:
            expected = self.result(getattr(self.model, name)(*values))
        except Exception as error:
            try:
                self.result(getattr(self.store, name)(*values))
            except type(error):
                return
            raise AssertionError(f"{name}: expected {error!r}") from error
        found = self.result(getattr(self.store, name)(*values))
        if name == "read":
            # Where a page ends is each store's own business.
            shared = min(len(found.records), len(expected.records))
            assert shared or not (found.records or expected.records)
            assert found.records[:shared] == expected.records[:shared]
            return
        assert found == expected, (name, found, expected)

    @rule()
    def read_everything(self) -> None:
        for number in range(1, self.submitted + 1):
            self.read_whole(job(number))

    def read_whole(self, job_id: JobId) -> None:
        """Read a job page by page from both."""
        told = []
        for store in (self.model, self.store):
            records: list[Record] = []
            try:
                while True:
                    page = self.result(store.read(job_id, len(records)))
                    records.extend(page.records)
                    if page.ending is not None or not page.records:
                        told.append((records, page.ending))
                        break
            except Exception as error:  # noqa: BLE001 - any, to compare it
                told.append(([], type(error)))  # type: ignore[arg-type]  # to compare it
        assert told[0] == told[1], job_id

    @invariant()
    def same_list(self) -> None:
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)
        told = []
        for store in (self.model, self.store):
            listed: list[StoredJob] = []
            after = 0
            while True:
                some, after = self.result(store.jobs(after, 3))
                if not some:
                    break
                listed.extend(some)
            told.append(listed)
        assert told[0] == told[1], told


class ModelTests(HouseCase):
    """Memory and disk agree."""

    def test_disk_is_like_memory(self) -> None:
        """No order of events, failures, crashes and restarts tells the two stores apart."""
        run_state_machine_as_test(
            Stores, settings=settings(max_examples=tries(60), stateful_step_count=40, deadline=None)
        )
