"""The monitor's side of the network process: its start, its channels, its end.

::

    stage      ready        listening      opened      noted
    ---------  -----------  -------------  ----------  ------
    starting   > confined   !              !           log
    confined   !            a socket less  !           log
    serving    !            !              a channel   log

In ``confined`` it is sent the sockets to listen on, and is ``serving`` once it has told of all of
them: no stranger is met before all rights are lost.  ``!`` ends it, and so does anything that isn't
in the table of messages, a descriptor too many or too few, or one that is no socket of ours.
"""

from __future__ import annotations

import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import Enum

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.protocol import ProcessProtocol, Protocol, connectionDone
from twisted.internet.unix import Server as UnixConnection
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.agent.call_process import AgentReactor, adopt
from harpcaller.agent.helper_process import start_helper
from harpcaller.agent.printed import PrintedLines
from harpcaller.agent.separation.channel import Channels
from harpcaller.agent.separation.conversation import Office
from harpcaller.agent.separation.notes import Notes
from harpcaller.agent.separation.table import (
    TO_MONITOR,
    TO_NETWORK,
    Confine,
    Leave,
    Listen,
    Listening,
    Noted,
    NotInTable,
    Opened,
    Ready,
    Terms,
    ToMonitor,
    ToNetwork,
)
from harpcaller.errors import HarpcallerError
from harpcaller.logs.events import EventLog

#: Its program.
COMMAND = (sys.executable, "-P", "-m", "harpcaller.service.agent_network")
#: How long it may take to start, in seconds.
START_SECONDS = 60.0
#: The most descriptors that may have come before their messages.
_MOST_DESCRIPTORS = 64


class NotStarting(HarpcallerError):
    """There is no network process; the message says why."""


class Stage(Enum):
    """How far it is."""

    STARTING = "starting"
    CONFINED = "confined"
    SERVING = "serving"


@implementer(IFileDescriptorReceiver)
class _Control(Protocol):
    """The control socket."""

    transport: UnixConnection  # that's what is adopted

    def __init__(self, network: NetworkProcess) -> None:
        self._network = network
        self._reader = TO_MONITOR.reader()
        self._descriptors: deque[int] = deque()
        self.open = False

    def connectionMade(self) -> None:
        self.open = True

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.open = False
        while self._descriptors:
            os.close(self._descriptors.popleft())

    def fileDescriptorReceived(self, descriptor: int) -> None:
        if len(self._descriptors) >= _MOST_DESCRIPTORS:
            os.close(descriptor)
            self._network.fault("too many descriptors")
            return
        os.set_inheritable(descriptor, False)
        self._descriptors.append(descriptor)

    def dataReceived(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while self.open and (message := self._reader.next()) is not None:
                self._network.heard(message)
            if self._descriptors and not self._reader.pending():
                raise NotInTable("a descriptor that belongs to no message")
        except NotInTable as error:
            self._network.fault(str(error))

    def next_socket(self) -> socket.socket:
        """Take the descriptor that came with a message.

        Raises:
            NotInTable: There is none, or it isn't one end of a channel.
        """
        if not self._descriptors:
            raise NotInTable("a message without its descriptor")
        descriptor = self._descriptors.popleft()
        try:
            found = socket.socket(fileno=descriptor)
        except OSError:
            os.close(descriptor)
            raise NotInTable("a descriptor that is no socket") from None
        if (
            found.family != socket.AF_UNIX
            or found.type != socket.SOCK_STREAM
            or found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        ):
            found.close()
            raise NotInTable("a socket that is no channel")
        return found


class _Life(ProcessProtocol):
    """Its process: what it prints, and its end."""

    def __init__(self, network: NetworkProcess, printed: PrintedLines) -> None:
        self._network = network
        self._printed = printed

    def childDataReceived(self, child_descriptor: int, data: bytes) -> None:
        self._printed.feed(data)

    def processEnded(self, reason: Failure) -> None:
        self._printed.finish()
        self._network.ended(str(reason.value))


class NetworkProcess:
    """The process that strangers talk to.

    Args:
        reactor: Starts it and adopts sockets.
        environment: Its environment.
        office: Does what is asked for.
        log: Where it is told of.
        lost: Called if it ends by itself after its start, with how.
        command: Its program.

    Attributes:
        confinement: What became of its rights, in its own words.
    """

    def __init__(
        self,
        reactor: AgentReactor,
        environment: Mapping[str, str],
        office: Office,
        log: EventLog,
        lost: Callable[[str], None],
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._reactor = reactor
        self._environment = environment
        self._log = log
        self._lost = lost
        self._command = command
        self._channels = Channels(office, self.fault)
        self._notes = Notes(log, reactor)
        self._control = _Control(self)
        self._stage = Stage.STARTING
        self.confinement = ""
        self._waiting: Deferred[None] | None = None
        self._to_listen: list[socket.socket] = []
        self._alive = False
        self._leaves = False
        self._fault: str | None = None
        self._gone: list[Deferred[None]] = []

    # What is asked of it.

    async def start(self, terms: Terms, confine: Confine) -> None:
        """Start it and wait until it has lost its rights.

        Raises:
            NotStarting: It doesn't start.
        """
        printed = PrintedLines(self._log, "agent.network_printed", {}, self._reactor)
        try:
            self._transport, ours = start_helper(
                self._reactor, _Life(self, printed), self._command, self._environment
            )
        except OSError as error:
            raise NotStarting(f"no network process could be started: {error}") from None
        self._alive = True
        adopt(self._reactor, ours, self._control)
        self._send(terms)
        self._send(confine)
        await self._wait()

    async def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Let it listen on sockets, which are closed here.

        Raises:
            NotStarting: It has ended.
        """
        self._to_listen = list(sockets)
        if not self._control.open:
            self._close_sockets()
            raise NotStarting("the network process ended")
        for one in self._to_listen:
            self._control.transport.sendFileDescriptor(one.fileno())
            self._send(Listen())
        await self._wait()

    def renew(self, terms: Terms) -> None:
        """Meet strangers in another way from now on."""
        if self._control.open:
            self._send(terms)

    def leave(self) -> None:
        """Take no more connections, and end when there are none."""
        self._leaves = True
        if self._control.open:
            self._send(Leave())

    def kill(self) -> None:
        """End it at once."""
        self._leaves = True
        self._signal()

    def gone(self) -> Deferred[None]:
        """Wait until it is gone; cancelling gives the waiting up."""
        waiting: Deferred[None] = Deferred(self._gone.remove)
        if self._alive:
            self._gone.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    def _send(self, message: ToNetwork) -> None:
        self._control.transport.write(TO_NETWORK.encode(message))

    def _wait(self) -> Deferred[None]:
        """Wait until it has done what it was told to."""
        waiting: Deferred[None] = Deferred(self._gave_up)
        self._waiting = waiting
        late = self._reactor.callLater(START_SECONDS, self.fault, "it takes too long to start")

        def done(result: Failure | None) -> Failure | None:
            if late.active():
                late.cancel()
            return result

        return waiting.addBoth(done)

    def _gave_up(self, waiting: Deferred[None]) -> None:
        self._waiting = None
        self.kill()

    def _done(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def _signal(self) -> None:
        if self._alive:
            with suppress(ProcessExitedAlready):
                self._transport.signalProcess("KILL")

    # What it tells.

    def heard(self, message: ToMonitor) -> None:
        """Take what it says.

        Raises:
            NotInTable: It can't say that now.
        """
        if isinstance(message, Noted):
            self._notes.take(message)
        elif isinstance(message, Ready) and self._stage is Stage.STARTING:
            self._stage = Stage.CONFINED
            self.confinement = message.confinement
            self._done()
        elif isinstance(message, Listening) and self._to_listen:
            self._to_listen.pop(0).close()
            if not self._to_listen:
                self._stage = Stage.SERVING
                self._done()
        elif isinstance(message, Opened) and self._stage is Stage.SERVING:
            self._opened()
        else:
            raise NotInTable(f"{type(message).__name__} in stage {self._stage.value}")

    def _opened(self) -> None:
        ours = self._control.next_socket()
        channel = self._channels.take()
        if channel is None:
            ours.close()
        else:
            adopt(self._reactor, ours, channel)

    def fault(self, what: str) -> None:
        """It isn't what it should be: away with it."""
        if self._fault is None and self._alive:
            self._fault = what
            self._log.error("agent.network_faulty", error=what)
            self._signal()

    def ended(self, how: str) -> None:
        """The process is gone."""
        self._alive = False
        self._notes.admit()
        self._close_sockets()
        if self._control.open:
            self._control.transport.loseConnection()
        self._channels.close()
        reason = how if self._fault is None else self._fault
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(NotStarting(f"the network process ended at its start: {reason}"))
        elif not self._leaves:
            self._lost(reason)
        gone, self._gone = self._gone, []
        for waiter in gone:
            waiter.callback(None)

    def _close_sockets(self) -> None:
        while self._to_listen:
            self._to_listen.pop().close()
