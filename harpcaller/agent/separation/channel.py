"""The monitor's end of a channel: bytes to messages to the interview, and answers back."""

from __future__ import annotations

import os
from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IFileDescriptorReceiver, IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.unix import Server as UnixConnection
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.agent.seams import IAnswers
from harpcaller.agent.separation.conversation import InterviewCore, Office, make_interview
from harpcaller.agent.separation.table import (
    ANSWERED,
    ASKED,
    MOST_SAID,
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
    NotInTable,
    Refused,
    Said,
    SaidAll,
    Taken,
)

#: How many channels there may be whose users haven't asked for anything yet; each may hold a
#: request.  How many there may be in all, besides those of calls.
MOST_NEW, MOST_MORE = 320, 2048
#: All that can come once something was asked for.
_GIVE_UP = ASKED.encode(GiveUp())


@attrs.define(eq=False)
class Channels:
    """The channels that are open, as many as there may be.

    Args:
        office: Does what is asked for on them.
        breach: Called with what was wrong if the network process breaks the rules.
    """

    office: Office
    breach: Callable[[str], None]
    _new: set[Channel] = attrs.Factory(set)
    _all: set[Channel] = attrs.Factory(set)

    def __len__(self) -> int:
        return len(self._all)

    def take(self) -> Channel | None:
        """Make one more; None if there are too many."""
        most = self.office.calls.most + MOST_MORE
        if len(self._new) >= MOST_NEW or len(self._all) >= most:
            return None
        channel = Channel(self)
        self._new.add(channel)
        self._all.add(channel)
        return channel

    def asked(self, channel: Channel) -> None:
        """It holds no request any more."""
        self._new.discard(channel)

    def lost(self, channel: Channel) -> None:
        """It is closed."""
        self._new.discard(channel)
        self._all.discard(channel)

    def close(self) -> None:
        """Close them all."""
        for channel in list(self._all):
            channel.drop()


@implementer(IAnswers, IFileDescriptorReceiver)
class Channel(Protocol):
    """One request, and its answer.

    Args:
        channels: Where it belongs.
    """

    transport: UnixConnection  # that's what is adopted

    def __init__(self, channels: Channels) -> None:
        self._channels = channels
        self._reader = ASKED.reader()
        self._has_asked = False
        self._fed = False
        core = InterviewCore(channels.office, self, self._broken)
        self._interview = make_interview(core)

    # What the network process says.

    def dataReceived(self, data: bytes) -> None:
        """Twisted: bytes of the network process."""
        self._reader.feed(data)
        try:
            while (message := self._reader.next()) is not None:
                self._take(message)
            if self._has_asked and self._reader.pending() >= len(_GIVE_UP):
                raise NotInTable("a message after what was asked for")
        except NotInTable as error:
            self._broken(str(error))

    def _take(self, message: Asked) -> None:
        interview = self._interview
        if isinstance(message, Authenticate):
            interview.said_who(message)
        elif isinstance(message, GiveUp):
            interview.gave_up()
        else:
            self._has_asked = True
            self._channels.asked(self)
            if isinstance(message, Call):
                interview.wanted_call(message)
            elif isinstance(message, Attach):
                interview.wanted_attach(message)
            elif isinstance(message, Cancel):
                interview.wanted_cancel(message)
            else:
                interview.wanted_list()

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """Twisted: a descriptor came, which is for the control socket only."""
        os.close(descriptor)
        self._broken("a descriptor on a channel")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Twisted: the network process closed it, or we did."""
        self._channels.lost(self)
        self._interview.lost()

    def _broken(self, what: str) -> None:
        self.transport.abortConnection()
        self._channels.breach(what)

    # The way back.

    def _say(self, answer: Answered) -> None:
        self.transport.write(ANSWERED.encode(answer))

    def known(self) -> None:
        self._say(Known())

    def refused(self, message: str) -> None:
        self._say(Refused(message))
        self.transport.loseConnection()

    def acknowledge(self, streaming: bool) -> None:
        self._say(Taken(streaming))

    def tell(self, data: bytes) -> None:
        for start in range(0, len(data), MOST_SAID):
            self._say(Said(data[start : start + MOST_SAID]))

    def finish(self, line: bytes) -> None:
        self.tell(line)
        self._end(Finished())

    def feed_from(self, producer: IPushProducer) -> None:
        self._fed = True
        self.transport.registerProducer(producer, True)

    def said_all(self) -> None:
        self._starve()
        self._say(SaidAll())

    def close(self) -> None:
        self._end(Closed())

    def _end(self, answer: Answered) -> None:
        self._starve()
        self._say(answer)
        self.transport.loseConnection()

    def drop(self) -> None:
        self._starve()
        self.transport.abortConnection()

    def _starve(self) -> None:
        if self._fed:
            self._fed = False
            self.transport.unregisterProducer()
