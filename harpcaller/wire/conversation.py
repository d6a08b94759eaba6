"""Which message of an agent may come when (``doc/protocol`` §2).

::

    state             Acknowledged(True)  Acknowledged(False)  Said        an ending
    ----------------  ------------------  -------------------  ----------  ---------
    asked             streaming           waiting              --          ended
    streaming         --                  --                   streaming   ended
    waiting           --                  --                   --          ended
    ended             --                  --                   --          --

``--`` is a breach of the protocol.  Before the acknowledgement the only ending is an error.
"""

from __future__ import annotations

from enum import Enum

from harpcaller.errors import NetworkError, ProtocolError, WireError
from harpcaller.wire.agent import Acknowledged, Message, Said, decode_message, decode_procedures
from harpcaller.wire.ending import Failed
from harpcaller.wire.procedures import ProcedureList


class State(Enum):
    """How far the conversation came."""

    ASKED = "asked"
    STREAMING = "streaming"
    WAITING = "waiting"
    ENDED = "ended"


class Conversation:
    """One call's exchange with an agent, seen from the caller, from its request on."""

    def __init__(self) -> None:
        self.state = State.ASKED

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
                return State.STREAMING if message.streaming else State.WAITING
            if isinstance(message, Failed):
                return State.ENDED
            raise ProtocolError("the agent answered before it acknowledged the call")
        if self.state is State.ENDED:
            raise ProtocolError("the agent went on talking after the end result")
        if isinstance(message, Acknowledged):
            raise ProtocolError("the agent acknowledged the call twice")
        if isinstance(message, Said):
            if self.state is State.STREAMING:
                return State.STREAMING
            raise ProtocolError("the agent sent a record of a procedure that doesn't stream")
        return State.ENDED

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
