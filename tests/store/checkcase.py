"""A base for tests that check and repair a store, and ways to damage one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from harpcaller.errors import WireError
from harpcaller.interfaces import Resumable, Started
from harpcaller.store.check import Check
from harpcaller.store.findings import KINDS, Finding
from harpcaller.store.layout import JOURNAL, job_path
from harpcaller.store.repair import Repaired, repair
from harpcaller.wire.client import JobId, QueueSpec
from harpcaller.wire.client_answers import Record
from harpcaller.wire.ending import Ending
from harpcaller.wire.values import Raw
from tests.store.filecase import FileCase, read_file, write_file
from tests.store.jobs import call, ended, job, record

#: Ended jobs with records, one without, and jobs that haven't ended.
ENDED = (job(1), job(2), job(3))
WAITING = job(4)
RUNNING = job(5)
ALL = (*ENDED, WAITING, RUNNING)

_T = TypeVar("_T")

#: All that a client can learn of a job, or what it is told instead.
Told = tuple[object, tuple[Record, ...], Ending | None] | tuple[str]


class CheckCase(FileCase):
    """A test with a store that has jobs of every kind, and is closed."""

    def setUp(self) -> None:
        super().setUp()
        self.open()
        self.let_turn()
        for number in (1, 2):
            self.run_job(number, records=5)
        self.run_job(3)
        self.submit(4, of=call(queue=QueueSpec(Raw(b'{"a":1}'), 1)))
        self.submit(5)
        self.finish(self.store.add(RUNNING, Started(12.0)))
        self.finish(self.store.add(RUNNING, Resumable(12.5)))
        for number in range(3):
            self.finish(self.store.add(RUNNING, record(number)))
        self.close()

    def damaged_copy(self) -> None:
        """Go on with a copy."""
        copy = os.path.abspath(self.mktemp())
        shutil.copytree(self.directory, copy, symlinks=True)
        self.directory = copy
        self.store = self.make()

    def path(self, relative: str) -> str:
        """Give a path in the store."""
        return os.path.join(self.directory, relative)

    def check(self) -> list[Finding]:
        """Check the store."""
        return list(Check(self.disk, self.directory).run())

    def kinds(self) -> set[str]:
        """Check the store, and give only what kinds of damage it has."""
        kinds = {finding.kind for finding in self.check()}
        self.assertTrue(kinds <= {*KINDS})
        return kinds

    def repair(self) -> Repaired:
        """Repair the store."""
        return repair(self.disk, self.directory, lambda finding: None)

    def found_and_repaired(self, *kinds: str) -> None:
        """Make sure that just this is found, that it is repaired, and that this lasts."""
        self.assertEqual({*kinds}, self.kinds())
        done = self.repair()
        self.assertEqual([], done.remaining)
        self.assertEqual([], self.check())
        before = self.everything()
        self.assertEqual(0, self.repair().found)
        self.assertEqual(before, self.everything())

    def everything(self) -> dict[str, bytes]:
        """Read every file of the store."""
        return {
            os.path.relpath(path, self.directory): read_file(path)
            for folder, _, names in os.walk(self.directory)
            for path in (os.path.join(folder, name) for name in names)
            if os.path.exists(path)
        }

    def told(self, jobs: Iterable[JobId] = ALL) -> dict[JobId, Told]:
        """Start a copy of the store and tell what a client can learn of some jobs."""
        origin, running = self.directory, self.store
        self.damaged_copy()
        self.open()
        self.let_turn()
        found = {job_id: self._told(job_id) for job_id in jobs}
        self.close()
        self.directory, self.store = origin, running
        return found

    def _told(self, job_id: JobId) -> Told:
        try:
            status = self.now(self.store.status(job_id))
            records: list[Record] = []
            while True:
                page = self.now(self.store.read(job_id, len(records)))
                records.extend(page.records)
                if not page.records:
                    return (status, tuple(records), page.ending)
        except WireError as error:
            return (error.wire_type,)

    def now(self, work: Deferred[_T]) -> _T:
        """Give the result of work that is done, or raise its error."""
        outcome: list[_T | Failure] = []
        _ = work.addBoth(outcome.append)
        if isinstance(outcome[0], Failure):
            outcome[0].raiseException()
        return outcome[0]

    def close_up(self) -> None:
        """Let nobody but us read what is in the store."""
        for folder, names, files in os.walk(self.directory):
            for name in names:
                os.chmod(os.path.join(folder, name), 0o700, follow_symlinks=True)
            for name in files:
                if os.path.exists(os.path.join(folder, name)):
                    os.chmod(os.path.join(folder, name), 0o600)

    # --- Damage --------------------------------------------------------------------------

    def change(self, path: str, how: Callable[[bytes], bytes]) -> None:
        """Write a file anew."""
        write_file(path, how(read_file(path)))

    def change_job(self, job_id: JobId, how: Callable[[bytes], bytes]) -> None:
        """Write a job's file anew."""
        self.change(job_path(self.directory, job_id), how)

    def names(self, folder: str) -> list[str]:
        """Give the names in a folder of the store, none if it isn't there."""
        path = self.path(folder)
        return sorted(os.listdir(path)) if os.path.isdir(path) else []

    def segment(self) -> str:
        """Give the path of the newest segment."""
        return self.path(f"{JOURNAL}/" + [n for n in self.names(JOURNAL) if n.endswith(".log")][-1])

    def list_of_living(self) -> str:
        """Give the path of the newest list of living jobs."""
        names = [name for name in self.names(JOURNAL) if name.endswith(".living")]
        return self.path(f"{JOURNAL}/{names[-1]}")

    def run_more(self) -> None:
        """Run more jobs, and die with what they did in the journal."""
        self.open()
        self.let_turn()
        self.run_job(11, records=2)
        self.submit(12)
        self.finish(self.store.add(RUNNING, record(3)))
        self.finish(self.store.add(WAITING, ended()))
        self.kill()
