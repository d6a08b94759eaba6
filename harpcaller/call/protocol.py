"""The connection to an agent during one call, or while it is asked what there is to call.

Thin: what may be said when is :mod:`~harpcaller.wire.conversation`'s business, how long to
wait is :class:`~harpcaller.job.patience.Patience`'s.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
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
from harpcaller.call.faults import fault_of
from harpcaller.errors import NetworkError, ProtocolError, SystemFailure, TLSError, WireError
from harpcaller.interfaces import Host, ICallSink
from harpcaller.job.patience import Patience
from harpcaller.logs.events import EventLog
from harpcaller.wire.agent import MAX_LIST_SIZE, MAX_MESSAGE_SIZE, Acknowledged, Said
from harpcaller.wire.conversation import Conversation, Listing
from harpcaller.wire.ending import Ending, Failed
from harpcaller.wire.lines import LineBuffer, LineTooLong
from harpcaller.wire.procedures import ProcedureList
from harpcaller.wire.values import Raw

_log = EventLog("call")


class _Transport(ITCPTransport, IPushProducer):
    """What a TLS connection gives its protocol."""


@implementer(IHandshakeListener)
class AgentProtocol(Protocol):
    """One call's connection.

    Attributes:
        secured: Fires when the handshake is done and the agent is believed; fails with a
            WireError when that can't be had.  Cancelling closes the connection.
    """

    transport: _Transport

    #: How many bytes of records may be on their way into the store before the agent is held
    #: back.
    MOST_UNSTORED = 256 * 1024
    #: What a record counts for besides its bytes: a small one costs memory, too.
    RECORD_COST = 256
    #: How long the agent may take to close its side after the end, in seconds.
    LINGER_SECONDS = 5.0

    def __init__(self, host: Host, tls: AgentTLS, clock: IReactorTime) -> None:
        self.secured: Deferred[None] = Deferred(self._abandoned)
        self._host = host
        self._tls = tls
        self._clock = clock
        self._lines = LineBuffer(MAX_MESSAGE_SIZE)
        self._conversation: Conversation | Listing | None = None
        # Of an ending, or of what a listing gives.
        self._asked: Deferred[Any] | None = None
        self._sink: ICallSink | None = None
        self._patience: Patience | None = None
        self._alarm: IDelayedCall | None = None
        self._linger: IDelayedCall | None = None
        self._ending: Ending | ProcedureList | None = None
        self._unfit: WireError | None = None
        self._unstored = 0
        self._held_back = False
        self._gone = False

    # --- What the caller does ------------------------------------------------------------

    def ask(self, request: bytes, sink: ICallSink, patience: Patience) -> Deferred[Ending]:
        """Send the request, pass records into the sink, wait for the ending.

        Fails with a WireError.  Cancelling closes the connection, which ends the procedure.
        """
        self._sink = sink
        asked: Deferred[Ending] = Deferred(self._abandoned)
        self._begin(asked, request, Conversation(), patience)
        return asked

    def ask_for_list(self, request: bytes, patience: Patience) -> Deferred[ProcedureList | Failed]:
        """Send the request for the list of procedures, wait for the answer.

        Fails with a WireError.  Cancelling closes the connection.
        """
        self._lines = LineBuffer(MAX_LIST_SIZE)
        asked: Deferred[ProcedureList | Failed] = Deferred(self._abandoned)
        self._begin(asked, request, Listing(), patience)
        return asked

    def _begin(
        self,
        asked: Deferred[Any],
        request: bytes,
        conversation: Conversation | Listing,
        patience: Patience,
    ) -> None:
        self._asked = asked
        unfit = self._unfit or patience.exhausted(self._clock.seconds())
        if unfit is not None:
            self._settle(unfit)
            return
        self._conversation = conversation
        self._patience = patience
        patience.heard(self._clock.seconds())
        self._watch()
        self.transport.write(request)

    def abort(self) -> None:
        """Close the connection at once, if it isn't closed yet."""
        if not self._gone:
            self.transport.abortConnection()

    def _abandoned(self, _cancelled: Deferred[object]) -> None:
        self._asked = None
        self._stop_watching()
        self.abort()

    # --- What the connection does --------------------------------------------------------

    def connectionMade(self) -> None:
        """Let the request go out at once, behind the handshake's last bytes."""
        self.transport.setTcpNoDelay(True)

    def handshakeCompleted(self) -> None:
        """TLS stands; decide whether this is somebody to talk to."""
        objection = self._tls.objection()
        if objection is None:
            self.secured.callback(None)
        else:
            self.secured.errback(TLSError(objection))
            self.abort()

    def dataReceived(self, data: bytes) -> None:
        """Take what the agent says."""
        if self._conversation is None:
            self._unfit = ProtocolError("the agent talked before it was asked")
            self.abort()
            return
        if self._asked is None or self._ending is not None:
            # There is nothing to say after the end, and it isn't kept.
            return
        self._lines.feed(data)
        try:
            while (line := self._next_line()) is not None:
                self._heard(line)
        except LineTooLong as error:
            self._settle(ProtocolError(f"the agent sent a {error}"))
        except ProtocolError as error:
            self._settle(error)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is closed, by whomever."""
        self._gone = True
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None
        if not self.secured.called:
            fault = fault_of(reason, self._host, handshake=True)
            self.secured.errback(reason if fault is None else fault)
        if self._conversation is None:
            self._unfit = self._unfit or NetworkError(
                "the agent closed the connection before the request"
            )
        elif self._asked is not None and self._ending is None:
            self._settle(self._conversation.closed())

    # --- Messages ------------------------------------------------------------------------

    def _next_line(self) -> bytes | None:
        still_wanted = self._asked is not None and self._ending is None
        return self._lines.next_line() if still_wanted else None

    def _heard(self, line: bytes) -> None:
        assert self._patience is not None and self._conversation is not None
        message = self._conversation.heard(line)
        self._patience.heard(self._clock.seconds())
        if isinstance(message, Acknowledged):
            # Session tickets come before the first data.
            self._tls.remember()
        elif isinstance(message, Said):
            self._store(message.data)
        else:
            self._ending = message
            # What is waited for from now on is not the agent.
            self._stop_watching()
            self._settle_when_stored()

    def _store(self, data: Raw) -> None:
        assert self._sink is not None
        cost = len(data) + self.RECORD_COST
        self._unstored += cost
        _ = maybeDeferred(self._sink.record, data).addCallbacks(
            self._stored, self._not_stored, callbackArgs=(cost,)
        )
        if self._unstored > self.MOST_UNSTORED and not self._held_back:
            self._held_back = True
            self.transport.pauseProducing()

    def _stored(self, _: None, cost: int) -> None:
        self._unstored -= cost
        if self._held_back and self._unstored <= self.MOST_UNSTORED // 2:
            self._held_back = False
            assert self._patience is not None
            # The silence of the last moments was ours.
            self._patience.heard(self._clock.seconds())
            if not self._gone:
                self.transport.resumeProducing()
        if self._ending is not None:
            self._settle_when_stored()

    def _not_stored(self, failure: Failure) -> None:
        if isinstance(failure.value, WireError):
            self._settle(failure.value)
        elif self._asked is not None:
            _log.bug("call.bug", failure)
            self._settle(SystemFailure("the dispatcher failed; its log tells more"))

    def _settle_when_stored(self) -> None:
        assert self._ending is not None
        if not self._unstored:
            self._settle(self._ending)

    # --- The end -------------------------------------------------------------------------

    def _settle(self, outcome: Ending | ProcedureList | WireError) -> None:
        """Tell the caller the outcome, once, and close the connection."""
        asked, self._asked = self._asked, None
        self._stop_watching()
        if asked is None:
            return
        if isinstance(outcome, WireError):
            self.abort()
            asked.errback(outcome)
            return
        if not self._gone:
            self.transport.loseConnection()
            self._linger = self._clock.callLater(self.LINGER_SECONDS, self._linger_over)
        asked.callback(outcome)

    def _linger_over(self) -> None:
        self._linger = None
        self.abort()

    # --- Time ----------------------------------------------------------------------------

    def _watch(self) -> None:
        # Not moved at each message: when it rings it looks at what was heard meanwhile.
        assert self._patience is not None
        delay = max(0.0, self._patience.due() - self._clock.seconds())
        self._alarm = self._clock.callLater(delay, self._rang)

    def _rang(self) -> None:
        assert self._patience is not None
        self._alarm = None
        if self._held_back:
            self._patience.heard(self._clock.seconds())
        error = self._patience.exhausted(self._clock.seconds())
        if error is None:
            self._watch()
        else:
            self._settle(error)

    def _stop_watching(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
