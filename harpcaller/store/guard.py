"""Keeping daemons away from a store that is only looked at; nothing is written for it."""

from __future__ import annotations

import fcntl
import os

from harpcaller.errors import StorageError
from harpcaller.store.layout import LOCK


class Guard:
    """Holds a store's lock until it is closed.

    A store without a lock file has no daemon.  Unlike a daemon's, this works on a read-only
    file system.

    Args:
        directory: The store's.

    Raises:
        StorageError: A daemon uses the store.
        OSError: That can't be found out.
    """

    def __init__(self, directory: str) -> None:
        self._handle: int | None = None
        try:
            handle = os.open(f"{directory}/{LOCK}", os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise StorageError(
                f"{directory}: the store is in use (process {owner}):"
                " stop its daemon first, or check a snapshot"
            ) from None
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle

    def close(self) -> None:
        """Let the lock go."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
