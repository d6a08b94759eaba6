"""A scripted agent, for tests of what calls agents.

It speaks the agents' side of ``doc/protocol`` §2 and misbehaves exactly as told: a script is
what it does once it was asked, step by step.  It works on any transport;
:class:`~harpcaller.testing.agent_tls.AgentTLS` makes it a TLS server.  It runs no procedures
and checks no password.

::

    script = [acknowledge(streaming=True), record(b"1"), end(Returned(Raw(b"null"))), HANG_UP]
    agent = FakeAgent(script, clock)
    reactor.listenTCP(0, over_tls(agent, AgentTLS(make_authority().issue()), clock))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import attrs
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.errors import InvalidRequest, NoSuchJob, WireError
from harpcaller.wire.agent import (
    Acknowledged,
    Attach,
    CancelJob,
    ListProcedures,
    Procedure,
    ProcedureCall,
    ProcedureList,
    Said,
    decode_request,
    encode_cancelled,
    encode_message,
    encode_procedures,
)
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Ending, Failed
from harpcaller.wire.lines import LineBuffer
from harpcaller.wire.values import Raw

# --- Scripts -------------------------------------------------------------------------------


@attrs.frozen
class Say:
    """Send these bytes, whatever they are.

    ``keeps`` tells that they have announced that the connection stays after the call.
    """

    data: bytes
    keeps: bool = False


@attrs.frozen
class Wait:
    """Do nothing for a time."""

    seconds: float


@attrs.frozen
class Flood:
    """Send these bytes again and again, as fast as they are taken, for ever.

    With a :class:`~twisted.internet.task.Clock`, that is for ever within one ``advance``, if the
    transport doesn't pause it.
    """

    data: bytes


@attrs.frozen
class Close:
    """Close the connection, after what was said or at once."""

    at_once: bool = False


@attrs.frozen
class Linger:
    """Wait for another request, and close in order if none comes."""

    seconds: float


Step = Say | Wait | Flood | Close | Linger
Script = Sequence[Step]

#: Close once everything said has gone out.
HANG_UP = Close()
#: Close as a crash does: nothing more goes out.
BREAK_OFF = Close(at_once=True)


def acknowledge(*, streaming: bool = False, resumable: bool = False, keeps: bool = False) -> Say:
    """Take the call; with ``keeps``, the script should leave the connection open, or linger."""
    return Say(encode_message(Acknowledged(streaming, resumable, keeps)), keeps)


def record(data: bytes, number: int | None = None) -> Say:
    """Send a record; ``data`` is a JSON value."""
    return Say(encode_message(Said(Raw(data), number)))


def end(ending: Ending) -> Say:
    """Send the ending; the connection stays open."""
    return Say(encode_message(ending))


def slowly(said: Say, *, pieces: int, seconds: float) -> list[Step]:
    """Send in this many pieces with a wait before each."""
    size = -(-len(said.data) // pieces)
    steps: list[Step] = []
    for start in range(0, len(said.data), size):
        steps += [Wait(seconds), Say(said.data[start : start + size])]
    return steps


# --- The agent -----------------------------------------------------------------------------


class FakeAgent(ServerFactory):
    """An agent that follows a script on each connection.

    When a script is over the connection stays open and silent.  A request that isn't one
    gets the error that a real agent gives.

    Args:
        script: What to do when asked; or what gives that, from the request.
        clock: For waiting.
        unasked: What to do on connecting, before any request.
        procedures: What to list when asked to; without it, the request for the list is
            refused as agents of old do.
        resumed: What to do when asked to go on with a call, or what gives that; without it, no
            job is known.

    Attributes:
        attached: What was asked to be gone on with.
        cancelled: What was asked to be ended, or confirmed to be safe.  It closes the connection,
            unless that was announced to stay and the call's script is over.
        connections: Every connection so far, closed ones too.
        requests: What was asked, on whichever connection.
    """

    noisy = False

    def __init__(
        self,
        script: Script | Callable[[ProcedureCall], Script],
        clock: IReactorTime,
        *,
        unasked: Script = (),
        procedures: Sequence[Procedure] | None = None,
        resumed: Script | Callable[[Attach], Script] | None = None,
    ) -> None:
        self.script = script
        self.clock = clock
        self.unasked = unasked
        self.procedures = procedures
        self.resumed = resumed
        self.attached: list[Attach] = []
        self.cancelled: list[CancelJob] = []
        self.connections: list[FakeAgentConnection] = []
        self.requests: list[ProcedureCall] = []

    def buildProtocol(self, addr: object) -> FakeAgentConnection:
        """Serve one more connection."""
        connection = FakeAgentConnection(self)
        self.connections.append(connection)
        return connection

    def asked(self, line: bytes) -> Script:
        """Choose what to do about a request."""
        try:
            request = decode_request(line)
        except WireError as error:
            return [end(Failed.because(error)), HANG_UP]
        if isinstance(request, ListProcedures):
            if self.procedures is None:
                return [end(Failed.because(InvalidRequest("procedure: missing"))), HANG_UP]
            return [Say(encode_procedures(ProcedureList(tuple(self.procedures)))), HANG_UP]
        if isinstance(request, CancelJob):
            self.cancelled.append(request)
            return [Say(encode_cancelled(True)), HANG_UP]
        if isinstance(request, Attach):
            self.attached.append(request)
            if self.resumed is None:
                unknown = NoSuchJob("no call of this user has this job id")
                return [end(Failed.because(unknown)), HANG_UP]
            return self.resumed(request) if callable(self.resumed) else self.resumed
        self.requests.append(request)
        return self.script(request) if callable(self.script) else self.script


class _Transport(ITCPTransport, IConsumer):
    """What a connection gives its protocol, TLS or not."""


@implementer(IPushProducer)
class FakeAgentConnection(Protocol):
    """One connection of a :class:`FakeAgent`.

    Attributes:
        heard: Every byte that came, decrypted.
        said: How many bytes were sent, before encryption.
        lost: Why the connection closed; None while it is open.
    """

    transport: _Transport
    #: How much of a flood goes out at once.
    GULP = 64 * 1024

    def __init__(self, agent: FakeAgent) -> None:
        self.heard = bytearray()
        self.said = 0
        self.lost: Failure | None = None
        self._agent = agent
        self._lines = LineBuffer(2**30)
        self._steps: list[Step] = []
        self._waiting: IDelayedCall | None = None
        self._flood: IDelayedCall | None = None
        self._gulp = b""
        self._lingering: IDelayedCall | None = None
        self._job: JobId | None = None
        self._keeps = False
        self._has_closed = False

    def connectionMade(self) -> None:
        """Do what is done unasked."""
        self._steps += self._agent.unasked
        self._go_on()

    def dataReceived(self, data: bytes) -> None:
        """Take requests, and follow the script for each."""
        self.heard += data
        self._lines.feed(data)
        while not self._has_closed and (line := self._lines.next_line()) is not None:
            if not self._is_confirmation(line):
                self._linger_no_more()
                self._steps += self._agent.asked(line)
                self._go_on()

    def _is_confirmation(self, line: bytes) -> bool:
        """Tell whether this confirms the end of a call, after which the connection stays."""
        try:
            request = decode_request(line)
        except WireError:
            return False
        if not isinstance(request, CancelJob):
            self._job = getattr(request, "job", None)
            return False
        is_idle = not (self._steps or self._waiting or self._gulp)
        if self._keeps and is_idle and request.job == self._job:
            self._agent.cancelled.append(request)
            return True
        return False

    def _linger_no_more(self) -> None:
        self._keeps = False
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Stop."""
        self.lost = reason
        self._steps.clear()
        self._linger_no_more()
        for call in (self._waiting, self._flood):
            if call is not None:
                call.cancel()
        self._waiting = self._flood = None

    def _go_on(self) -> None:
        while self._steps and self._waiting is None and not self._gulp:
            self._do(self._steps.pop(0))

    def _do(self, step: Step) -> None:
        match step:
            case Say(data, keeps):
                self._keeps = self._keeps or keeps
                self.said += len(data)
                self.transport.write(data)
            case Wait(seconds):
                self._waiting = self._agent.clock.callLater(seconds, self._waited)
            case Flood(data):
                self._gulp = data * max(1, self.GULP // len(data))
                self.transport.registerProducer(self, True)
                self.resumeProducing()
            case Linger(seconds):
                self._lingering = self._agent.clock.callLater(seconds, self._lingered)
            case Close(at_once=True):
                self._has_closed = True
                self.transport.abortConnection()
            case Close():
                self._has_closed = True
                self.transport.loseConnection()

    def _lingered(self) -> None:
        self._lingering = None
        self._do(HANG_UP)

    def _waited(self) -> None:
        self._waiting = None
        self._go_on()

    # --- A flood stops while nobody takes it ----------------------------------------------

    def pauseProducing(self) -> None:
        """Stop sending for now."""
        if self._flood is not None:
            self._flood.cancel()
            self._flood = None

    def resumeProducing(self) -> None:
        """Send a gulp at each turn."""
        if self._flood is None and self.lost is None:
            self._flood = self._agent.clock.callLater(0, self._send_gulp)

    def stopProducing(self) -> None:
        """The connection is closed."""
        self.pauseProducing()

    def _send_gulp(self) -> None:
        self._flood = None
        self.resumeProducing()
        self.said += len(self._gulp)
        self.transport.write(self._gulp)


# --- TLS -----------------------------------------------------------------------------------
