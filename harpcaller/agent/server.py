"""The callers' door: one TLS connection, one request, one call.

Thin: it reads a line, has the user checked, lets :class:`~harpcaller.agent.calls.Calls`
run the call, and sends what comes.  Closing the connection ends the call, unless the call is kept
(:mod:`harpcaller.agent.kept`); of such a call's connection one more line is read, its cancel.
"""

from __future__ import annotations

from collections import Counter

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
from harpcaller.agent.calls import Calls
from harpcaller.agent.kept import KeptCall
from harpcaller.agent.kept_calls import KeptCalls
from harpcaller.agent.running import RunningCall
from harpcaller.agent.seams import ICaller, IChecker, ILink
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
    encode_cancelled,
    encode_message,
    encode_procedures,
)
from harpcaller.wire.client import JobId
from harpcaller.wire.ending import Failed
from harpcaller.wire.lines import LineBuffer, LineTooLong

#: How many connections may be waiting for their user to be known.  One more drives out
#: the oldest idle one of the address that has the most, so that nobody can keep others out
#: by just connecting.
MAX_UNKNOWN = 256
#: How long a caller may take to read what is left after the call's end, in seconds.
FLUSH_SECONDS = 60.0


class ICallerTransport(ITCPTransport, IConsumer):
    """A TLS connection as Twisted gives it."""


@implementer(ICaller, ILink)
class AgentConnection(Protocol):
    """One caller.

    Args:
        door: Where it came in.
    """

    transport: ICallerTransport

    def __init__(self, door: Door) -> None:
        self._door = door
        self._lines = LineBuffer(MAX_REQUEST_SIZE)
        self._reading = True
        self._timer: IDelayedCall | None = None
        self._work: Deferred[None] | None = None
        self._call: RunningCall | None = None
        self._kept: KeptCall | None = None
        self._kept_job: JobId | None = None
        self._fed = False
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
        if not self._door.let_in(self):
            self.transport.abortConnection()
            return
        self.transport.setTcpNoDelay(True)
        self.transport.setTcpKeepAlive(True)
        self._timer = self._door.clock.callLater(self._door.request_seconds, self._took_too_long)

    def dataReceived(self, data: bytes) -> None:
        """Take what the caller sends; what follows a request is passed over, but for a cancel."""
        if not self._reading:
            return
        if not self.is_being_checked:
            self._lines.feed(data)
            self._take_line()
        elif self._lines.pending() + len(data) <= MAX_REQUEST_SIZE:
            self._lines.feed(data)
        else:
            self._reading = False

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
            if self._kept is None:
                self._reading = isinstance(request, Attach) or (
                    isinstance(request, ProcedureCall) and request.job is not None
                )
                self._work = Deferred.fromCoroutine(self._serve(request))
                forget(self._work, self._door.log, "agent.request_failed")
            else:
                self._reading = False
                if isinstance(request, CancelJob) and request.job == self._kept_job:
                    self._kept.cancel()

    def _refuse_line(self, error: WireError) -> None:
        if self._kept is None:
            self._refuse(error)
        else:
            self._reading = False

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The caller is gone."""
        self._reading = False
        self._stop_timer()
        self._door.let_out(self)
        if self._work is not None:
            self._work.cancel()
        if self._call is not None:
            self._call.caller_gone()
        if self._kept is not None:
            self._kept.lost(self)

    # The request's way.

    async def _serve(self, request: Request) -> None:
        try:
            await self._door.checker.check(request.credentials, self.peer)
            self._stop_timer()
            self._door.known(self)
            if isinstance(request, ListProcedures):
                self.finish(encode_procedures(self._door.calls.listed()))
                return
            if isinstance(request, CancelJob):
                self.finish(encode_cancelled(self._door.kept_calls.cancel(request)))
                return
            self._begin(request)
        except WireError as error:
            self._refuse(error)

    def _begin(self, request: ProcedureCall | Attach) -> None:
        calls, kept_calls = self._door.calls, self._door.kept_calls
        if isinstance(request, Attach):
            self._kept_job = request.job
            self._kept = kept_calls.attach(request, self, self.peer)
        elif request.job is not None and kept_calls.are_kept:
            self._kept_job = request.job
            self._kept = kept_calls.begin(
                request, self, lambda keeper: calls.begin(request, keeper, self.peer)
            )
        else:
            self._reading = False
            self._call = calls.begin(request, self, self.peer)
            return
        if self._reading:
            # The cancel may have come already.
            self._take_line()

    def _refuse(self, error: WireError) -> None:
        self._door.log.info(
            "agent.refused", peer=self.peer, type=error.wire_type, message=error.message
        )
        self.finish(encode_message(Failed.because(error)))

    def _took_too_long(self) -> None:
        self._timer = None
        self._door.log.info("agent.silent_connection_closed", peer=self.peer)
        self.transport.abortConnection()

    def _stop_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None

    # What the call asks for.

    def acknowledge(self, streaming: bool) -> None:
        self.tell(encode_message(Acknowledged(streaming)))

    def tell(self, data: bytes) -> None:
        self.transport.write(data)

    def finish(self, line: bytes) -> None:
        self.transport.write(line)
        self.close()

    def feed_from(self, producer: IPushProducer) -> None:
        self._fed = True
        self.transport.registerProducer(producer, True)

    def said_all(self) -> None:
        self._starve()
        self._stop_timer()
        self._timer = self._door.clock.callLater(FLUSH_SECONDS, self._reads_too_slowly)

    def close(self) -> None:
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

    def _reads_too_slowly(self) -> None:
        self._timer = None
        self.transport.abortConnection()


class Door(ServerFactory[AgentConnection]):
    """Where callers come in.

    Args:
        checker: Knows who may call.
        calls: Runs the calls.
        kept_calls: Those that go on when their connections break.
        clock: Measures how long a connection takes to say what it wants.
        request_seconds: How long it may take for that, its TLS handshake included.
        log: Where refusals are told of.
    """

    noisy = False

    def __init__(
        self,
        checker: IChecker,
        calls: Calls,
        kept_calls: KeptCalls,
        clock: IReactorTime,
        *,
        request_seconds: float,
        log: EventLog,
    ) -> None:
        self.checker = checker
        self.calls = calls
        self.kept_calls = kept_calls
        self.clock = clock
        self.request_seconds = request_seconds
        self.log = log
        self._connections: set[AgentConnection] = set()
        #: A dictionary, since it keeps the order.
        self._unknown: dict[AgentConnection, None] = {}
        self._untold = 0
        self._tell_again_at = 0.0
        self._empty: list[Deferred[None]] = []

    def buildProtocol(self, address: IAddress | None) -> AgentConnection:
        """Twisted: somebody connects."""
        return AgentConnection(self)

    def let_in(self, connection: AgentConnection) -> bool:
        """Take a connection; tells whether there is room for another unknown one."""
        if len(self._unknown) >= MAX_UNKNOWN and not self._drive_one_out():
            self._tell_of_too_many("agent.too_many_unknown_connections", connection.peer)
            return False
        self._connections.add(connection)
        self._unknown[connection] = None
        return True

    def _drive_one_out(self) -> bool:
        """Close one that says nothing, or that was refused; tells whether there was one."""
        idle = [connection for connection in self._unknown if not connection.is_being_checked]
        if not idle:
            return False
        ((source, _),) = Counter(connection.source for connection in idle).most_common(1)
        driven_out = next(connection for connection in idle if connection.source == source)
        self._tell_of_too_many("agent.unknown_connections_driven_out", driven_out.peer)
        self.known(driven_out)
        driven_out.transport.abortConnection()
        return True

    def _tell_of_too_many(self, kind: str, peer: str) -> None:
        """Log it, but no more often than it can be read."""
        now = self.clock.seconds()
        self._untold += 1
        if now >= self._tell_again_at:
            self.log.warn(kind, peer=peer, times=self._untold)
            self._untold, self._tell_again_at = 0, now + 1.0

    def known(self, connection: AgentConnection) -> None:
        """The connection's user is known."""
        self._unknown.pop(connection, None)

    def let_out(self, connection: AgentConnection) -> None:
        """The connection is closed."""
        self._connections.discard(connection)
        self._unknown.pop(connection, None)
        if not self._connections:
            empty, self._empty = self._empty, []
            for waiter in empty:
                waiter.callback(None)

    def empty(self) -> Deferred[None]:
        """Wait until all connections are closed; cancelling gives the waiting up."""
        waiting: Deferred[None] = Deferred(lambda gone: self._empty.remove(gone))
        if self._connections:
            self._empty.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    def close_all(self) -> None:
        """Close every connection without further words."""
        for connection in list(self._connections):
            connection.transport.abortConnection()
