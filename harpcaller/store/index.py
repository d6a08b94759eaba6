"""The index: what a list of jobs shows, in order of submission, and when jobs ended.

An SQLite database that can always be thrown away: it is made anew from the jobs' files, and
no job's life hangs on it.  Changes are gathered and written many at a time; that takes most of a
millisecond, so who adds them says when.  Every question is answered after writing what was
gathered.  It isn't synced on its own: the store's checkpoint does that before it drops the
journal that could tell the same again.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from harpcaller.logs.events import EventLog
from harpcaller.store.disk import Disk
from harpcaller.store.heads import MAX_SERIAL
from harpcaller.store.rows import FORMAT, SCHEMA, Columns, Row, columns_of, row
from harpcaller.wire.client import Call, JobId

# So many changes are gathered at most before they are written.
_MOST_PENDING = 200
# So many that can't be written are kept at most; beyond, the index is given up.
_MOST_UNWRITTEN = 20_000


class IndexLost(Exception):
    """The index is damaged or can't be written for long; it must be made anew."""


class Index:
    """The open index.

    Args:
        disk: Where it is.
        path: Its file.
        log: Where trouble is told.
    """

    def __init__(self, disk: Disk, path: str, log: EventLog) -> None:
        self._disk = disk
        self._path = path
        self._log = log
        self._inserts: dict[int, Columns] = {}
        self._starts: list[tuple[float, int]] = []
        self._ends: list[tuple[float, int]] = []
        self._removals: list[tuple[int]] = []
        self._pending = 0
        self._write_at = _MOST_PENDING
        #: Whether every job is in it; set by :meth:`complete`.
        self.is_complete = False
        self._origin = ("", 0)  # the store, and the first segment that isn't in the index whole
        self._connection = self._open()

    # --- Opening and throwing away -------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        """Open what is there, or begin anew."""
        connection: sqlite3.Connection | None = None
        if self._disk.size(self._path) is not None:
            try:
                connection = self._connect()
                (version,) = connection.execute("PRAGMA user_version").fetchone()
                if version != FORMAT:
                    raise sqlite3.DatabaseError(f"format {version}, expected {FORMAT}")
                (complete, store, segment) = connection.execute(
                    "SELECT complete, store, segment FROM state"
                ).fetchone()
                connection.execute("SELECT max(serial), max(end) FROM job").fetchone()
                self._origin = (str(store), int(segment))
                self.is_complete = bool(complete)
                if self.is_complete:
                    return connection
                self._log.info("store.index_incomplete")
            except (sqlite3.Error, TypeError, ValueError, IndexLost) as error:
                # A ValueError comes of a damaged schema: the message about it can't be decoded.
                self._log.warn("store.index_lost", error=str(error))
            if connection is not None:
                connection.close()
        remove_index(self._disk, self._path)
        connection = self._connect()
        connection.executescript(SCHEMA)
        connection.execute(f"PRAGMA user_version={FORMAT:d}")
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = self._disk.database(self._path)
        connection.text_factory = _text
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint=0")
        return connection

    def adopt(self, store: str, first: int, last: int) -> None:
        """Make sure that the index belongs to the files beside it, or throw it away.

        It may have come from a backup, alone or without the rest, or from another store.

        Args:
            store: The store's identity.
            first: The oldest segment of the journal that is needed.
            last: The newest there is; 0 if there is none.

        Raises:
            OSError, sqlite3.Error: It couldn't be thrown away.
        """
        its_store, segment = self._origin
        stranger = its_store != store
        # A checkpoint writes the index before it drops a segment, and the index never tells of
        # segments that haven't been begun, but for the one that the start at hand begins.
        if self.is_complete and (stranger or not first <= segment <= last + 1):
            reason = "it is another store's" if stranger else "it is from another time"
            self._log.warn("store.index_lost", error=reason)
            self.start_over()
        self._origin = (store, last + 1)
        self._changed()

    def settled(self, segment: int) -> None:
        """Note that everything older segments tell is in the index with the next flush."""
        self._origin = (self._origin[0], segment)
        self._changed()

    def start_over(self) -> None:
        """Throw everything away and begin with an empty index.

        Raises:
            OSError, sqlite3.Error: That isn't possible either.
        """
        self._connection.close()
        self._forget_pending()
        self.is_complete = False
        remove_index(self._disk, self._path)
        self._connection = self._open()
        self._changed()  # the new one doesn't know its origin yet

    def close(self) -> None:
        """Close it; what is gathered should have been written."""
        self._connection.close()

    # --- Changes -------------------------------------------------------------------------

    def add(
        self,
        serial: int,
        job_id: JobId,
        call: Call,
        submit: float,
        start: float | None = None,
        end: float | None = None,
    ) -> None:
        """Put a job in, in place of what there was with its serial."""
        self._inserts[serial] = columns_of(serial, job_id, call, submit, start, end)
        self._changed()

    def started(self, serial: int, at: float) -> None:
        """Note a start."""
        waiting = self._inserts.get(serial)
        if waiting is None:
            self._starts.append((at, serial))
        else:
            self._inserts[serial] = (*waiting[:3], at, *waiting[4:])
        self._changed()

    def ended(self, serial: int, at: float) -> None:
        """Note an end."""
        waiting = self._inserts.get(serial)
        if waiting is None:
            self._ends.append((at, serial))
        else:
            self._inserts[serial] = (*waiting[:4], at, *waiting[5:])
        self._changed()

    def remove(self, serial: int) -> None:
        """Take a job out."""
        self._inserts.pop(serial, None)
        self._removals.append((serial,))
        self._changed()
        self.write_if_many()

    def _changed(self) -> None:
        self._pending += 1

    def write_if_many(self) -> None:
        """Write what is gathered if that is much; trouble is for whoever asks next."""
        if self._pending >= self._write_at:
            with suppress(sqlite3.Error, IndexLost):
                self.flush()

    def flush(self) -> None:
        """Write what is gathered.

        Raises:
            IndexLost: It is damaged, or hasn't been writable for long.
            sqlite3.OperationalError: It can't be written now; nothing is lost yet.
        """
        if not self._pending:
            return
        if self._pending > _MOST_UNWRITTEN:
            raise IndexLost("too much is unwritten")
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._write()
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            if self._write_at == _MOST_PENDING:
                self._log.warn("store.index_unwritable", error=str(error))
            self._write_at = self._pending + _MOST_PENDING
            raise
        except (sqlite3.DatabaseError, ValueError) as error:
            raise IndexLost(str(error)) from None
        self._forget_pending()

    def _write(self) -> None:
        self._connection.executemany(
            "INSERT OR REPLACE INTO job VALUES (?,?,?,?,?,?,?,?,?,?)", self._inserts.values()
        )
        self._connection.executemany("UPDATE job SET start=? WHERE serial=?", self._starts)
        self._connection.executemany("UPDATE job SET end=? WHERE serial=?", self._ends)
        self._connection.executemany("DELETE FROM job WHERE serial=?", self._removals)
        self._connection.execute("UPDATE state SET store=?, segment=?", self._origin)

    def fold(self) -> None:
        """Move what was written ahead into the database proper, as far as that is possible.

        What a process wrote ahead that was killed may have been lost on its way to the disk, and
        is in the system's memory only.
        """
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()

    def _forget_pending(self) -> None:
        self._inserts.clear()
        self._starts.clear()
        self._ends.clear()
        self._removals.clear()
        self._pending = 0
        self._write_at = _MOST_PENDING

    def complete(self, *, for_good: bool = True) -> None:
        """Note that every job is in it, or for this process only, that no more will be found."""
        self.flush()
        if for_good:
            self._connection.execute("UPDATE state SET complete=1")
        self.is_complete = True

    # --- Questions -----------------------------------------------------------------------

    def page(self, after: int, limit: int) -> Sequence[Row]:
        """Give jobs in order of submission, from the one after ``after`` on."""
        found = self._ask(
            "SELECT * FROM job WHERE serial > ? ORDER BY serial LIMIT ?", (after, limit)
        )
        return [row(*columns) for columns in found]

    def ended_before(
        self, time: float, after: tuple[float, int], limit: int
    ) -> Sequence[tuple[float, int, JobId]]:
        """Give end, serial and id of jobs that ended before a time, the oldest end first.

        Args:
            time: In Unix seconds.
            after: Only jobs whose end and serial are greater than this.
            limit: How many at most.
        """
        found = self._ask(
            "SELECT end, serial, id FROM job"
            " WHERE end < ? AND (end, serial) > (?, ?) ORDER BY end, serial LIMIT ?",
            (time, *after, limit),
        )
        return [(end, serial, JobId(text)) for end, serial, text in found]

    def next_serial(self) -> int:
        """Give a number greater than that of any job in it."""
        ((last,),) = self._ask("SELECT max(serial) FROM job", ())
        if last is not None and last > MAX_SERIAL:
            raise IndexLost(f"a job in it has the number {last}")
        return 1 if last is None else int(last) + 1

    def _ask(self, question: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        self.flush()
        try:
            return self._connection.execute(question, values).fetchall()
        except sqlite3.OperationalError:
            raise
        except (sqlite3.DatabaseError, ValueError) as error:
            raise IndexLost(str(error)) from None


def _text(data: bytes) -> str:
    """Read a text column, which SQLite doesn't check."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise IndexLost("a text in it is damaged") from None


def remove_index(disk: Disk, path: str) -> None:
    """Remove a database and what SQLite has beside it, durably.

    Raises:
        OSError: Something can't be removed.
    """
    # In this order on the disk, too: SQLite takes a database whose log is missing for a whole
    # one, and a log that is left behind for the next database's.
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            disk.remove(path + suffix)
            disk.sync_directory(os.path.dirname(path))


def shrink(disk: Disk, path: str) -> None:
    """Move what was written ahead into the database proper; for another thread."""
    connection = disk.database(path)
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    finally:
        connection.close()
