"""What the network process has to say for the log."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from twisted.logger import ILogObserver, LogEvent

from harpcaller.agent import server, strangers
from harpcaller.agent.separation.notes import BURST, KINDS, RATE, Notes
from harpcaller.agent.separation.table import Noted
from harpcaller.logs.events import EventLog
from harpcaller.wire.values import Raw
from tests.house import HouseCase


class NotesTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.log = EventLog("agent")
        self.seen: list[LogEvent] = []
        self.log._logger.observer = cast(ILogObserver, self.seen.append)
        self.notes = Notes(self.log, self.clock)

    def told(self) -> list[tuple[str, str, Any]]:
        return [(event["log_level"].name, event["kind"], event["context"]) for event in self.seen]

    def test_known_kinds(self) -> None:
        """What is known to happen there is an event like others."""
        self.notes.take(Noted("warn", "agent.refused", Raw(b'{"peer":"::1","kind":1}')))
        self.notes.take(Noted("critical", "agent.request_failed", Raw(b"{}")))
        self.assertEqual(
            [
                ("warn", "agent.refused", {"peer": "::1", "kind": 1}),
                ("error", "agent.request_failed", {}),
            ],
            self.told(),
        )

    def test_others(self) -> None:
        """Nothing else passes for an event of the agent."""
        for kind, context in (
            ("agent.call_started", b'{"user":"root"}'),
            ("agent.refused", b"[]"),
            ("agent.refused", b'{"a":1,"a":2}'),
        ):
            self.seen.clear()
            self.notes.take(Noted("info", kind, Raw(context)))
            expected = {"kind": kind, "context": context.decode()}
            self.assertEqual([("info", "agent.network_said", expected)], self.told())

    def test_flood(self) -> None:
        """Of too many some are left out, and the log says how many."""
        note = Noted("info", "agent.refused", Raw(b"{}"))
        for _ in range(BURST + 100):
            self.notes.take(note)
        self.assertEqual(BURST, len(self.seen))
        self.clock.advance(1)
        self.notes.take(note)
        self.assertEqual(("warn", "agent.notes_left_out", {"notes": 100}), self.told()[BURST])
        for _ in range(RATE + 10):
            self.notes.take(note)
        self.notes.admit()
        self.assertEqual(("warn", "agent.notes_left_out", {"notes": 11}), self.told()[-1])

    def test_all_kinds(self) -> None:
        """Whatever the door tells is known."""
        for module in (server, strangers):
            words = Path(str(module.__file__)).read_text().split('"')
            told = {word for word in words if word.startswith("agent.")}
            self.assertTrue(told)
            self.assertEqual(set(), told - KINDS)
