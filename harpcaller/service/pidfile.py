"""The file that says which process a daemon is.

It is locked as long as the daemon lives, so that a file that was left behind can be told
from one that is in force, even if its number belongs to another process by now.
"""

from __future__ import annotations

import fcntl
import os
import re
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from harpcaller.errors import HarpcallerError

_pid_or_nothing = re.compile(rb"\s*[0-9]{0,10}\s*").fullmatch


class NotOurs(HarpcallerError):
    """The pid file can't be had; the message says why."""


class PidFile:
    """A pid file, from entering it to leaving it.

    Args:
        path: Where it is.
        pid: The number to write.
    """

    def __init__(self, path: Path, pid: int) -> None:
        self._path = path
        self._pid = pid
        self._descriptor = -1

    def __enter__(self) -> None:
        """Write it.

        Raises:
            NotOurs: It can't be written, or another process has it.
        """
        try:
            self._descriptor = self._locked()
            content = os.pread(self._descriptor, 100, 0)
            if not _pid_or_nothing(content):
                raise NotOurs(f"{self._path}: there is something in it that is no process number")
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, b"%d\n" % self._pid, 0)
        except BlockingIOError:
            pid = self._path.read_text("ascii", "replace").strip()[:20] or "unknown"
            raise NotOurs(f"{self._path}: the daemon runs already, as process {pid}") from None
        except OSError as error:
            self._close()
            raise NotOurs(f"{self._path}: {error.strerror}") from None
        except NotOurs:
            self._close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Remove it."""
        with suppress(OSError):
            self._path.unlink()
        self._close()

    def _locked(self) -> int:
        """Open the file and lock it, though another may be removing it just now."""
        while True:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self._path, flags, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is_still_there(self._path, descriptor):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def _is_still_there(path: Path, descriptor: int) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
