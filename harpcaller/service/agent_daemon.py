"""The agent as a daemon: what it is made of, how it starts, stops and reloads.

It starts upward: threads, procedures, the callers' door; and stops downward: the door, the
calls, the connections, the procedures, the threads.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from typing import cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred, DeferredLock, maybeDeferred
from twisted.internet.defer import TimeoutError as DeferredTimeout
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.threads import deferToThreadPool
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from harpcaller.agent.auth.checking import Checker
from harpcaller.agent.calls import Calls
from harpcaller.agent.library import Library
from harpcaller.agent.orders import Load
from harpcaller.agent.running import PATIENCE
from harpcaller.agent.seams import ITemplate
from harpcaller.agent.server import Door
from harpcaller.agent.template_process import TemplateProcess
from harpcaller.agent.tls import ServerTLS
from harpcaller.config.agent import AgentSettings
from harpcaller.config.problems import ConfigurationError
from harpcaller.errors import HarpcallerError
from harpcaller.logs.events import EventLog, forget
from harpcaller.service.agent_parts import AgentParts
from harpcaller.service.notify import notify
from harpcaller.service.reactor import Reactor
from harpcaller.service.signals import on_signals

_log = EventLog("agent")

#: Connections that may wait to be accepted.
_BACKLOG = 1024
#: How many passwords are hashed at the same time.
_THREADS = 2
#: How long callers have to read their last line when the agent stops, in seconds.
_LAST_LINE_SECONDS = 2.0
#: What systemd gives a service for itself, not for what that starts.
_OWN_VARIABLES = frozenset(
    ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"]
)


class CannotStart(HarpcallerError):
    """The agent can't do its work; the message says why."""


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


class AgentDaemon(Service):
    """An agent with everything around it.

    Args:
        parts: What its files say.
        read_parts: Reads those files anew.
        reactor: Runs it.
        environ: Its environment, for systemd.
        procedures_environ: The environment of procedures.
        failed: Called if it can't start, after that was logged.
    """

    name = "harpd"

    def __init__(
        self,
        parts: AgentParts,
        read_parts: Callable[[], AgentParts],
        reactor: Reactor,
        environ: Mapping[str, str],
        procedures_environ: Mapping[str, str],
        failed: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._read_parts = read_parts
        self._reactor = reactor
        self._environ = environ
        self._procedures_environ = procedures_environ
        self._failed = failed
        self._pool = ThreadPool(0, _THREADS, "authentication")
        self._tls = ServerTLS(parts.context)
        self._library = Library(self._start_template, reactor, _log)
        settings = parts.settings
        self._calls = Calls(
            self._library,
            reactor,
            most=settings.max_calls,
            grace_seconds=settings.kill_grace_seconds,
            log=_log,
        )
        self._checker = Checker(parts.backend, self._in_thread, reactor, os.urandom(32), _log)
        self._door = Door(
            self._checker,
            self._calls,
            reactor,
            request_seconds=settings.request_seconds,
            log=_log,
        )
        self._port: IListeningPort | None = None
        self._starting: Deferred[None] | None = None
        self._reloading = DeferredLock()

    async def _start_template(self, order: Load, lost: Callable[[], None]) -> ITemplate:
        template = TemplateProcess(self._reactor, self._procedures_environ, _log, lost)
        await template.load(order)
        return template

    def _in_thread(self, work: Callable[[], bool]) -> Deferred[bool]:
        return deferToThreadPool(self._reactor, self._pool, work)

    # --- Starting ------------------------------------------------------------------------

    def startService(self) -> None:
        """Begin to start; the log tells when it is done."""
        super().startService()
        self._starting = Deferred.fromCoroutine(self._start())
        _ = self._starting.addErrback(self._failed_to_start)

    async def _start(self) -> None:
        running: Deferred[None] = Deferred()
        self._reactor.callWhenRunning(running.callback, None)
        await running
        on_signals(self._reactor, {signal.SIGHUP: self._reload_at_will})
        self._pool.start()
        for warning in self._parts.warnings:
            _log.warn("config.warning", warning=str(warning))
        # A file that doesn't load is in the log; callers are told that there's nothing.
        await self._library.load(self._parts.order)
        self._port = self._listen(self._parts.settings)
        place = cast(IPv4Address, self._port.getHost())
        _log.info("agent.listening", address=place.host, port=place.port)
        notify("READY=1", self._environ)

    def _listen(self, settings: AgentSettings) -> IListeningPort:
        factory = TLSMemoryBIOFactory(self._tls, False, self._door, self._reactor)
        factory.noisy = False
        try:
            interface = _interface(settings.address)
            port = self._reactor.listenTCP(settings.port, factory, _BACKLOG, interface)
        except (CannotListenError, OSError) as error:
            cause = getattr(error, "socketError", error)
            words = getattr(cause, "strerror", None) or str(cause)
            where = f"{settings.address} port {settings.port}"
            raise CannotStart(f"cannot listen on {where}: {words}") from None
        return cast(IListeningPort, port)

    def _failed_to_start(self, failure: Failure) -> None:
        if isinstance(failure.value, CancelledError):
            return
        if isinstance(failure.value, CannotStart):
            _log.error("agent.start_failed", reason=str(failure.value))
        else:
            _log.bug("agent.start_failed", failure)
        self._failed()

    # --- Stopping ------------------------------------------------------------------------

    async def stopService(self) -> None:
        """Take no more calls, give those under way their grace, and end."""
        await maybeDeferred(super().stopService)
        notify("STOPPING=1", self._environ)
        _log.info("agent.stopping", calls=len(self._calls))
        settings = self._parts.settings
        if self._starting is not None:
            self._starting.cancel()
        self._calls.refuse_more()
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)
        if not await self._within(settings.stop_grace_seconds, self._calls.idle()):
            self._calls.shut_down()
            await self._within(settings.kill_grace_seconds + PATIENCE, self._calls.idle())
        if not await self._within(_LAST_LINE_SECONDS, self._door.empty()):
            self._door.close_all()
        await self._within(_LAST_LINE_SECONDS, Deferred.fromCoroutine(self._library.stop()))
        if self._pool.started:
            self._pool.stop()
        _log.info("agent.stopped")

    async def _within(self, seconds: float, work: Deferred[None]) -> bool:
        """Wait for something, but not for ever; tells whether it came."""
        try:
            await work.addTimeout(seconds, self._reactor)
        except DeferredTimeout:
            return False
        return True

    # --- Reloading -----------------------------------------------------------------------

    def _reload_at_will(self) -> None:
        forget(self._reloading.run(self._reload_now), _log, "agent.reload_failed")

    def _reload_now(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self.reload())

    async def reload(self) -> None:
        """Read all files again, and put them in force as far as they can be used."""
        now = time.monotonic_ns() // 1000
        notify(f"RELOADING=1\nMONOTONIC_USEC={now}", self._environ)
        order = self._parts.order
        try:
            parts = self._read_parts()
        except ConfigurationError as error:
            # The procedures are loaded all the same: they are another file's matter.
            _log.error("agent.reload_failed", problems=str(error).splitlines())
        else:
            order = parts.order
            self._apply(parts)
        if await self._library.load(order):
            _log.info("agent.reloaded")
        notify("READY=1", self._environ)

    def _apply(self, parts: AgentParts) -> None:
        old, new = self._parts.settings, parts.settings
        for warning in parts.warnings:
            _log.warn("config.warning", warning=str(warning))
        if (old.address, old.port) != (new.address, new.port):
            _log.warn("agent.needs_restart", hint="network.address and port change at a restart")
        self._tls.context = parts.context
        self._checker.replace(parts.backend)
        self._calls.most = new.max_calls
        self._calls.grace_seconds = new.kill_grace_seconds
        self._door.request_seconds = new.request_seconds
        self._parts = parts


def _interface(address: str) -> str:
    """Give the address to bind to.

    Raises:
        OSError: It can't be resolved.
    """
    if address == "*":
        # The IPv6 wildcard takes IPv4 too, where the system has IPv6.
        return "::" if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6") else ""
    found = socket.getaddrinfo(address, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return str(found[0][4][0])
