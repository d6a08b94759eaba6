"""What of a simulated disk outlives processes and power: files, names, and what was synced.

The model is that of a system which promises no more than it must.  What was written can be read
at once; after a power cut of what was never synced some is there, and some isn't, byte range by
byte range and name by name.  What a failed sync was to write is lost for good, though it can still
be read until then.  A database is as it is now, or as it was at the last sync of the tree.
"""

from __future__ import annotations

import itertools
import sqlite3
from random import Random

import attrs

_databases = itertools.count()


@attrs.define(eq=False)
class File:
    """A file's content, as read and as kept.

    Attributes:
        data: What is read.
        kept: What the power can't take away.
        dirty: The ranges that the next sync is to write.
    """

    data: bytearray = attrs.Factory(bytearray)
    kept: bytearray = attrs.Factory(bytearray)
    dirty: list[tuple[int, int]] = attrs.Factory(list)
    locked: bool = False

    def write(self, offset: int, data: bytes) -> None:
        if offset > len(self.data):
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(data)] = data
        self.dirty.append((offset, offset + len(data)))

    def cut(self, size: int) -> None:
        # Kept at once: what may come back of it is what a failed cut leaves, too.
        del self.data[size:]
        del self.kept[size:]
        self.dirty = [(begin, min(end, size)) for begin, end in self.dirty if begin < size]

    def sync(self) -> None:
        for begin, end in self.dirty:
            self._keep(begin, end)
        self.dirty.clear()

    def fail_to_sync(self) -> None:
        self.dirty.clear()

    def lose_power(self, random: Random) -> None:
        for begin, end in self.dirty:
            if random.random() < 0.5:
                self._keep(begin, random.choice((end, random.randint(begin, end))))
        self.dirty.clear()
        self.data[:] = self.kept

    def _keep(self, begin: int, end: int) -> None:
        if begin > len(self.kept):
            self.kept.extend(bytes(begin - len(self.kept)))
        self.kept[begin:end] = self.data[begin:end]


class Database:
    """An SQLite database in memory that several connections share.

    Attributes:
        name: What to connect to.
    """

    def __init__(self) -> None:
        self.name = f"file:harpcaller-fire-{next(_databases)}?mode=memory&cache=shared"
        # It lives as long as somebody is connected.
        self._anchor = sqlite3.connect(self.name, uri=True, isolation_level=None)
        self._kept: sqlite3.Connection | None = None

    def sync(self) -> None:
        kept = sqlite3.connect(":memory:")
        self._anchor.backup(kept)
        self._forget()
        self._kept = kept

    def lose_power(self, random: Random) -> Database | None:
        """Give what is left of it: all, what was synced, or nothing if that was never."""
        if random.random() < 0.5:
            return self
        if self._kept is None:
            self.close()
            return None
        older = Database()
        self._kept.backup(older._anchor)
        self.close()
        older.sync()
        return older

    def close(self) -> None:
        self._forget()
        self._anchor.close()

    def _forget(self) -> None:
        if self._kept is not None:
            self._kept.close()


class Platter:
    """All files and names.

    Attributes:
        files: The files by path, as they are seen.
        kept_names: Those that the power can't take away.
        databases: The databases by path.
    """

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.kept_names: dict[str, File] = {}
        self.directories: set[str] = set()
        self.databases: dict[str, Database] = {}

    def sync_names(self, directory: str) -> None:
        """Keep what stands in one directory."""

        def inside(path: str) -> bool:
            return path.rpartition("/")[0] == directory

        for path in [path for path in self.kept_names if inside(path)]:
            del self.kept_names[path]
        self.kept_names.update((path, file) for path, file in self.files.items() if inside(path))

    def sync(self) -> None:
        """Keep everything."""
        self.kept_names = dict(self.files)
        for file in self.files.values():
            file.sync()
        for database in self.databases.values():
            database.sync()

    def fail_to_sync(self) -> None:
        """Lose what a sync of everything was to write."""
        for file in self.files.values():
            file.fail_to_sync()

    def lose_power(self, random: Random) -> None:
        """Let the power be cut."""
        seen, kept = self.files, self.kept_names
        for path in sorted(set(seen) ^ set(kept)):
            if random.random() < 0.5:
                _ = kept.pop(path, None)
            elif path in seen:
                kept[path] = seen[path]
        self.files = dict(kept)
        for path in sorted(self.files):
            self.files[path].lose_power(random)
        left = {path: one.lose_power(random) for path, one in sorted(self.databases.items())}
        self.databases = {path: one for path, one in left.items() if one is not None}

    def die(self) -> None:
        """Let the process be killed that has everything open."""
        for file in self.files.values():
            file.locked = False

    def close(self) -> None:
        """Let go of the memory."""
        for database in self.databases.values():
            database.close()
