"""A store's name for itself, by which an index is known to be its own.

The file ``identity`` holds 32 hex digits from the first start on.  It goes along when a store is
moved, copied or restored.  If it is lost the next start makes another one.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from harpcaller.store.disk import Disk
from harpcaller.store.layout import IDENTITY

_identity = re.compile(rb"([0-9a-f]{32})\n").fullmatch
_BYTES = 16


def read_identity(disk: Disk, directory: str) -> str | None:
    """Read a store's identity; None if it has none, or the file is damaged.

    Raises:
        OSError: It can't be read.
    """
    try:
        handle = disk.open(f"{directory}/{IDENTITY}")
    except FileNotFoundError:
        return None
    try:
        found = _identity(disk.read(handle, 0, 2 * _BYTES + 2))
    finally:
        disk.close(handle)
    return None if found is None else found[1].decode("ascii")


def own_identity(disk: Disk, directory: str, random_bytes: Callable[[int], bytes]) -> str:
    """Give a store's identity, made now if it has none; it isn't synced.

    Raises:
        OSError: It can't be read or written.
    """
    found = read_identity(disk, directory)
    if found is None:
        found = random_bytes(_BYTES).hex()
        path = f"{directory}/{IDENTITY}"
        disk.write_at(path, 0, f"{found}\n".encode("ascii"))
        disk.truncate(path, 2 * _BYTES + 1)
    return found
