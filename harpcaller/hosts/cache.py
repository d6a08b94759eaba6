"""The registry's file: what the last run of the script gave, enough to start with.

The first line is a head, each other line an entry as the script prints it
(:mod:`harpcaller.hosts.entries`)::

    {"hosts":2,"written":1795230961.1}
    {"hostname":"web01.example.net","address":"192.0.2.1","port":4306,"credentials":{...}}
    {"hostname":"web02.example.net","address":"192.0.2.2","port":4306,"credentials":{...}}

``hosts`` is the number of entries, so that a file cut short is noticed; ``written`` is the
Unix time of the run.  The file holds passwords, so it has mode 0600 from its first byte
on; it is written beside and renamed, so it is always whole.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import attrs

from harpcaller.hosts.entries import NotAnEntry, entry_line, parse_line
from harpcaller.interfaces import Host
from harpcaller.logs.events import EventLog
from harpcaller.wire.fields import BadField, as_integer, as_time
from harpcaller.wire.values import NotJSON, Raw, build, encode, members


@attrs.frozen
class Cached:
    """What the cache holds, and since when (Unix time)."""

    hosts: tuple[Host, ...]
    written_at: float


class _Damaged(ValueError):
    """The file isn't a cache that we wrote; the message is safe to be logged."""


class Cache:
    """The file at a path.

    Args:
        path: It need not exist.
        log: Where problems with it are told.
    """

    def __init__(self, path: Path, log: EventLog) -> None:
        self.path = path
        self._log = log

    def read(self) -> Cached | None:
        """Read the file.

        None means that there is nothing to start with: no file, one that can't be read, or
        a damaged one, which is set aside as ``*.damaged``.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._log.error("hosts.cache_unreadable", file=str(self.path), why=str(error))
            return None
        try:
            return _parse(data)
        except _Damaged as error:
            self._set_aside(str(error))
            return None

    def _set_aside(self, why: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.damaged")
        try:
            os.replace(self.path, aside)
            # It may hold passwords, whoever made it.
            os.chmod(aside, 0o600)
        except OSError as error:
            why = f"{why}; it can't be set aside: {error}"
        self._log.error("hosts.cache_damaged", file=str(self.path), set_aside=str(aside), why=why)

    def steps(self, hosts: tuple[Host, ...], written_at: float) -> Generator[None, None, None]:
        """Write the file, a host for each step; the last step puts it in place.

        Until then, and if the steps aren't taken to the end, the old file is what it was.

        Raises:
            OSError: It can't be written.
        """
        fresh = self.path.with_name(f"{self.path.name}.new")
        with suppress(FileNotFoundError):
            # Left over from a power cut; made anew, so that its mode is ours.
            fresh.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            with open(os.open(fresh, flags, 0o600), "wb") as file:
                _ = file.write(_head(len(hosts), written_at) + b"\n")
                for host in hosts:
                    _ = file.write(entry_line(host) + b"\n")
                    yield
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, self.path)
        except BaseException:
            with suppress(OSError):
                fresh.unlink()
            raise
        _sync_folder(self.path.parent)


def _head(count: int, written_at: float) -> Raw:
    return build({"hosts": encode(count), "written": encode(written_at)})


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _parse(data: bytes) -> Cached:
    head, newline, rest = data.partition(b"\n")
    try:
        found = members(head)
        count = as_integer(found["hosts"], "hosts")
        written_at = as_time(found["written"], "written")
    except (NotJSON, BadField, KeyError):
        raise _Damaged("line 1: not the head of a hosts cache") from None
    *lines, torn = rest.split(b"\n")
    if not newline or torn or len(lines) != count:
        raise _Damaged(f"line 1: expected {count} hosts, got {len(lines)} lines")
    hosts = []
    for number, line in enumerate(lines, 2):
        try:
            hosts.append(parse_line(line))
        except NotAnEntry as reason:
            raise _Damaged(f"line {number}: {reason}") from None
    if len({host.hostname for host in hosts}) != count:
        raise _Damaged("a host stands there twice")
    return Cached(tuple(hosts), written_at)
