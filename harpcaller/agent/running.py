"""One running call, between its caller and its process.

::

    state       free_to_run  said   answered     exited      caller_gone  time_ran_out  shut_down
    ----------  -----------  -----  -----------  ----------  -----------  ------------  ----------
    waiting     > running    --     > answered   > over (1)  > abandoned  --            > stopping
    running     --           relay  > answered   > over (1)  > abandoned  > stopping    > stopping
    answered    --           --     --           > over      --           end group     --
    stopping    --           relay  --           > over (2)  > abandoned  > abandoned   --
    abandoned   --           --     --           > over      --           --            --
    over        --           --     --           --          --           --            --

A call waits for its lock, with its process there but nothing of the procedure run.
(1) The caller is told that the process died without a word.  (2) The caller is told why
it was stopped; if the process can't even be killed, the caller is told when time ran out
again.  ``--`` is accepted and means nothing.  There is one clock: it measures the
procedure's own limit while it runs, and how long we wait for its end afterwards.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Protocol

import attrs
from automat import TypeMachineBuilder
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from harpcaller.agent.seams import ICaller, ICallProcess
from harpcaller.wire.agent import encode_message
from harpcaller.wire.ending import Failed

#: How much longer than its grace a process may take to be gone, in seconds.
PATIENCE = 2.0


class RunningCall(Protocol):
    """What can happen to a running call."""

    def free_to_run(self) -> None:
        """Nothing that it must not run beside is running."""

    def said(self, lines: bytes) -> None:
        """Its process sent records."""

    def answered(self, line: bytes) -> None:
        """Its process sent the ending."""

    def exited(self, how: str) -> None:
        """Its process is gone, and this is how."""

    def caller_gone(self) -> None:
        """The caller closed the connection."""

    def time_ran_out(self) -> None:
        """Whatever was waited for took too long."""

    def shut_down(self) -> None:
        """The agent stops and can't wait any longer."""


@attrs.define
class Core:
    """What a running call is made of.

    Args:
        caller: Who hears of it.
        clock: Measures the time it takes.
        timeout_seconds: The procedure's own limit; None if it has none.
        grace_seconds: How long a process may take to end when it is asked to.
        over: Called with a word for the log when the process is gone.
        began: Called when the procedure begins to run.
    """

    caller: ICaller
    clock: IReactorTime
    timeout_seconds: float | None
    grace_seconds: float
    over: Callable[[str], None]
    began: Callable[[], None]
    process: ICallProcess | None = None
    ended_as: str = "result"
    reason: Failed | None = None
    timer: IDelayedCall | None = None

    def attach(self, process: ICallProcess) -> None:
        """Take the process, of which the caller will hear."""
        self.process = process
        self.caller.feed_from(process)

    def run(self, call: RunningCall) -> None:
        """Let the procedure run, and measure its time."""
        assert self.process is not None
        self.began()
        self.process.go()
        self.wait(call, self.timeout_seconds)

    def wait(self, call: RunningCall, seconds: float | None) -> None:
        """Set the clock anew; None stops it."""
        if self.timer is not None and self.timer.active():
            self.timer.cancel()
        self.timer = None if seconds is None else self.clock.callLater(seconds, call.time_ran_out)

    def stop(self, call: RunningCall, number: int, reason: Failed) -> None:
        """Ask the process to end, and remember what to tell the caller then."""
        self.ended_as, self.reason = reason.type, reason
        self.end(number)
        self.wait(call, self.grace_seconds + PATIENCE)

    def end(self, number: int) -> None:
        """Ask all that the call started to end."""
        assert self.process is not None
        self.process.end(number, self.grace_seconds)

    def abandon(self, call: RunningCall, why: str) -> None:
        """End it without anybody who listens."""
        assert self.process is not None
        self.ended_as = why
        self.process.hush()
        self.end(signal.SIGTERM)
        self.wait(call, None)

    def fail(self, reason: Failed) -> None:
        """Tell the caller of an error as the ending."""
        self.ended_as = reason.type
        self.caller.finish(encode_message(reason))


_builder = TypeMachineBuilder(RunningCall, Core)
_waiting = _builder.state("waiting")
_running = _builder.state("running")
_answered = _builder.state("answered")
_stopping = _builder.state("stopping")
_abandoned = _builder.state("abandoned")
_over = _builder.state("over")


@_waiting.upon(RunningCall.free_to_run).to(_running)
def _run(call: RunningCall, core: Core) -> None:
    core.run(call)


@_running.upon(RunningCall.said).loop()
def _relay(call: RunningCall, core: Core, lines: bytes) -> None:
    core.caller.tell(lines)


@_waiting.upon(RunningCall.answered).to(_answered)
@_running.upon(RunningCall.answered).to(_answered)
def _answer(call: RunningCall, core: Core, line: bytes) -> None:
    if line.startswith(b'{"exception":'):
        core.ended_as = "exception"
    core.caller.finish(line)
    core.wait(call, core.grace_seconds)


@_waiting.upon(RunningCall.exited).to(_over)
@_running.upon(RunningCall.exited).to(_over)
def _died(call: RunningCall, core: Core, how: str) -> None:
    core.wait(call, None)
    core.fail(Failed("system_error", how))
    core.over(core.ended_as)


@_waiting.upon(RunningCall.caller_gone).to(_abandoned)
@_running.upon(RunningCall.caller_gone).to(_abandoned)
def _abandon(call: RunningCall, core: Core) -> None:
    core.abandon(call, "cancelled")


@_running.upon(RunningCall.time_ran_out).to(_stopping)
def _took_too_long(call: RunningCall, core: Core) -> None:
    assert core.timeout_seconds is not None
    limit = f"the procedure took longer than its limit of {core.timeout_seconds:g} seconds"
    core.stop(call, signal.SIGXCPU, Failed("timeout", limit))


@_waiting.upon(RunningCall.shut_down).to(_stopping)
@_running.upon(RunningCall.shut_down).to(_stopping)
def _shut_down(call: RunningCall, core: Core) -> None:
    core.stop(call, signal.SIGTERM, Failed("shutdown", "the agent was stopped"))


@_answered.upon(RunningCall.exited).to(_over)
def _exited(call: RunningCall, core: Core, how: str) -> None:
    core.wait(call, None)
    core.over(core.ended_as)


@_answered.upon(RunningCall.time_ran_out).loop()
def _stays(call: RunningCall, core: Core) -> None:
    core.end(signal.SIGTERM)


@_stopping.upon(RunningCall.said).loop()
def _relay_still(call: RunningCall, core: Core, lines: bytes) -> None:
    core.caller.tell(lines)


@_stopping.upon(RunningCall.exited).to(_over)
def _stopped(call: RunningCall, core: Core, how: str) -> None:
    core.wait(call, None)
    assert core.reason is not None
    core.fail(core.reason)
    core.over(core.ended_as)


@_stopping.upon(RunningCall.caller_gone).to(_abandoned)
def _abandon_stopping(call: RunningCall, core: Core) -> None:
    core.abandon(call, core.ended_as)


@_stopping.upon(RunningCall.time_ran_out).to(_abandoned)
def _cannot_be_killed(call: RunningCall, core: Core) -> None:
    assert core.process is not None and core.reason is not None
    core.wait(call, None)
    core.process.hush()
    core.fail(core.reason)


@_abandoned.upon(RunningCall.exited).to(_over)
def _gone(call: RunningCall, core: Core, how: str) -> None:
    core.over(core.ended_as)


for _state, _late in (
    (_waiting, ("said", "time_ran_out")),
    (_running, ("free_to_run",)),
    (_answered, ("free_to_run", "said", "answered", "caller_gone", "shut_down")),
    (_stopping, ("free_to_run", "answered", "shut_down")),
    (
        _abandoned,
        ("free_to_run", "said", "answered", "caller_gone", "time_ran_out", "shut_down"),
    ),
    (
        _over,
        ("free_to_run", "said", "answered", "exited", "caller_gone", "time_ran_out", "shut_down"),
    ),
):
    for _name in _late:
        _state.upon(getattr(RunningCall, _name)).loop().returns(None)

#: Makes a running call of a :class:`Core`.
make_running_call = _builder.build()
