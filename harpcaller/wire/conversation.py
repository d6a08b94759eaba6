"""Which message of an agent may come when (``doc/protocol`` §2).

::

    state             Acknowledged(True)  Acknowledged(False)  Said        an ending
    ----------------  ------------------  -------------------  ----------  ---------
    asked             streaming           waiting              --          ended
    streaming         --                  --                   streaming   ended
    waiting           --                  --                   --          ended
    ended             --                  --                   --          --

``--`` is a breach of the protocol.  Before the acknowledgement the only ending is an error.
Where the agent has said that the call can be resumed, records have numbers, without a gap.
"""

from __future__ import annotations

from enum import Enum

from harpcaller.errors import NetworkError, ProtocolError, WireError
from harpcaller.wire.agent import (
    Acknowledged,
    Message,
    Said,
    decode_cancelled,
    decode_message,
    decode_procedures,
)
from harpcaller.wire.ending import Failed
from harpcaller.wire.procedures import ProcedureList


class State(Enum):
    """How far the conversation came."""

    ASKED = "asked"
    STREAMING = "streaming"
    WAITING = "waiting"
    ENDED = "ended"


class Conversation:
    """One call's exchange with an agent on one connection, seen from the caller.

    It begins with the request, be it to run a procedure or to go on with a call.

    Args:
        since: The number of the first record that is to come, if the request was to go on.
        begins: The agent's acknowledgement would be the first of the call; None if it is to be
            told from ``since``.

    Attributes:
        records: How many records of the call were had, earlier connections' included.
        goes_on: The request was to go on with a call.
        begins: The agent's acknowledgement is the first of the call.
        acknowledged: The agent has taken the call.
        resumable: It keeps the call when this connection breaks.
        keeps: It keeps the connection for another call after this one.
    """

    def __init__(self, since: int | None = None, begins: bool | None = None) -> None:
        self.state = State.ASKED
        self.records = since or 0
        self.acknowledged = False
        self.resumable = since is not None
        self.keeps = False
        self.goes_on = since is not None
        self.begins = not self.goes_on if begins is None else begins

    def heard(self, line: bytes) -> Message:
        """Take the agent's next line.

        Returns:
            What it says; an ending is the last.

        Raises:
            ProtocolError: It isn't a message, or not one that may come now.
        """
        message = decode_message(line)
        self.state = self._after(message)
        return message

    def _after(self, message: Message) -> State:
        if self.state is State.ASKED:
            if isinstance(message, Acknowledged):
                return self._take(message)
            if isinstance(message, Failed):
                return State.ENDED
            raise ProtocolError("the agent answered before it acknowledged the call")
        if self.state is State.ENDED:
            raise ProtocolError("the agent went on talking after the end result")
        if isinstance(message, Acknowledged):
            raise ProtocolError("the agent acknowledged the call twice")
        if isinstance(message, Said):
            if self.state is State.STREAMING:
                self._count(message)
                return State.STREAMING
            raise ProtocolError("the agent sent a record of a procedure that doesn't stream")
        return State.ENDED

    def _take(self, message: Acknowledged) -> State:
        if self.goes_on and not message.resumable:
            raise ProtocolError("the agent goes on with a call that it says it can't resume")
        self.acknowledged = True
        self.resumable = message.resumable
        self.keeps = message.keeps
        return State.STREAMING if message.streaming else State.WAITING

    def _count(self, record: Said) -> None:
        if self.resumable and record.number is None:
            raise ProtocolError("the agent sent a record without its number")
        if self.resumable and record.number != self.records:
            raise ProtocolError(
                f"the agent sent record {record.number} where {self.records} belongs"
            )
        self.records += 1

    def closed(self) -> WireError:
        """Give the error of a connection that closed now, before the end result."""
        if self.state is State.ASKED:
            return NetworkError("the agent closed the connection without an answer")
        return NetworkError("the agent closed the connection before the end result")


class Listing:
    """The exchange in which an agent tells its procedures: one answer."""

    def heard(self, line: bytes) -> ProcedureList | Failed:
        """Take the agent's line.

        Raises:
            ProtocolError: It is neither a list of procedures nor an error.
        """
        return decode_procedures(line)

    def closed(self) -> WireError:
        """Give the error of a connection that closed now, before the answer."""
        return NetworkError("the agent closed the connection without an answer")


class Cancelling:
    """The exchange in which an agent is told to end a call by its name: one answer."""

    def heard(self, line: bytes) -> bool | Failed:
        """Take the agent's line; tells whether it ran, or why that isn't known.

        Raises:
            ProtocolError: It is neither.
        """
        return decode_cancelled(line)

    def closed(self) -> WireError:
        """Give the error of a connection that closed now, before the answer."""
        return NetworkError("the agent closed the connection without an answer")
