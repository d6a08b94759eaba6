"""One machine and all that is around it, on one clock: what strikes and clients act upon.

Everything that is decided by chance is decided by one seed, everything that happens stands in
the trace; so one seed is one story.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any

import attrs
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.dispatcher.dispatcher import Dispatcher
from harpcaller.errors import StorageError
from harpcaller.interfaces import Host
from harpcaller.testing.agent import FakeAgent, Script
from harpcaller.wire.agent import Credentials, ProcedureCall
from tests.fire.daemon import Daemon, ProcessClock, Settings
from tests.fire.disk import Dead, SimulatedDisk, Trouble
from tests.fire.history import History, Listing, Question, Run, marker_of
from tests.fire.keeper import Keeper, Keeps
from tests.fire.network import End, Network, always
from tests.fire.people import Client, script_of
from tests.fire.platter import Platter
from tests.fire.timeline import Timeline

_EPOCH = 1_700_000_000.0
_AGENT = IPv4Address("TCP", "192.0.2.3", 4306)


@attrs.define
class Weather:
    """What is wrong around the daemon now.

    Attributes:
        disk_seconds: How long the disk takes for a step at most.
        gone: Hosts that aren't in the registry.
        refusing: Hosts that refuse connections.
        deaf: Hosts that don't answer to them.
    """

    disk_seconds: float = 0.004
    gone: set[str] = attrs.Factory(set)
    refusing: set[str] = attrs.Factory(set)
    deaf: set[str] = attrs.Factory(set)


class Endless(BaseException):
    """Something goes on for ever; not to be mistaken for an error within the story."""


class World:
    """Everything.

    Args:
        seed: Of all chance.
        settings: The daemon's.
        keeping: What the agents of some hosts keep.
    """

    HOSTS = ("web01", "web02", "web03")
    #: No story needs so many events; one that has them turns in a circle.
    MOST_EVENTS = 200_000

    def __init__(
        self, seed: int, settings: Settings, keeping: Mapping[str, Keeps] | None = None
    ) -> None:
        self.seed = seed
        self.clock = Timeline()
        self.random = Random(seed)
        self.history = History()
        self.network = Network(self.clock, Random(f"{seed} network"))
        self.platter = Platter()
        self.trouble = Trouble()
        self.weather = Weather()
        self.settings = settings
        self.daemon: Daemon | None = None
        self.clients: dict[Client, End] = {}
        self.calls: list[tuple[str, End, Daemon]] = []
        self._unanswered: dict[Question, None] = {}
        self._known: list[str] = []
        self._runs: list[tuple[Run, End]] = []
        self.complaints: list[str] = []
        self.events: list[tuple[Any, ...]] = []
        self.ahead = _EPOCH
        self._chances = Random(f"{seed} disk")
        self._ids = Random(f"{seed} ids")
        self.history.jumps = [(0.0, self.ahead)]
        #: How many calls were gone on with that agents had kept.
        self.resumed = 0
        #: How many calls were asked for again, and how many shared their connection with one.
        self.again = self.shared = 0
        self._keepers: dict[str, Keeper] = {}
        self._keeping = keeping or {}
        for host in self._keeping:
            self._start_agent(host)

    # --- Time and trace ------------------------------------------------------------------

    def trace(self, *what: object) -> None:
        """Note that something happened.

        Raises:
            Endless: Too much has.
        """
        if len(self.events) > self.MOST_EVENTS:
            raise Endless(f"it goes on for ever at {self.clock.rightNow:.3f} s")
        self.events.append((self.clock.rightNow, *what))

    def digest(self) -> str:
        """Give what tells two stories apart."""
        return hashlib.sha256(repr(self.events).encode()).hexdigest()

    def now(self) -> float:
        """The wall clock."""
        return self.clock.rightNow + self.ahead

    def jump(self, seconds: float) -> None:
        """Set the wall clock."""
        self.ahead += seconds
        self.history.jumps.append((self.clock.rightNow, self.ahead))

    def run_until(self, time: float, enough: Callable[[], bool] = lambda: False) -> None:
        """Let happen what is to happen until then, or until it is enough."""
        clock = self.clock
        while clock.calls and clock.calls[0].getTime() <= time and not enough():
            self.trace("event")
            call = clock.calls.pop(0)
            clock.rightNow = max(clock.rightNow, call.getTime())
            call.called = 1
            # What a dying process does last comes to nothing.
            with suppress(Dead):
                call.func(*call.args, **call.kw)
        if not enough():
            clock.rightNow = max(clock.rightNow, time)

    # --- The daemon ----------------------------------------------------------------------

    def start(self) -> None:
        """Start a daemon; if it can't, try again a second later, as service managers do."""
        disk = SimulatedDisk(self.platter, self.trouble, self._chances, self.kill, self.trace)
        daemon = self.daemon = Daemon(
            clock=self.clock,
            disk=disk,
            lane_seconds=lambda: self._chances.random() * self.weather.disk_seconds,
            now=self.now,
            random=self._ids,
            endpoint=lambda daemon, host: _Endpoint(self, daemon, host),
            settings=self.settings,
        )
        self.tell_hosts()
        self.trace("start")
        _ = daemon.start().addCallbacks(
            lambda _: self.trace("ready"), self._not_started, errbackArgs=(daemon,)
        )

    def _not_started(self, failure: Failure, daemon: Daemon) -> None:
        if not daemon.alive():
            return
        self.trace("not started", str(failure.value))
        if not isinstance(failure.value, StorageError):
            self.complaints.append(f"it didn't start: {failure!r}")
        self.kill()

    def kill(self, down_seconds: float = 1.0) -> None:
        """Let the daemon be dead, and another be started some time later."""
        daemon, self.daemon = self.daemon, None
        if daemon is None:
            return
        self.trace("killed")
        self.history.deaths.append(self.clock.rightNow)
        daemon.kill()
        self.platter.die()
        for end in self.clients.values():
            end.other.die()
        for _, end, owner in self.calls:
            if owner is daemon:
                end.die()
        self.calls = [one for one in self.calls if one[2] is not daemon]
        _ = self.clock.callLater(down_seconds, self.start)

    def cut_power(self) -> None:
        """Let the machine lose what wasn't synced."""
        self.kill()
        self.trace("power cut")
        self.platter.lose_power(self._chances)

    def stop(self, then: Callable[[Daemon], None]) -> None:
        """Stop the daemon gracefully; ``then`` is told when nothing is left for it to do."""
        daemon = self.daemon
        if daemon is None or daemon.is_stopping or not daemon.accepts:
            return

        def stopped(_: None) -> None:
            if daemon.alive():
                self.trace("stopped")
                then(daemon)

        def failed(failure: Failure) -> None:
            if daemon.alive():
                self.complaints.append(f"it didn't stop: {failure!r}")
                self.kill()

        self.trace("stop")
        self.history.deaths.append(self.clock.rightNow)
        _ = daemon.stop().addCallbacks(stopped, failed)

    def look_for_leaks(self, daemon: Daemon) -> None:
        """Complain of what a daemon has left that has stopped."""
        handles = [handle.path for handle in daemon.disk.handles.values()]
        if handles or daemon.disk.connections:
            self.complaints.append(f"a stopped daemon left files open: {handles}")
        calls = daemon.clock.getDelayedCalls()
        if calls:
            self.complaints.append(f"a stopped daemon left calls behind: {calls}")

    def tell_hosts(self) -> None:
        """Let the registry be filled with who is there."""
        if self.daemon is not None:
            hosts = [name for name in self.HOSTS if name not in self.weather.gone]
            credentials = Credentials("user", "password")
            self.daemon.table.replace(
                Host(name, f"192.0.2.{10 + number}", 4306, credentials)
                for number, name in enumerate(hosts)
            )

    # --- Clients -------------------------------------------------------------------------

    def connect(self) -> Client | None:
        """Let a client connect; None if nobody listens."""
        daemon = self.daemon
        if daemon is None or not daemon.accepts:
            return None
        near = daemon.clients.buildProtocol(None)
        client = Client(lambda: self.clock.rightNow, self.trace, self._client_over)
        _, far_end = self.network.join(near, client, daemon.alive, always)
        self.clients[client] = far_end
        return client

    def _client_over(self, client: Client) -> None:
        self.clients.pop(client, None)

    def ask(self, client: Client, request: dict[str, Any]) -> Question:
        """Let a client ask something."""
        question = Question(request, self.clock.rightNow)
        self.history.questions.append(question)
        if question.kind == "call":
            self._unanswered[question] = None
        self.trace("ask", json.dumps(request))
        client.ask(question)
        return question

    def known_jobs(self) -> list[str]:
        """Give the jobs that somebody was told of."""
        for call in list(self._unanswered):
            if call.job_id is not None:
                self._known.append(call.job_id)
            if call.answered_at is not None:
                del self._unanswered[call]
        return self._known

    def list_all(self) -> Listing | None:
        """List all jobs as an operator does; None if that can't be had."""
        daemon = self.daemon
        if daemon is None or not daemon.accepts:
            return None
        listing = Listing(self.clock.rightNow)
        done: list[object] = []
        reading = Deferred.fromCoroutine(self._list(daemon.dispatcher, listing))
        _ = reading.addBoth(done.append)
        self.run_until(self.clock.rightNow + 60.0, lambda: bool(done))
        if done != [None]:
            self.trace("no list", *done)
            return None
        self.history.listings.append(listing)
        return listing

    async def _list(self, dispatcher: Dispatcher, listing: Listing) -> None:
        jobs, position = await dispatcher.jobs(0, 100)
        while jobs:
            for job in jobs:
                marker = marker_of(json.loads(job.status.info))
                listing.jobs.append((str(job.job_id), marker))
            jobs, position = await dispatcher.jobs(position, 100)

    # --- Agents --------------------------------------------------------------------------

    def accept(self, host: str, daemon: Daemon, factory: IProtocolFactory) -> IProtocol:
        """Let an agent take a connection."""
        near = factory.buildProtocol(_AGENT)
        assert near is not None
        keeper = self._keepers.get(host)
        if keeper is not None:
            end, _ = self.network.join(near, keeper.protocol(), daemon.alive, keeper.alive)
            self.calls.append((host, end, daemon))
            return near
        ends: list[End] = []

        def script(request: ProcedureCall) -> Script:
            run = Run(json.loads(request.arguments)[0], self.clock.rightNow)
            self.trace("asked", host, run.marker)
            self.history.runs.append(run)
            self._runs.append((run, ends[0]))
            return script_of(Random(f"{self.seed} {run.marker}"), run)

        far = FakeAgent(script, self.clock).buildProtocol(None)
        end, _ = self.network.join(near, far, daemon.alive, always)
        ends.append(end)
        self.calls.append((host, end, daemon))
        return near

    def break_connections(self, host: str) -> None:
        """Let all connections to a host be reset."""
        for name, end, _ in self.calls:
            if name == host:
                end.other.abortConnection()
        self.calls = [one for one in self.calls if one[0] != host]

    def forget_connections(self, host: str) -> None:
        """Let a firewall forget all connections to a host: nothing gets through any more."""
        for name, end, _ in self.calls:
            if name == host:
                end.forget()
        self.calls = [one for one in self.calls if one[0] != host]

    def set_traps(self, host: str, random: Random) -> None:
        """Let each connection to a host break when the daemon says something there.

        None just ends: TLS would tell that from an agent that closes.
        """
        for name, end, _ in self.calls:
            if name == host:
                far = end.other
                end.trap = random.choice(
                    (
                        end.forget,
                        far.abortConnection,
                        partial(self.network.later, far.abortConnection),
                    )
                )

    def reload_agent(self, host: str) -> None:
        """Let an agent read its files again."""
        if host in self._keepers:
            self._keepers[host].reload()

    def crash_agent(self, host: str) -> None:
        """Let an agent die, and another be in its place at once."""
        self.break_connections(host)
        if host in self._keepers:
            self.history.dead_agents.add(host)
            self._end_agent(host)
            self._start_agent(host)

    def _start_agent(self, host: str) -> None:
        clock, keeps = ProcessClock(self.clock), self._keeping[host]
        self._keepers[host] = Keeper(clock, self.seed, self._began(host), keeps)

    def _end_agent(self, host: str) -> None:
        keeper = self._keepers.pop(host)
        self.resumed += keeper.kept.attached
        self.again += keeper.kept.again
        self.shared -= keeper.connections
        keeper.clock.kill()

    def _began(self, host: str) -> Callable[[Run], None]:
        def began(run: Run) -> None:
            self.trace("asked", host, run.marker)
            self.history.runs.append(run)
            self.shared += 1

        return began

    def close(self) -> None:
        """End the story: note how long runs took, and forget the rest."""
        for run, end in self._runs:
            run.over_at = end.closed_at
        for host in list(self._keepers):
            self._end_agent(host)
        if self.daemon is not None:
            self.daemon.kill()
            self.daemon = None
        self.platter.close()


@implementer(IStreamClientEndpoint)
class _Endpoint:
    """The way from one daemon to one host."""

    def __init__(self, world: World, daemon: Daemon, host: Host) -> None:
        self._world = world
        self._daemon = daemon
        self._host = host

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """See :class:`IStreamClientEndpoint`."""
        connected: Deferred[IProtocol] = Deferred()
        self._world.trace("connects", self._host.hostname)
        self._world.network.later(self._arrive, connected, protocolFactory)
        return connected

    def _arrive(self, connected: Deferred[IProtocol], factory: IProtocolFactory) -> None:
        world, host = self._world, self._host.hostname
        if connected.called or not self._daemon.alive() or host in world.weather.deaf:
            return
        if host in world.weather.refusing:
            connected.errback(ConnectionRefusedError())
            return
        connected.callback(world.accept(host, self._daemon, factory))
