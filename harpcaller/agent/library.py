"""The procedures in force: one template process, replaced whole.

A new template is started and has loaded its file before the old one is let go, so that a
file that doesn't load changes nothing.  A template that dies by itself is replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from harpcaller.agent.orders import Load
from harpcaller.agent.seams import CallEvents, ICallProcess, ITemplate, Wanted
from harpcaller.agent.signature import Description
from harpcaller.errors import HarpcallerError, NoSuchProcedure, ProcedureLoadingError
from harpcaller.logs.events import EventLog, forget
from harpcaller.wire.agent import ProcedureList

#: How long to wait before a dead template is replaced, in seconds: first, and at most.
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0


class NotLoading(HarpcallerError):
    """A template didn't get as far as having procedures; the message is for the operator."""


#: Starts a template and waits until it has loaded; :class:`NotLoading` if it doesn't.
#: The second argument is called if the template dies later.
Starter = Callable[[Load, Callable[[], None]], Coroutine[Deferred[Any], Any, ITemplate]]


class Library:
    """The procedures that can be called now.

    Args:
        starter: Starts template processes.
        clock: Measures the wait before another try.
        log: Where loading is told of.

    Attributes:
        problem: Why the file couldn't be loaded the last time; None if it could.
    """

    def __init__(self, starter: Starter, clock: IReactorTime, log: EventLog) -> None:
        self._starter = starter
        self._clock = clock
        self._log = log
        self.problem: str | None = None
        self._order: Load | None = None
        self._current: ITemplate | None = None
        self._loads = 0
        self._retry: IDelayedCall | None = None
        self._delay = FIRST_DELAY
        self._stopped = False
        self._leaving: set[ITemplate] = set()
        self._starting: set[Deferred[ITemplate]] = set()

    async def load(self, order: Load) -> bool:
        """Put the procedures of a file in force.

        Returns:
            Whether that went well; if not, it is in the log and nothing has changed.
        """
        if self._stopped:
            return False
        self._order = order
        self._loads += 1
        load = self._loads
        self._forget_retry()
        template: ITemplate | None = None

        def died() -> None:
            if template is not None:
                self._lost(template)

        starting = Deferred.fromCoroutine(self._starter(order, died))
        self._starting.add(starting)
        try:
            template = await starting
        except CancelledError:
            if self._stopped:
                return False
            raise
        except NotLoading as error:
            self._log.error("agent.procedures_not_loaded", error=str(error), file=order.file)
            self.problem = str(error)
            return False
        finally:
            self._starting.discard(starting)
        if load != self._loads:
            self._let_go(template)  # overtaken by a later load
            return False
        old, self._current = self._current, template
        self.problem = None
        self._delay = FIRST_DELAY
        self._forget_retry()  # the old one may have died meanwhile
        if old is not None:
            self._let_go(old)
        self._log.info(
            "agent.procedures_loaded", file=order.file, procedures=len(template.procedures)
        )
        return True

    def status(self) -> str:
        """Say in one line, for the operator, what is in force."""
        status = "procedures: none"
        if self._current is not None:
            status = f"procedures: {len(self._in_force())}"
        if self.problem is not None:
            status += f"; their file couldn't be loaded: {' '.join(self.problem.split())}"
        return status

    def listed(self) -> ProcedureList:
        """Tell what can be called.

        Raises:
            ProcedureLoadingError: No procedures are in force.
        """
        return ProcedureList(tuple(one.told() for one in self._in_force().values()))

    def find(self, name: str) -> Description:
        """Look a procedure up.

        Raises:
            ProcedureLoadingError: No procedures are in force.
            NoSuchProcedure: None has this name.
        """
        found = self._in_force().get(name)
        if found is None:
            raise NoSuchProcedure(f"there is no procedure {name[:100]!r}")
        return found

    def _in_force(self) -> Mapping[str, Description]:
        if self._current is None:
            raise ProcedureLoadingError("the agent has no procedures loaded; its log says why")
        # Provided by the interface, which mypy takes no types from.
        procedures: Mapping[str, Description] = self._current.procedures
        return procedures

    def begin(self, wanted: Wanted, events: CallEvents) -> ICallProcess:
        """Start a process for a procedure that was just found; it waits for its ``go``.

        Raises:
            OSError: The agent's own system is out of something.
        """
        assert self._current is not None
        return self._current.begin(wanted, events)

    async def stop(self) -> None:
        """Have no procedures in force any more; waits for all template processes' end."""
        self._stopped = True
        self._forget_retry()
        for starting in list(self._starting):
            starting.cancel()
        old, self._current = self._current, None
        if old is not None:
            self._let_go(old)
        for template in list(self._leaving):
            await template.gone()

    def _let_go(self, template: ITemplate) -> None:
        self._leaving.add(template)
        template.retire()
        # Fires without a value, and doesn't fail.
        _ = template.gone().addCallback(lambda _: self._leaving.discard(template))

    def _lost(self, template: ITemplate) -> None:
        if template is not self._current:
            return
        self._current = None
        self._log.error("agent.template_died", again_in_seconds=self._delay)
        self._try_again_later()

    def _try_again_later(self) -> None:
        self._retry = self._clock.callLater(self._delay, self._try_again)
        self._delay = min(self._delay * 2, LONGEST_DELAY)

    def _try_again(self) -> None:
        self._retry = None
        assert self._order is not None
        forget(Deferred.fromCoroutine(self._again(self._order)), self._log, "agent.load_failed")

    async def _again(self, order: Load) -> None:
        if not await self.load(order) and self._current is None and not self._stopped:
            self._try_again_later()

    def _forget_retry(self) -> None:
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self._retry = None
