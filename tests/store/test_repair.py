"""Whatever happens to a store's files, a repair makes it clean and leaves the other jobs alone."""

from __future__ import annotations

import contextlib
import gc
import os
import shutil
import tempfile

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harpcaller.store.check import Check
from harpcaller.store.findings import Finding
from harpcaller.store.layout import INDEX, JOURNAL, LOCK
from harpcaller.store.repair import repair
from tests.effort import every, tries
from tests.store.checkcase import ALL, RUNNING, WAITING, CheckCase
from tests.store.fakes import FaultyDisk
from tests.store.filecase import read_file, write_file
from tests.store.jobs import job

_HARM = (
    "flip",
    "cut",
    "append",
    "zero",
    "remove",
    "rename",
    "open",
    "swap",
    "repeat",
    "drop",
    "copy",
)


class Harm:
    """Does something bad to one file.

    Args:
        what: One of _HARM.
        where: Which part of the file, from 0 to 1.
        much: How much, likewise.
    """

    def __init__(self, what: str, where: float, much: float) -> None:
        self._what = what
        self._where = where
        self._much = much

    def __repr__(self) -> str:
        return f"Harm({self._what!r}, {self._where}, {self._much})"

    def do(self, path: str) -> None:
        """Do it."""
        if not os.path.exists(path):
            return
        if self._what == "remove":
            os.unlink(path)
        elif self._what == "rename":
            os.rename(path, path + "x")
        elif self._what == "copy":
            shutil.copy(path, path[:-1] + ("0" if path[-1] != "0" else "1"))
        elif self._what == "open":
            os.chmod(path, 0o644)
        else:
            write_file(path, self._changed(read_file(path)))

    def _changed(self, data: bytes) -> bytes:
        at = int(self._where * max(0, len(data) - 1))
        size = 1 + int(self._much * 100)
        if self._what == "flip":
            return data[:at] + bytes([data[at] ^ size]) + data[at + 1 :] if data else b""
        if self._what == "cut":
            return data[:at]
        if self._what == "append":
            return data + data[at : at + size]
        if self._what == "zero":
            return data[:at] + b"\0" * len(data[at : at + size]) + data[at + size :]
        lines = data.splitlines(keepends=True)
        one = int(self._where * max(0, len(lines) - 1))
        other = int(self._much * max(0, len(lines) - 1))
        if not lines:
            return data
        if self._what == "swap":
            lines[one], lines[other] = lines[other], lines[one]
        elif self._what == "repeat":
            lines.insert(other, lines[one])
        else:
            del lines[one]
        return b"".join(lines)


_harms = st.builds(Harm, st.sampled_from(_HARM), st.floats(0, 1), st.floats(0, 1))


class RepairTests(CheckCase):
    """Random damage, and several kinds of it at once."""

    def setUp(self) -> None:
        super().setUp()
        self.origin = self.directory
        self.jobs = ALL
        self.before = self.told()

    def begin(self) -> None:
        """Begin anew with a copy of the good store."""
        self.directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)
        shutil.copytree(self.origin, self.directory, dirs_exist_ok=True)

    def becomes_clean(self) -> None:
        """Repair, and make sure that nothing is left to find."""
        found: list[Finding] = []
        kinds = {finding.kind for finding in Check(self.disk, self.directory).run()}
        assume("newer_format" not in kinds)
        done = repair(self.disk, self.directory, found.append)
        assert kinds == {finding.kind for finding in found}
        assert done.remaining == [], done.remaining
        assert self.check() == []
        before = self.everything()
        repair(self.disk, self.directory, found.append)
        assert {**before, LOCK: b""} == {**self.everything(), LOCK: b""}

    def test_jobs(self) -> None:
        """Harm to some jobs' files is nothing to the others, and none is damaged in the end."""

        @settings(max_examples=tries(40))
        @given(st.lists(st.tuples(st.sampled_from(ALL), _harms), min_size=1, max_size=4))
        def holds(harms: list[tuple[str, Harm]]) -> None:
            self.begin()
            harmed = set()
            for job_id, harm in harms:
                harm.do(self.file_of(job_id))  # type: ignore[arg-type]  # a job id it is
                harmed.add(job_id)
            self.becomes_clean()
            well = [job_id for job_id in ALL if job_id not in harmed]
            told = self.told(well)
            assert {job_id: self.before[job_id] for job_id in well} == told
            shutil.rmtree(self.directory)

        holds()

    def test_everything_else(self) -> None:
        """Harm to index, identity and list of living jobs is nothing to any job."""
        names = [INDEX, "identity", self.list_of_living()[len(self.origin) + 1 :]]
        names.append(self.segment()[len(self.origin) + 1 :])

        @settings(max_examples=tries(25))
        @given(st.lists(st.tuples(st.sampled_from(names), _harms), min_size=1, max_size=3))
        def holds(harms: list[tuple[str, Harm]]) -> None:
            self.begin()
            for name, harm in harms:
                harm.do(self.path(name))
            self.becomes_clean()
            assert self.before == self.told()
            shutil.rmtree(self.directory)

        holds()

    def test_after_a_kill(self) -> None:
        """Whatever is harmed of a store whose daemon was killed, it becomes clean."""
        self.run_more()
        self.origin = self.directory
        jobs = (*ALL, job(11), job(12))
        names = [self.file_of(job_id)[len(self.origin) + 1 :] for job_id in jobs]
        names += [f"{JOURNAL}/{name}" for name in self.names(JOURNAL)] * 2
        names += [INDEX, f"{INDEX}-wal"]
        before = self.told(jobs)

        @settings(max_examples=tries(40))
        @given(st.lists(st.tuples(st.sampled_from(names), _harms), min_size=0, max_size=4))
        def holds(harms: list[tuple[str, Harm]]) -> None:
            self.begin()
            harmed = set()
            for name, harm in harms:
                harm.do(self.path(name))
                harmed.add(name.replace("/", ""))
            self.becomes_clean()
            if not any(name.startswith(JOURNAL) for name in harmed):
                well = [job_id for job_id in jobs if job_id not in harmed]
                assert {job_id: before[job_id] for job_id in well} == self.told(well)
            shutil.rmtree(self.directory)

        holds()


class _Killed(BaseException):
    """The process is gone."""


class _DyingDisk(FaultyDisk):
    """Lets no more happen from some call on."""

    def __init__(self, last: int) -> None:
        super().__init__()
        self._last = last

    def _go(self, name: str) -> None:
        super()._go(name)
        if len(self.calls) > self._last:
            raise _Killed


class InterruptedTests(CheckCase):
    """A repair that is killed is begun again, and nothing is lost by that."""

    def setUp(self) -> None:
        super().setUp()
        self.run_more()
        jobs = (*ALL, job(11), job(12))
        before = self.told(jobs)
        self.well = {one: before[one] for one in (job(3), WAITING, RUNNING, job(11), job(12))}
        self.change_job(job(1), lambda text: text + b'{"packet":5,"ti')
        self.change_job(job(2), lambda text: text.replace(b'{"packet":2,', b'{"pocket":2,'))
        self.change_job(job(11), lambda text: text.replace(b'"done"', b'"dine"'))
        os.rename(self.file_of(job(3)), self.path("copy.txt"))
        write_file(self.path("stray"), b"precious")
        write_file(self.path("identity"), b"")
        self.lost = [b'{"packet":5,"ti', b"precious"]
        self.lost += [read_file(self.file_of(one)) for one in (job(2), job(11))]
        self.origin = self.directory

    def test_anywhere(self) -> None:
        """Killed at any call of the disk, and the next one half as far, it ends as ever."""
        # What the killed leave is collected each time, without a look at all that was there before.
        gc.freeze()
        self.addCleanup(gc.unfreeze)
        whole = _DyingDisk(10**9)
        self.begin()
        self.assertEqual([], repair(whole, self.directory, lambda finding: None).remaining)
        for last in range(0, len(whole.calls), every(9)):
            with self.subTest(last=last):
                self.begin()
                for each in (last, last // 2):
                    with contextlib.suppress(_Killed):
                        repair(_DyingDisk(each), self.directory, lambda finding: None)
                gc.collect()
                self.flushLoggedErrors(_Killed)
                self.assertEqual([], self.repair().remaining)
                self.assertEqual([], self.check())
                self.assertEqual(self.well, self.told([*self.well]))
                kept = [read_file(self.path(f"damaged/{name}")) for name in self.names("damaged")]
                self.assertEqual([], [one for one in self.lost if one not in kept])

    def begin(self) -> None:
        """Begin anew with a copy of the damaged store."""
        self.directory = os.path.abspath(self.mktemp())
        shutil.copytree(self.origin, self.directory)
