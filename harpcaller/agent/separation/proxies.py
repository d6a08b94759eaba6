"""What connections see of the monitor, in the network process: users, calls and kept calls.

Each request has a channel of its own, which is made when its user is to be checked and taken up by
what is asked for right after that.  Nothing here decides anything.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.unix import Server as UnixConnection
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.agent.seams import ICaller, IChecker, IConnection
from harpcaller.agent.separation.table import (
    ANSWERED,
    ASKED,
    Answered,
    Asked,
    Attach,
    Authenticate,
    Call,
    Cancel,
    Closed,
    Finished,
    GiveUp,
    Known,
    List,
    Refused,
    Said,
    SaidAll,
    Taken,
)
from harpcaller.errors import BY_WIRE_TYPE, AuthError, SystemUnable, WireError
from harpcaller.wire import agent as wire
from harpcaller.wire.ending import Failed

#: Makes a channel, and lets a protocol speak on our end of it; raises OSError if it can't.
OpenChannel = Callable[[Protocol], None]

_Value = TypeVar("_Value")

_CUT_OFF = "the agent has too much to do; try again later"


@implementer(IPushProducer)
class Question(Protocol):
    """Our end of a channel.

    Args:
        forget: Called with this when nothing more can be asked on it.
    """

    transport: UnixConnection  # that's what is adopted

    def __init__(self, forget: Callable[[Question], None]) -> None:
        self._forget = forget
        self._reader = ANSWERED.reader()
        self._verdict: Deferred[None] | None = None
        self._connection: IConnection | None = None
        self._has_said = False

    def authenticate(self, credentials: wire.Credentials, peer: str) -> Deferred[None]:
        """Ask whether somebody is who he says; fails with an AuthError if he isn't."""
        verdict: Deferred[None] = Deferred(lambda verdict: self.close())
        self._verdict = verdict
        self._say(Authenticate(credentials.user, credentials.password, peer))
        return verdict

    def ask(self, asked: Asked, connection: IConnection) -> None:
        """Ask for something; the connection hears what comes of it."""
        self._connection = connection
        connection.feed_from(self)
        self._say(asked)

    def _say(self, asked: Asked) -> None:
        self.transport.write(ASKED.encode(asked))

    # What the monitor says.

    def dataReceived(self, data: bytes) -> None:
        """Twisted: bytes of the monitor."""
        self._reader.feed(data)
        while (answer := self._reader.next()) is not None:
            self._take(answer)

    def _take(self, answer: Answered) -> None:
        if isinstance(answer, Known):
            self._judged(None)
        elif isinstance(answer, Refused):
            self._judged(AuthError(answer.message))
        elif self._connection is not None:
            self._pass_on(answer, self._connection)

    def _judged(self, error: WireError | None) -> None:
        verdict, self._verdict = self._verdict, None
        if verdict is None:
            return
        if error is None:
            verdict.callback(None)
        else:
            verdict.errback(error)
        if self._connection is None:
            # Whoever asked has gone away, or was refused.
            self.close()

    def _pass_on(self, answer: Answered, connection: IConnection) -> None:
        self._has_said = True
        if isinstance(answer, Said):
            connection.tell(answer.data)
        elif isinstance(answer, Taken):
            connection.acknowledge(answer.streaming)
        elif isinstance(answer, SaidAll):
            connection.said_all()
        else:
            self.close()
            if isinstance(answer, Finished):
                connection.finish(b"")
            elif isinstance(answer, Closed):
                connection.close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: the monitor closed it, or we did."""
        self._forget(self)
        connection, self._connection = self._connection, None
        if connection is not None:
            if self._has_said:
                connection.drop()
            else:
                connection.tell(wire.encode_message(Failed("system_error", _CUT_OFF)))
                connection.close()
        self._judged(SystemUnable(_CUT_OFF))

    # What the connection says.

    def close(self) -> None:
        """Nobody wants to hear more."""
        self._connection = self._verdict = None
        self._forget(self)
        # What was asked for goes out yet, above all that a call is to end.
        self.transport.loseConnection()

    def caller_gone(self) -> None:
        """The connection is closed; see :class:`~harpcaller.agent.seams.Begun`."""
        self.close()

    def lost(self, link: IConnection) -> None:
        """The connection is closed; see :class:`~harpcaller.agent.seams.Kept`."""
        self.close()

    def cancel(self) -> None:
        """No more of this call; see :class:`~harpcaller.agent.seams.Kept`."""
        if self._connection is not None:
            self._say(GiveUp())

    # The connection's flow.

    def pauseProducing(self) -> None:
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is lost, which is told in another way too."""


class Questions:
    """The channels whose users were checked, or are being.

    Args:
        open_channel: Makes channels.
    """

    def __init__(self, open_channel: OpenChannel) -> None:
        self._open_channel = open_channel
        self._by_credentials: dict[int, tuple[wire.Credentials, Question]] = {}

    def new(self, credentials: wire.Credentials) -> Question:
        """Make a channel for a request with these very credentials.

        Raises:
            SystemUnable: There can't be one more.
        """
        question = Question(self._forget)
        try:
            self._open_channel(question)
        except OSError as error:
            raise SystemUnable(f"the user can't be checked: {error.strerror}") from None
        # They are kept, so that no others have this number.
        self._by_credentials[id(credentials)] = credentials, question
        return question

    def take(self, credentials: wire.Credentials) -> Question:
        """Give the channel of the request that has these very credentials, once.

        Raises:
            SystemUnable: The monitor has closed it.
        """
        found = self._by_credentials.pop(id(credentials), None)
        if found is None:
            raise SystemUnable(_CUT_OFF)
        return found[1]

    def _forget(self, question: Question) -> None:
        for key, (_, waiting) in self._by_credentials.items():
            if waiting is question:
                del self._by_credentials[key]
                return


@implementer(IChecker)
class MonitorChecker:
    """Has the monitor check users.

    Args:
        questions: The channels.
    """

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    async def check(self, credentials: wire.Credentials, peer: str) -> None:
        """Let known users pass; see :meth:`IChecker.check`."""
        await self._questions.new(credentials).authenticate(credentials, peer)


class MonitorCalls:
    """Has the monitor run calls; see :class:`~harpcaller.agent.seams.CallsSeen`.

    Args:
        questions: The channels.
    """

    def __init__(self, questions: Questions) -> None:
        self._questions = questions

    def begin(self, request: wire.ProcedureCall, caller: ICaller, peer: str) -> Question:
        question = self._questions.take(request.credentials)
        question.ask(_call(request), cast(IConnection, caller))
        return question

    def listed(self, request: wire.ListProcedures) -> Deferred[wire.ProcedureList]:
        question = self._questions.take(request.credentials)
        return _answer(question, List(), wire.decode_procedures)


class MonitorKeptCalls:
    """Has the monitor keep calls; see :class:`~harpcaller.agent.seams.KeptCallsSeen`.

    Args:
        questions: The channels.

    Attributes:
        are_kept: Whether calls are kept at all.
    """

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self.are_kept = False

    def begin(
        self, request: wire.ProcedureCall, link: IConnection, start: Callable[[ICaller], Any]
    ) -> Question:
        question = self._questions.take(request.credentials)
        question.ask(_call(request), link)
        return question

    def attach(self, request: wire.Attach, link: IConnection, peer: str) -> Question:
        question = self._questions.take(request.credentials)
        question.ask(Attach(request.job, request.since), link)
        return question

    def cancel(self, request: wire.CancelJob) -> Deferred[bool]:
        question = self._questions.take(request.credentials)
        return _answer(question, Cancel(request.job), wire.decode_cancelled)


def _call(request: wire.ProcedureCall) -> Call:
    return Call(request.procedure, request.arguments, request.job, request.again)


def _answer(
    question: Question, asked: Asked, decode: Callable[[bytes], _Value | Failed]
) -> Deferred[_Value]:
    """Ask for something that has an answer of one line; fails with what that tells."""
    there: Deferred[_Value] = Deferred(lambda there: question.close())
    question.ask(asked, _Answer(decode, there))
    return there


@implementer(IConnection)
class _Answer:
    """Waits for an answer of one line, in a connection's place.

    Args:
        decode: Reads it.
        there: Fires with what it is.
    """

    def __init__(self, decode: Callable[[bytes], object], there: Deferred[Any]) -> None:
        self._decode = decode
        self._said = b""
        self._there = there

    def feed_from(self, producer: IPushProducer) -> None:
        """It is never too slow."""

    def tell(self, data: bytes) -> None:
        self._said += data

    def finish(self, line: bytes) -> None:
        found = self._decode((self._said + line).removesuffix(b"\n"))
        if isinstance(found, Failed):
            # What the monitor itself made of a WireError.
            self._there.errback(BY_WIRE_TYPE[found.type](found.message))
        else:
            self._there.callback(found)

    def acknowledge(self, streaming: bool) -> None:
        """Nothing was begun."""

    def said_all(self) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        self.finish(b"")

    def drop(self) -> None:
        self._there.errback(SystemUnable(_CUT_OFF))
