"""A service as it is seen from outside, whoever supervises it: we, djb's program or encore's."""

from __future__ import annotations

import os
import time
from enum import Enum
from typing import NamedTuple

from harpcaller.supervise.messages import reason
from harpcaller.supervise.servicedir import detail as details
from harpcaller.supervise.servicedir.detail import Detail
from harpcaller.supervise.servicedir.folder import read_beginning
from harpcaller.supervise.servicedir.ok import is_supervised
from harpcaller.supervise.servicedir.settings import WORDS_OF_READINESS
from harpcaller.supervise.servicedir.status import NotStatus, Status, decode_status

#: The longest status that any family writes.
_STATUS_SIZE = 64
#: How often status and detail are read until one belongs to the other, and the time between.
_ATTEMPTS = 4
_A_MOMENT = 0.001


class NotSeen(Exception):
    """It can't be told how a service is; says why, in daemontools' words."""


class NotRunning(NotSeen):
    """Nobody supervises it."""


class Normally(Enum):
    """How a service is to be when its supervision begins."""

    UP = "up"
    DOWN = "down"


class Seen(NamedTuple):
    """A service that is supervised.

    Attributes:
        status: What is in its status file.
        normally: As the file ``down`` tells now.
        detail: More, if our own supervise wrote it about just this status.
        tells_readiness: Whether it asks to be heard when it is ready.
    """

    status: Status
    normally: Normally
    detail: Detail | None
    tells_readiness: bool = False


def look(start: int) -> Seen:
    """Look at the service in a folder, in the order in which the original does.

    Raises:
        NotSeen: It isn't supervised, or that can't be told.
    """
    what = "stat down"
    try:
        normally = Normally.DOWN if _exists("down", start) else Normally.UP
        what = "open supervise/ok"
        if not _is_supervised(start):
            raise NotRunning("supervise not running")
        what = "open supervise/status"
        status, detail = _status_and_detail(start)
    except NotStatus:
        raise NotSeen("unable to read supervise/status: bad format") from None
    except OSError as error:
        raise NotSeen(f"unable to {what}: {reason(error)}") from None
    return Seen(status, normally, detail, _tells_readiness(start))


def _is_supervised(start: int) -> bool:
    try:
        return is_supervised(start)
    except FileNotFoundError as error:
        # It never was; the original has no other words for that.
        raise NotRunning(f"unable to open supervise/ok: {reason(error)}") from None


def _tells_readiness(start: int) -> bool:
    return any(os.access(name, os.F_OK, dir_fd=start) for name in WORDS_OF_READINESS)


def _exists(name: str, start: int) -> bool:
    try:
        os.stat(name, dir_fd=start)
    except FileNotFoundError:
        return False
    return True


def _status_and_detail(start: int) -> tuple[Status, Detail | None]:
    """Read both, and again if one of them was just being replaced."""
    attempt = 0
    while True:
        status = decode_status(read_beginning("supervise/status", _STATUS_SIZE, start))
        detail = _detail(start)
        if detail is None or detail.belongs_to(status):
            return status, detail
        attempt += 1
        if attempt == _ATTEMPTS:
            return status, None  # another family's program has the service now
        time.sleep(_A_MOMENT)


def _detail(start: int) -> Detail | None:
    try:
        return details.decode_detail(read_beginning("supervise/detail", details.MAX_SIZE, start))
    except OSError:
        return None
