"""Lists of jobs, and the index that can be thrown away."""

from __future__ import annotations

import errno
import os
import sqlite3
from typing import Any

from twisted.internet.defer import Deferred

from harpcaller.errors import StorageError
from harpcaller.interfaces import Pruned, Started
from harpcaller.store.layout import INDEX
from tests.store.fakes import HastyConnection
from tests.store.filecase import FileCase, read_file, write_file
from tests.store.jobs import call, ended, job


class _Refusing(HastyConnection):
    """A database that refuses to be changed, in a way that may pass or one that doesn't."""

    error: sqlite3.Error | None = None
    refused: tuple[str, sqlite3.Error] | None = None  # only what begins so

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        if self.refused is not None and sql.startswith(self.refused[0]):
            raise self.refused[1]
        if self.error is not None and not sql.startswith(("PRAGMA", "ROLLBACK")):
            raise self.error
        return super().execute(sql, values)


class IndexCase(FileCase):
    """A test with jobs of every kind in a store."""

    def setUp(self) -> None:
        super().setUp()
        self.connections: list[_Refusing] = []
        self.disk.database = self.connect  # type: ignore[method-assign]  # a fake of a fake
        self.open()
        self.let_turn()
        self.run_job(1, records=2)
        self.submit(2)
        self.submit(3, of=call(arguments=b'["%s"]' % (b"x" * 3000)))
        self.finish(self.store.add(job(3), Started(5.0)))

    def connect(self, path: str) -> sqlite3.Connection:
        """Open a database that can be made to refuse."""
        connection = sqlite3.connect(path, isolation_level=None, factory=_Refusing)
        assert isinstance(connection, _Refusing)
        self.connections.append(connection)
        return connection

    def refuse(self, error: sqlite3.Error | None) -> None:
        """Let the index's database refuse from now on, or no more."""
        for connection in self.connections:
            connection.error = error

    def states(self) -> list[tuple[int, str]]:
        """Give the jobs and their states as a list shows them."""
        known = {job(number): number for number in range(500)}
        return [(known[one.job_id], one.status.state) for one in self.listing()]


ALL = [(1, "ended"), (2, "queued"), (3, "running")]


class RebuildTests(IndexCase):
    """The index is lost; it is made anew from the files while the store serves."""

    def lose(self) -> None:
        """Throw the index away between two lives."""
        self.close()
        self.drop_index()

    def test_thrown_away(self) -> None:
        """A missing index costs nothing but the time to make it anew."""
        before = self.listing()
        self.lose()
        self.assertEqual([job(2), job(3)], [one.job_id for one in self.open()])
        self.let_turn()
        self.assertEqual(before, self.listing())

    def test_lost_in_a_crash(self) -> None:
        """Also when there is a journal to replay."""
        self.kill()
        self.drop_index()
        self.open()
        self.let_turn()
        self.assertEqual(ALL, self.states())

    def test_not_a_database(self) -> None:
        """A file that is no database is thrown away."""
        self.close()
        write_file(f"{self.directory}/{INDEX}", b"this is no database" * 100)
        self.open()
        self.let_turn()
        self.assertEqual(ALL, self.states())

    def test_damaged_text(self) -> None:
        """A text that is none makes a list fail once; after that there is a new index."""
        self.close()
        connection = sqlite3.connect(f"{self.directory}/{INDEX}", isolation_level=None)
        connection.execute("UPDATE job SET host=CAST(x'fffe' AS TEXT) WHERE serial=1")
        connection.close()
        self.open()
        self.failureResultOf(self.store.jobs(0, 100), StorageError)
        self.let_turn()
        self.assertEqual(ALL, self.states())

    def test_damaged_number(self) -> None:
        """A number after which there is none makes the index be made anew, and new jobs go on."""
        self.close()
        connection = sqlite3.connect(f"{self.directory}/{INDEX}", isolation_level=None)
        connection.execute("UPDATE job SET serial=? WHERE serial=1", (2**63 - 1,))
        connection.close()
        self.open()
        self.let_turn()
        self.assertEqual(ALL, self.states())
        self.submit(4)
        self.assertEqual([*ALL, (4, "queued")], self.states())

    def test_damaged_schema(self) -> None:
        """A database whose schema can't even be complained about is thrown away."""
        self.close()
        path = f"{self.directory}/{INDEX}"
        write_file(path, read_file(path).replace(b"job_end ON job", b"job_\xd6nd \xff job"))
        self.open()
        self.let_turn()
        self.assertEqual(ALL, self.states())

    def test_older_format(self) -> None:
        """An index of another format is thrown away."""
        self.close()
        connection = sqlite3.connect(f"{self.directory}/{INDEX}")
        connection.execute("PRAGMA user_version=0")
        connection.close()
        self.open()
        self.let_turn()
        self.assertEqual(ALL, self.states())

    def test_serving_meanwhile(self) -> None:
        """While it is made anew jobs are stored, started and ended, and nothing is missed."""
        for number in range(10, 200):
            self.run_job(number)
        self.lose()
        self.open()
        self.submit(300)
        self.finish(self.store.add(job(300), Started(1.0)))
        self.finish(self.store.add(job(2), Started(2.0)))
        self.finish(self.store.add(job(2), ended(3.0)))
        self.let_turn()
        states = dict(self.states())
        self.assertEqual(194, len(states))
        self.assertEqual("ended", states[2])
        self.assertEqual("running", states[300])
        found = {one.job_id: one.status for one in self.listing()}
        self.assertEqual(2.0, found[job(2)].started_at)

    def test_list_grows_meanwhile(self) -> None:
        """A list during that time has what was reached so far, and the store's order."""
        for number in range(10, 200):
            self.run_job(number)
        self.lose()
        self.open()
        seen: list[int] = []
        self.clock.callLater(0, lambda: seen.append(len(self.listing())))
        self.let_turn()
        self.assertTrue(0 < seen[0] < 193)
        self.assertEqual(193, len(self.listing()))

    def test_closed_meanwhile(self) -> None:
        """Closing ends it early; the next start begins anew."""
        for number in range(10, 100):
            self.run_job(number)
        self.lose()
        self.open()
        closing: list[Deferred[None]] = []
        self.clock.callLater(0, lambda: closing.append(self.store.close()))
        self.let_turn()
        self.successResultOf(closing[0])
        self.open()
        self.let_turn()
        self.assertEqual(93, len(self.listing()))

    def test_damaged_file_meanwhile(self) -> None:
        """A job whose file is damaged isn't listed, the others are."""
        self.lose()
        write_file(self.file_of(job(1)), b"\0" * 50 + b"\n")
        self.open()
        self.let_turn()
        self.assertEqual(ALL[1:], self.states())

    def test_lost_again_meanwhile(self) -> None:
        """An index that is lost while it is made anew is made anew from the beginning."""
        for number in range(10, 200):
            self.run_job(number)
        self.lose()
        self.open()

        def damage() -> None:
            self.refuse(sqlite3.DatabaseError("malformed"))
            self.failureResultOf(self.store.jobs(0, 10), StorageError)

        self.clock.callLater(0, lambda: self.clock.callLater(0, damage))
        self.let_turn()
        self.assertEqual(193, len(self.listing()))

    def test_unreadable_directory_meanwhile(self) -> None:
        """If the files can't be walked through, the store serves all the same."""
        self.lose()
        self.open()
        self.disk.failing["names"] = 13
        self.let_turn()
        self.assertEqual(DONE_STATUS, self.finish(self.store.status(job(1))).state)
        self.disk.recover()


DONE_STATUS = "ended"


class OpeningTroubleTests(IndexCase):
    """The index makes trouble while the store is opened."""

    has_refused = False

    def test_cannot_be_written(self) -> None:
        """An index that can't take what the journal tells keeps the store closed."""
        self.kill()
        real = self.disk.database
        refused = sqlite3.OperationalError("database or disk is full")

        def late(path: str) -> sqlite3.Connection:
            connection = real(path)
            assert isinstance(connection, _Refusing)
            connection.refused = ("BEGIN", refused)
            return connection

        self.disk.database = late  # type: ignore[method-assign]  # a fake of a fake
        error = self.failureResultOf(self.store.open(), StorageError).value
        self.assertIn("index", error.message)
        self.disk.database = real  # type: ignore[method-assign]  # likewise
        self.open()
        self.assertEqual(ALL, self.states())

    def test_damage_found_while_opening(self) -> None:
        """Damage that shows only then has the index made anew; the store opens."""
        self.kill()
        real = self.disk.database

        def late(path: str) -> sqlite3.Connection:
            connection = real(path)
            assert isinstance(connection, _Refusing)
            if not self.has_refused:
                connection.refused = ("BEGIN", sqlite3.DatabaseError("malformed"))
                self.has_refused = True
            return connection

        self.disk.database = late  # type: ignore[method-assign]  # a fake of a fake
        self.open()
        self.let_turn()
        self.assertEqual(ALL, self.states())

    def test_cannot_be_asked(self) -> None:
        """What the index can't tell for the moment is known from the journal."""
        self.close()
        real = self.disk.database
        refused = sqlite3.OperationalError("locked")

        def deaf(path: str) -> sqlite3.Connection:
            connection = real(path)
            assert isinstance(connection, _Refusing)
            connection.refused = ("SELECT max(serial) FROM", refused)
            return connection

        self.disk.database = deaf  # type: ignore[method-assign]  # a fake of a fake
        self.open()
        self.submit(4)
        self.assertEqual([*ALL, (4, "queued")], self.states())


class TroubleTests(IndexCase):
    """The index can't be read or written while the store runs."""

    def test_passing_trouble(self) -> None:
        """While it can't be used lists fail, jobs don't; afterwards nothing is missing."""
        self.refuse(sqlite3.OperationalError("database or disk is full"))
        for number in range(10, 220):
            self.run_job(number)
        error = self.failureResultOf(self.store.jobs(0, 10), StorageError).value
        self.assertIn("disk is full", error.message)
        self.failureResultOf(self.store.prune(1.0), StorageError)
        self.refuse(None)
        self.assertEqual(213, len(self.listing()))

    def test_lasting_trouble(self) -> None:
        """Damage that is noticed while it runs has the index made anew at once."""
        self.refuse(sqlite3.DatabaseError("database disk image is malformed"))
        error = self.failureResultOf(self.store.jobs(0, 10), StorageError).value
        self.assertIn("made anew", error.message)
        self.let_turn()
        self.assertEqual(ALL, self.states())
        self.restart()
        self.assertEqual(ALL, self.states())

    def test_damage_noticed_by_a_question(self) -> None:
        """Likewise when there is nothing to write."""
        self.listing()
        self.refuse(sqlite3.DatabaseError("malformed"))
        self.failureResultOf(self.store.jobs(0, 10), StorageError)
        self.let_turn()
        self.assertEqual(ALL, self.states())

    def test_question_that_fails_in_passing(self) -> None:
        """A question that can't be answered now is told so, and the index stays."""
        self.listing()
        self.refuse(sqlite3.OperationalError("disk I/O error"))
        self.failureResultOf(self.store.jobs(0, 10), StorageError)
        self.refuse(None)
        self.assertEqual(ALL, self.states())

    def test_cannot_be_made_anew(self) -> None:
        """If it can't be made anew either, lists go on failing and jobs go on."""
        self.refuse(sqlite3.DatabaseError("malformed"))
        self.disk.failing["remove"] = 13
        error = self.failureResultOf(self.store.jobs(0, 10), StorageError).value
        self.assertIn("Permission denied", error.message)
        self.failureResultOf(self.store.jobs(0, 10), StorageError)
        self.disk.recover()
        self.run_job(20)
        self.failureResultOf(self.store.jobs(0, 10), StorageError)
        self.let_turn()
        self.assertEqual([*ALL, (20, "ended")], self.states())

    def test_made_anew_when_the_disk_is_well(self) -> None:
        """That is tried again by itself: who asks first, long after, is given the whole list."""
        self.refuse(sqlite3.DatabaseError("malformed"))
        self.disk.failing["remove"] = errno.EACCES
        self.failureResultOf(self.store.jobs(0, 10), StorageError)
        self.let_turn()
        self.disk.recover()
        self.refuse(None)
        for _ in range(3):
            self.clock.advance(30.0)
            self.let_turn()
        self.assertEqual(ALL, self.states())

    def test_damage_noticed_on_close(self) -> None:
        """Damage that shows while closing is left to the next start."""
        self.submit(4)
        self.refuse(sqlite3.DatabaseError("malformed"))
        self.close()
        self.open()
        self.let_turn()
        self.assertEqual([*ALL, (4, "queued")], self.states())

    def test_trouble_for_long(self) -> None:
        """An index that can't be written for very long is given up and made anew."""
        self.refuse(sqlite3.OperationalError("database or disk is full"))
        for number in range(1, 20_100):
            self.store._rooms.index.started(3, float(number))  # type: ignore[union-attr]  # quicker than jobs
        error = self.failureResultOf(self.store.jobs(0, 10), StorageError).value
        self.assertIn("made anew", error.message)
        self.refuse(None)
        self.let_turn()
        self.assertEqual(ALL, self.states())

    def test_many_taken_out(self) -> None:
        """However many jobs are taken out in one go, the index keeps up."""
        for number in range(1000, 21_100):
            self.store._rooms.index.remove(number)  # type: ignore[union-attr]  # quicker than jobs
        self.assertEqual(ALL, self.states())

    def test_half_written(self) -> None:
        """Changes that fail half way are taken back, and written whole later."""
        connection = self.connections[0]
        self.listing()
        self.run_job(30)

        def refuse(sql: str, rows: Any) -> sqlite3.Cursor:
            raise sqlite3.OperationalError("disk I/O error")

        connection.executemany = refuse  # type: ignore[method-assign]  # a fake
        self.failureResultOf(self.store.jobs(0, 10), StorageError)
        del connection.executemany
        self.assertEqual([*ALL, (30, "ended")], self.states())

    def test_checkpoint_needs_the_index(self) -> None:
        """The journal isn't dropped while the index hasn't what it tells."""
        self.refuse(sqlite3.OperationalError("database or disk is full"))
        self.submit(4)
        self.close()
        self.refuse(None)
        self.assertGreater(
            sum(len(read_file(f"{self.directory}/journal/{name}")) for name in self.journal()), 1000
        )
        self.open()
        self.assertEqual([*ALL, (4, "queued")], self.states())

    def test_damaged_job_in_the_list(self) -> None:
        """A job that only its file could show, and that is damaged, is left out."""
        self.finish(self.store.add(job(3), ended()))
        os.unlink(self.file_of(job(3)))
        self.assertEqual(ALL[:2], self.states())
        self.assertEqual([], self.finish(self.store.jobs(2, 1))[0])

    def test_prune_during_trouble(self) -> None:
        """Pruning works again when the index does."""
        self.refuse(sqlite3.OperationalError("locked"))
        self.failureResultOf(self.store.prune(5000.0), StorageError)
        self.refuse(None)
        self.assertEqual(Pruned(1, 0), self.finish(self.store.prune(5000.0)))
