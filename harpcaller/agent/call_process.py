"""The server's side of one call's process: its socket, its output and its end."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import cast

from twisted.internet.abstract import FileDescriptor
from twisted.internet.fdesc import readFromFD, setNonBlocking
from twisted.internet.interfaces import (
    IAddress,
    IDelayedCall,
    IReactorFDSet,
    IReactorTime,
)
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.internet.unix import Server as UnixConnection
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.agent.orders import End, Order
from harpcaller.agent.printed import PrintedLines
from harpcaller.agent.seams import CallEvents, ICallProcess, Wanted
from harpcaller.wire.agent import MAX_MESSAGE_SIZE, encode_message
from harpcaller.wire.ending import Failed
from harpcaller.wire.lines import LineBuffer, LineTooLong
from harpcaller.wire.values import build, encode

#: How long a socket may stay open after its worker's end, in seconds: a child of the
#: worker may have inherited it.
LINGER_SECONDS = 1.0

#: How much of what a call prints is read in a while, in bytes, and how long that is, in
#: seconds.  Whoever prints more has to wait, as the reactor has others to serve.
PRINTED_AT_ONCE, PRINTED_WHILE = 2 * 1024 * 1024, 0.125

_RECORD = b'{"stream":'
_ENDINGS = (b'{"result":', b'{"exception":', b'{"harp":1,"error":')


#: What the process side of the server needs of a reactor: everything that Unix's can do.
AgentReactor = PosixReactorBase


class _Factory(ServerFactory[Protocol]):
    """Gives one protocol to one adopted connection."""

    noisy = False

    def __init__(self, protocol: Protocol) -> None:
        self._protocol = protocol

    def buildProtocol(self, address: IAddress | None) -> Protocol:
        return self._protocol


def adopt(reactor: AgentReactor, ours: socket.socket, protocol: Protocol) -> None:
    """Let a protocol speak on our end of a socket pair."""
    with ours:  # Twisted takes a duplicate
        ours.setblocking(False)
        factory = _Factory(protocol)
        reactor.adoptStreamConnection(
            ours.fileno(),
            socket.AF_UNIX,
            factory,
        )


class OutputPipe(FileDescriptor):
    """Reads what a call's processes print, at no more than a certain rate."""

    def __init__(self, reactor: AgentReactor, descriptor: int, printed: PrintedLines) -> None:
        super().__init__(cast(IReactorFDSet, reactor))
        setNonBlocking(descriptor)
        self._reactor = reactor
        self._descriptor = descriptor
        self._printed = printed
        self._read_in_while = 0
        self._while_ends = 0.0
        self._rest: IDelayedCall | None = None
        self.startReading()

    def fileno(self) -> int:
        return self._descriptor

    def doRead(self) -> object:
        now = self._reactor.seconds()
        if now >= self._while_ends:
            self._read_in_while, self._while_ends = 0, now + PRINTED_WHILE
        state: object = readFromFD(self._descriptor, self._take)
        if self._read_in_while >= PRINTED_AT_ONCE and self._rest is None:
            self.stopReading()
            self._rest = self._reactor.callLater(self._while_ends - now, self._go_on)
        return state

    def _take(self, data: bytes) -> None:
        self._read_in_while += len(data)
        self._printed.feed(data)

    def _go_on(self) -> None:
        self._rest = None
        self.startReading()

    def _stop(self) -> None:
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        self.stopReading()

    def connectionLost(self, reason: Failure) -> None:
        if self._descriptor < 0:
            return
        self._stop()
        super().connectionLost(reason)
        os.close(self._descriptor)
        self._descriptor = -1
        self._printed.finish()

    def finish(self) -> None:
        """Read what is there, then close: the call is over."""
        if self._descriptor >= 0:
            # A pipe holds 64 KiB; whoever goes on printing isn't waited for.
            for _ in range(16):
                if readFromFD(self._descriptor, self._printed.feed) is not None:
                    break
            self._stop()
            # Not at once: this turn of the reactor may hold an event of the pipe yet, which
            # would end whatever connection is accepted under its number meanwhile.
            self._reactor.callLater(0, self.connectionLost, Failure(connectionDone.value))


@implementer(ICallProcess)
class CallProcess(Protocol):
    """A call's process: its socket, its output and its end.

    ``exited`` is told when the process is gone *and* its socket was read to the end, so
    that an answer which is still in the socket isn't lost.

    Args:
        wanted: What it is to run.
        reactor: Measures how long the socket is waited for.
        events: Who is told.
        output: What the process prints.
        send: Sends orders to the template.
    """

    transport: UnixConnection  # that's what is adopted

    def __init__(
        self,
        wanted: Wanted,
        reactor: IReactorTime,
        events: CallEvents,
        output: OutputPipe,
        send: Callable[[Order], None],
    ) -> None:
        self._wanted = wanted
        self._reactor = reactor
        self._events = events
        self._send = send
        self._lines = LineBuffer(MAX_MESSAGE_SIZE)
        self._paused = False
        self._hushed = False
        self._open = True
        self._how: str | None = None
        self._linger: IDelayedCall | None = None
        self._output = output

    # What the process side tells.

    def dataReceived(self, data: bytes) -> None:
        """Twisted: bytes of the worker."""
        if self._hushed:
            return
        self._lines.feed(data)
        records: list[bytes] = []
        trouble: str | None = None
        ending: bytes | None = None
        try:
            while ending is None and (line := self._lines.next_line()) is not None:
                if line.startswith(_RECORD):
                    records.append(line + b"\n")
                elif line.startswith(_ENDINGS):
                    ending = line + b"\n"
                else:
                    trouble = "the procedure's process wrote something that isn't a message"
                    break
        except LineTooLong as error:
            trouble = f"the procedure's process wrote a {error}"
        if records:
            self._events.said(b"".join(records))
        if trouble is not None:
            ending = encode_message(Failed("system_error", trouble))
            self.end(signal.SIGKILL, 0.0)
        if ending is not None:
            # From now on it is read to its end, however slow the caller is.
            self._hushed = True
            self._paused = False
            self._events.answered(ending)
            self.transport.resumeProducing()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: the worker, or :meth:`hush`, closed the socket."""
        self._open = False
        self._tell_exited()

    def exited(self, how: str) -> None:
        """The template tells that the process is gone."""
        self._how = how
        if self._open:
            self._linger = self._reactor.callLater(LINGER_SECONDS, self._lingered)
        self._tell_exited()

    def _lingered(self) -> None:
        if self._paused:  # the caller reads slowly, and there may be more to read
            self._linger = self._reactor.callLater(LINGER_SECONDS, self._lingered)
        else:
            self._linger = None
            self.hush()

    def _tell_exited(self) -> None:
        if self._open or self._how is None:
            return
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        self._output.finish()
        self._events.exited(self._how)

    # What is asked of it.

    def go(self) -> None:
        wanted = self._wanted
        line = build(
            {
                "procedure": encode(wanted.procedure),
                "arguments": wanted.arguments,
                "call": encode({"user": wanted.user, "peer": wanted.peer, "id": wanted.id}),
            }
        )
        self.transport.write(line + b"\n")

    def end(self, signal: int, grace_seconds: float) -> None:
        self._send(End(self._wanted.id, int(signal), grace_seconds))

    def hush(self) -> None:
        self._hushed = True
        self.transport.abortConnection()

    def pauseProducing(self) -> None:
        if not self._hushed:
            self._paused = True
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._paused = False
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The caller's connection is lost, which is told in another way too."""
