"""The agent's life in this very process: start, calls, reload, stop."""

from __future__ import annotations

import signal
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import TestCase

from harpcaller.agent.seams import ITemplate
from harpcaller.service import agent_daemon
from harpcaller.service.agent_daemon import AgentDaemon
from harpcaller.service.agent_parts import CommandLine
from harpcaller.service.agent_service import make_daemon
from harpcaller.service.reactor import Reactor
from harpcaller.testing.certificates import make_authority
from tests.system.agents import CONFIG, PASSWORD, USER, Agent, Client, prepare

reactor = cast(Reactor, installed)


class DaemonCase(TestCase):
    timeout = 120

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.authority = make_authority()
        prepare(self.folder, self.authority)
        self.events: list[LogEvent] = []
        self.waiting: list[tuple[str, Deferred[dict[str, Any]]]] = []
        observer = cast(ILogObserver, self.saw)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.failures: list[str] = []
        self.daemons: list[AgentDaemon] = []
        # The daemon has handlers of its own for them, which mustn't outlive it here.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            self.addCleanup(signal.signal, number, signal.getsignal(number))
        self.addCleanup(self.stop_all)

    async def stop_all(self) -> None:
        for daemon in self.daemons:
            await daemon.stopService()

    def saw(self, event: LogEvent) -> None:
        for pair in self.waiting[:]:
            if event.get("kind") == pair[0]:
                self.waiting.remove(pair)
                reactor.callLater(0, pair[1].callback, event["context"])

    def event(self, kind: str) -> Deferred[dict[str, Any]]:
        """Wait for the next event of a kind; gives its context."""
        waiter: Deferred[dict[str, Any]] = Deferred()
        self.waiting.append((kind, waiter))
        return waiter

    def make(self) -> AgentDaemon:
        command = CommandLine(self.folder / "harpd.conf", self.folder / "harpd.py")
        daemon = make_daemon(command, reactor, self.failures.append)
        self.daemons.append(daemon)
        return daemon

    async def start(self) -> tuple[AgentDaemon, int]:
        listening = self.event("agent.listening")
        daemon = self.make()
        daemon.startService()
        return daemon, (await listening)["port"]

    def configure(self, *replacements: tuple[str, str]) -> None:
        text = CONFIG.format(user=USER, password=PASSWORD)
        for old, new in replacements:
            self.assertIn(old, text)
            text = text.replace(old, new)
        (self.folder / "harpd.conf").write_text(text)

    def client(self, port: int) -> Deferred[Client]:
        """Connect, in a thread."""

        def connect() -> Client:
            context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
            agent = Agent.__new__(Agent)
            agent.port = port
            return Client(agent, context)

        return cast("Deferred[Client]", deferToThread(connect))

    async def call(self, port: int, procedure: str, password: str = PASSWORD) -> Any:
        client = await self.client(port)
        try:
            client.send(procedure, [], password)
            return (await deferToThread(client.answer))[-1]
        finally:
            client.close()


class LifeTests(DaemonCase):
    async def test_calls(self) -> None:
        """It starts, answers, refuses, and stops."""
        daemon, port = await self.start()
        self.assertEqual({"result": "printed"}, await self.call(port, "prints"))
        refused = await self.call(port, "prints", "wrong")
        self.assertEqual("auth_error", refused["error"]["type"])
        self.daemons.remove(daemon)
        await daemon.stopService()
        with self.assertRaises(ConnectionRefusedError):
            await self.client(port)

    async def test_reload(self) -> None:
        """A reload puts users and limits in force; a place to listen takes a restart."""
        daemon, port = await self.start()
        self.configure((PASSWORD, "changed"), ("port: 0", "port: 1"), ("max_calls: 8", "mx: 8"))
        (self.folder / "harpd.py").write_text(
            "from harpd.proc import procedure\n@procedure\ndef fresh(): return 'new'\n"
        )
        hint, warning = self.event("agent.needs_restart"), self.event("config.warning")
        daemon._reload_at_will()
        self.assertIn("restart", (await hint)["hint"])
        self.assertIn("limits.mx: unknown key", (await warning)["warning"])
        loaded = self.event("agent.reloaded")
        await loaded
        self.assertEqual({"result": "new"}, await self.call(port, "fresh", "changed"))

    async def test_reload_of_broken_configuration(self) -> None:
        """A broken configuration changes nothing but is told; procedures are loaded."""
        daemon, port = await self.start()
        (self.folder / "harpd.conf").write_text("network: [")
        failed = self.event("agent.reload_failed")
        await daemon.reload()
        self.assertIn("not YAML", str((await failed)["problems"]))
        self.assertEqual({"result": "printed"}, await self.call(port, "prints"))

    async def test_connection_that_stays(self) -> None:
        """Calls come one after the other; a reload closes the connection, and so does a stop."""
        daemon, port = await self.start()
        for close in (daemon.reload, daemon.stopService):
            client = await self.client(port)
            self.addCleanup(client.close)
            for number in range(3):
                said = await deferToThread(
                    client.whole_call, "prints", f"{close.__name__} {number}"
                )
                acknowledged = {"harp": 1, "stream_result": False, "resume": True, "keep": True}
                self.assertEqual([acknowledged, {"result": "printed"}], said)
            if close == daemon.stopService:
                self.daemons.remove(daemon)
            await close()
            # In order, as ssl would complain otherwise.
            self.assertIsNone(await deferToThread(client.line))

    async def test_stop_with_a_call(self) -> None:
        """A call that takes too long at the stop is ended, and its caller is told."""
        self.configure(("stop_grace: 1", "stop_grace: 0.1"))
        daemon, port = await self.start()
        client = await self.client(port)
        self.addCleanup(client.close)
        client.send("nap", [1000])
        await deferToThread(client.line)
        self.daemons.remove(daemon)
        stopping = Deferred.fromCoroutine(daemon.stopService())
        last = await deferToThread(client.line)
        self.assertEqual("shutdown", last["error"]["type"])
        await stopping

    async def test_stop_with_a_silent_connection(self) -> None:
        """Whoever doesn't close at the stop is cut off."""
        self.patch(agent_daemon, "_LAST_LINE_SECONDS", 0.1)
        self.configure(("request_timeout: 1", "request_timeout: 100"))
        daemon, port = await self.start()
        client = await self.client(port)
        self.addCleanup(client.close)
        self.daemons.remove(daemon)
        await daemon.stopService()


class FailureTests(DaemonCase):
    async def test_port_is_taken(self) -> None:
        """A port that can't be had is told, and the agent doesn't start."""
        _, port = await self.start()
        self.configure(("port: 0", f"port: {port}"))
        told = self.event("agent.start_failed")
        self.make().startService()
        reason = (await told)["reason"]
        self.assertEqual(f"cannot listen on 127.0.0.1 port {port}: Address already in use", reason)
        self.assertEqual(1, len(self.failures))

    async def test_address_is_nowhere(self) -> None:
        """Nor does it start at an address that can't be resolved."""
        self.configure(("127.0.0.1", "no-such-host.invalid"))
        told = self.event("agent.start_failed")
        self.make().startService()
        self.assertIn("no-such-host.invalid", (await told)["reason"])

    async def test_everywhere(self) -> None:
        """By default it listens on all addresses."""
        self.configure(("127.0.0.1", '"*"'))
        _, port = await self.start()
        self.assertEqual({"result": "printed"}, await self.call(port, "prints"))

    async def test_bug(self) -> None:
        """If starting goes wrong in a way that nobody thought of, that is a failure, too."""
        daemon = self.make()

        async def broken(order: object, lost: Callable[[], None]) -> ITemplate:
            raise ZeroDivisionError

        daemon._library._starter = broken
        told = self.event("agent.start_failed")
        daemon.startService()
        await told
        self.assertEqual(1, len(self.failures))
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))

    async def test_stopped_while_it_starts(self) -> None:
        """A stop during the start leaves nothing."""
        daemon = self.make()
        daemon.startService()
        self.daemons.remove(daemon)
        await daemon.stopService()
        self.assertEqual([], self.failures)
