"""SQLite databases of a file system in memory.

SQLite makes its system calls itself, so they can't be answered here; but each statement can
fail.  A database is kept whole, as the bytes that it has: what a power cut may do to it is to
leave what was synced, or what there is now, or something else altogether.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from itertools import count
from typing import Any

import attrs

from harpcaller.testing.durability import Cell, File

_unique = count(1)


class _Connection(sqlite3.Connection):
    """A connection that asks before each statement."""

    before: Callable[[str], None]

    def execute(self, sql: str, values: Any = ()) -> sqlite3.Cursor:
        """See :class:`sqlite3.Connection`."""
        self.before(sql)
        return super().execute(sql, values)

    def executemany(self, sql: str, values: Any) -> sqlite3.Cursor:
        """See :class:`sqlite3.Connection`."""
        self.before(sql)
        return super().executemany(sql, values)

    def executescript(self, sql: str) -> sqlite3.Cursor:
        """See :class:`sqlite3.Connection`."""
        self.before(sql)
        return super().executescript(sql)


@attrs.frozen
class _Known:
    file: File
    #: Keeps the memory alive; it is never written through.
    anchor: sqlite3.Connection
    address: str


class Databases:
    """The databases of one file system, and one process's connections to them."""

    def __init__(self) -> None:
        self._known: dict[int, _Known] = {}
        self._connections: list[sqlite3.Connection] = []

    def connect(self, file: File, before: Callable[[str], None]) -> sqlite3.Connection:
        """Connect to the database that a file has.

        Args:
            file: Which.
            before: Told each statement before it is executed; what it raises is raised.
        """
        if file.database is None:
            file.database = Cell(bytes(file.data))
        known = self._known.get(id(file)) or self._load(file, file.database.value)
        address = ":memory:" if known is None else known.address
        connection = sqlite3.connect(
            address, uri=True, isolation_level=None, timeout=0, factory=_Connection
        )
        connection.before = before
        if known is None:
            # No database: SQLite says so when it looks.
            connection.deserialize(file.database.value)
        self._connections.append(connection)
        return connection

    def _load(self, file: File, content: bytes) -> _Known | None:
        address = f"file:/harpcaller-{next(_unique)}?vfs=memdb"
        anchor = sqlite3.connect(address, uri=True, isolation_level=None, timeout=0)
        if content:
            source = sqlite3.connect(":memory:", isolation_level=None)
            try:
                source.deserialize(content)
                source.backup(anchor)
            except sqlite3.Error:
                anchor.close()
                return None
            finally:
                source.close()
        known = _Known(file, anchor, address)
        self._known[id(file)] = known
        return known

    def note(self, when: int) -> None:
        """Bring what files have up to what their databases have now."""
        for known in self._known.values():
            assert known.file.database is not None
            try:
                content = known.anchor.serialize()
            except sqlite3.Error:
                continue
            if content and content != known.file.database.value:
                known.file.database.change(when, content)

    def disconnect(self) -> None:
        """End every connection, as the process does."""
        for connection in self._connections:
            connection.close()
        self._connections.clear()

    def forget(self) -> None:
        """Give the memory back."""
        self.disconnect()
        for known in self._known.values():
            known.anchor.close()
        self._known.clear()
