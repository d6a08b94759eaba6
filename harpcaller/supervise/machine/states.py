"""What a supervised process may be, what may be wanted of it, and what its service asks for.

PURE values.
"""

from __future__ import annotations

import signal
from enum import Enum
from typing import NamedTuple

from harpcaller.supervise.machine.restarts import RestartPolicy


class State(Enum):
    """Where in its life a process is."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    READY = "ready"
    PAUSED = "paused"
    STOPPING = "stopping"
    FINISHING = "finishing"
    BACKOFF = "backoff"
    GIVEN_UP = "given up"
    ENDED = "ended"


class Want(Enum):
    """What is to become of a process; the value is its byte in the status file."""

    UP = ord("u")
    DOWN = ord("d")
    ONCE = 0


class Rules(NamedTuple):
    """What a service's directory asks of its supervision.

    Attributes:
        restarts: What follows on its deaths.
        down_signal: What tells it to end.
        kill_after_seconds: How long it may take to, before SIGKILL; None: as long as it likes.
        finish_seconds: How long its finish script may take, before SIGKILL; None: likewise.
    """

    restarts: RestartPolicy = RestartPolicy()
    down_signal: int = signal.SIGTERM
    kill_after_seconds: float | None = None
    finish_seconds: float | None = 5.0
