"""Requests to bytes, bytes to answers: the core that every face of the library drives.

No input or output here.  A face (blocking, asyncio, Twisted) owns a transport; it sends what
:meth:`Exchange.ask` gives, feeds what comes, and takes answers until there are none.

::

    exchange = Exchange()
    transport.send(exchange.ask(request))
    while exchange.awaits:
        while (answer := exchange.next_answer()) is None:
            exchange.feed(transport.receive())      # or exchange.closed() at its end
"""

from __future__ import annotations

from collections import deque
from typing import Protocol, TypeVar

from harpcaller.client.exceptions import CommunicationError
from harpcaller.errors import InvalidRequest, ProtocolError, RequestTooLarge, WireError
from harpcaller.wire import agent
from harpcaller.wire.client import Call, Cancel, FollowStream, GetResult, Request, encode_request
from harpcaller.wire.client_answers import Answer, NotEnded, Record, ToBeContinued, decode_answer
from harpcaller.wire.conversation import Conversation, State
from harpcaller.wire.ending import Failed
from harpcaller.wire.lines import LineBuffer, LineTooLong

#: The longest answer line that is read, in bytes: an agent's longest, and the envelope.
MAX_ANSWER_SIZE = agent.MAX_MESSAGE_SIZE + 1024 * 1024

#: After these the dispatcher closes the connection.
_LAST_WORDS = frozenset([InvalidRequest.wire_type, RequestTooLarge.wire_type])


_Heard_co = TypeVar("_Heard_co", covariant=True)


class Dialogue(Protocol[_Heard_co]):
    """What the exchanges with a dispatcher and an agent have in common."""

    def feed(self, data: bytes) -> None:
        """Add bytes as they came."""

    def next_answer(self) -> _Heard_co | None:
        """Take what was heard next, or None when more bytes are needed."""

    def closed(self) -> CommunicationError:
        """Give the error of a connection that closed now."""


class Exchange(Dialogue[Answer]):
    """What was asked on one connection to a dispatcher, and what was answered so far.

    Requests may be pipelined; answers come in the order of the requests.

    Args:
        token: What tells the dispatcher who we are, or None.
        max_answer_size: The longest answer line allowed, in bytes.
    """

    def __init__(self, token: str | None = None, max_answer_size: int = MAX_ANSWER_SIZE) -> None:
        self._token = token
        self._lines = LineBuffer(max_answer_size)
        self._asked: deque[Request] = deque()
        self._breach: str | None = None
        self._last_words = False

    @property
    def awaits(self) -> Request | None:
        """The oldest request that isn't answered to its end, or None."""
        return self._asked[0] if self._asked else None

    @property
    def reusable(self) -> bool:
        """Whether all is answered and the connection good for another request."""
        return not (self._asked or self._breach or self._last_words or self._lines.pending())

    def ask(self, request: Request) -> bytes:
        """Note the request as asked and give the bytes to send."""
        data = encode_request(request, self._token)
        self._asked.append(request)
        return data

    def feed(self, data: bytes) -> None:
        """Add bytes as they came from the dispatcher."""
        self._lines.feed(data)

    def next_answer(self) -> Answer | None:
        """Take the next answer to the request that :attr:`awaits` tells.

        Returns:
            The answer, or None when more bytes are needed or nothing is awaited.

        Raises:
            CommunicationError: What came isn't an answer to it; nothing more can be had.
        """
        if self._breach is not None:
            raise CommunicationError(self._breach)
        if not self._asked:
            return None
        try:
            line = self._lines.next_line()
            if line is None:
                return None
            answer = _answer(line, self._asked[0])
        except (LineTooLong, ProtocolError) as error:
            self._breach = str(error)
            raise CommunicationError(self._breach) from None
        if not isinstance(answer, Record):
            self._asked.popleft()
        if isinstance(answer, Failed) and answer.type in _LAST_WORDS:
            self._last_words = True
        return answer

    def closed(self) -> CommunicationError:
        """Give the error of a connection that closed now, with an answer awaited."""
        return CommunicationError("the connection was closed before the answer was complete")


def _answer(line: bytes, request: Request) -> Answer:
    answer = decode_answer(line, request)
    if isinstance(request, GetResult) and request.wait and isinstance(answer, NotEnded):
        raise ProtocolError("the dispatcher answered that there is no result, and was to wait")
    if isinstance(request, FollowStream) and isinstance(answer, ToBeContinued):
        raise ProtocolError("the dispatcher stopped the stream before the job's end")
    return answer


def may_ask_again(request: Request) -> bool:
    """Tell whether asking twice does the same as asking once: it only reads."""
    return not isinstance(request, (Call, Cancel))


class AgentExchange(Dialogue[agent.Message]):
    """One call's exchange with an agent, from bytes to messages.

    Args:
        max_message_size: The longest message line allowed, in bytes.
    """

    def __init__(self, max_message_size: int = agent.MAX_MESSAGE_SIZE) -> None:
        self._lines = LineBuffer(max_message_size)
        self._conversation = Conversation()

    def ask(self, call: agent.ProcedureCall) -> bytes:
        """Give the bytes to send."""
        return agent.encode_request(call)

    def feed(self, data: bytes) -> None:
        """Add bytes as they came from the agent."""
        self._lines.feed(data)

    @property
    def ended(self) -> bool:
        """Whether the end result came."""
        return self._conversation.state is State.ENDED

    def next_answer(self) -> agent.Message | None:
        """Take the agent's next message.

        Returns:
            The message, or None when more bytes are needed or the end result was taken.

        Raises:
            CommunicationError: It isn't a message, or not one that may come now.
        """
        if self.ended:
            return None
        try:
            line = self._lines.next_line()
            return None if line is None else self._conversation.heard(line)
        except (LineTooLong, WireError) as error:
            raise CommunicationError(str(error)) from None

    def closed(self) -> CommunicationError:
        """Give the error of a connection that closed now, before the end result."""
        return CommunicationError(str(self._conversation.closed()))
