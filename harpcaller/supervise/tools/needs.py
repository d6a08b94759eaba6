"""Is what a service needs there?

``needs/NAME`` is the other service's directory, or a link to it; anything else there, an empty
file say, stands for the service that is called NAME beside this one.  It is there when it is
up, and ready if it tells such a thing.  Whoever supervises it doesn't matter.
"""

from __future__ import annotations

import os

from harpcaller.supervise.machine.life import State
from harpcaller.supervise.servicedir.folder import Folder
from harpcaller.supervise.servicedir.seen import NotSeen, look


def missing(folder: Folder, siblings: int | None) -> tuple[str, ...]:
    """List what a service needs that isn't there.

    Args:
        folder: The service's.
        siblings: A descriptor of the folder that has the services beside it; None: the
            current folder.
    """
    return tuple(name for name in folder.needs() if not _is_there(name, folder, siblings))


def _is_there(name: str, folder: Folder, siblings: int | None) -> bool:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        other = os.open(f"needs/{name}", flags, dir_fd=folder.fd)
    except OSError:
        try:
            other = os.open(name, flags, dir_fd=siblings)
        except OSError:
            return False
    try:
        return _is_up(other)
    finally:
        os.close(other)


def _is_up(start: int) -> bool:
    try:
        seen = look(start)
    except NotSeen:
        return False
    if not seen.status.pid or seen.status.is_paused:
        return False
    if seen.detail is None:
        return True  # another family's supervise: it has no word for being ready
    if seen.detail.state == State.UP.value:
        return not seen.tells_readiness
    return seen.detail.state == State.READY.value
