"""The callers' door: one TLS connection, one request after the other, each a call.

Thin: it reads a line, hands the request to the :class:`~harpcaller.agent.desk.Desk`, and sends
what comes.  Closing the connection ends the call, unless the call is kept
(:mod:`harpcaller.agent.kept`); of such a call's connection one more line is read, its cancel.

::

    stage      what comes is                  until
    ---------  -----------------------------  ------------------------------------------------
    asking     a request                      it is there
    checking   put by, within a bound         the user is known, and the call begun or refused
    running    passed over, and then the      the last line
               connection doesn't stay
    kept       the call's cancel              that is heard
    confirmed  put by, within a bound         the call is let go of
    idle       the next request               it begins to come

After the last line a connection that may stay is idle; others are closed.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IConsumer,
    IDelayedCall,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.agent.auth.checking import source_of
from harpcaller.agent.crowd import Crowd
from harpcaller.agent.desk import Desk, back_for
from harpcaller.agent.idle import IdleConnections, IdleSettings
from harpcaller.agent.seams import Begun, CallsSeen, IChecker, IConnection, Kept, KeptCallsSeen
from harpcaller.agent.strangers import Strangers
from harpcaller.errors import InvalidRequest, WireError
from harpcaller.logs.events import EventLog, forget
from harpcaller.wire.agent import (
    MAX_REQUEST_SIZE,
    Acknowledged,
    Attach,
    CancelJob,
    ListProcedures,
    ProcedureCall,
    Request,
    decode_request,
    encode_message,
)
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Failed
from harpcaller.wire.lines import LineBuffer, LineTooLong

#: How long a caller may take to read what is left after the call's end, in seconds.
FLUSH_SECONDS = 60.0


class ICallerTransport(ITCPTransport, IConsumer):
    """A TLS connection as Twisted gives it."""


class Stage(Enum):
    """What a connection waits for."""

    ASKING = "asking"
    CHECKING = "checking"
    RUNNING = "running"
    KEPT = "kept"
    CONFIRMED = "confirmed"
    IDLE = "idle"


@implementer(IConnection)
class AgentConnection(Protocol):
    """One caller.

    Args:
        door: Where it came in.
    """

    transport: ICallerTransport

    def __init__(self, door: Door) -> None:
        self._door = door
        self._lines = LineBuffer(MAX_REQUEST_SIZE)
        self._stage = Stage.ASKING
        self._reading = True
        self._timer: IDelayedCall | None = None
        self._work: Deferred[None] | None = None
        self._back_for: JobId | None = None
        self._call: Begun | None = None
        self._kept: Kept | None = None
        self._kept_job: JobId | None = None
        self._has_said_all = False
        self._fed = False
        self._since = 0.0
        self._generation = door.crowd.idle.generation
        self.peer = self.source = "?"

    @property
    def is_being_checked(self) -> bool:
        """Whether it has said who it is, and waits to hear what comes of that."""
        return self._work is not None and not self._work.called

    # What Twisted tells.

    def connectionMade(self) -> None:
        """A connection is there; its TLS handshake comes yet."""
        self.peer = getattr(self.transport.getPeer(), "host", "?")
        self.source = source_of(self.peer)
        self._since = self._door.steady()
        if not self._door.crowd.let_in(self):
            self.transport.abortConnection()
            return
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self._wait(self._door.request_seconds, self._took_too_long)

    def dataReceived(self, data: bytes) -> None:
        """Take what the caller sends, as far as it may send something."""
        if not self._reading:
            return
        if self._stage is Stage.IDLE:
            self._wake_up()
        if self._stage in (Stage.ASKING, Stage.KEPT):
            self._lines.feed(data)
            self._take_line()
            self._door.crowd.hold(self, self._lines.pending())
        elif self._stage is Stage.RUNNING or (self._lines.pending() + len(data) > MAX_REQUEST_SIZE):
            self._reading = False
        else:
            self._lines.feed(data)

    def _take_line(self) -> None:
        try:
            line = self._lines.next_line()
            if line is None:
                return
            request = decode_request(line)
        except LineTooLong as error:
            self._refuse_line(InvalidRequest(f"the request is a {error}"))
        except WireError as error:
            self._refuse_line(error)
        else:
            if self._stage is Stage.KEPT:
                self._take_cancel(request)
            else:
                self._stage, self._back_for = Stage.CHECKING, back_for(request)
                work = Deferred.fromCoroutine(self._serve(request))
                if not work.called:
                    # Otherwise the next request may be under way.
                    self._work = work
                forget(work, self._door.log, "agent.request_failed")

    def _take_cancel(self, request: Request) -> None:
        assert self._kept is not None
        if isinstance(request, CancelJob) and request.job == self._kept_job:
            if self._has_said_all and self._may_stay():
                self._stage = Stage.CONFIRMED
            else:
                self._reading = False
            self._kept.cancel()
        else:
            self._reading = False

    def _refuse_line(self, error: WireError) -> None:
        if self._stage is Stage.ASKING:
            self._refuse(error)
        else:
            self._reading = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The caller is gone."""
        self._reading = False
        self._stop_timer()
        self._door.crowd.let_out(self)
        if self._work is not None:
            self._work.cancel()
        if self._stage is Stage.CHECKING:
            self._do_last_word()
        if self._call is not None:
            self._call.caller_gone()
        if self._kept is not None:
            self._kept.lost(self)

    def _do_last_word(self) -> None:
        """End the call that he came back for, if that was said before the connection was lost."""
        try:
            line = self._lines.next_line()
            said = None if line is None else decode_request(line)
        except (LineTooLong, WireError):
            return
        if isinstance(said, CancelJob) and said.job == self._back_for:
            work = Deferred.fromCoroutine(self._door.desk.last_word(said, self.peer))
            forget(work, self._door.log, "agent.request_failed")

    # The request's way.

    async def _serve(self, request: Request) -> None:
        desk = self._door.desk
        try:
            await desk.check(request, self.peer)
            self._stop_timer()
            self._door.crowd.known(self)
            if isinstance(request, (ListProcedures, CancelJob)):
                self._answer(await desk.answer(request))
            elif desk.keeps(request):
                self._keep(request)
            else:
                assert isinstance(request, ProcedureCall)
                self._run(request)
        except WireError as error:
            self._refuse(error)

    def _keep(self, request: ProcedureCall | Attach) -> None:
        self._kept_job = request.job
        age = self._door.steady() - self._since
        self._kept = self._door.desk.keep(request, self, self.peer, age)
        self._stage = Stage.KEPT
        if self._reading:
            # The cancel may have come already.
            self._take_line()

    def _run(self, request: ProcedureCall) -> None:
        self._stage = Stage.RUNNING
        if request.job is None or self._lines.pending():
            # A caller that doesn't know of additions may wait for us to close.
            self._reading = False
        self._call = self._door.desk.run(request, self, self.peer)

    def _refuse(self, error: WireError) -> None:
        self._door.log.info(
            "agent.refused", peer=self.peer, type=error.wire_type, message=error.message
        )
        self._answer(encode_message(Failed.because(error)))

    def _answer(self, line: bytes) -> None:
        self._reading = False
        self.transport.write(line)
        self.close()

    # Between two calls.

    def _may_stay(self) -> bool:
        return self._reading and self._door.crowd.idle.may_stay(self._generation)

    def _rest(self) -> None:
        """Wait for the next request."""
        self._starve()
        self._call = self._kept = self._kept_job = self._work = None
        self._has_said_all = False
        self._stage = Stage.IDLE
        self._wait(self._door.crowd.idle.settings.seconds, self._idled_too_long)
        self._door.crowd.idle.add(self)
        if self._reading and self._lines.pending():
            # It came right behind the confirmation.
            self._wake_up()
            self._take_line()

    def _wake_up(self) -> None:
        self._stage = Stage.ASKING
        self._wait(self._door.request_seconds, self._took_too_long)

    def _idled_too_long(self) -> None:
        self._door.crowd.idle.discard(self)
        self.close()

    # Time.

    def _wait(self, seconds: float, ring: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = self._door.clock.callLater(seconds, ring)

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    def _took_too_long(self) -> None:
        self._door.log.info("agent.silent_connection_closed", peer=self.peer)
        self.transport.abortConnection()

    # What the call asks for.

    def acknowledge(self, streaming: bool) -> None:
        self.tell(encode_message(Acknowledged(streaming, keeps=self._may_stay())))

    def tell(self, data: bytes) -> None:
        self.transport.write(data)

    def finish(self, line: bytes) -> None:
        self.transport.write(line)
        if self._may_stay():
            self._rest()
        else:
            self.close()

    def feed_from(self, producer: IPushProducer) -> None:
        self._fed = True
        self.transport.registerProducer(producer, True)

    def said_all(self) -> None:
        self._has_said_all = True
        self._starve()
        self._wait(FLUSH_SECONDS, self.transport.abortConnection)

    def close(self) -> None:
        if self._stage is Stage.CONFIRMED and self._may_stay():
            self._rest()
            return
        self._reading = False
        self.said_all()
        self.transport.loseConnection()

    def drop(self) -> None:
        self._reading = False
        self._starve()
        self.transport.abortConnection()

    def _starve(self) -> None:
        if self._fed:
            self._fed = False
            self.transport.unregisterProducer()


class Door(ServerFactory[AgentConnection]):
    """Where callers come in.

    Args:
        checker: Knows who may call.
        calls: Runs the calls.
        kept_calls: Those that go on when their connections break.
        clock: Measures how long a connection takes to say what it wants.
        request_seconds: How long it may take for that, its TLS handshake included.
        log: Where refusals are told of.
        idle: How connections stay for more calls.
        steady: A clock that nobody sets, in seconds; None is ``clock``.
    """

    noisy = False

    def __init__(
        self,
        checker: IChecker,
        calls: CallsSeen,
        kept_calls: KeptCallsSeen,
        clock: IReactorTime,
        *,
        request_seconds: float,
        log: EventLog,
        idle: IdleSettings | None = None,
        steady: Callable[[], float] | None = None,
    ) -> None:
        self.desk = Desk(checker, calls, kept_calls)
        self.crowd = Crowd(Strangers(clock, log), IdleConnections(idle or IdleSettings(seconds=0)))
        self.clock = clock
        self.request_seconds = request_seconds
        self.log = log
        self.steady = steady or clock.seconds

    def buildProtocol(self, address: IAddress | None) -> AgentConnection:
        """Twisted: somebody connects."""
        return AgentConnection(self)
