"""The pipe that a procedure prints into."""

from __future__ import annotations

import fcntl
import os
from typing import cast

from twisted.internet.testing import MemoryReactorClock

from harpcaller.agent.call_process import (
    PRINTED_AT_ONCE,
    PRINTED_WHILE,
    AgentReactor,
    OutputPipe,
)
from harpcaller.agent.printed import PrintedLines
from harpcaller.logs.events import EventLog
from tests.house import HouseCase


class OutputPipeTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = MemoryReactorClock()
        reading, self.writing = os.pipe()
        printed = PrintedLines(EventLog("test"), "printed", {}, self.reactor)
        self.pipe = OutputPipe(cast(AgentReactor, self.reactor), reading, printed)
        self.reading = reading

    def is_open(self) -> bool:
        try:
            fcntl.fcntl(self.reading, fcntl.F_GETFD)
        except OSError:
            return False
        return True

    def test_number_is_not_given_back_in_the_same_turn(self) -> None:
        """Finishing keeps the descriptor until the reactor's next turn: an event of the pipe
        that is still to come must not hit a connection accepted under its number."""
        self.pipe.finish()
        self.assertNotIn(self.pipe, self.reactor.getReaders())
        self.assertTrue(self.is_open())
        self.reactor.advance(0)
        self.assertFalse(self.is_open())
        os.close(self.writing)

    def test_end_of_output_closes_once(self) -> None:
        """The end of the output and the end of the call may both close it."""
        os.close(self.writing)
        self.pipe.finish()
        self.pipe.finish()
        self.reactor.advance(0)
        self.assertFalse(self.is_open())

    def test_held_back(self) -> None:
        """Whoever prints without end is read for a part of the time only."""
        self.addCleanup(os.close, self.writing)
        for _ in range(PRINTED_AT_ONCE // 8192):
            self.assertIn(self.pipe, self.reactor.getReaders())
            os.write(self.writing, b"x" * 8192)
            self.pipe.doRead()
        self.assertNotIn(self.pipe, self.reactor.getReaders())
        self.reactor.advance(PRINTED_WHILE)
        self.assertIn(self.pipe, self.reactor.getReaders())
        self.pipe.finish()
        self.reactor.advance(0)
        self.assertEqual([], self.reactor.getDelayedCalls())

    def test_ends_while_it_is_held_back(self) -> None:
        """The end of a call that printed too much leaves nothing to wait for."""
        self.addCleanup(os.close, self.writing)
        for _ in range(PRINTED_AT_ONCE // 8192):
            os.write(self.writing, b"x" * 8192)
            self.pipe.doRead()
        self.pipe.finish()
        self.reactor.advance(0)
        self.assertEqual([], self.reactor.getDelayedCalls())
        self.assertFalse(self.is_open())
