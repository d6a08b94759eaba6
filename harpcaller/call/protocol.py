"""A connection to an agent: it is secured, serves one request after the other, and is closed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IDelayedCall,
    IHandshakeListener,
    IPushProducer,
    IReactorTime,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.call.context import AgentTLS
from harpcaller.call.exchange import Exchange, Farewell, Loss
from harpcaller.call.faults import fault_of
from harpcaller.errors import NetworkError, ProtocolError, TLSError, WireError
from harpcaller.interfaces import Host, ICallSink
from harpcaller.job.patience import Patience
from harpcaller.wire.agent import MAX_LIST_SIZE, MAX_MESSAGE_SIZE
from harpcaller.wire.conversation import Cancelling, Conversation, Listing
from harpcaller.wire.ending import Ending, Failed
from harpcaller.wire.lines import LineBuffer, LineTooLong
from harpcaller.wire.procedures import ProcedureList


class _Transport(ITCPTransport, IPushProducer):
    """What a TLS connection gives its protocol."""


@implementer(IHandshakeListener)
class AgentProtocol(Protocol):
    """A connection, which serves one request at a time.

    Attributes:
        host: Where to.
        tls: Its TLS side.
        made_at: When it was begun, by the clock.
        is_gone: It is closed.
        was_kept: It has served a call before the one that it serves now, or will next.
        resumes: The agent has said of the last call before that it could be resumed.
        secured: Fires when the handshake is done and the agent is believed; fails with a
            WireError when that can't be had.  Cancelling closes the connection.
    """

    transport: _Transport

    #: How long the agent may take to close its side after the end, in seconds.
    LINGER_SECONDS = 5.0

    def __init__(self, host: Host, tls: AgentTLS, clock: IReactorTime) -> None:
        self.secured: Deferred[None] = Deferred(lambda _: self.abort())
        self.host = host
        self.tls = tls
        self.made_at = clock.seconds()
        self.is_gone = False
        self.was_kept = False
        self.resumes = False
        self._clock = clock
        self._lines = LineBuffer(MAX_MESSAGE_SIZE)
        self._exchange: Exchange | None = None
        self._unfit: WireError | None = None
        self._unfit_now: Callable[[AgentProtocol], None] | None = None
        self._is_closing = False
        self._linger: IDelayedCall | None = None

    # --- What the caller does ------------------------------------------------------------

    def ask(
        self,
        request: bytes,
        conversation: Conversation,
        sink: ICallSink,
        patience: Patience,
        farewell: Farewell,
        acknowledge_seconds: float | None = None,
    ) -> Deferred[Ending]:
        """Send the request, pass records into the sink, wait for the ending.

        Fails with a WireError.  Cancelling ends the procedure, unless :meth:`leave` was called.
        """
        exchange = Exchange(
            self, conversation, patience, self._clock, sink, farewell, acknowledge_seconds
        )
        return self._begin(exchange, request)

    def ask_for_list(self, request: bytes, patience: Patience) -> Deferred[ProcedureList | Failed]:
        """Send the request for the list of procedures, wait for the answer.

        Fails with a WireError.  Cancelling closes the connection.
        """
        self._lines = LineBuffer(MAX_LIST_SIZE)
        return self._begin(Exchange(self, Listing(), patience, self._clock), request)

    def cancel_job(self, request: bytes, patience: Patience) -> Deferred[bool | Failed]:
        """Send the request to end a call by its name, wait for the answer.

        Fails with a WireError.  Cancelling closes the connection.
        """
        self._lines = LineBuffer(MAX_LIST_SIZE)
        return self._begin(Exchange(self, Cancelling(), patience, self._clock), request)

    def _begin(self, exchange: Exchange, request: bytes) -> Deferred[Any]:
        asked = exchange.asked
        assert asked is not None
        unfit = self._unfit
        if unfit is None:
            self._exchange = exchange
        exchange.begin(request, unfit)
        return asked

    @property
    def is_broken(self) -> bool:
        """Whether it is lost, and the agent keeps the call; what was heard is stored."""
        return self._exchange is not None and self._exchange.is_broken

    @property
    def loss(self) -> Loss | None:
        """How it was lost, if the agent may not have heard the request."""
        return None if self._exchange is None else self._exchange.loss

    def leave(self) -> None:
        """Let the agent keep the call when it is cancelled."""
        if self._exchange is not None:
            self._exchange.is_left = True

    def confirm(self) -> None:
        """Tell the agent, if it can be told, that the end it told is safe."""
        exchange = self._exchange
        if exchange is not None and exchange.farewell is not None:
            self.write(exchange.farewell.line())

    # --- Between two calls -----------------------------------------------------------------

    @property
    def can_rest(self) -> bool:
        """Whether it is fit for another call: the last one is over, and the agent keeps it."""
        exchange = self._exchange
        return (
            exchange is not None
            and exchange.is_done
            and isinstance(exchange.talk, Conversation)
            and exchange.talk.keeps
            and self.is_open
            and not self._lines.pending()
        )

    @property
    def is_open(self) -> bool:
        """Whether nothing speaks against using it."""
        return not (self.is_gone or self._is_closing or self._unfit is not None)

    def rest(self, unfit: Callable[[AgentProtocol], None]) -> None:
        """Wait for the next call.

        Args:
            unfit: Called if it closes, or the agent talks without being asked.
        """
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            assert isinstance(exchange.talk, Conversation)
            self.was_kept, self.resumes = True, exchange.talk.resumable
        self._unfit_now = unfit

    def wake(self) -> None:
        """Be about to serve a call."""
        self._unfit_now = None

    # --- What an exchange asks for -------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send something."""
        if not self.is_gone:
            self.transport.write(data)

    def hold_back(self, hold: bool) -> None:
        """Read nothing for a while, or go on reading."""
        if not self.is_gone:
            if hold:
                self.transport.pauseProducing()
            else:
                self.transport.resumeProducing()

    def remember(self) -> None:
        """Keep the TLS session for the next connection."""
        if not self.was_kept:
            self.tls.remember()

    def close(self) -> None:
        """Close when everything is out, if it isn't closed yet."""
        if not self.is_gone and not self._is_closing:
            self._is_closing = True
            self.transport.loseConnection()
            self._linger = self._clock.callLater(self.LINGER_SECONDS, self._linger_over)

    def _linger_over(self) -> None:
        self._linger = None
        self.abort()

    def abort(self) -> None:
        """Close the connection at once, if it isn't closed yet."""
        if not self.is_gone:
            self._is_closing = True
            self.transport.abortConnection()

    # --- What the connection does --------------------------------------------------------

    def connectionMade(self) -> None:
        """Let the request go out at once, behind the handshake's last bytes."""
        self.transport.setTcpNoDelay(True)

    def handshakeCompleted(self) -> None:
        """TLS stands; decide whether this is somebody to talk to."""
        objection = self.tls.objection()
        if objection is None:
            self.secured.callback(None)
        else:
            self.secured.errback(TLSError(objection))
            self.abort()

    def dataReceived(self, data: bytes) -> None:
        """Take what the agent says."""
        exchange = self._exchange
        if exchange is None:
            self._be_unfit(ProtocolError("the agent talked before it was asked"))
            self.abort()
            return
        if not exchange.listens:
            # There is nothing to say after the end, and it isn't kept.
            self._be_unfit(ProtocolError("the agent talked after the end"))
            return
        self._lines.feed(data)
        try:
            while (line := self._next_line(exchange)) is not None:
                exchange.heard(line)
        except LineTooLong as error:
            exchange.fail(ProtocolError(f"the agent sent a {error}"))
        except ProtocolError as error:
            exchange.fail(error)

    def _next_line(self, exchange: Exchange) -> bytes | None:
        return self._lines.next_line() if exchange.listens else None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is closed, by whomever."""
        self.is_gone = True
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if not self.secured.called:
            fault = fault_of(reason, self.host, handshake=True)
            self.secured.errback(reason if fault is None else fault)
        if self._exchange is not None:
            in_order = bool(reason.check(ConnectionDone))
            self._exchange.lost(in_order=in_order, in_a_line=self._lines.pending() > 0)
        else:
            self._be_unfit(NetworkError("the agent closed the connection before the request"))

    def _be_unfit(self, why: WireError) -> None:
        self._unfit = self._unfit or why
        tell, self._unfit_now = self._unfit_now, None
        if tell is not None:
            tell(self)
