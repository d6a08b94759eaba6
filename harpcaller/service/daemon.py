"""The dispatcher as a daemon: what it is made of, how it starts, stops and reloads.

It starts upward: control socket, store, hosts, the jobs that an earlier daemon left, and
at last the clients' door; and stops downward, each floor awaited.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from typing import cast

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, succeed
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver
from twisted.python.components import Componentized
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.call.caller import Caller
from harpcaller.call.connections import Connections
from harpcaller.call.endpoint import endpoint_to
from harpcaller.call.pool import PoolSettings
from harpcaller.config.dispatcher import Settings, cannot_change, load
from harpcaller.config.problems import ConfigurationError
from harpcaller.control.commands import Seams
from harpcaller.control.server import ControlSocket
from harpcaller.dispatcher.dispatcher import CallSettings, Dispatcher
from harpcaller.errors import HarpcallerError
from harpcaller.hosts.process import (
    ISpawningReactor,
    ProcessRunner,
    environment_for_children,
)
from harpcaller.hosts.refresh import Plan, Refresher
from harpcaller.hosts.registry import Registry, Table
from harpcaller.interfaces import IDaemon
from harpcaller.listener.gate import Access
from harpcaller.listener.protocol import ClientFactory, ClientSettings
from harpcaller.logs.events import EventLog
from harpcaller.logs.observers import LogSetup
from harpcaller.queues.board import Board
from harpcaller.service.collecting import collector_at_rest
from harpcaller.service.descriptors import raise_descriptor_limit
from harpcaller.service.leaving import leave_with
from harpcaller.service.listening import CannotListen, Listening
from harpcaller.service.notify import notify
from harpcaller.service.reactor import Reactor
from harpcaller.service.retention import Retention
from harpcaller.service.signals import on_signals
from harpcaller.service.trusted import Trusted, trusted_by
from harpcaller.store.disk import RealDisk
from harpcaller.store.filestore import FileJobStore

_log = EventLog("daemon")

#: How long those who were just told how their jobs ended have to be answered, in seconds.
_LAST_ANSWERS = 0.05


def _steady() -> float:
    """Tell the time by a clock that nobody sets, and that goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _call_settings(settings: Settings) -> CallSettings:
    return CallSettings(settings.default_timeout_seconds, settings.max_exec_time_seconds)


def _pool_settings(settings: Settings) -> PoolSettings:
    return PoolSettings(
        settings.agent_idle_timeout_seconds,
        settings.agent_connection_age_seconds,
        settings.idle_connections_per_agent,
        settings.idle_connections,
    )


def _client_settings(settings: Settings, access: Access) -> ClientSettings:
    return ClientSettings(settings.max_request_size, settings.client_idle_timeout_seconds, access)


def _plan(settings: Settings) -> Plan:
    return Plan(
        script=settings.host_db_script,
        cache=settings.host_db,
        refresh_seconds=settings.host_db_refresh_seconds,
        timeout_seconds=settings.host_db_script_timeout_seconds,
    )


@implementer(IDaemon)
class DispatcherDaemon(MultiService):
    """A dispatcher with everything around it.

    Args:
        config: Where the settings are from, to read them again.
        settings: What they are.
        trusted: Who is believed, read from the settings' files.
        socket: Where the control socket is to be.
        logs: The logging that the settings ask for, begun.
        reactor: The real one.
        environ: For telling the service manager.
    """

    def __init__(
        self,
        config: Path,
        settings: Settings,
        trusted: Trusted,
        socket: Path,
        logs: LogSetup,
        reactor: Reactor,
        environ: Mapping[str, str],
    ) -> None:
        super().__init__()
        self.setName("harpcaller")
        self.pid = os.getpid()
        self._config = config
        self._settings = settings
        self._trusted = trusted
        self._logs = logs
        self._reactor = reactor
        self._environ = environ
        self._starting: Deferred[None] | None = None
        self._is_ready = False
        self._is_stopping = False
        self._wait_for_ready: list[Deferred[None]] = []
        self._reloading = DeferredLock()

        self._store = FileJobStore(
            str(settings.stream_directory),
            disk=RealDisk(),
            clock=reactor,
            reactor=reactor,
            durability=settings.durability,
        )
        self._board = Board(reactor)
        table = Table(lambda hosts: self._connections.keep_only(hosts))
        self._refresher = Refresher(
            table=table,
            runner=ProcessRunner(
                cast(ISpawningReactor, reactor), environment_for_children(environ)
            ),
            clock=reactor,
            now=time.time,
            plan=_plan(settings),
        )
        self._registry = Registry(table, self._refresher)
        self._connections = Connections(
            trusted.agents,
            settings.connect_timeout_seconds,
            lambda host, limit: endpoint_to(reactor, host, limit),
            reactor,
            _pool_settings(settings),
        )
        self._caller = Caller(self._connections, reactor, _steady)
        self._dispatcher = Dispatcher(
            store=self._store,
            board=self._board,
            hosts=self._registry,
            caller=self._caller,
            clock=reactor,
            now=time.time,
            random_bytes=os.urandom,
            settings=_call_settings(settings),
        )
        self._clients = ClientFactory(
            self._dispatcher, _client_settings(settings, trusted.clients), reactor
        )
        self._listening = Listening(reactor, self._clients)
        self._control = ControlSocket(
            str(socket), Seams(self._dispatcher, self._registry, self), reactor
        )
        self._retention = Retention(self._dispatcher, reactor, settings.max_age_seconds)

    # --- Starting ------------------------------------------------------------------------

    def setServiceParent(self, parent: object) -> None:
        """Join twistd's application, and give it our log."""
        if isinstance(parent, Componentized):
            parent.setComponent(ILogObserver, self._logs.observer)
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Begin to start; the log and :meth:`ready` tell when it is done."""
        super().startService()
        self.pid = os.getpid()  # twistd may have forked since
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
                signal.SIGHUP: self._reload_and_log,
                signal.SIGUSR1: self.reopen_logs,
            },
        )
        descriptors = raise_descriptor_limit()
        self._control.start()
        with collector_at_rest():
            left_over = await self._store.open()
            recovered = len(left_over)
            await self._refresher.start()
            if self._connections.context.trust.anybody:
                _log.warn("daemon.trusts_any_agent", hint="set ca_file or known_certs_file")
            # A port that can't be had is found before a job is started; and nobody is let in
            # before the jobs are known again, which happens at once.
            await self._listening.open(self._settings.doors, self._trusted.tls)
            await self._dispatcher.recover(left_over)
            # The calls are read again when their turns come.
            del left_over
        self._retention.setServiceParent(self)
        self._is_ready = True
        _log.info("daemon.ready", pid=self.pid, recovered=recovered, descriptors=descriptors)
        notify("READY=1", self._environ)
        waiting, self._wait_for_ready = self._wait_for_ready, []
        for one in waiting:
            one.callback(None)

    def _failed_to_start(self, failure: Failure) -> None:
        if isinstance(failure.value, CancelledError):
            return
        if isinstance(failure.value, (HarpcallerError, OSError)):
            reason = str(failure.value)
            _log.error("daemon.start_failed", reason=reason)
        else:
            reason = "a bug keeps it from starting; its log tells more"
            _log.bug("daemon.bug", failure)
        for line in reason.splitlines():
            print(f"harpcaller: {line}", file=sys.__stderr__)
        leave_with(1)
        self._reactor.stop()

    def ready(self) -> Deferred[None]:
        """Fire once start-up is complete; each asker has a Deferred of its own."""
        if self._is_ready:
            return succeed(None)
        one: Deferred[None] = Deferred(self._wait_for_ready.remove)
        self._wait_for_ready.append(one)
        return one

    # --- Stopping ------------------------------------------------------------------------

    def stop(self) -> None:
        """Begin a graceful stop; asked for again, it hurries."""
        if self._is_stopping:
            self._dispatcher.hurry()
        else:
            self._is_stopping = True
            self._reactor.callLater(0, self._reactor.stop)

    def stopService(self) -> Deferred[None]:
        """Stop downward; fires when everything is written and closed."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._is_stopping = True
        _log.info("daemon.stopping")
        notify("STOPPING=1", self._environ)
        if self._starting is not None:
            self._starting.cancel()
        await self._floor("listening", self._listening.close())
        self._board.close()
        await self._floor("jobs", self._dispatcher.stop(self._settings.shutdown_grace_seconds))
        await deferLater(self._reactor, _LAST_ANSWERS)
        self._caller.stop()
        self._clients.close()
        await self._floor("hosts", self._refresher.stop())
        await self._floor("children", super().stopService())
        await self._floor("control", self._control.stop())
        await self._floor("store", self._store.close())
        _log.info("daemon.stopped")

    async def _floor(self, name: str, stopped: Awaitable[object]) -> None:
        """Wait for a part to stop; if it fails to, those below it are stopped all the same."""
        try:
            await stopped
        except Exception:  # noqa: BLE001  # see above
            _log.bug("daemon.stop_failed", Failure(), part=name)

    # --- Reloading -----------------------------------------------------------------------

    def reload(self) -> Deferred[Sequence[str]]:
        """Read the configuration again; all of it takes force, or nothing does."""
        return self._reloading.run(lambda: Deferred.fromCoroutine(self._reload()))

    async def _reload(self) -> Sequence[str]:
        notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}", self._environ)
        try:
            loaded = load(self._config)
            problems = cannot_change(self._settings, loaded.settings)
            if problems:
                raise ConfigurationError(problems)
            await self._apply(loaded.settings, trusted_by(loaded.settings))
        except (ConfigurationError, CannotListen, OSError) as error:
            found = str(error).splitlines()
            _log.error("daemon.reload_failed", problems=found)
            return found
        finally:
            notify("READY=1", self._environ)
        for warning in (*loaded.warnings, *self._trusted.warnings):
            _log.warn("config.warning", warning=str(warning))
        _log.info("daemon.reloaded")
        return []

    async def _apply(self, settings: Settings, trusted: Trusted) -> None:
        """Put settings in force; what can fail comes first."""
        await self._listening.open(settings.doors, trusted.tls)
        try:
            self._logs.reconfigure(
                settings.log_handlers,
                settings.erlang.log_file,
                settings.log_format,
                settings.audit_log,
            )
        except OSError:
            await self._listening.keep_only(self._settings.doors, self._trusted.tls)
            raise
        await self._listening.keep_only(settings.doors, trusted.tls)
        if not trusted.agents.is_like(self._connections.context):
            self._connections.context = trusted.agents
        self._connections.connect_timeout_seconds = settings.connect_timeout_seconds
        self._connections.pool.settings = _pool_settings(settings)
        self._dispatcher.settings = _call_settings(settings)
        self._clients.settings = _client_settings(settings, trusted.clients)
        self._retention.reconfigure(settings.max_age_seconds)
        self._refresher.reconfigure(_plan(settings))
        self._settings = settings
        self._trusted = trusted

    def _reload_and_log(self) -> None:
        # What comes of it is in the log.
        _ = self.reload()

    def reopen_logs(self) -> None:
        """Close the log file and open it anew."""
        for problem in self._logs.reopen():
            _log.error("logs.not_reopened", reason=problem)
        _log.info("logs.reopened")
