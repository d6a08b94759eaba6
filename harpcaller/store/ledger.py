"""Comparing the index with the jobs' files, both in order of the jobs' ids; nothing is changed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from harpcaller.store.findings import Finding
from harpcaller.store.layout import INDEX
from harpcaller.store.rows import FORMAT, Columns

_ROWS = "SELECT * FROM job ORDER BY id, serial"


def read_only(path: str) -> sqlite3.Connection:
    """Open a database without changing it.

    Raises:
        sqlite3.Error: It can't be opened.
    """
    # Without a log beside it nothing needs to be written to read it, not even a lock.
    has_log = os.path.exists(f"{path}-wal") and os.path.getsize(f"{path}-wal") > 0
    address = f"file:{quote(path)}?mode=ro" + ("" if has_log else "&immutable=1")
    connection = sqlite3.connect(address, uri=True, isolation_level=None, timeout=5)
    connection.text_factory = lambda text: text.decode("utf-8", "replace")
    return connection


class Ledger:
    """The index, read beside the files.

    Args:
        path: The index's file.
        identity: The store's, None if it has none.
        first: The oldest segment of the journal that counts.
        last: The newest.
        is_told: Whether the journal tells of a job: a start tells the index, then.
    """

    def __init__(
        self,
        path: str,
        *,
        identity: str | None,
        first: int,
        last: int,
        is_told: Callable[[str], bool],
    ) -> None:
        self._path = path
        self._is_told = is_told
        self._connection: sqlite3.Connection | None = None
        self._rows: Iterator[tuple[Any, ...]] = iter(())
        self._next: tuple[Any, ...] | None = None
        #: What is wrong with the index as a whole; if anything, no row is looked at.
        self.finding = self._open(identity, first, last)

    def _open(self, identity: str | None, first: int, last: int) -> Finding | None:
        # SQLite would wait for ever for what a named pipe has to say.
        if not os.path.isfile(self._path):
            return Finding("index_missing", INDEX, "there is no index")
        try:
            self._connection = read_only(self._path)
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
            if version != FORMAT:
                return Finding("index_damaged", INDEX, f"format {version}, expected {FORMAT}")
            (verdict,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
            if verdict != "ok":
                return Finding("index_damaged", INDEX, " ".join(str(verdict).split()))
            state = self._connection.execute("SELECT complete, store, segment FROM state")
            complete, store, segment = state.fetchone()
            if not complete:
                return Finding("index_incomplete", INDEX, "it was never completed")
            if store != identity:
                return Finding("index_foreign", INDEX, "it is another store's")
            if not first <= segment <= last + 1:
                return Finding("index_foreign", INDEX, "it is from another time than the journal")
            self._rows = self._connection.execute(_ROWS)
            self._advance()
        except (sqlite3.Error, TypeError, ValueError) as error:
            # A damaged schema comes as a ValueError: its names can't be decoded for the message.
            return Finding("index_damaged", INDEX, str(error))
        return None

    def close(self) -> None:
        """Close the index."""
        if self._connection is not None:
            self._connection.close()

    def _advance(self) -> None:
        self._next = next(self._rows, None)

    def upto(self, job_id: str) -> Iterator[Finding]:
        """Go on to a job: rows before it have no file.

        Raises:
            sqlite3.Error: The index can't be read.
        """
        while self._next is not None and str(self._next[1]) < job_id:
            if not self._is_told(str(self._next[1])):
                yield _row_finding("index_has_no_file", self._next, "in the index, but has no file")
            self._advance()

    def take(self, job_id: str, columns: Columns | None) -> Iterator[Finding]:
        """Compare a job's row with what its file tells; None if that can't be had.

        Raises:
            sqlite3.Error: The index can't be read.
        """
        if self.finding is not None:
            return
        yield from self.upto(job_id)
        is_there = False
        while self._next is not None and self._next[1] == job_id:
            is_told = columns is None or self._is_told(job_id)
            if not is_told and (is_there or self._next != columns):
                yield _row_finding("index_differs", self._next, "the index has it otherwise")
            is_there = True
            self._advance()
        if not is_there and columns is not None and not self._is_told(job_id):
            yield Finding("index_lacks_job", INDEX, f"job {job_id} isn't in it", job_id)

    def finish(self) -> Iterator[Finding]:
        """Go on to the end.

        Raises:
            sqlite3.Error: The index can't be read.
        """
        if self.finding is None:
            yield from self.upto("~")


def _row_finding(kind: str, row: tuple[Any, ...], what: str) -> Finding:
    return Finding(kind, INDEX, f"job {row[1]} (number {row[0]}): {what}", str(row[1]))
