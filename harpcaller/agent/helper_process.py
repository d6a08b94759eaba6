"""Starting a process that helps the agent, with a socket to it."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from twisted.internet.interfaces import IProcessTransport
from twisted.internet.protocol import ProcessProtocol

from harpcaller.agent.call_process import AgentReactor

#: Its descriptor of the socket.
CONTROL = 3


def start_helper(
    reactor: AgentReactor,
    life: ProcessProtocol,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> tuple[IProcessTransport, socket.socket]:
    """Start a process; what it prints and its end are told to ``life``.

    Returns:
        The process, and our end of the socket.

    Raises:
        OSError: The agent's own system is out of something.
    """
    with ExitStack() as ours_unless_started, ExitStack() as theirs:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        theirs.callback(os.close, null)
        ours, control = socket.socketpair()
        ours_unless_started.enter_context(ours)
        theirs.enter_context(control)
        transport: IProcessTransport = reactor.spawnProcess(
            life,
            command[0].encode(),
            [part.encode() for part in command],
            env={
                key.encode(errors="surrogateescape"): value.encode(errors="surrogateescape")
                for key, value in environment.items()
            },
            childFDs={0: null, 1: "r", 2: "r", CONTROL: control.fileno()},
        )
        _ = ours_unless_started.pop_all()
    return transport, ours
