"""The network process: talks with strangers, and has no rights; the monitor has them.

``python -P -m harpcaller.service.agent_network``, started by the agent with the control socket as
descriptor 3.  It is told first how to meet strangers and whom to become, then becomes that, and
only then gets the sockets to listen on.  It opens no file after that, and logs through the monitor.
When the monitor is gone, so that the control socket reads as closed, it ends.
"""

from __future__ import annotations

import importlib
import os
import signal
import socket
import sys
import time
from typing import Any, cast

from twisted.internet import tcp
from twisted.internet.abstract import FileDescriptor
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IReactorFDSet
from twisted.logger import globalLogBeginner
from twisted.protocols.tls import TLSMemoryBIOFactory

from harpcaller.agent.accounts import Identity as Account
from harpcaller.agent.helper_process import CONTROL
from harpcaller.agent.idle import IdleSettings
from harpcaller.agent.separation.confinement import confine
from harpcaller.agent.separation.control import Control, NoteObserver
from harpcaller.agent.separation.proxies import (
    MonitorCalls,
    MonitorChecker,
    MonitorKeptCalls,
    Questions,
)
from harpcaller.agent.separation.table import (
    Confine,
    Leave,
    Listen,
    Listening,
    Ready,
    Terms,
    ToNetwork,
)
from harpcaller.agent.server import Door
from harpcaller.logs.events import EventLog, forget
from harpcaller.service.reactor import Reactor, steady_reactor
from harpcaller.service.server_tls import Identity, ServerTLS, make_context
from harpcaller.tls import BufferedTLS

_log = EventLog("agent")

#: What is imported when it is needed first, and couldn't be then.
_LATER = (
    "encodings.idna",
    "twisted.internet.unix",
    "twisted.internet.tcp",
    "twisted.python.failure",
    "traceback",
    "linecache",
)
#: The signals that are meant for the agent, which sees to our end.
_NOT_OURS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class _ControlReader(FileDescriptor):
    """Tells when the control socket has something to read."""

    def __init__(self, reactor: Reactor, control: Control, network: Network) -> None:
        super().__init__(cast(IReactorFDSet, reactor))
        self._control = control
        self._network = network

    def fileno(self) -> int:
        return self._control.fileno()

    def doRead(self) -> object:
        if not self._control.receive():
            self.stopReading()
            self._network.abandoned()
            return None
        while (message := self._control.next()) is not None:
            self._network.told(message)
        return None


class Network:
    """The network process, once it has lost its rights.

    Args:
        reactor: Runs it.
        control: Where the monitor is heard.
        terms: How strangers are met.
    """

    def __init__(self, reactor: Reactor, control: Control, terms: Terms) -> None:
        self._reactor = reactor
        self._control = control
        questions = Questions(lambda protocol: control.open_channel(reactor, protocol))
        self._kept_calls = MonitorKeptCalls(questions)
        self._tls = ServerTLS(make_context(_identity(terms)))
        self._door = Door(
            MonitorChecker(questions),
            MonitorCalls(questions),
            self._kept_calls,
            reactor,
            request_seconds=1.0,
            log=_log,
            steady=time.monotonic,
        )
        self._factory = TLSMemoryBIOFactory(self._tls, False, self._door, reactor)
        self._factory.protocol = BufferedTLS
        self._factory.noisy = False
        self._ports: list[IListeningPort] = []
        self._meet_by(terms)

    def start(self) -> None:
        """Begin to hear the monitor."""
        _ControlReader(self._reactor, self._control, self).startReading()

    def _meet_by(self, terms: Terms) -> None:
        self._door.request_seconds = terms.request_milliseconds / 1000
        self._kept_calls.are_kept = terms.are_kept
        idle = self._door.crowd.idle
        idle.settings = IdleSettings(terms.idle_milliseconds / 1000, terms.most_idle)
        # Callers come in anew, by the certificates and the users of now.
        idle.close()

    def told(self, message: ToNetwork) -> None:
        """Do what the monitor says."""
        if isinstance(message, Terms):
            self._tls.context = make_context(_identity(message))
            self._meet_by(message)
        elif isinstance(message, Listen):
            self._listen()
        elif isinstance(message, Leave):
            forget(Deferred.fromCoroutine(self._leave()), _log, "agent.request_failed")

    def _listen(self) -> None:
        with self._control.next_socket() as given:  # the reactor makes a descriptor of its own
            given.setblocking(False)
            port = self._reactor.adoptStreamPort(given.fileno(), given.family, self._factory)
        self._ports.append(cast(IListeningPort, port))
        self._control.say(Listening())

    async def _leave(self) -> None:
        self._door.crowd.idle.stop()
        ports, self._ports = self._ports, []
        for port in ports:
            await maybeDeferred(port.stopListening)
        await self._door.crowd.empty()
        self._reactor.stop()

    def abandoned(self) -> None:
        """The monitor is gone, if the kernel hasn't ended us by now."""
        self._reactor.stop()


def _identity(terms: Terms) -> Identity:
    return Identity(terms.certificate, terms.key, terms.client_ca or None)


def serve(control: Control) -> int:
    """Be the network process on this socket until the end; gives the exit code."""
    reactor = steady_reactor()
    terms, told = control.wait_for(), control.wait_for()
    if not isinstance(terms, Terms) or not isinstance(told, Confine):
        return 1
    for name in _LATER:
        _ = importlib.import_module(name)
    globalLogBeginner.beginLoggingTo([NoteObserver(control)], redirectStandardIO=False)
    # With no descriptor left, a connection is accepted in place of one in reserve, and closed.
    # Twisted opens /dev/null for it, which isn't there any more; standard input is the same.
    cast(Any, tcp._reservedFD)._fileFactory = lambda: os.fdopen(os.dup(0))
    network = Network(reactor, control, terms)
    become = Account(told.uid, told.gid, (told.gid,), None, None) if told.changes else None
    control.say(Ready(confine(become, os.getppid())))
    network.start()
    reactor.run(installSignalHandlers=False)
    return 0


def main() -> int:
    """Start; gives the exit code."""
    if os.getpgrp() != os.getpid():
        os.setsid()  # a Ctrl-C is meant for the agent
    for number in _NOT_OURS:
        signal.signal(number, signal.SIG_IGN)
    os.set_inheritable(CONTROL, False)
    return serve(Control(socket.socket(fileno=CONTROL)))


if __name__ == "__main__":
    sys.exit(main())
