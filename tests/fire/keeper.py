"""An agent that keeps its calls when connections break, or its connections after calls: a real
one, but for its processes.

Its door, its running calls and what it keeps are the agent's own; procedures follow scripts.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from random import Random

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from harpcaller.agent.calls import Calls
from harpcaller.agent.idle import IdleSettings
from harpcaller.agent.kept import KeptCall
from harpcaller.agent.kept_calls import KeepSettings, KeptCalls
from harpcaller.agent.library import Library
from harpcaller.agent.orders import Load
from harpcaller.agent.running import RunningCall
from harpcaller.agent.seams import (
    CallEvents,
    ICaller,
    ICallProcess,
    IChecker,
    ILink,
    ITemplate,
    Wanted,
)
from harpcaller.agent.server import Door
from harpcaller.agent.signature import Description
from harpcaller.logs.events import EventLog
from harpcaller.testing.agent import Say, Script, Wait
from harpcaller.wire.agent import Attach, Credentials, ProcedureCall
from tests.fire.daemon import ProcessClock
from tests.fire.history import Run
from tests.fire.people import script_of

#: How long a call is kept when nobody comes for it: longer than any daemon is away.
ORPHAN_SECONDS = 300.0
_LOG = EventLog("agent")
_DIED = "the process died"
# Who hears of procedures hears these of them; the rest of a script is its agent's part.
_SAID = (b'{"stream":[', b'{"result":', b'{"exception":', b'{"harp":1,"error":')


@attrs.frozen
class Keeps:
    """What an agent keeps.

    Attributes:
        calls: Its calls, when connections break.
        idle: Its connections, after calls.
    """

    calls: bool = True
    idle: IdleSettings = attrs.Factory(lambda: IdleSettings(seconds=0))


@implementer(IChecker)
class _Everybody:
    async def check(self, credentials: Credentials, peer: str) -> None:
        """Let pass."""


class _Kept(KeptCalls):
    """Kept calls that note how many were gone on with, and how many were asked for again."""

    attached = 0
    again = 0

    def begin(
        self, request: ProcedureCall, link: ILink, start: Callable[[ICaller], RunningCall]
    ) -> KeptCall:
        kept = super().begin(request, link, start)
        self.again += request.again is not None
        return kept

    def attach(self, request: Attach, link: ILink, peer: str) -> KeptCall:
        kept = super().attach(request, link, peer)
        self.attached += 1
        return kept


@implementer(ICallProcess)
@attrs.define(eq=False)
class _Process:
    """A procedure that says what its script says, unless it is told to end."""

    events: CallEvents
    clock: IReactorTime
    run: Run
    steps: list[Say | Wait]
    began: Callable[[Run], None]
    is_paused: bool = False
    is_waiting: bool = False
    is_hushed: bool = False
    is_over: bool = False

    def go(self) -> None:
        self.run.begun_at = self.clock.seconds()
        self.began(self.run)
        self._go_on()

    def end(self, signal: int, grace_seconds: float) -> None:
        self._exit()

    def hush(self) -> None:
        self.is_hushed = True

    def pauseProducing(self) -> None:
        self.is_paused = True

    def resumeProducing(self) -> None:
        self.is_paused = False
        self._go_on()

    def stopProducing(self) -> None:
        pass

    def _go_on(self) -> None:
        while not (self.is_paused or self.is_waiting or self.is_over):
            if not self.steps:
                # What it was told to say last was no ending: it died.
                self._exit()
                return
            step = self.steps.pop(0)
            if isinstance(step, Wait):
                self.is_waiting = True
                _ = self.clock.callLater(step.seconds, self._waited)
            elif step.data.startswith(b'{"stream":'):
                self.events.said(step.data)
            else:
                self.run.over_at = self.clock.seconds()
                self.events.answered(step.data)
                self._exit()

    def _waited(self) -> None:
        self.is_waiting = False
        self._go_on()

    def _exit(self) -> None:
        if not self.is_over:
            self.is_over = True
            _ = self.clock.callLater(0.01, self.events.exited, _DIED)


@implementer(ITemplate)
class _Template:
    def __init__(self, begin: Callable[[Wanted, CallEvents], ICallProcess]) -> None:
        takes_one = inspect.signature(lambda marker: None)
        self.procedures = {name: Description(name, True, None, takes_one) for name in ("p", "q")}
        self.begin = begin

    def retire(self) -> None:
        """Never called: nothing is reloaded."""
        raise AssertionError

    def gone(self) -> Deferred[None]:
        """Likewise."""
        raise AssertionError


class Keeper:
    """One agent, as one process; another takes its place when it has died.

    Args:
        clock: The world's.
        seed: Of what procedures do.
        began: Told of each run as it begins.
        keeps: What it keeps.
    """

    def __init__(
        self, clock: ProcessClock, seed: int, began: Callable[[Run], None], keeps: Keeps
    ) -> None:
        self.clock = clock
        self._seed = seed
        self._began = began
        library = Library(self._template, clock, _LOG)
        loading = Deferred.fromCoroutine(library.load(Load("procedures")))
        assert loading.called
        settings = KeepSettings(
            ORPHAN_SECONDS if keeps.calls else 0.0, keeps_connections=keeps.idle.seconds > 0
        )
        self.kept = _Kept(settings, clock, _LOG)
        calls = Calls(library, clock, most=1000, grace_seconds=1.0, log=_LOG)
        self._door = Door(
            _Everybody(),
            calls,
            self.kept,
            clock,
            request_seconds=10.0,
            log=_LOG,
            idle=keeps.idle,
        )
        self.connections = 0

    async def _template(self, _order: Load, _died: Callable[[], None]) -> ITemplate:
        return _Template(self._begin)

    def _begin(self, wanted: Wanted, events: CallEvents) -> ICallProcess:
        run = Run(json.loads(wanted.arguments)[0], 0.0, is_kept=self.kept.are_kept)
        script = script_of(Random(f"{self._seed} {run.marker}"), run)
        if run.ending is None and not isinstance(script[-1], Wait):
            # Whether it says nonsense or crashes, the agent tells the same.
            run.ending = {"error": {"type": "system_error", "message": _DIED}}
        return _Process(events, self.clock, run, _said(script), self._began)

    def protocol(self) -> Protocol:
        """Take a connection."""
        self.connections += 1
        return self._door.buildProtocol(None)

    def reload(self) -> None:
        """Let nobody's connection stay who came by what was in force before."""
        self._door.crowd.idle.close()

    def alive(self) -> bool:
        """Tell whether it hasn't died."""
        return not self.clock.is_dead


def _said(script: Script) -> list[Say | Wait]:
    """Take from an agent's script what is its procedure's part."""
    return [
        step
        for step in script
        if isinstance(step, Wait) or (isinstance(step, Say) and step.data.startswith(_SAID))
    ]
