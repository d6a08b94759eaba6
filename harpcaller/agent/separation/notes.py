"""What the network process has to say for the log, as the monitor writes it there.

Whoever has taken that process over could say anything, and without end.  So only what it
is known to tell has a kind of its own in the log; and of what comes too fast some is left out, and
the log says how much.
"""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime

from harpcaller.agent.separation.table import Noted
from harpcaller.logs.events import EventLog
from harpcaller.wire.values import NotJSON, decode

#: The kinds of events that happen in the network process.
KINDS = frozenset(
    [
        "agent.refused",
        "agent.request_failed",
        "agent.silent_connection_closed",
        "agent.too_many_unknown_connections",
        "agent.unknown_connections_driven_out",
    ]
)
#: How many notes are logged however fast they come, and how many a second after that.
BURST, RATE = 5000, 200


class Notes:
    """Writes notes to the log.

    Args:
        log: Where to.
        clock: Measures the rate.
    """

    def __init__(self, log: EventLog, clock: IReactorTime) -> None:
        self._log = log
        self._clock = clock
        self._allowed: float = BURST
        self._reckoned_at = clock.seconds()
        self._left_out = 0

    def take(self, note: Noted) -> None:
        """Log a note, if there aren't too many."""
        now = self._clock.seconds()
        self._allowed = min(BURST, self._allowed + (now - self._reckoned_at) * RATE)
        self._reckoned_at = now
        # Once some is left out, a second's worth is, rather than every other note.
        if self._allowed < (RATE if self._left_out else 1):
            self._left_out += 1
            return
        self.admit()
        self._allowed -= 1
        self._tell(note)

    def admit(self) -> None:
        """Tell how many were left out."""
        if self._left_out:
            self._log.warn("agent.notes_left_out", notes=self._left_out)
            self._left_out = 0

    def _tell(self, note: Noted) -> None:
        tell = {"warn": self._log.warn, "error": self._log.error, "critical": self._log.error}
        try:
            context = decode(note.context)
        except NotJSON:
            context = None  # a key may stand twice
        if note.kind in KINDS and isinstance(context, dict):
            tell.get(note.level, self._log.info)(note.kind, **context)
        else:
            said = {"kind": note.kind, "context": note.context.decode()}
            tell.get(note.level, self._log.info)("agent.network_said", **said)
