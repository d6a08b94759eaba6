"""What the machine of a service starts and signals: a process, as a rule.

The other kind is in :mod:`harpcaller.supervise.tools.logged`: a log that is kept by this
very process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from harpcaller.supervise.machine.restarts import Ending
from harpcaller.supervise.servicedir.folder import Folder
from harpcaller.supervise.servicedir.settings import Settings
from harpcaller.supervise.spawn.door import Door, Program
from harpcaller.supervise.tools.loop import Loop
from harpcaller.supervise.tools.readiness import Readiness

#: The file that has the script of the other kind.
LOG_SCRIPT = "multilog"


class Heard(Protocol):
    """Who wants to know what becomes of it."""

    def ready(self) -> None:
        """It does its work from now on."""

    def said(self, words: str) -> None:
        """It says something of itself, for people to read."""

    def died(self, ending: Ending) -> None:
        """It has ended."""


class Body(Protocol):
    """What runs while a service is up."""

    def start(self, settings: Settings, descriptors: Mapping[int, int], heard: Heard) -> int:
        """Start it; gives its pid.

        Raises:
            OSError: The system hasn't what it takes.
            MemoryError: Likewise.
        """

    def send(self, number: int) -> None:
        """Send it a signal."""


class Process:
    """The run script, as a process of its own.

    Args:
        folder: The service's.
        loop: Tells of its end.
        door: Starts it.
    """

    def __init__(self, folder: Folder, loop: Loop, door: Door) -> None:
        self._folder = folder
        self._loop = loop
        self._door = door
        self._pid = 0

    def start(self, settings: Settings, descriptors: Mapping[int, int], heard: Heard) -> int:
        """Start the script."""
        readiness = None
        environment: Mapping[bytes, bytes | None] = {}
        if settings.tells_readiness:
            readiness = Readiness(self._loop, heard.ready, heard.said)
        try:
            if readiness is not None:
                readiness.open(settings)
                descriptors = {**descriptors, **readiness.descriptors}
                environment = readiness.environment
            program = Program(
                (b"./run",),
                folder=self._folder.fd,
                descriptors=descriptors,
                environment=environment,
                complaint=b"supervise: fatal: unable to start %b/run"
                % os.fsencode(self._folder.name),
            )
            self._pid = self._door.start(program)
        except BaseException:
            if readiness is not None:
                readiness.close()
            raise
        if readiness is not None:
            readiness.started(self._pid)
        self._loop.on_exit(self._pid, _farewell(readiness, heard))
        return self._pid

    def send(self, number: int) -> None:
        """Send it a signal."""
        # Until it is reaped, its number is nobody else's; one that became another user's
        # process can't be signalled, and the original is silent about that as well.
        with suppress(OSError):
            os.kill(self._pid, number)


def _farewell(readiness: Readiness | None, heard: Heard) -> Callable[[Ending], None]:
    def died(ending: Ending) -> None:
        if readiness is not None:
            readiness.hear_last()
            readiness.close()
        heard.died(ending)

    return died
