"""An event log that tests can read."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.python.failure import Failure

from harpcaller.logs.events import EventLog


@attrs.define
class RecordedEvents:
    """What was told, as ``(level, kind, context)``."""

    events: list[tuple[str, str, dict[str, Any]]] = attrs.field(factory=list)

    def kinds(self) -> list[str]:
        return [kind for _, kind, _ in self.events]

    def context(self, wanted: str) -> dict[str, Any]:
        """The context of the last event of a kind."""
        return [context for _, kind, context in self.events if kind == wanted][-1]


class RecordingLog(EventLog):
    """Writes events into a list instead of the process's log."""

    def __init__(self) -> None:
        super().__init__("tests")
        self.told = RecordedEvents()

    def info(self, kind: str, /, **context: object) -> None:
        self.told.events.append(("info", kind, context))

    def warn(self, kind: str, /, **context: object) -> None:
        self.told.events.append(("warn", kind, context))

    def error(self, kind: str, /, **context: object) -> None:
        self.told.events.append(("error", kind, context))

    def bug(self, kind: str, failure: Failure, /, **context: object) -> None:
        self.told.events.append(("bug", kind, {**context, "failure": failure}))
