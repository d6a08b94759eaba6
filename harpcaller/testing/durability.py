"""What a disk holds, and what may be left of it after a power cut.

A file is made of sectors and a size, a directory of names.  Each of these is a :class:`Cell`: it
has one value now, and a history of those that may be on the disk instead, because what
changed it wasn't synced.  A power cut leaves one of the history in each cell, independently of
all others: writes come in any order or not at all, a long one is torn between sectors, a
size may have grown over sectors that are still zero, a name may be there without its data,
and data without a name.  That is more than any file system does at once.

After a failed sync the system calls its pages clean: no later sync writes them, and what the
disk has of them nobody knows.  A cell then keeps its history until it is written again *and*
synced.  Names are an exception: a file system that can't write a directory back stops for
good, so names are synced by the next sync that works.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random  # noqa: TID251 - seeded by a case's name
from typing import Any, Generic, Protocol, TypeVar

import attrs

_T = TypeVar("_T")

#: What a disk writes whole or not at all, in bytes.
SECTOR = 512
_PAGE_SECTORS = 8
_EMPTY = bytes(SECTOR)


class Cell(Generic[_T]):
    """Something on disk, with what it may be after a power cut.

    Attributes:
        history: Values and when each was written, the last one is what is seen now.
        is_dirty: Whether the next sync would write it.
    """

    __slots__ = ("history", "is_dirty")

    def __init__(self, value: _T) -> None:
        self.history: list[tuple[int, _T]] = [(0, value)]
        self.is_dirty = False

    @property
    def value(self) -> _T:
        """What is seen now."""
        return self.history[-1][1]

    def change(self, when: int, value: _T) -> None:
        """Write it, unsynced."""
        self.history.append((when, value))
        self.is_dirty = True

    def sync(self) -> None:
        """Make what is seen now certain, if it was changed since the last sync."""
        if self.is_dirty:
            del self.history[:-1]
            self.is_dirty = False

    def fail_to_sync(self) -> None:
        """Leave in doubt what is on the disk."""
        self.is_dirty = False


class Pick(Protocol):
    """Chooses what a power cut leaves in a cell, by its place in the history."""

    def __call__(self, kind: str, place: int, history: list[tuple[int, Any]]) -> int:
        """Choose.

        Args:
            kind: ``name``, ``size``, ``sector`` or ``index``.
            place: Which sector of its file it is.
            history: From which to choose; there is more than one.
        """


class File:
    """A file: its bytes now, and the cells they are written to.

    Attributes:
        data: What is seen now.
        database: The bytes of an SQLite database, if it is one; then there are no sectors.
    """

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.size = Cell(len(data))
        self.sectors: dict[int, Cell[bytes]] = {}
        self.database: Cell[bytes] | None = None
        self.is_locked = False
        for number in range(0, len(data), SECTOR):
            self.sectors[number // SECTOR] = Cell(self._sector(number // SECTOR))

    def _sector(self, number: int) -> bytes:
        return bytes(self.data[number * SECTOR : (number + 1) * SECTOR]).ljust(SECTOR, b"\0")

    def write(self, when: int, offset: int, data: bytes) -> list[Cell[Any]]:
        """Write; gives the cells that were changed."""
        self.data.extend(bytes(max(0, offset + len(data) - len(self.data))))
        self.data[offset : offset + len(data)] = data
        return self._changed(when, offset, offset + len(data))

    def truncate(self, when: int, size: int) -> None:
        """Cut or extend."""
        was = len(self.data)
        self.data.extend(bytes(max(0, size - was)))
        del self.data[size:]
        self._changed(when, min(size, was), max(size, was))

    def _changed(self, when: int, begin: int, end: int) -> list[Cell[Any]]:
        changed: list[Cell[Any]] = []
        # A size goes to the disk with the data that it grew by, also when that is written again.
        if len(self.data) != self.size.value or any(end > size for _, size in self.size.history):
            self.size.change(when, len(self.data))
            changed.append(self.size)
        for number in range(begin // SECTOR, -(-end // SECTOR)):
            cell = self.sectors.setdefault(number, Cell(_EMPTY))
            cell.change(when, self._sector(number))
            changed.append(cell)
        return changed

    def cells(self) -> Iterable[Cell[Any]]:
        """Give everything that a sync of the file writes."""
        return (self.size, *self.sectors.values())

    def left(self, pick: Pick) -> File:
        """Give what a power cut leaves."""
        size = _left(self.size, "size", 0, pick)
        parts = bytearray(size)
        for number, cell in self.sectors.items():
            if number * SECTOR < size:
                part = _left(cell, "sector", number, pick)
                parts[number * SECTOR : (number + 1) * SECTOR] = part
        found = File(bytes(parts[:size]))
        if self.database is not None:
            found.database = Cell(_left(self.database, "index", 0, pick))
        return found


class Directory:
    """A directory: a cell for each name that is or was there."""

    def __init__(self) -> None:
        self.names: dict[str, Cell[File | Directory | None]] = {}

    def get(self, name: str) -> File | Directory | None:
        """Give what has this name now."""
        cell = self.names.get(name)
        return None if cell is None else cell.value

    def put(self, when: int, name: str, node: File | Directory | None) -> None:
        """Give a name, or take it away."""
        self.names.setdefault(name, Cell(None)).change(when, node)

    def listing(self) -> list[str]:
        """Give the names that are there."""
        return [name for name, cell in self.names.items() if cell.value is not None]

    def cells(self) -> Iterable[Cell[Any]]:
        """Give everything that a sync of the directory writes."""
        return self.names.values()

    def left(self, pick: Pick) -> Directory:
        """Give what a power cut leaves of it and of all beneath."""
        found = Directory()
        for name, cell in self.names.items():
            node = _left(cell, "name", 0, pick)
            if node is not None:
                found.names[name] = Cell(node.left(pick))
        return found

    def tree(self) -> Iterable[File | Directory]:
        """Give it and everything that is or was beneath."""
        yield self
        for cell in self.names.values():
            for _, node in cell.history:
                if isinstance(node, Directory):
                    yield from node.tree()
                elif node is not None:
                    yield node


def _left(cell: Cell[_T], kind: str, place: int, pick: Pick) -> _T:
    if len(cell.history) == 1:
        return cell.value
    return cell.history[pick(kind, place, cell.history)][1]


# --- Outcomes ------------------------------------------------------------------------------


def _always(**chosen: int) -> Pick:
    """Choose the first (0) or the last (-1) of the history by the kind of a cell."""

    def pick(kind: str, place: int, history: list[tuple[int, Any]]) -> int:
        return chosen[kind]

    return pick


_NAMED: dict[str, Pick] = {
    "all": _always(name=-1, size=-1, sector=-1, index=-1),
    "none": _always(name=0, size=0, sector=0, index=0),
    "zeros": _always(name=-1, size=-1, sector=0, index=0),
    "empty": _always(name=-1, size=0, sector=0, index=-1),
    "nameless": _always(name=0, size=-1, sector=-1, index=0),
    "index": _always(name=0, size=0, sector=0, index=-1),
}


def _until(when: int) -> Pick:
    """The disk wrote in order, and the power went after the change number ``when``."""

    def pick(kind: str, place: int, history: list[tuple[int, Any]]) -> int:
        return max(0, sum(1 for at, _ in history if at <= when) - 1)

    return pick


def _random(seed: int) -> Pick:
    """Anything of everything."""
    random = Random(seed)  # noqa: S311 - nothing is secret here

    def pick(kind: str, place: int, history: list[tuple[int, Any]]) -> int:
        return random.randrange(len(history))

    return pick


def _torn(seed: int) -> Pick:
    """Names and sizes are there; of the data only what lies before, or after, some page."""
    random = Random(seed)  # noqa: S311 - nothing is secret here
    border = random.randrange(4)
    is_before = random.random() < 0.5

    def pick(kind: str, place: int, history: list[tuple[int, Any]]) -> int:
        if kind == "sector":
            return -1 if (place // _PAGE_SECTORS < border) == is_before else 0
        return random.randrange(len(history)) if kind == "index" else -1

    return pick


_NUMBERED: dict[str, Callable[[int], Pick]] = {"until": _until, "random": _random, "torn": _torn}


@attrs.frozen
class Outcome:
    """What a power cut does, by a name that can be written down.

    ``all``: everything was written; ``none``: only what was synced; ``zeros``: names and sizes
    without data; ``empty``: names alone; ``nameless``: data without new names, and no
    name taken away; ``index``: the index alone; ``until:N``: what was changed up to the
    N-th change; ``random:SEED``; ``torn:SEED``.
    """

    name: str

    def pick(self) -> Pick:
        """Give a fresh chooser.

        Raises:
            ValueError: There is no such outcome.
        """
        kind, _, number = self.name.partition(":")
        if kind in _NUMBERED:
            return _NUMBERED[kind](int(number))
        if self.name not in _NAMED:
            raise ValueError(f"there is no outcome {self.name!r}")
        return _NAMED[self.name]
