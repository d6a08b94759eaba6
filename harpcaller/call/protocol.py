"""The connection to an agent during one call, or while it is asked what there is to call.

Thin: what may be said when is :mod:`~harpcaller.wire.conversation`'s business, how long to
wait is :class:`~harpcaller.job.patience.Patience`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
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
from harpcaller.call.faults import fault_of
from harpcaller.errors import NetworkError, ProtocolError, SystemFailure, TLSError, WireError
from harpcaller.interfaces import Host, ICallSink
from harpcaller.job.patience import Patience
from harpcaller.logs.events import EventLog
from harpcaller.wire.agent import MAX_LIST_SIZE, MAX_MESSAGE_SIZE, Acknowledged, Said
from harpcaller.wire.conversation import Cancelling, Conversation, Listing, State
from harpcaller.wire.ending import Ending, Failed
from harpcaller.wire.lines import LineBuffer, LineTooLong
from harpcaller.wire.procedures import ProcedureList
from harpcaller.wire.values import Raw

_log = EventLog("call")


class _Transport(ITCPTransport, IPushProducer):
    """What a TLS connection gives its protocol."""


@attrs.frozen
class Farewell:
    """How an agent is told that nobody wants a call any more, if it may keep it.

    Args:
        line: What it is told.
        unheard: Called when it can't be told on this connection.
    """

    line: bytes
    unheard: Callable[[], None]


@implementer(IHandshakeListener)
class AgentProtocol(Protocol):
    """One call's connection, or one of those that a call has.

    A call that its agent keeps is ended by telling the agent so; closing ends others.

    Attributes:
        is_broken: The connection is lost, and the agent keeps the call; what was heard is
            stored.
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
        self.is_broken = False
        self._conversation: Conversation | Listing | Cancelling | None = None
        # Of an ending, or of what a listing gives.
        self._asked: Deferred[Any] | None = None
        self._sink: ICallSink | None = None
        self._patience: Patience | None = None
        self._alarm: IDelayedCall | None = None
        self._linger: IDelayedCall | None = None
        self._ending: Ending | ProcedureList | bool | None = None
        self._break: WireError | None = None
        self._farewell: Farewell | None = None
        self._says_farewell = False
        self._is_left = False
        self._unfit: WireError | None = None
        self._unstored = 0
        self._held_back = False
        self._gone = False

    # --- What the caller does ------------------------------------------------------------

    def ask(
        self,
        request: bytes,
        conversation: Conversation,
        sink: ICallSink,
        patience: Patience,
        farewell: Farewell,
    ) -> Deferred[Ending]:
        """Send the request, pass records into the sink, wait for the ending.

        Fails with a WireError.  Cancelling ends the procedure, unless :meth:`leave` was called.
        """
        self._sink = sink
        self._farewell = farewell
        asked: Deferred[Ending] = Deferred(self._abandoned)
        self._begin(asked, request, conversation, patience)
        return asked

    def ask_for_list(self, request: bytes, patience: Patience) -> Deferred[ProcedureList | Failed]:
        """Send the request for the list of procedures, wait for the answer.

        Fails with a WireError.  Cancelling closes the connection.
        """
        self._lines = LineBuffer(MAX_LIST_SIZE)
        asked: Deferred[ProcedureList | Failed] = Deferred(self._abandoned)
        self._begin(asked, request, Listing(), patience)
        return asked

    def cancel_job(self, request: bytes, patience: Patience) -> Deferred[bool | Failed]:
        """Send the request to end a call by its name, wait for the answer.

        Fails with a WireError.  Cancelling closes the connection.
        """
        self._lines = LineBuffer(MAX_LIST_SIZE)
        asked: Deferred[bool | Failed] = Deferred(self._abandoned)
        self._begin(asked, request, Cancelling(), patience)
        return asked

    def _begin(
        self,
        asked: Deferred[Any],
        request: bytes,
        conversation: Conversation | Listing | Cancelling,
        patience: Patience,
    ) -> None:
        self._asked = asked
        unfit = self._unfit or patience.exhausted(self._clock.seconds())
        if unfit is not None:
            self._settle(unfit)
            return
        self._conversation = conversation
        self._patience = patience
        if not self._goes_on():
            patience.heard(self._clock.seconds())
        self._watch()
        self.transport.write(request)

    def leave(self) -> None:
        """Let the agent keep the call when it is cancelled."""
        self._is_left = True

    def confirm(self) -> None:
        """Tell the agent, if it can be told, that the end it told is safe."""
        if self._farewell is not None and not self._gone:
            self.transport.write(self._farewell.line)
            self._close()

    def abort(self) -> None:
        """Close the connection at once, if it isn't closed yet."""
        if not self._gone:
            self.transport.abortConnection()

    def _abandoned(self, _cancelled: Deferred[object]) -> None:
        self._asked = None
        self._stop_watching()
        if self._is_left:
            self.abort()
        else:
            self._give_up()

    def _give_up(self) -> None:
        """Close, which ends the procedure; or tell the agent to end it, if it may keep it."""
        farewell = self._farewell
        if farewell is None or not self._may_be_kept():
            self.abort()
        elif self._gone:
            farewell.unheard()
        else:
            if self._held_back:
                # To hear that it closes.
                self._held_back = False
                self.transport.resumeProducing()
            self._says_farewell = True
            self.transport.write(farewell.line)
            self._close()

    def _may_be_kept(self) -> bool:
        """Tell whether the agent keeps the call, or could and hasn't said anything yet."""
        talk = self._conversation
        if not isinstance(talk, Conversation):
            return False
        return talk.resumable or talk.state is State.ASKED

    def _goes_on(self) -> bool:
        return isinstance(self._conversation, Conversation) and self._conversation.goes_on

    def _is_kept(self) -> bool:
        return isinstance(self._conversation, Conversation) and self._conversation.resumable

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
        if self._says_farewell and reason.check(ConnectionDone) is None:
            assert self._farewell is not None
            self._farewell.unheard()
        if not self.secured.called:
            fault = fault_of(reason, self._host, handshake=True)
            self.secured.errback(reason if fault is None else fault)
        if self._conversation is None:
            self._unfit = self._unfit or NetworkError(
                "the agent closed the connection before the request"
            )
        elif self._asked is not None and self._ending is None:
            if self._is_kept():
                self._break = self._conversation.closed()
                self._settle_when_stored()
            else:
                self._settle(self._conversation.closed())

    # --- Messages ------------------------------------------------------------------------

    def _next_line(self) -> bytes | None:
        still_wanted = self._asked is not None and self._ending is None
        return self._lines.next_line() if still_wanted else None

    def _heard(self, line: bytes) -> None:
        assert self._patience is not None and self._conversation is not None
        message = self._conversation.heard(line)
        if not isinstance(message, Acknowledged) or not self._goes_on():
            # That it goes on is nothing that the procedure has said.
            self._patience.heard(self._clock.seconds())
        if isinstance(message, Acknowledged):
            # Session tickets come before the first data.
            self._tls.remember()
            if message.resumable and not self._goes_on():
                assert self._sink is not None
                self._sink.resumable()
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
        if self._ending is not None or self._break is not None:
            self._settle_when_stored()

    def _not_stored(self, failure: Failure) -> None:
        if isinstance(failure.value, WireError):
            self._settle(failure.value)
        elif self._asked is not None:
            _log.bug("call.bug", failure)
            self._settle(SystemFailure("the dispatcher failed; its log tells more"))

    def _settle_when_stored(self) -> None:
        if self._unstored:
            return
        if self._ending is not None:
            self._settle(self._ending)
        elif self._break is not None:
            self.is_broken = True
            self._settle(self._break)

    # --- The end -------------------------------------------------------------------------

    def _settle(self, outcome: Ending | ProcedureList | bool | WireError) -> None:
        """Tell the caller the outcome, once, and close the connection.

        That of a call that the agent keeps stays open until the end is safe.
        """
        asked, self._asked = self._asked, None
        self._stop_watching()
        if asked is None:
            return
        if isinstance(outcome, WireError):
            if not self.is_broken:
                self._give_up()
            asked.errback(outcome)
            return
        talk = self._conversation
        if not (isinstance(talk, Conversation) and talk.acknowledged and talk.resumable):
            self._close()
        asked.callback(outcome)

    def _close(self) -> None:
        if not self._gone:
            self.transport.loseConnection()
            self._linger = self._clock.callLater(self.LINGER_SECONDS, self._linger_over)

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
