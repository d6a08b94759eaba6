"""The socket of a call's process, without a process."""

from __future__ import annotations

import os
from typing import cast

from twisted.internet.testing import MemoryReactorClock, StringTransport

from harpcaller.agent.call_process import LINGER_SECONDS, AgentReactor, CallProcess, OutputPipe
from harpcaller.agent.orders import End, Order
from harpcaller.agent.printed import PrintedLines
from harpcaller.agent.seams import Wanted
from harpcaller.logs.events import EventLog
from harpcaller.wire.agent import decode_message
from harpcaller.wire.ending import Failed
from harpcaller.wire.lines import LineBuffer
from harpcaller.wire.values import Raw
from tests.house import HouseCase


class Socket(StringTransport):
    aborted = False

    def abortConnection(self) -> None:
        self.aborted = True


class Events:
    def __init__(self) -> None:
        self.heard: list[bytes | str] = []

    def said(self, lines: bytes) -> None:
        self.heard.append(lines)

    def answered(self, line: bytes) -> None:
        self.heard.append(line)

    def exited(self, how: str) -> None:
        self.heard.append(how)


class CallProcessTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.reactor = MemoryReactorClock()
        self.events = Events()
        self.sent: list[Order] = []
        reading, writing = os.pipe()
        os.close(writing)
        printed = PrintedLines(EventLog("agent"), "agent.printed", {}, self.reactor)
        reactor = cast(AgentReactor, self.reactor)
        output = OutputPipe(reactor, reading, printed)
        self.addCleanup(self.reactor.advance, 0)
        self.addCleanup(output.finish)
        self.process = CallProcess(
            Wanted(7, "add", Raw(b"[1]"), "somebody", "192.0.2.1"),
            reactor,
            self.events,
            output,
            self.sent.append,
        )
        self.socket = Socket()
        self.process.makeConnection(self.socket)

    def test_asked_when_it_may_run(self) -> None:
        """The process hears what to run, and for whom, when it is to run it."""
        self.assertEqual(b"", self.socket.value())
        self.process.go()
        self.assertEqual(
            b'{"procedure":"add","arguments":[1],'
            b'"call":{"user":"somebody","peer":"192.0.2.1","id":7}}\n',
            self.socket.value(),
        )

    def test_records_that_come_together_go_together(self) -> None:
        """Whole lines are told at once, half a line waits."""
        self.process.dataReceived(b'{"stream":1}\n{"stream":2}\n{"str')
        self.process.dataReceived(b'eam":3}\n{"result":4}\n{"stream":5}\n')
        self.process.dataReceived(b"more")
        self.assertEqual(
            [b'{"stream":1}\n{"stream":2}\n', b'{"stream":3}\n', b'{"result":4}\n'],
            self.events.heard,
        )
        self.process.connectionLost()
        self.process.exited("normally")
        self.assertEqual("normally", self.events.heard[-1])

    def test_line_too_long(self) -> None:
        """A message without end is an error, and the process is killed."""
        self.patch(self.process, "_lines", LineBuffer(100))
        self.process.dataReceived(b'{"stream":' + b"1" * 200)
        ending = decode_message(cast(bytes, self.events.heard[0]))
        assert isinstance(ending, Failed)
        self.assertIn("longer than 100 bytes", ending.message)
        self.assertEqual([End(7, 9, 0.0)], self.sent)

    def test_exit_is_told_after_the_last_word(self) -> None:
        """What is still in the socket when the process is gone isn't lost."""
        self.process.exited("without a result")
        self.assertEqual([], self.events.heard)
        self.process.dataReceived(b'{"result":1}\n')
        self.process.connectionLost()
        self.assertEqual([b'{"result":1}\n', "without a result"], self.events.heard)
        self.assertEqual([], self.reactor.getDelayedCalls()[1:], "only the pipe's closing")

    def test_slow_caller(self) -> None:
        """As long as a slow caller holds the socket back, it isn't given up."""
        self.process.pauseProducing()
        self.process.exited("without a result")
        self.reactor.advance(LINGER_SECONDS)
        self.reactor.advance(LINGER_SECONDS)
        self.assertFalse(self.socket.aborted)
        self.process.resumeProducing()
        self.reactor.advance(LINGER_SECONDS)
        self.assertTrue(self.socket.aborted)
        self.process.connectionLost()
        self.assertEqual(["without a result"], self.events.heard)

    def test_read_to_the_end(self) -> None:
        """After its answer the socket is read on, however slow the caller is."""
        self.process.pauseProducing()
        self.process.dataReceived(b'{"result":1}\n')
        self.assertEqual("producing", self.socket.producerState)
        self.process.pauseProducing()
        self.assertEqual("producing", self.socket.producerState)
        self.process.stopProducing()

    def test_hushed(self) -> None:
        """After hush nothing more is heard but the exit."""
        self.process.hush()
        self.process.dataReceived(b'{"stream":1}\n')
        self.process.connectionLost()
        self.process.exited("by a signal")
        self.assertEqual(["by a signal"], self.events.heard)
