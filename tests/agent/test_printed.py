"""What procedures print, in the agent's log."""

from __future__ import annotations

from typing import cast

from twisted.logger import ILogObserver, LogEvent, globalLogPublisher

from harpcaller.agent.printed import BURST, LONGEST, RATE, PrintedLines
from harpcaller.logs.events import EventLog
from tests.house import HouseCase


class PrintedTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.printed = PrintedLines(
            EventLog("agent"), "agent.printed", {"procedure": "x"}, self.clock
        )

    def lines(self) -> list[str]:
        contexts = [event["context"] for event in self.events]
        return [context["line"] for context in contexts if "line" in context]

    def test_cut_at_lines(self) -> None:
        """Lines are logged one by one with the procedure's name, however they arrive."""
        for piece in (b"on", b"e\ntw", b"o\n\nrest"):
            self.printed.feed(piece)
        self.assertEqual(["one", "two", ""], self.lines())
        self.printed.finish()
        self.printed.finish()
        self.assertEqual(["one", "two", "", "rest"], self.lines())
        self.assertEqual("x", self.events[0]["context"]["procedure"])

    def test_escaped(self) -> None:
        """Nothing printed can move a terminal's cursor or look like a line of ours."""
        self.printed.feed("caf\u00e9\t\x1b[2J\r\u2028".encode() + b"\xff\n")
        self.assertEqual(["caf\u00e9\t\\x1b[2J\\r\\u2028\\xff"], self.lines())

    def test_long_lines(self) -> None:
        """A line without end is logged in pieces and never kept whole."""
        self.printed.feed(b"a" * (2 * LONGEST + 5))
        self.assertEqual([LONGEST, LONGEST], [len(line) for line in self.lines()])
        self.printed.feed(b"b" * LONGEST + b"\n")
        self.assertEqual([LONGEST, LONGEST, LONGEST, 5], [len(line) for line in self.lines()])

    def test_too_many_lines(self) -> None:
        """What is printed without end is logged at a bounded rate, and how much isn't, too."""
        for _ in range(BURST + 100):
            self.printed.feed(b"x\n")
        self.assertEqual(["x"] * BURST, self.lines())
        self.clock.advance(0.5)
        self.printed.feed(b"x\n")
        self.assertEqual(BURST, len(self.lines()))
        self.clock.advance(0.5)
        for _ in range(RATE + 7):
            self.printed.feed(b"y\n")
        self.assertEqual([101, *["y"] * RATE], [*self.left_out(), *self.lines()[BURST:]])
        self.printed.finish()
        self.assertEqual([101, 7], self.left_out())

    def left_out(self) -> list[int]:
        kind = "agent.lines_left_out"
        return [event["context"]["lines"] for event in self.events if event["kind"] == kind]

    def test_long_lines_count_for_more(self) -> None:
        """A few long lines take the place of many short ones."""
        for _ in range(BURST):
            self.printed.feed(b"x" * 4096 + b"\n")
        self.assertEqual(BURST // 5, len(self.lines()))
        self.printed.finish()
