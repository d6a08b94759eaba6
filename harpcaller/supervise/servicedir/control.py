"""``supervise/control``: one byte per command, ⇄ what the machine hears of it.  PURE."""

from __future__ import annotations

import signal
from collections.abc import Mapping

from harpcaller.supervise.machine.events import (
    ContinueWanted,
    DownWanted,
    Event,
    ExitWanted,
    OnceWanted,
    PauseWanted,
    SignalWanted,
    UpWanted,
)

#: The commands of the original, and of daemontools-encore those for further signals.
COMMANDS: Mapping[int, Event] = {
    ord("u"): UpWanted(),
    ord("d"): DownWanted(),
    ord("o"): OnceWanted(),
    ord("x"): ExitWanted(),
    ord("p"): PauseWanted(),
    ord("c"): ContinueWanted(),
    ord("t"): SignalWanted(signal.SIGTERM),
    ord("h"): SignalWanted(signal.SIGHUP),
    ord("a"): SignalWanted(signal.SIGALRM),
    ord("i"): SignalWanted(signal.SIGINT),
    ord("k"): SignalWanted(signal.SIGKILL),
    ord("q"): SignalWanted(signal.SIGQUIT),
    ord("1"): SignalWanted(signal.SIGUSR1),
    ord("2"): SignalWanted(signal.SIGUSR2),
}


def decode_commands(data: bytes) -> list[Event]:
    """Read what came through the FIFO; bytes that mean nothing are passed over.

    So they do in the original, and daemontools-encore's ``svc`` relies on it: it begins with
    an ``l``.
    """
    return [COMMANDS[byte] for byte in data if byte in COMMANDS]
