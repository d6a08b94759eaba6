"""The network process's end of the control socket."""

from __future__ import annotations

import socket
from collections import deque

from twisted.internet.protocol import Protocol
from twisted.logger import ILogObserver, LogEvent, LogLevel
from zope.interface import implementer

from harpcaller.agent.call_process import AgentReactor, adopt
from harpcaller.agent.separation.table import (
    TO_MONITOR,
    TO_NETWORK,
    Noted,
    Opened,
    ToMonitor,
    ToNetwork,
)
from harpcaller.logs.entry import entry_of


class Control:
    """Our end of the control socket.

    What is said is waited for until the monitor takes it, so that nothing piles up here; the
    monitor never waits for us.

    Args:
        ours: The socket.
    """

    def __init__(self, ours: socket.socket) -> None:
        self._ours = ours
        self._ours.setblocking(True)
        self._reader = TO_NETWORK.reader()
        self._descriptors: deque[int] = deque()

    def fileno(self) -> int:
        """Give its descriptor."""
        return self._ours.fileno()

    def say(self, message: ToMonitor) -> None:
        """Say something.

        Raises:
            OSError: The monitor is gone.
        """
        self._ours.sendall(TO_MONITOR.encode(message))

    def open_channel(self, reactor: AgentReactor, protocol: Protocol) -> None:
        """Make a channel and let a protocol speak on it.

        Raises:
            OSError: The system is out of something.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            adopt(reactor, ours, protocol)
            _ = socket.send_fds(self._ours, [TO_MONITOR.encode(Opened())], [theirs.fileno()])

    def receive(self) -> bool:
        """Read what has come; tells whether there will be more."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._ours, 65536, 64)
        except ConnectionError:
            return False
        self._descriptors.extend(descriptors)
        self._reader.feed(data)
        return bool(data)

    def next(self) -> ToNetwork | None:
        """Take the next message; None when it isn't there yet."""
        return self._reader.next()

    def next_socket(self) -> socket.socket:
        """Take the socket that came along with a message."""
        found = socket.socket(fileno=self._descriptors.popleft())
        found.set_inheritable(False)
        return found

    def wait_for(self) -> ToNetwork | None:
        """Wait for the next message; None if the monitor is gone."""
        while (message := self.next()) is None:
            if not self.receive():
                return None
        return message


@implementer(ILogObserver)
class NoteObserver:
    """Has the monitor log what happens here.

    Args:
        control: Where it is told.
    """

    def __init__(self, control: Control) -> None:
        self._control = control

    def __call__(self, event: LogEvent) -> None:
        """Tell of an event."""
        if event.get("log_level") is LogLevel.debug:
            return
        entry = entry_of(event)
        if entry.kind == "twisted" and entry.level == "info":
            return  # of ports and loops, which the agent tells itself
        try:
            self._control.say(Noted(entry.level, entry.kind[:64], entry.context))
        except OSError:
            return  # the monitor is gone, and so are we soon
