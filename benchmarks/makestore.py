"""Writes a store with many ended jobs, file by file, as fast as the file system allows.

The lines are written by the store's own codecs.  Half of the jobs ended ten days ago, the rest
a moment ago.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from uuid import UUID

from harpcaller.facts import Ended, Recorded, Started, Submitted
from harpcaller.logs.events import EventLog
from harpcaller.store.disk import RealDisk
from harpcaller.store.heads import head_line
from harpcaller.store.identity import own_identity
from harpcaller.store.index import Index
from harpcaller.store.layout import INDEX, JOURNAL, job_path
from harpcaller.store.records import fact_line
from harpcaller.store.roster import write_living
from harpcaller.store.segments import SegmentWriter
from harpcaller.wire.client import Call, JobId
from harpcaller.wire.client_answers import Record
from harpcaller.wire.ending import Returned
from harpcaller.wire.values import Raw, encode

_DAY = 86400.0


def job_ids(seed: int = 1) -> Iterator[JobId]:
    """Give job ids, the same for each seed."""
    random = Random(seed)
    while True:
        yield JobId(str(UUID(int=random.getrandbits(128), version=4)))


def make_store(directory: Path, count: int) -> None:
    """Write a store of so many jobs, with its index and its journal, as a clean stop leaves it."""
    disk = RealDisk()
    disk.make_directory(f"{directory}/{JOURNAL}")
    index = Index(disk, f"{directory}/{INDEX}", EventLog("benchmark"))
    index.adopt(own_identity(disk, str(directory), os.urandom), 0, 0)
    now = time.time()
    call = Call(
        host="web01.example.net",
        procedure="deploy.restart",
        arguments=Raw(b'["nginx",{"graceful":true,"wait":[1,2,3]}]'),
        timeout=60,
        info=Raw(b'{"user":"somebody","ticket":4711}'),
    )
    start = fact_line(Started(now))
    made: set[str] = set()
    for serial, job_id in zip(range(1, count + 1), job_ids(), strict=False):
        at = now - (10 * _DAY if serial <= count // 2 else 0) + serial * 1e-4
        end = fact_line(Ended(Returned(Raw(b'{"ok":true,"took":[0.25,0.5]}')), at))
        path = job_path(str(directory), job_id)
        folder = path[: path.rindex("/")]
        if folder not in made:
            disk.make_directory(folder)
            made.add(folder)
        head = head_line(job_id, serial, Submitted(call, at))
        _write(path, head + start + end)
        index.add(serial, job_id, call, at, now, at)
    _finish(disk, directory, index, count + 1)


def make_stream(directory: Path, job_id: JobId, count: int) -> None:
    """Write a store of one job that has ended and has so many records."""
    disk = RealDisk()
    disk.make_directory(f"{directory}/{JOURNAL}")
    index = Index(disk, f"{directory}/{INDEX}", EventLog("benchmark"))
    index.adopt(own_identity(disk, str(directory), os.urandom), 0, 0)
    now = time.time()
    call = Call("agent", "log.follow", Raw(b"[]"))
    path = job_path(str(directory), job_id)
    disk.make_directory(path[: path.rindex("/")])
    with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
        file.write(head_line(job_id, 1, Submitted(call, now)) + fact_line(Started(now)))
        file.writelines(_records(count, now))
        file.write(fact_line(Ended(Returned(Raw(b"null")), now)))
    index.add(1, job_id, call, now, now, now)
    _finish(disk, directory, index, 2)


def _records(count: int, now: float) -> Iterable[bytes]:
    for number in range(count):
        data = encode(f"line {number} of a log that nobody will ever read")
        yield fact_line(Recorded(Record(number, data, now)))


def _write(path: str, data: bytes) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    os.write(handle, data)
    os.close(handle)


def _finish(disk: RealDisk, directory: Path, index: Index, serial: int) -> None:
    index.complete()
    index.close()
    writer = SegmentWriter(disk, str(directory), 0, synced=False)
    number = writer.write((), serial=serial).number
    write_living(disk, str(directory), number, ())
    writer.close()
