"""The list of jobs that lived when a segment of the journal was begun.

It stands beside its segment (``00000007.living``) and tells, with what the journal holds from there
on, which jobs haven't ended.  It is text: a line ``harpcaller-living 1 <count> <crc32 of the
rest, 8 hex digits>``, then the job ids, one a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from zlib import crc32

from harpcaller.store.disk import Disk
from harpcaller.store.layout import JOURNAL, living_path
from harpcaller.wire.client import JobId

_living = re.compile(rb"harpcaller-living 1 ([0-9]{1,12}) ([0-9a-f]{8})\n").match


def write_living(disk: Disk, directory: str, number: int, living: Iterable[JobId]) -> None:
    """Write down durably which jobs live as a segment begins.

    Raises:
        OSError: It didn't work.
    """
    ids = list(living)
    text = "".join(f"{job_id}\n" for job_id in ids).encode("ascii")
    handle = disk.create_log(living_path(directory, number), synced=False)
    try:
        disk.append(handle, b"harpcaller-living 1 %d %08x\n%s" % (len(ids), crc32(text), text))
        disk.sync(handle)
    finally:
        disk.close(handle)
    disk.sync_directory(f"{directory}/{JOURNAL}")


def read_living(disk: Disk, directory: str, number: int) -> list[JobId] | None:
    """Read which jobs lived as a segment began; None if the list isn't whole."""
    handle = disk.open(living_path(directory, number))
    try:
        data = disk.read(handle, 0, disk.length(handle))
    finally:
        disk.close(handle)
    found = _living(data)
    if found is None:
        return None
    text = data[found.end() :]
    ids = text.decode("ascii", "replace").split()
    if crc32(text) != int(found[2], 16) or len(ids) != int(found[1]):
        return None
    return [JobId(job_id) for job_id in ids]
