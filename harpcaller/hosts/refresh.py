"""Keeping the table of hosts fresh: at start, by the clock, and on demand.

The script never runs twice at once; who asks during a run joins it.  A run that fails
changes nothing, whatever the failure; the next one comes all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from signal import Signals

import attrs
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall, deferLater
from twisted.python.failure import Failure

from harpcaller.hosts.cache import Cache
from harpcaller.hosts.entries import Printed, by_name, read_printed
from harpcaller.hosts.registry import Table
from harpcaller.interfaces import IProcessRunner, ProcessEnded
from harpcaller.logs.events import EventLog, forget

#: How many lines are read or written before the reactor has its turn; some milliseconds.
SLICE = 500
#: How many lines of a run's error output are logged; the rest is counted.
MOST_ERROR_LINES = 1000

_STOPPING = "the daemon is stopping"


@attrs.frozen
class Plan:
    """What to run when, and where to keep what it gave.

    Args:
        script: The filler script, started without arguments.
        cache: The registry's file.
        refresh_seconds: The time from one run's start to the next one's.
        timeout_seconds: When a run is given up.
    """

    script: Path
    cache: Path
    refresh_seconds: float
    timeout_seconds: float


class Refresher:
    """Fills the table.

    Args:
        table: What is filled.
        runner: Runs the script.
        clock: For the intervals.
        now: The Unix time, for the cache's age.
        plan: What to run when.
        log: Where runs and their errors are told.

    Attributes:
        runs: How many runs have ended.
        failures: How many of them have changed nothing.
    """

    def __init__(
        self,
        *,
        table: Table,
        runner: IProcessRunner,
        clock: IReactorTime,
        now: Callable[[], float],
        plan: Plan,
        log: EventLog | None = None,
    ) -> None:
        self._table = table
        self._runner = runner
        self._clock = clock
        self._now = now
        self._plan = plan
        self._log = log or EventLog("hosts")
        self._cache = Cache(plan.cache, self._log)
        self._loop: LoopingCall | None = None
        self._running: Deferred[str | None] | None = None
        self._waiters: list[Deferred[str | None]] = []
        self._cancelled = False
        self._stopping = False
        self.runs = 0
        self.failures = 0

    def start(self) -> Deferred[None]:
        """Begin; fires when the registry can be used.

        That is at once if there is a cache, else when the first run has ended, well or not.
        """
        cached = self._cache.read()
        self._repeat()
        if cached is None:
            return self.refresh().addCallback(lambda _: None)
        self._table.replace(cached.hosts)
        age = self._now() - cached.written_at
        self._log.info("hosts.cache_read", hosts=len(cached.hosts), age_seconds=round(age))
        # A cache from the future is one of an unknown age.
        if not 0 <= age <= self._plan.refresh_seconds / 2:
            self._refresh_unheard()
        return succeed(None)

    def stop(self) -> Deferred[None]:
        """End; fires when no run is under way any more."""
        self._stopping = True
        if self._loop is not None and self._loop.running:
            self._loop.stop()
        if self._running is None:
            return succeed(None)
        gone = self._waiter()
        self._cancel()
        return gone.addCallback(lambda _: None)

    def reconfigure(self, plan: Plan) -> None:
        """Go by another plan.

        Another script or another cache is run, or filled, at once; a run of what is no longer
        the script is ended.
        """
        old, self._plan = self._plan, plan
        if old.cache != plan.cache:
            self._cache = Cache(plan.cache, self._log)
        if self._loop is None or self._stopping:
            return
        if self._is_other(old):
            self._repeat()
            if self._running is None:
                self._refresh_unheard()
            else:
                self._cancel()
        elif old.refresh_seconds != plan.refresh_seconds:
            self._repeat()

    def refresh(self) -> Deferred[str | None]:
        """Run the script now, or join the run that is under way.

        Cancelling gives up the waiting, not the run.

        Returns:
            None when the table is what the script printed, else why nothing changed.
        """
        if self._stopping:
            return succeed(_STOPPING)
        waiter = self._waiter()
        if self._running is None:
            self._begin()
        return waiter

    def _waiter(self) -> Deferred[str | None]:
        waiter: Deferred[str | None] = Deferred(self._waiters.remove)
        self._waiters.append(waiter)
        return waiter

    def _refresh_unheard(self) -> None:
        # What goes wrong with a run is told where the run ends.
        forget(self.refresh(), self._log, "hosts.refresh_bug")

    def _repeat(self) -> None:
        """Run every so often, counted from now."""
        if self._loop is not None:
            self._loop.stop()
        self._loop = LoopingCall(self.refresh)
        self._loop.clock = self._clock
        forget(self._loop.start(self._plan.refresh_seconds, now=False), self._log, "hosts.loop_bug")

    def _is_other(self, plan: Plan) -> bool:
        return (plan.script, plan.cache) != (self._plan.script, self._plan.cache)

    def _cancel(self) -> None:
        """End the run, once: cancelled again, it wouldn't wait for its process's end."""
        if self._running is not None and not self._cancelled:
            self._cancelled = True
            self._running.cancel()

    def _begin(self) -> None:
        plan = self._plan
        self._cancelled = False
        running = self._running = Deferred.fromCoroutine(self._run(plan, self._cache))
        _ = running.addBoth(self._ended, plan)

    def _ended(self, result: str | Failure | None, plan: Plan) -> None:
        """The one place where a run ends, whatever came of it."""
        self._running = None
        why = result
        if isinstance(why, Failure):
            if not why.check(CancelledError):
                self._log.bug("hosts.refresh_bug", why)
            why = _STOPPING if self._stopping else "a bug; the log has more"
        if (self._cancelled or self._is_other(plan)) and not self._stopping:
            # Those who wait, wait for what is the script now.
            self._begin()
            return
        self.runs += 1
        if why is not None:
            self.failures += 1
            if not self._stopping:
                self._log.error("hosts.refresh_failed", script=str(plan.script), why=why)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(why)

    async def _run(self, plan: Plan, cache: Cache) -> str | None:
        """Run the script once; tells why nothing changed."""
        said = _Said(self._log)
        try:
            ended = await self._runner.run(
                [str(plan.script)], error_line=said.line, timeout_seconds=plan.timeout_seconds
            )
        except OSError as error:
            return f"{plan.script} can't be started: {error.strerror}"
        finally:
            said.end()
        if why := _why_not(ended):
            return f"{plan.script}: {why}"
        printed = Printed()
        await self._in_slices(read_printed(ended.output, printed))
        hosts = by_name(printed.hosts.values())
        self._table.replace(hosts)
        if printed.ignored:
            self._log.warn("hosts.lines_ignored", lines=printed.ignored, first=printed.reasons)
        self._log.info("hosts.refreshed", hosts=len(hosts))
        try:
            await self._in_slices(cache.steps(hosts, self._now()))
        except OSError as error:
            # The registry is right all the same; only the next start would miss it.
            self._log.error("hosts.cache_unwritable", file=str(cache.path), why=str(error))
        return None

    async def _in_slices(self, steps: Generator[None, None, None]) -> None:
        """Take many small steps without keeping the reactor from its work."""
        with closing(steps):
            for number, _ in enumerate(steps, 1):
                if number % SLICE == 0:
                    await deferLater(self._clock, 0)


class _Said:
    """One run's error output on its way to the log."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._lines = 0

    def line(self, line: bytes) -> None:
        self._lines += 1
        if self._lines <= MOST_ERROR_LINES:
            self._log.warn("hosts.script_said", line=line)

    def end(self) -> None:
        if self._lines > MOST_ERROR_LINES:
            self._log.warn("hosts.script_said_more", lines=self._lines - MOST_ERROR_LINES)


def _why_not(ended: ProcessEnded) -> str | None:
    """Tell why what a process printed doesn't count, if it doesn't."""
    if ended.killed_because is not None:
        return f"{ended.killed_because}, and was ended"
    if ended.signal is not None:
        try:
            name = Signals(ended.signal).name
        except ValueError:
            name = "unnamed"
        return f"it was killed by signal {ended.signal} ({name})"
    if ended.exit_code != 0:
        return f"it ended with exit code {ended.exit_code}"
    return None
