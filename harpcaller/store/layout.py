"""Where a job's file lies: job id ⇄ path, without touching the disk.

The first four hex digits of the id make two levels of directories, so that a million
jobs are fifteen files a directory: ``8ec71d6b-28d1-…`` is ``8e/c7/1d6b-28d1-…``.  What isn't
a job id never becomes a path.
"""

from __future__ import annotations

import os
import re

from harpcaller.errors import InvalidJobId
from harpcaller.wire.client import JobId

_job_id = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
).fullmatch
_level = re.compile(r"[0-9a-f]{2}").fullmatch

#: The directory, inside the store's, of the journal's segments.
JOURNAL = "journal"
#: The file, inside the store's directory, of the index.
INDEX = "index.sqlite"
#: The file, inside the store's directory, by which an index is known to be its own.
IDENTITY = "identity"
#: The file, inside the store's directory, that the living daemon holds locked.
LOCK = "lock"

_SEGMENT = re.compile(r"([0-9]{8,})\.log").fullmatch
_LIVING = re.compile(r"([0-9]{8,})\.living").fullmatch


def is_job_id(text: str) -> bool:
    """Tell whether this is a lower-case UUID of version 4."""
    return _job_id(text) is not None


def job_path(directory: str, job_id: JobId) -> str:
    """Give the path of a job's file.

    Raises:
        InvalidJobId: It isn't a job id.
    """
    if _job_id(job_id) is None:
        raise InvalidJobId("no job has this id")
    return f"{directory}/{job_id[:2]}/{job_id[2:4]}/{job_id[4:]}"


def is_level(name: str) -> bool:
    """Tell whether a directory of this name can be one of the two levels."""
    return _level(name) is not None


def job_id_at(first: str, second: str, rest: str) -> JobId | None:
    """Give the id of the job whose file this is, or None if it is no job's."""
    text = first + second + rest
    return JobId(text) if is_level(first) and is_level(second) and is_job_id(text) else None


def segment_path(directory: str, number: int) -> str:
    """Give the path of a segment of the journal."""
    return os.path.join(directory, JOURNAL, f"{number:08d}.log")


def living_path(directory: str, number: int) -> str:
    """Give the path of the list of jobs that lived when a segment was begun."""
    return os.path.join(directory, JOURNAL, f"{number:08d}.living")


def segment_number(name: str) -> int | None:
    """Give the number of the segment with this file name, or None if it is none's."""
    found = _SEGMENT(name)
    return None if found is None else int(found[1])


def living_number(name: str) -> int | None:
    """Give the number of the list with this file name, or None if it is none's."""
    found = _LIVING(name)
    return None if found is None else int(found[1])
