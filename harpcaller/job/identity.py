"""Job ids: lower-case UUIDs of version 4 that can't be guessed."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from harpcaller.wire.client import JobId


def new_job_id(random_bytes: Callable[[int], bytes]) -> JobId:
    """Make an id from 16 bytes of the given source (``os.urandom`` in production)."""
    return JobId(str(UUID(bytes=random_bytes(16), version=4)))
