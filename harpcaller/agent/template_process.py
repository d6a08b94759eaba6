"""The server's side of a template process.

Descriptors are the only resource here that isn't memory.  A call has four: both ends of
its socket and both ends of its output pipe.  The worker's ends are closed once they are sent;
ours are Twisted's to close.
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.agent.call_process import AgentReactor, CallProcess, OutputPipe, adopt
from harpcaller.agent.cgroups import CallCgroups
from harpcaller.agent.helper_process import start_helper
from harpcaller.agent.library import NotLoading
from harpcaller.agent.order_socket import OrderSocket
from harpcaller.agent.orders import (
    MAX_LINE,
    Exited,
    Load,
    Loaded,
    NotAnOrder,
    NotLoaded,
    Order,
    Start,
    Unable,
    decode_report,
    encode_line,
)
from harpcaller.agent.printed import PrintedLines
from harpcaller.agent.seams import CallEvents, ITemplate, Wanted
from harpcaller.agent.signature import Description, from_object
from harpcaller.logs.events import EventLog
from harpcaller.wire.lines import LineBuffer, LineTooLong

#: The template process's program.
COMMAND = (sys.executable, "-P", "-m", "harpcaller.agent.template")
#: How long a procedures file may take to load, in seconds.
LOAD_SECONDS = 60.0


class _Life(ProcessProtocol):
    """The template's process: what it prints, and its end."""

    def __init__(self, template: TemplateProcess, printed: PrintedLines) -> None:
        self._template = template
        self._printed = printed

    def childDataReceived(self, child_descriptor: int, data: bytes) -> None:
        self._printed.feed(data)

    def processEnded(self, reason: Failure) -> None:
        self._printed.finish()
        self._template.ended(str(reason.value))


@implementer(ITemplate)
class TemplateProcess:
    """A template process and its calls.

    Args:
        reactor: Starts the process and adopts the sockets.
        environment: The environment of procedures.
        log: Where printed lines go.
        lost: Called if the process ends after it had loaded, though nobody let it go.
    """

    def __init__(
        self,
        reactor: AgentReactor,
        environment: Mapping[str, str],
        log: EventLog,
        lost: Callable[[], None],
    ) -> None:
        self.procedures: dict[str, Description] = {}
        self._reactor = reactor
        self._environment = environment
        self._log = log
        self._lost = lost
        self._calls: dict[int, CallProcess] = {}
        self._cgroups: CallCgroups | None = None
        self._control: OrderSocket | None = None
        self._lines = LineBuffer(MAX_LINE)
        self._loading: Deferred[None] | None = None
        self._retired = False
        self._gone: list[Deferred[None]] = []
        self._alive = False

    async def load(self, order: Load) -> None:
        """Start the process and wait until it has loaded the procedures.

        Raises:
            NotLoading: It doesn't; nothing is left of it.
        """
        try:
            self._spawn()
        except OSError as error:
            raise NotLoading(f"no template process could be started: {error}") from None
        self._send(order)
        self._loading = Deferred(self._gave_up)
        late = self._reactor.callLater(
            LOAD_SECONDS, self.fault, f"{order.file}: loading took more than {LOAD_SECONDS:g} s"
        )
        try:
            await self._loading
        finally:
            if late.active():
                late.cancel()

    def _gave_up(self, loading: Deferred[None]) -> None:
        self._loading = None
        self.kill()

    def _spawn(self) -> None:
        life = _Life(self, PrintedLines(self._log, "agent.template_printed", {}, self._reactor))
        self._transport, ours = start_helper(self._reactor, life, COMMAND, self._environment)
        self._alive = True
        self._control = OrderSocket(self._reactor, ours, self._take)

    # What is asked of it.

    def begin(self, wanted: Wanted, events: CallEvents) -> CallProcess:
        if self._control is None or not self._control.connected:
            raise OSError(errno.EPIPE, "the process that procedures are forked from died")
        context = {"procedure": wanted.procedure, "call": wanted.id}
        printed = PrintedLines(self._log, "agent.procedure_printed", context, self._reactor)
        with ExitStack() as undo:
            reading, writing = os.pipe2(os.O_CLOEXEC)
            undo.callback(os.close, writing)
            output = OutputPipe(self._reactor, reading, printed)
            undo.callback(output.finish)
            ours, theirs = socket.socketpair()
            undo.enter_context(theirs)
            process = CallProcess(wanted, self._reactor, events, output, self._send)
            adopt(self._reactor, ours, process)
            _ = undo.pop_all()
        self._calls[wanted.id] = process
        self._control.send(encode_line(Start(wanted.id)), [theirs.detach(), writing])
        return process

    def retire(self) -> None:
        self._retired = True
        self._end_if_idle()

    def kill(self) -> None:
        self._retired = True
        if self._alive:
            with suppress(ProcessExitedAlready):
                self._transport.signalProcess("KILL")

    def gone(self) -> Deferred[None]:
        """Wait until the process is gone; can't be cancelled, as it may be the only waiter."""
        waiting: Deferred[None] = Deferred()
        if self._alive:
            self._gone.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    def _send(self, order: Order) -> None:
        assert self._control is not None
        self._control.send(encode_line(order))

    def _end_if_idle(self) -> None:
        if self._retired and not self._calls and self._control is not None:
            self._control.close()

    # What it tells.

    def _take(self, data: bytes) -> None:
        self._lines.feed(data)
        try:
            while (line := self._lines.next_line()) is not None:
                self.heard(line)
        except (LineTooLong, NotAnOrder) as error:
            self.fault(str(error))

    def heard(self, line: bytes) -> None:
        """Take a report.

        Raises:
            NotAnOrder: It isn't one.
        """
        report = decode_report(line)
        if isinstance(report, Loaded):
            self._loaded(report)
        elif isinstance(report, NotLoaded):
            self._not_loading(report.message)
        elif report.call not in self._calls:
            raise NotAnOrder(f"there is no call {report.call}")
        else:
            self._calls.pop(report.call).exited(_in_words(report))
            self._end_if_idle()

    def _loaded(self, report: Loaded) -> None:
        described = [from_object(one) for one in report.descriptions]
        self.procedures = {one.name: one for one in described}
        self._cgroups = None if report.cgroups is None else CallCgroups(Path(report.cgroups))
        self._log.info(
            "agent.calls_kept_together",
            by="keeper processes" if report.cgroups is None else f"cgroups in {report.cgroups}",
        )
        if report.threads:
            self._log.warn("agent.threads_while_loading", threads=report.threads)
        loading, self._loading = self._loading, None
        if loading is not None:
            loading.callback(None)

    def _not_loading(self, why: str) -> None:
        loading, self._loading = self._loading, None
        if loading is not None:
            loading.errback(NotLoading(why))

    def fault(self, what: str) -> None:
        """The process isn't what it should be: away with it."""
        self._not_loading(what)
        if self._alive:
            self._log.error("agent.template_faulty", error=what)
            with suppress(ProcessExitedAlready):
                self._transport.signalProcess("KILL")

    def ended(self, how: str) -> None:
        """The process is gone."""
        self._alive = False
        self._not_loading(f"the template process ended while it loaded: {how}")
        if self._control is not None:
            self._control.close()
        if self.procedures and not self._retired:
            self._lost()
        calls, self._calls = self._calls, {}
        for number, call in calls.items():
            if self._cgroups is not None:  # keepers see to it themselves
                self._cgroups.of_call(number).kill()
            call.exited("the process that procedures are forked from died")
        gone, self._gone = self._gone, []
        for waiter in gone:
            waiter.callback(None)


def _in_words(report: Exited | Unable) -> str:
    if isinstance(report, Unable):
        return report.message
    if report.why is not None:
        return report.why
    if report.signal is not None:
        return f"the procedure's process was killed by signal {report.signal}"
    return f"the procedure's process ended with exit code {report.code} without a result"
