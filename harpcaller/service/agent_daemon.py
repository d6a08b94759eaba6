"""The agent as a daemon: what it is made of, how it starts, stops and reloads.

It starts upward: threads, procedures, the callers' door; and stops downward: the door, the
calls, the connections, the procedures, the threads.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import attrs
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.threads import deferToThreadPool
from twisted.logger import ILogObserver
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from harpcaller.agent.auth.checking import Checker
from harpcaller.agent.calls import Calls
from harpcaller.agent.cgroups import own_group, settle
from harpcaller.agent.kept_calls import KeepSettings, KeptCalls
from harpcaller.agent.library import Library
from harpcaller.agent.orders import Load
from harpcaller.agent.running import PATIENCE
from harpcaller.agent.seams import ITemplate
from harpcaller.agent.separation.conversation import Office
from harpcaller.agent.separation.network_process import NetworkProcess, NotStarting
from harpcaller.agent.separation.table import Terms
from harpcaller.agent.template_process import TemplateProcess
from harpcaller.config.agent import AgentSettings
from harpcaller.config.problems import ConfigurationError
from harpcaller.logs.events import EventLog, forget
from harpcaller.logs.observers import LogSetup, LogTo
from harpcaller.service.agent_parts import AgentParts
from harpcaller.service.agent_ports import AgentPorts, CannotListen
from harpcaller.service.notify import notify
from harpcaller.service.reactor import Reactor
from harpcaller.service.signals import on_signals
from harpcaller.service.watching import FileWatch, folder_watcher

_log = EventLog("agent")

#: How many passwords are hashed at the same time.
_THREADS = 2
#: How long template processes may take to be gone when the agent stops, in seconds.
_TEMPLATE_SECONDS = 10.0
#: How long callers have to read their last line when the agent stops, in seconds.
_LAST_LINE_SECONDS = 2.0
#: What systemd gives a service for itself, not for what that starts.
_OWN_VARIABLES = frozenset(
    [
        "CREDENTIALS_DIRECTORY",
        "JOURNAL_STREAM",
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "MEMORY_PRESSURE_WATCH",
        "MEMORY_PRESSURE_WRITE",
        "NOTIFY_SOCKET",
        "SYSTEMD_EXEC_PID",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    ]
)


def environment_for_procedures(environ: Mapping[str, str], original: bytes) -> dict[str, str]:
    """Give the environment that procedures get: our own, without what is only for us.

    Args:
        environ: Our environment now.
        original: What it was when we were started, as ``/proc/self/environ`` shows it:
            Python may have added ``LC_CTYPE`` since.
    """
    passed = {key: value for key, value in environ.items() if key not in _OWN_VARIABLES}
    if b"LC_CTYPE=" not in original:
        passed.pop("LC_CTYPE", None)
    return passed


@attrs.frozen
class Outside:
    """Who is around an agent.

    Args:
        environ: The agent's environment, for systemd.
        procedures_environ: The environment of procedures.
        logs: Where it logs; None if that is another's business.
        ready: Called when it works, with why it has no procedures, if it has none.
        failed: Called with the reason, which was logged, if it can't start.
    """

    environ: Mapping[str, str]
    procedures_environ: Mapping[str, str]
    logs: LogSetup | None
    ready: Callable[[str | None], None]
    failed: Callable[[str], None]


def _keep_settings(settings: AgentSettings) -> KeepSettings:
    return KeepSettings(
        settings.orphan_seconds,
        str(settings.spool_folder),
        settings.spool_size,
        settings.idle_seconds > 0,
    )


def _terms(parts: AgentParts) -> Terms:
    identity, settings = parts.identity, parts.settings
    return Terms(
        identity.certificate,
        identity.key,
        identity.client_ca or b"",
        round(settings.request_seconds * 1000),
        settings.orphan_seconds > 0,
        round(settings.idle_seconds * 1000),
        settings.max_idle,
    )


class AgentDaemon(Service):
    """An agent with everything around it.

    Args:
        parts: What its files say.
        read_parts: Reads those files anew.
        reactor: Runs it.
        outside: Who else has to do with it.
    """

    name = "harpd"

    def __init__(
        self,
        parts: AgentParts,
        read_parts: Callable[[], AgentParts],
        reactor: Reactor,
        outside: Outside,
    ) -> None:
        self._parts = parts
        self._read_parts = read_parts
        self._reactor = reactor
        self._outside = outside
        self._pool = ThreadPool(0, _THREADS, "authentication")
        self._library = Library(self._start_template, reactor, _log)
        settings = parts.settings
        self._calls = Calls(
            self._library,
            reactor,
            most=settings.max_calls,
            grace_seconds=settings.kill_grace_seconds,
            log=_log,
        )
        self._kept_calls = KeptCalls(_keep_settings(settings), reactor, _log, time.monotonic)
        self._checker = Checker(parts.backend, self._in_thread, reactor, os.urandom(32), _log)
        office = Office(self._checker, self._calls, self._kept_calls, _log)
        environ = outside.procedures_environ
        self._network = NetworkProcess(reactor, environ, office, _log, self._network_died)
        self._ports = AgentPorts(outside.environ, _log)
        self._watch: FileWatch | None = None
        self._is_stopping = False
        self._grace: Deferred[None] | None = None
        self._starting: Deferred[None] | None = None
        self._reloading = DeferredLock()

    async def _start_template(self, order: Load, lost: Callable[[], None]) -> ITemplate:
        template = TemplateProcess(self._reactor, self._outside.procedures_environ, _log, lost)
        await template.load(order)
        return template

    def _in_thread(self, work: Callable[[], bool]) -> Deferred[bool]:
        return deferToThreadPool(self._reactor, self._pool, work)

    # --- Starting ------------------------------------------------------------------------

    def begin_logging(self) -> None:
        """Log to where we were told to, for this whole process."""
        if self._outside.logs is not None:
            self._outside.logs.begin()

    def setServiceParent(self, parent: object) -> None:
        """Join twistd's application, and give it our log, if we have one."""
        if isinstance(parent, Componentized) and self._outside.logs is not None:
            parent.setComponent(ILogObserver, self._outside.logs.observer)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Begin to start; the log tells when it is done."""
        super().startService()
        self._starting = Deferred.fromCoroutine(self._start())
        _ = self._starting.addErrback(self._failed_to_start)

    async def _start(self) -> None:
        running: Deferred[None] = Deferred()
        self._reactor.callWhenRunning(running.callback, None)
        await running
        on_signals(
            self._reactor,
            {
                signal.SIGTERM: self.stop,
                signal.SIGINT: self.stop,
                signal.SIGHUP: self._reload_at_will,
                signal.SIGUSR1: self.reopen_logs,
            },
        )
        self._pool.start()
        for warning in self._parts.warnings:
            _log.warn("config.warning", warning=str(warning))
        self._watch_procedures()
        _ = settle(own_group(), os.getpid())  # before there are templates, who are to follow
        network = self._network.start(_terms(self._parts), self._parts.network.confine)
        confined = Deferred.fromCoroutine(network)
        try:
            # A file that doesn't load is in the log; callers are told that there's nothing.
            await self._library.load(self._parts.order)
        except BaseException:
            forget(confined, _log, "agent.start_failed")
            raise
        await confined
        self._parts.network.tell(_log, self._network.confinement)
        await self._network.listen(self._ports.open(self._parts.settings))
        self._ports.tell()
        self._notify("READY=1", self._status())
        self._outside.ready(self._library.problem)

    def _notify(self, *states: str) -> None:
        notify("\n".join(states), self._outside.environ)

    def _status(self) -> str:
        return f"STATUS={self._library.status()}"

    def _failed_to_start(self, failure: Failure) -> None:
        if isinstance(failure.value, CancelledError):
            return
        if isinstance(failure.value, (CannotListen, NotStarting)):
            reason = str(failure.value)
            _log.error("agent.start_failed", reason=reason)
        else:
            reason = "a bug keeps it from starting; its log tells more"
            _log.bug("agent.start_failed", failure)
        self._outside.failed(reason)

    def _network_died(self, how: str) -> None:
        """Nobody can be heard any more: whoever keeps services up is to start us anew."""
        if not self._is_stopping:
            reason = f"the network process ended: {how}"
            _log.error("agent.network_died", reason=how)
            self._outside.failed(reason)

    # --- Stopping ------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin a graceful stop; asked for again, it gives no more grace."""
        if not self._is_stopping:
            self._is_stopping = True
            self._reactor.callLater(0, self._reactor.stop)
        elif self._grace is not None:
            self._grace.cancel()

    async def stopService(self) -> None:
        """Take no more calls, give those under way their grace, and end."""
        self._is_stopping = True
        await maybeDeferred(super().stopService)
        self._notify("STOPPING=1", f"STATUS=stopping; calls under way: {len(self._calls)}")
        _log.info("agent.stopping", calls=len(self._calls))
        settings = self._parts.settings
        if self._starting is not None:
            self._starting.cancel()
        self._calls.refuse_more()
        if self._watch is not None:
            self._watch.stop()
        self._network.leave()
        self._grace = self._calls.idle()
        if not await self._within(settings.stop_grace_seconds, self._grace):
            self._calls.shut_down()
            await self._within(settings.kill_grace_seconds + PATIENCE, self._calls.idle())
        if not await self._within(_LAST_LINE_SECONDS, self._network.gone()):
            self._network.kill()
            await self._network.gone()
        self._kept_calls.close()
        await self._within(_TEMPLATE_SECONDS, Deferred.fromCoroutine(self._library.stop()))
        if self._pool.started:
            self._pool.stop()
        _log.info("agent.stopped")

    async def _within(self, seconds: float, work: Deferred[None]) -> bool:
        """Wait for something, but not for ever; tells whether it came."""
        try:
            await work.addTimeout(seconds, self._reactor)
        except (DeferredTimeout, CancelledError):
            return False
        return True

    # --- Reloading -----------------------------------------------------------------------

    def _reload_at_will(self) -> None:
        forget(self._reloading.run(self._reload_now), _log, "agent.reload_failed")

    def _reload_now(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.reload())

    async def reload(self) -> None:
        """Read all files again, and put them in force as far as they can be used."""
        if self._is_stopping:
            return
        now = time.monotonic_ns() // 1000
        self._notify("RELOADING=1", f"MONOTONIC_USEC={now}")
        try:
            await self._reload_all()
        finally:
            # Even after a mistake of ours: whoever asked waits for this.
            self._notify("READY=1", self._status())

    async def _reload_all(self) -> None:
        order = self._parts.order
        try:
            parts = self._read_parts()
        except ConfigurationError as error:
            # The procedures are loaded all the same: they are another file's matter.
            _log.error("agent.reload_failed", problems=str(error).splitlines())
        else:
            order = parts.order
            self._apply(parts)
        self._watch_procedures()
        if await self._library.load(order):
            _log.info("agent.reloaded")

    def _apply(self, parts: AgentParts) -> None:
        old, new = self._parts.settings, parts.settings
        for warning in parts.warnings:
            _log.warn("config.warning", warning=str(warning))
        if not self._ports.inherited and (old.address, old.port) != (new.address, new.port):
            _log.warn("agent.needs_restart", hint="network.address and port change at a restart")
        if old.network_user != new.network_user:
            _log.warn("agent.needs_restart", hint="network.user changes at a restart")
        self._checker.replace(parts.backend)
        self._calls.most = new.max_calls
        self._kept_calls.settings = _keep_settings(new)
        self._calls.grace_seconds = new.kill_grace_seconds
        self._network.renew(_terms(parts))
        self._parts = parts
        self._apply_logging(parts.log_places)

    def _apply_logging(self, places: tuple[LogTo, ...] | None) -> None:
        logs = self._outside.logs
        if logs is None or places is None:
            return
        try:
            logs.log_to(places)
        except OSError as error:
            _log.error("logs.not_reopened", reason=f"{error.filename}: {error.strerror}")

    def reopen_logs(self) -> None:
        """Close log files and open them anew."""
        if self._outside.logs is not None:
            for problem in self._outside.logs.reopen():
                _log.error("logs.not_reopened", reason=problem)
            _log.info("logs.reopened")

    def _watch_procedures(self) -> None:
        """Watch the procedures file, if its changes are to be noticed."""
        file = Path(self._parts.order.file) if self._parts.settings.reload == "auto" else None
        if self._watch is not None:
            if self._watch.path == file:
                return
            self._watch.stop()
            self._watch = None
        if file is not None:
            watcher = folder_watcher(self._reactor)
            self._watch = FileWatch(file, self._file_changed, self._reactor, watcher, _log)
            self._watch.start()

    def _file_changed(self) -> None:
        def load() -> Deferred[None]:
            return Deferred.fromCoroutine(self._load_changed())

        forget(self._reloading.run(load), _log, "agent.reload_failed")

    async def _load_changed(self) -> None:
        _log.info("agent.procedures_changed", file=self._parts.order.file)
        await self._library.load(self._parts.order)
        self._notify(self._status())
