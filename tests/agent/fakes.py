"""Stand-ins for the parts that a call goes through."""

from __future__ import annotations

import inspect

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from harpcaller.agent.seams import (
    CallEvents,
    ICaller,
    ICallProcess,
    IChecker,
    ILink,
    ITemplate,
    Wanted,
)
from harpcaller.agent.signature import Description
from harpcaller.errors import AuthError
from harpcaller.wire.agent import Credentials, ProcedureCall
from harpcaller.wire.values import EMPTY_LIST, Raw

PASSWORD = "let me in"


def described(
    name: str,
    *,
    streaming: bool = False,
    timeout_seconds: float | None = None,
    like: object = None,
    lock: str | None = None,
) -> Description:
    """A procedure's description; it takes what ``like`` takes, or nothing."""
    signature = inspect.signature(like) if callable(like) else inspect.Signature()
    return Description(name, streaming, timeout_seconds, signature, lock)


def asked(procedure: str, arguments: bytes = EMPTY_LIST, password: str = PASSWORD) -> ProcedureCall:
    """A request."""
    return ProcedureCall(procedure, Raw(arguments), Credentials("somebody", password))


@implementer(ICallProcess)
@attrs.define(eq=False)
class FakeProcess:
    """Notes what is asked of it."""

    events: CallEvents
    wanted: Wanted | None = None
    runs: bool = False
    ends: list[tuple[int, float]] = attrs.Factory(list)
    hushed: bool = False
    paused: bool = False

    def go(self) -> None:
        assert not self.runs and not self.hushed
        self.runs = True

    def end(self, signal: int, grace_seconds: float) -> None:
        self.ends.append((signal, grace_seconds))

    def hush(self) -> None:
        self.hushed = True

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False

    def stopProducing(self) -> None:
        pass


@implementer(ITemplate)
@attrs.define(eq=False)
class FakeTemplate:
    """Has procedures, and starts nothing."""

    procedures: dict[str, Description] = attrs.Factory(dict)
    processes: list[FakeProcess] = attrs.Factory(list)
    retired: bool = False
    broken: OSError | None = None
    stays: list[Deferred[None]] | None = None

    def begin(self, wanted: Wanted, events: CallEvents) -> ICallProcess:
        if self.broken is not None:
            raise self.broken
        process = FakeProcess(events, wanted)
        self.processes.append(process)
        return process

    def retire(self) -> None:
        self.retired = True

    def gone(self) -> Deferred[None]:
        gone: Deferred[None] = Deferred()
        if self.stays is None:
            gone.callback(None)
        else:
            self.stays.append(gone)
        return gone


@implementer(ICaller)
@attrs.define(eq=False)
class FakeCaller:
    """Notes what it is told."""

    told: bytes = b""
    acknowledged: bool | None = None
    finished: bool = False
    producer: ICallProcess | None = None

    def acknowledge(self, streaming: bool) -> None:
        assert self.acknowledged is None and not self.told
        self.acknowledged = streaming

    def tell(self, data: bytes) -> None:
        assert not self.finished
        self.told += data

    def finish(self, line: bytes) -> None:
        self.tell(line)
        self.finished = True

    def feed_from(self, producer: ICallProcess) -> None:
        self.producer = producer


@implementer(ILink)
@attrs.define(eq=False)
class FakeLink:
    """Notes what it is told; holds its producer back after ``room`` bytes."""

    told: bytes = b""
    room: int = 2**60
    producer: IPushProducer | None = None
    all_said: bool = False
    closed: bool = False
    dropped: bool = False

    def tell(self, data: bytes) -> None:
        assert not self.closed and not self.dropped
        self.told += data
        self.room -= len(data)
        if self.room <= 0 and self.producer is not None:
            self.producer.pauseProducing()

    def more_room(self, room: int) -> None:
        """Take so many bytes more."""
        self.room = room
        assert self.producer is not None
        self.producer.resumeProducing()

    def feed_from(self, producer: IPushProducer) -> None:
        assert self.producer is None
        self.producer = producer

    def said_all(self) -> None:
        self.all_said = True

    def close(self) -> None:
        self.closed = True

    def drop(self) -> None:
        self.dropped = True


@implementer(IChecker)
@attrs.define(eq=False)
class FakeChecker:
    """Knows one password, and answers when it is told to if ``slow``."""

    slow: bool = False
    waiting: list[Deferred[None]] = attrs.Factory(list)
    peers: list[str] = attrs.Factory(list)

    async def check(self, credentials: Credentials, peer: str) -> None:
        self.peers.append(peer)
        if self.slow:
            answer: Deferred[None] = Deferred()
            self.waiting.append(answer)
            await answer
        if credentials.password != PASSWORD:
            raise AuthError("unknown user or wrong password")
