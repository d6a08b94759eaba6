"""One request to an agent and all that comes of it, on a connection that may serve others, too.

Thin: what may be said when is :mod:`~harpcaller.wire.conversation`'s business, how long to
wait is :class:`~harpcaller.job.patience.Patience`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure

from harpcaller.errors import NetworkError, SystemFailure, WireError
from harpcaller.interfaces import ICallSink
from harpcaller.job.patience import Patience, seconds
from harpcaller.logs.events import EventLog
from harpcaller.wire.agent import Acknowledged, Said
from harpcaller.wire.conversation import Cancelling, Conversation, Listing, State
from harpcaller.wire.ending import Ending
from harpcaller.wire.procedures import ProcedureList
from harpcaller.wire.values import Raw

_log = EventLog("call")


class Line(Protocol):
    """What an exchange asks of its connection."""

    @property
    def is_gone(self) -> bool:
        """Whether it is closed."""

    def write(self, data: bytes) -> None:
        """Send something."""

    def hold_back(self, hold: bool) -> None:
        """Read nothing for a while, or go on reading."""

    def remember(self) -> None:
        """Keep the TLS session; the agent has said something."""

    def close(self) -> None:
        """Close when everything is out."""

    def abort(self) -> None:
        """Close at once."""


class Loss(Enum):
    """How a connection that had been kept was lost before the agent acknowledged the call.

    ``NOT_BEGUN``: the agent closed it in order, which says that it hasn't begun the call;
    ``NOT_KNOWN``: in another way, which says nothing.
    """

    NOT_BEGUN = "not begun"
    NOT_KNOWN = "not known"


@attrs.frozen
class Farewell:
    """How an agent is told that nobody wants a call any more, if it may keep it.

    Args:
        line: Gives what it is told.
        unheard: Called when it can't be told on this connection.
    """

    line: Callable[[], bytes]
    unheard: Callable[[], None]


class Exchange:
    """One request and its answer.

    A call that its agent keeps is ended by telling the agent so; closing ends others.

    Args:
        line: The connection.
        talk: What may be said.
        patience: How long to wait.
        clock: For waiting.
        sink: Where records go; calls have one.
        farewell: How to end it; calls have one.
        acknowledge_seconds: How long the agent may take to acknowledge, on a connection that was
            kept and may be dead; None is for new ones.

    Attributes:
        asked: Fires with what came of it, or fails with a WireError; None when it has.
        is_broken: The connection is lost, and the agent keeps the call; what was heard is
            stored.
        is_left: When cancelled, the agent isn't told to end the call.
        loss: How the connection was lost, if that matters.
    """

    #: How many bytes of records may be on their way into the store before the agent is held
    #: back.
    MOST_UNSTORED = 256 * 1024
    #: What a record counts for besides its bytes: a small one costs memory, too.
    RECORD_COST = 256

    def __init__(
        self,
        line: Line,
        talk: Conversation | Listing | Cancelling,
        patience: Patience,
        clock: IReactorTime,
        sink: ICallSink | None = None,
        farewell: Farewell | None = None,
        acknowledge_seconds: float | None = None,
    ) -> None:
        self.asked: Deferred[Any] | None = Deferred(self._abandoned)
        self.talk = talk
        self.farewell = farewell
        self.is_broken = False
        self.is_left = False
        self.loss: Loss | None = None
        self._line = line
        self._patience = patience
        self._clock = clock
        self._sink = sink
        self._acknowledge_seconds = acknowledge_seconds
        self._acknowledge_by: float | None = None
        self._alarm: IDelayedCall | None = None
        self._ending: Ending | ProcedureList | bool | None = None
        self._break: WireError | None = None
        self._has_asked = False
        self._says_farewell = False
        self._said: list[Raw] = []
        self._passing_on: IDelayedCall | None = None
        self._unstored = 0
        self._held_back = False

    @property
    def listens(self) -> bool:
        """Whether there is something to come."""
        return self.asked is not None and self._ending is None

    @property
    def is_done(self) -> bool:
        """Whether it came to its end as it should."""
        return self.asked is None and self._ending is not None

    def begin(self, request: bytes, unfit: WireError | None) -> None:
        """Send the request, unless something speaks against it."""
        now = self._clock.seconds()
        unfit = unfit or self._patience.exhausted(now)
        if unfit is not None:
            self._settle(unfit)
            return
        if not self._goes_on():
            self._patience.heard(now)
        if self._acknowledge_seconds is not None:
            self._acknowledge_by = now + self._acknowledge_seconds
        self._watch()
        self._has_asked = True
        self._line.write(request)

    # --- Giving up -----------------------------------------------------------------------

    def _abandoned(self, _cancelled: Deferred[object]) -> None:
        self.asked = None
        self._said.clear()
        self._pass_on()
        self._stop_watching()
        if self.is_left:
            self._line.abort()
        else:
            self._give_up()

    def _give_up(self) -> None:
        """Close, which ends the procedure; or tell the agent to end it, if it may keep it."""
        farewell = self.farewell
        if farewell is None or not self._may_be_kept():
            self._line.abort()
        elif self._line.is_gone:
            farewell.unheard()
        else:
            # To hear that it closes.
            self._hold_back(False)
            self._says_farewell = True
            self._line.write(farewell.line())
            self._line.close()

    def _may_be_kept(self) -> bool:
        """Tell whether the agent keeps the call, or could and hasn't said anything yet."""
        talk = self.talk
        if not self._has_asked or not isinstance(talk, Conversation):
            return False
        return talk.resumable or talk.state is State.ASKED

    def _goes_on(self) -> bool:
        return isinstance(self.talk, Conversation) and self.talk.goes_on

    # --- Messages ------------------------------------------------------------------------

    def heard(self, line: bytes) -> None:
        """Take the agent's next line.

        Raises:
            ProtocolError: It isn't a message, or not one that may come now.
        """
        message = self.talk.heard(line)
        if isinstance(message, Acknowledged):
            self._acknowledged(message)
            return
        # That it goes on is nothing that the procedure has said; this is.
        self._patience.heard(self._clock.seconds())
        if isinstance(message, Said):
            self._store(message.data)
        else:
            self._ending = message
            # What is waited for from now on is not the agent.
            self._stop_watching()
            self._pass_on()
            self._settle_when_stored()

    def _acknowledged(self, message: Acknowledged) -> None:
        if not self._goes_on():
            self._patience.heard(self._clock.seconds())
        # Session tickets come before the first data.
        self._line.remember()
        assert isinstance(self.talk, Conversation)
        if message.resumable and self.talk.begins:
            assert self._sink is not None
            self._sink.resumable()

    def _store(self, data: Raw) -> None:
        # What the agent says at once, in however many pieces, is stored together.
        self._said.append(data)
        self._unstored += len(data) + self.RECORD_COST
        if self._passing_on is None:
            self._passing_on = self._clock.callLater(0, self._pass_on)
        if self._unstored > self.MOST_UNSTORED:
            self._hold_back(True)

    def _pass_on(self) -> None:
        """Have stored what was said since this was done last."""
        call, self._passing_on = self._passing_on, None
        if call is not None and call.active():
            call.cancel()
        said, self._said = self._said, []
        if said:
            assert self._sink is not None
            cost = sum(map(len, said)) + len(said) * self.RECORD_COST
            _ = maybeDeferred(self._sink.record, *said).addCallbacks(
                self._stored, self._not_stored, callbackArgs=(cost,)
            )

    def _stored(self, _: None, cost: int) -> None:
        self._unstored -= cost
        if self._held_back and self._unstored <= self.MOST_UNSTORED // 2:
            # The silence of the last moments was ours.
            self._patience.heard(self._clock.seconds())
            self._hold_back(False)
        if self._ending is not None or self._break is not None:
            self._settle_when_stored()

    def _hold_back(self, hold: bool) -> None:
        if hold is not self._held_back:
            self._held_back = hold
            self._line.hold_back(hold)

    def _not_stored(self, failure: Failure) -> None:
        # What was said after that has no place.
        self._said.clear()
        if isinstance(failure.value, WireError):
            self.fail(failure.value)
        elif self.asked is not None:
            _log.bug("call.bug", failure)
            self.fail(SystemFailure("the dispatcher failed; its log tells more"))

    def lost(self, *, in_order: bool, in_a_line: bool) -> None:
        """Hear that the connection is closed.

        Args:
            in_order: It didn't just break.
            in_a_line: Something has come that isn't a whole line.
        """
        if self._says_farewell and not in_order:
            assert self.farewell is not None
            self.farewell.unheard()
        if not self.listens:
            return
        self._pass_on()
        fault = self.talk.closed()
        if isinstance(self.talk, Conversation) and self.talk.resumable:
            self._break = fault
            self._settle_when_stored()
        elif self._acknowledge_by is not None and self._is_unanswered():
            self._lose(fault, Loss.NOT_BEGUN if in_order and not in_a_line else Loss.NOT_KNOWN)
        else:
            self._settle(fault)

    def _is_unanswered(self) -> bool:
        return isinstance(self.talk, Conversation) and self.talk.state is State.ASKED

    # --- The end -------------------------------------------------------------------------

    def fail(self, fault: WireError) -> None:
        """End it with an error."""
        self._pass_on()
        self._settle(fault)

    def _settle_when_stored(self) -> None:
        if self._unstored:
            return
        if self._ending is not None:
            self._settle(self._ending)
        elif self._break is not None:
            self.is_broken = True
            self._settle(self._break)

    def _lose(self, fault: WireError, loss: Loss) -> None:
        self.loss = loss
        self._settle(fault)

    def _settle(self, outcome: Ending | ProcedureList | bool | WireError) -> None:
        """Tell the caller the outcome, once, and close the connection.

        It stays open if the agent keeps the call, until the end is safe, and if the agent keeps
        the connection.
        """
        asked, self.asked = self.asked, None
        self._stop_watching()
        if asked is None:
            return
        if isinstance(outcome, WireError):
            if not self.is_broken and self.loss is None:
                self._give_up()
            asked.errback(outcome)
            return
        talk = self.talk
        if not (
            isinstance(talk, Conversation) and talk.acknowledged and (talk.resumable or talk.keeps)
        ):
            self._line.close()
        asked.callback(outcome)

    # --- Time ----------------------------------------------------------------------------

    def _watch(self) -> None:
        # Not moved at each message: when it rings it looks at what was heard meanwhile.
        due = self._patience.due()
        if self._acknowledge_by is not None and self._is_unanswered():
            due = min(due, self._acknowledge_by)
        self._alarm = self._clock.callLater(max(0.0, due - self._clock.seconds()), self._rang)

    def _rang(self) -> None:
        self._alarm = None
        now = self._clock.seconds()
        if self._held_back:
            self._patience.heard(now)
        error = self._patience.exhausted(now)
        if error is not None:
            self.fail(error)
        elif (
            self._acknowledge_by is not None
            and now >= self._acknowledge_by
            and self._is_unanswered()
        ):
            assert self._acknowledge_seconds is not None
            limit = seconds(self._acknowledge_seconds)
            self._lose(
                NetworkError(
                    f"the agent didn't acknowledge the call within {limit},"
                    " on a connection that had been kept"
                ),
                Loss.NOT_KNOWN,
            )
            self._line.abort()
        else:
            self._watch()

    def _stop_watching(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
