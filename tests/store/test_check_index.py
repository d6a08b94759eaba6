"""Whatever is wrong with the index is found and repaired, and no job is touched."""

from __future__ import annotations

import os
import sqlite3

from harpcaller.store.findings import DAMAGED
from harpcaller.store.layout import IDENTITY, INDEX
from tests.store.checkcase import ALL, RUNNING, CheckCase
from tests.store.filecase import write_file
from tests.store.jobs import job


class IndexTests(CheckCase):
    """The index is compared with the files, row by row."""

    def setUp(self) -> None:
        super().setUp()
        self.before = self.told()

    def database(self, *statements: str) -> None:
        """Change the index."""
        connection = sqlite3.connect(self.path(INDEX), isolation_level=None)
        for statement in statements:
            connection.execute(statement)
        connection.close()

    def repaired(self, *kinds: str) -> None:
        """Make sure that this is found and repaired, and no job was touched."""
        self.found_and_repaired(*kinds)
        self.assertEqual(self.before, self.told())
        self.assertEqual([], self.names(DAMAGED))
        self.open()
        self.assertEqual([], self.clock.getDelayedCalls(), "the index isn't complete")
        self.assertEqual({*ALL}, {one.job_id for one in self.listing()})
        self.close()

    def test_missing(self) -> None:
        """A missing index is made anew."""
        self.drop_index()
        self.repaired("index_missing")

    def test_not_a_database(self) -> None:
        """What is no database is replaced."""
        write_file(self.path(INDEX), b"no database" * 1000)
        self.repaired("index_damaged")

    def test_empty(self) -> None:
        """Nor is an empty file an index."""
        write_file(self.path(INDEX), b"")
        self.repaired("index_damaged")

    def test_damaged_page(self) -> None:
        """A database with a damaged page is noticed."""
        size = os.path.getsize(self.path(INDEX))
        self.change(self.path(INDEX), lambda text: text[:4096] + b"\xaa" * (size - 4096))
        self.repaired("index_damaged")

    def test_damaged_schema(self) -> None:
        """So is one whose schema can't even be complained about."""
        self.change(
            self.path(INDEX), lambda text: text.replace(b"job_end ON job", b"job_\xd6nd \xff job")
        )
        self.repaired("index_damaged")

    def test_incomplete(self) -> None:
        """One that was being made anew when its daemon died is made anew once more."""
        self.database("UPDATE state SET complete=0")
        self.repaired("index_incomplete")

    def test_older_format(self) -> None:
        """One of another format is replaced."""
        self.database("PRAGMA user_version=1")
        self.repaired("index_damaged")

    def test_another_store(self) -> None:
        """One of another store is replaced."""
        self.database("UPDATE state SET store='other'")
        self.repaired("index_foreign")

    def test_another_time(self) -> None:
        """One that is older or newer than the journal is replaced."""
        self.database("UPDATE state SET segment=1")
        self.repaired("index_foreign")

    def test_identity_lost(self) -> None:
        """Without the store's identity no index can be its own."""
        os.unlink(self.path(IDENTITY))
        self.repaired("index_foreign")

    def test_row_missing(self) -> None:
        """A job that isn't in the index would never be listed nor pruned."""
        self.database("DELETE FROM job WHERE serial IN (1, 5)")
        (first, second) = self.check()
        self.assertEqual({job(1), RUNNING}, {first.job, second.job})
        self.repaired("index_lacks_job")

    def test_row_without_file(self) -> None:
        """A row without a file shows a job that there isn't."""
        row = "SELECT serial+{0},'{1}',submit,start,end,host,procedure,arguments,info,queue"
        for number, job_id in enumerate(
            ("00000000-0000-4000-8000-000000000000", "ffffffff-ffff-4fff-8fff-ffffffffffff"), 50
        ):
            self.database(f"INSERT INTO job {row.format(number, job_id)} FROM job WHERE serial=1")
        self.repaired("index_has_no_file")

    def test_row_differs(self) -> None:
        """A row that tells something else than the file is wrong."""
        self.database("UPDATE job SET end=5.0 WHERE serial=1")
        self.repaired("index_differs")

    def test_row_twice(self) -> None:
        """A job with two rows would be listed twice."""
        self.database(
            "INSERT INTO job SELECT 90,id,submit,start,end,host,procedure,arguments,info,queue"
            " FROM job WHERE serial=1"
        )
        self.repaired("index_differs")

    def test_with_its_log(self) -> None:
        """After a kill the index is read with the log that lies beside it."""
        self.run_more()
        self.assertTrue(os.path.exists(self.path(f"{INDEX}-wal")))
        self.assertEqual([], self.check())
