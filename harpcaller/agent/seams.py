"""Where the server's parts meet: each has a fake in tests.

A call goes through three of them: the *caller* is the connection that asked, the
*process* is its worker, and :class:`~harpcaller.agent.running.RunningCall` stands
between the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import Attribute, Interface

from harpcaller.agent.signature import Description
from harpcaller.wire.agent import (
    Attach,
    CancelJob,
    Credentials,
    ListProcedures,
    ProcedureCall,
    ProcedureList,
)
from harpcaller.wire.values import Raw


@attrs.frozen
class Wanted:
    """What is to be run, and for whom.

    Args:
        id: The call's number, no other's as long as the agent runs.
        procedure: Its name.
        arguments: What it is given.
        user: Who calls.
        peer: From where.
    """

    id: int
    procedure: str
    arguments: Raw
    user: str
    peer: str


class CallEvents(Protocol):
    """What the process side tells about a call; ``exited`` comes once and last."""

    def said(self, lines: bytes) -> None:
        """The procedure streamed: one or more whole record lines."""

    def answered(self, line: bytes) -> None:
        """The procedure told its ending: one line."""

    def exited(self, how: str) -> None:
        """The process is gone and nothing more is heard; ``how`` is for the caller."""


class ICallProcess(IPushProducer):
    """A call's process; pausing it stops it at its next record.

    It runs no procedure before :meth:`go`.
    """

    def go() -> None:
        """Run the procedure now; asked once, and not after :meth:`hush`."""

    def end(signal: int, grace_seconds: float) -> None:
        """Signal all that the call started, and kill what is left of it after the grace.

        ``exited`` comes when all of it is gone.
        """

    def hush() -> None:
        """Listen no more: ``said`` and ``answered`` won't come, ``exited`` will."""


class ITemplate(Interface):
    """A template process that has its procedures loaded."""

    procedures: dict[str, Description] = Attribute("What can be called, by name.")

    def begin(wanted: Wanted, events: CallEvents) -> ICallProcess:
        """Start a worker, which waits for its ``go``.

        Its events come later, never from inside this call.

        Raises:
            OSError: The agent's own system is out of something.
        """

    def retire() -> None:
        """Take no more calls, and end when those under way have ended."""

    def gone() -> Deferred[None]:
        """Wait until the process is gone; can't be cancelled."""


class ICaller(Interface):
    """Who asked for a call: a connection, or what keeps the call when connections break."""

    def acknowledge(streaming: bool) -> None:
        """Tell that the call is taken, and whether records may follow."""

    def tell(data: bytes) -> None:
        """Send whole lines, records."""

    def finish(line: bytes) -> None:
        """Send the last line, and close when it is out."""

    def feed_from(producer: ICallProcess) -> None:
        """Hold this producer back whenever the caller reads too slowly."""


class ILink(Interface):
    """One of the connections on which a kept call is heard."""

    def tell(data: bytes) -> None:
        """Send whole lines, or parts of them."""

    def feed_from(producer: IPushProducer) -> None:
        """Hold this producer back whenever the caller reads too slowly."""

    def said_all() -> None:
        """The last line was sent; the caller has some time to say that it is safe."""

    def close() -> None:
        """Close when everything is out."""

    def drop() -> None:
        """Close at once."""


class IConnection(ICaller, ILink):
    """Where one request's answer goes, whatever was asked for."""

    def feed_from(producer: IPushProducer) -> None:
        """Hold this producer back whenever the answer is read too slowly."""


class IAnswers(IConnection):
    """The monitor's way back to the network process, for one request."""

    def known() -> None:
        """Tell that the user is who he says."""

    def refused(message: str) -> None:
        """Tell that he isn't, and close."""


class Begun(Protocol):
    """A call that a connection began."""

    def caller_gone(self) -> None:
        """The connection is closed."""


class Kept(Protocol):
    """A call that a connection began or goes on with, and that outlives it."""

    def lost(self, link: IConnection) -> None:
        """The connection is closed."""

    def cancel(self) -> object:
        """End it, or forget it."""


class CallsSeen(Protocol):
    """What connections know of :class:`~harpcaller.agent.calls.Calls`."""

    def begin(self, request: ProcedureCall, caller: ICaller, peer: str) -> Begun:
        """Start a call.

        Raises:
            WireError: It can't run; the connection may hear that later instead.
        """

    def listed(self, request: ListProcedures) -> ProcedureList | Deferred[ProcedureList]:
        """Tell what can be called.

        Raises:
            WireError: Nothing can.
        """


class KeptCallsSeen(Protocol):
    """What connections know of :class:`~harpcaller.agent.kept_calls.KeptCalls`."""

    @property
    def are_kept(self) -> bool:
        """Whether calls are kept at all."""

    def begin(
        self, request: ProcedureCall, link: IConnection, start: Callable[[ICaller], Any]
    ) -> Kept:
        """Begin a call that has a job id; ``start`` starts what is to be kept.

        Raises:
            WireError: It can't run; the connection may hear that later instead.
        """

    def attach(self, request: Attach, link: IConnection, peer: str) -> Kept:
        """Let a connection go on with a call.

        Raises:
            WireError: There is none; the connection may hear that later instead.
        """

    def cancel(self, request: CancelJob) -> bool | Deferred[bool]:
        """End a call, or forget how it ended; tells whether it ran.

        Raises:
            WireError: There is none.
        """


class IChecker(Interface):
    """Who may call."""

    async def check(credentials: Credentials, peer: str) -> None:
        """Let known users pass.

        Args:
            credentials: Whom the caller says to be.
            peer: The address that the call comes from.

        Raises:
            AuthError: The user isn't known or the password is wrong.
        """
