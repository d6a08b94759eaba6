"""A dispatcher's life under fire, from a seed: strikes, clients, and the last questions.

One in all: the real store on a simulated disk, the real queues, dispatcher, listener and caller,
clients that write and read the real lines, agents that follow scripts.  In the end the strikes
cease, everything gets the time to end, every job is asked for, the daemon is restarted, and every
job is asked for once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any

import attrs
from twisted.logger import ILogObserver, globalLogPublisher
from zope.interface import implementer

from harpcaller.agent.idle import IdleSettings
from harpcaller.dispatcher.dispatcher import CallSettings
from harpcaller.listener.protocol import ClientSettings
from harpcaller.store.sizes import Durability
from harpcaller.wire.values import Raw, encode
from tests.fire.checker import complaints
from tests.fire.daemon import Daemon, Settings
from tests.fire.disk import Dead
from tests.fire.history import queue_key
from tests.fire.keeper import Keeps
from tests.fire.people import Client, question_about, request_of
from tests.fire.world import Endless, World

#: For how long strikes go on, in seconds of the story.
FIRE_SECONDS = 8.0
#: How much longer things may take to end: queues are emptied call by call.
PATIENCE_SECONDS = 3000.0
#: How things are when nothing is wrong.
_BEST = {"full": False, "bad_syncs": 0.0, "disk_seconds": 0.004, "slowness": 0.002}


@attrs.frozen
class Outcome:
    """What came of a seed.

    Attributes:
        complaints: What should not have been.
        digest: Of the whole trace.
        events: The trace.
        jobs: How many jobs there were.
        answers: How many answers were held against the model.
        resumed: How many calls were gone on with that agents had kept.
        again: How many were asked for again, since nobody knew whether they had been heard.
        shared: How many came on a connection that had served another.
    """

    seed: int
    complaints: list[str]
    digest: str
    events: list[tuple[Any, ...]]
    jobs: int
    answers: int
    resumed: int
    again: int
    shared: int


def play(seed: int) -> Outcome:
    """Play one story."""
    with _bugs_seen() as bugs:
        story = _Story(seed)
        world = story.world
        try:
            story.play()
        except Endless as endless:
            world.complaints.append(str(endless))
        finally:
            world.close()
    found = [*world.complaints, *bugs, *complaints(world.history)]
    answers = sum(1 for one in world.history.questions if one.answers)
    runs = len({one.job_id for one in world.history.questions if one.kind == "call"})
    return Outcome(
        seed,
        found,
        world.digest(),
        world.events,
        runs,
        answers,
        world.resumed,
        world.again,
        max(0, world.shared),
    )


@contextmanager
def _bugs_seen() -> Iterator[list[str]]:
    """Gather what is logged as a bug."""
    bugs: list[str] = []

    @implementer(ILogObserver)
    def observe(event: Mapping[str, Any]) -> None:
        failure = event.get("log_failure")
        if failure is not None and not isinstance(failure.value, (Dead, GeneratorExit)):
            bugs.append(f"a bug was logged: {failure.getTraceback()}")

    globalLogPublisher.addObserver(observe)
    try:
        yield bugs
    finally:
        globalLogPublisher.removeObserver(observe)


def _idle(random: Random) -> IdleSettings:
    """Choose how an agent keeps connections: some not at all, some for a moment or only one."""
    return IdleSettings(random.choice((0.0, 0.01, 0.5, 90.0, 90.0)), random.choice((1, 100)))


class _Story:
    def __init__(self, seed: int) -> None:
        self.random = random = Random(f"{seed} story")
        durabilities: tuple[Durability, ...] = ("full", "end", "none")
        durability = random.choices(durabilities, (8, 1, 1))[0]
        keeping = {
            host: Keeps(random.random() < 0.8, _idle(random))
            for host in random.sample(World.HOSTS, random.choice((0, 1, 3, 3)))
        }
        self.world = World(seed, Settings(durability), keeping)
        strikes: list[Callable[[], None]] = [
            self.kill, self.kill, self.kill_in_a_call, self.stop, self.fill_disk, self.fail_syncs,
            self.slow_disk, self.slow_network, self.host_goes, self.host_refuses, self.host_is_deaf,
            self.agent_crashes, self.network_breaks, self.network_breaks, self.firewall_forgets,
            self.connections_are_dead, self.connections_are_dead, self.agent_reloads,
            self.clock_jumps, self.cancel_queue, self.reload, self.client_goes, self.client_is_slow,
            self.client_is_mad, self.index_is_lost, self.prune,
        ]  # fmt: skip
        if durability == "full":
            strikes.append(self.cut_power)
        # Each story has some of them; the fewer kinds, the more of each.
        self.strikes = random.sample(strikes, random.randint(0, 7))
        self.pace = random.choice((0.4, 1.0, 3.0))
        self.queues = random.randint(0, 3)
        self.hosts = random.choice((("web01",), World.HOSTS, (*World.HOSTS, "nowhere")))
        self.marker = 0
        self.world.history.is_calm = not self.strikes
        slow = {
            self.slow_disk, self.slow_network, self.host_refuses, self.host_is_deaf,
            self.firewall_forgets, self.connections_are_dead,
        }  # fmt: skip
        self.world.history.is_swift = slow.isdisjoint(self.strikes)
        if "nowhere" in self.hosts:
            self.world.history.unsure_hosts.add("nowhere")

    def play(self) -> None:
        """Go through it."""
        world = self.world
        world.trace("strikes", [strike.__name__ for strike in self.strikes], self.queues)
        world.start()
        random_pace = self.random.choice((0.15, 0.4, 1.0))
        for what, pace in ((self.client_acts, random_pace), (self.strike, self.pace)):
            self._now_and_then(what, pace)
        world.run_until(FIRE_SECONDS)
        self._cease()
        self._settle()
        self._ask_for_everything("get_result", "get_status", "read_stream", "follow_stream")
        self._stop_for_good()
        world.start()
        world.run_until(world.clock.rightNow + 60.0)
        self._ask_for_everything("get_result", "read_stream")
        self._stop_for_good()

    def _now_and_then(self, what: Callable[[], None], pace: float) -> None:
        def act() -> None:
            if clock.rightNow < FIRE_SECONDS:
                what()
                _ = clock.callLater(self.random.expovariate(1 / pace), act)

        clock = self.world.clock
        _ = clock.callLater(self.random.expovariate(1 / pace), act)

    # --- Clients -------------------------------------------------------------------------

    def client_acts(self) -> None:
        """Let a client ask one thing or some, on a connection of its own or an old one."""
        world, random = self.world, self.random
        old = [client for client in world.clients if not client.is_mad]
        client = random.choice(old) if old and random.random() < 0.4 else world.connect()
        if client is None:
            return
        for _ in range(random.choice((1, 1, 1, 2, 5))):
            world.ask(client, self._request())
        if random.random() < 0.2:
            client.transport.loseWriteConnection()

    def _request(self) -> dict[str, Any]:
        known = self.world.known_jobs()
        if known and self.random.random() < 0.6:
            # Rather a late one: the others have ended.
            late = known[-8:] if self.random.random() < 0.7 else known
            return question_about(self.random, self.random.choice(late))
        self.marker += 1
        return request_of(self.random, self.marker, list(self.hosts), self.queues)

    def _client(self) -> Client | None:
        clients = list(self.world.clients)
        return self.random.choice(clients) if clients else None

    def client_goes(self) -> None:
        client = self._client()
        if client is not None:
            client.transport.abortConnection()

    def client_is_slow(self) -> None:
        client = self._client()
        if client is not None:
            client.transport.pauseProducing()
            seconds = self.random.choice((1.0, 10.0, 50.0))
            self._later(seconds, client.transport.resumeProducing)

    def client_is_mad(self) -> None:
        """Let a client say what can't be understood; nobody else is to notice."""
        client = self.world.connect()
        if client is not None:
            data = self.random.choice(
                (b"}{\n", b"\xff\n", b"x" * 5000, b'{"harpcaller":1}\n', b"{")
            )
            self.world.trace("nonsense", data[:20])
            client.is_mad = True
            client.transport.write(data)
            client.transport.loseWriteConnection()

    # --- Strikes -------------------------------------------------------------------------

    def strike(self) -> None:
        """Let something go wrong."""
        if self.strikes:
            strike = self.random.choice(self.strikes)
            self.world.trace("strike", strike.__name__)
            strike()

    def _later(self, seconds: float, what: Callable[[], None]) -> None:
        _ = self.world.clock.callLater(seconds, what)

    def _for_a_while(self, what: object, name: str, value: object) -> None:
        """Let something be otherwise, and then as it is at best."""
        seconds = self.random.choice((0.1, 1.0, 6.0))
        setattr(what, name, value)
        self._later(seconds, lambda: setattr(what, name, _BEST[name]))

    def kill(self) -> None:
        self.world.kill(self.random.choice((0.0, 0.5, 3.0)))

    def kill_in_a_call(self) -> None:
        self.world.trouble.die_at = self.random.randint(1, 60)

    def cut_power(self) -> None:
        self.world.cut_power()

    def index_is_lost(self) -> None:
        """Let the index be gone at the next start; it can always be made anew."""
        self.world.kill()
        for path in list(self.world.platter.databases):
            self.world.platter.databases.pop(path).close()

    def stop(self) -> None:
        self.world.stop(lambda daemon: self.world.kill())

    def fill_disk(self) -> None:
        self._disk_fails()
        self._for_a_while(self.world.trouble, "full", True)

    def fail_syncs(self) -> None:
        self._disk_fails()
        self._for_a_while(self.world.trouble, "bad_syncs", self.random.choice((0.1, 0.5, 1.0)))

    def _disk_fails(self) -> None:
        history = self.world.history
        # Of records that nobody waits for, the last may be lost without a word.
        history.keeps_records = self.world.settings.durability != "end"
        if history.disk_fails is None:
            history.disk_fails = self.world.clock.rightNow

    def slow_disk(self) -> None:
        self._for_a_while(self.world.weather, "disk_seconds", self.random.choice((0.3, 3.0)))

    def slow_network(self) -> None:
        self._for_a_while(self.world.network, "slowness", self.random.choice((0.1, 1.0)))

    def _host(self) -> str:
        return self.random.choice(World.HOSTS)

    def host_goes(self) -> None:
        name = self._host()
        self.world.history.unsure_hosts.add(name)
        self._among(self.world.weather.gone, name)
        self.world.tell_hosts()
        self._later(6.5, self.world.tell_hosts)

    def _among(self, those: set[str], name: str) -> None:
        those.add(name)
        self._later(self.random.choice((0.5, 2.0, 6.0)), lambda: those.discard(name))

    def host_refuses(self) -> None:
        self._among(self.world.weather.refusing, self._host())

    def host_is_deaf(self) -> None:
        self._among(self.world.weather.deaf, self._host())

    def agent_crashes(self) -> None:
        self.world.crash_agent(self._host())

    def network_breaks(self) -> None:
        self.world.break_connections(self._host())

    def firewall_forgets(self) -> None:
        self.world.forget_connections(self._host())

    def connections_are_dead(self) -> None:
        self.world.set_traps(self._host(), self.random)

    def agent_reloads(self) -> None:
        self.world.reload_agent(self._host())

    def clock_jumps(self) -> None:
        self.world.jump(self.random.choice((-1e6, -3600.0, -1.0, 0.5, 1000.0, 1e6)))

    def reload(self) -> None:
        self.world.settings = settings = Settings(
            self.world.settings.durability,
            CallSettings(self.random.choice((3.0, 8.0)), self.random.choice((10.0, 20.0))),
            ClientSettings(4096, self.random.choice((5.0, 30.0))),
            self.random.choice((1.0, 3.0)),
        )
        if self.world.daemon is not None:
            self.world.daemon.reload(settings)

    # --- Operators -----------------------------------------------------------------------

    def _daemon(self) -> Daemon | None:
        daemon = self.world.daemon
        return daemon if daemon is not None and daemon.accepts else None

    def cancel_queue(self) -> None:
        daemon = self._daemon()
        if daemon is not None:
            name = {"x": 1, "q": self.random.randrange(3)}
            self.world.history.queue_cancels.append((self.world.clock.rightNow, queue_key(name)))
            _ = daemon.dispatcher.cancel_queue(Raw(encode(name))).addErrback(lambda _: None)

    def prune(self) -> None:
        daemon = self._daemon()
        if daemon is not None:
            age = self.random.choice((0.0, 5.0, 20.0))
            now = self.world.clock.rightNow
            # No age at all means every job that has ended, whatever the clock said then.
            before = self.world.now() - age if age else float("inf")
            self.world.history.prunings.append((now, before))
            _ = daemon.dispatcher.prune(age).addErrback(lambda _: None)

    # --- The end -------------------------------------------------------------------------

    def _cease(self) -> None:
        """Let no more go wrong."""
        world = self.world
        world.trace("cease")
        world.trouble.die_at = None
        world.run_until(FIRE_SECONDS + 12.0)
        for client in list(world.clients):
            client.transport.resumeProducing()

    def _settle(self) -> None:
        """Give everything the time to end."""
        world = self.world

        def ended() -> bool:
            daemon = self._daemon()
            return daemon is not None and not daemon.dispatcher.living()

        world.run_until(world.clock.rightNow + PATIENCE_SECONDS, ended)
        if not ended():
            world.complaints.append("some jobs never ended")
        world.run_until(world.clock.rightNow + 60.0)
        world.history.settled = world.clock.rightNow
        left = [one for client in world.clients for one in client.waiting]
        if left:
            world.complaints.append(f"nobody answered {left[0].request}")

    def _stop_for_good(self) -> None:
        world = self.world
        world.stop(self._leave)
        world.run_until(world.clock.rightNow + 200.0, lambda: world.daemon is None)
        if world.daemon is not None:
            world.complaints.append("it doesn't stop")
            world.kill()

    def _ask_for_everything(self, *kinds: str) -> None:
        world = self.world
        listing = world.list_all()
        if listing is None:
            world.complaints.append("the list of jobs can't be had")
        listed = [] if listing is None else [job_id for job_id, _ in listing.jobs]
        client = world.connect()
        assert client is not None
        for job_id in dict.fromkeys([*world.known_jobs(), *listed]):
            for kind in kinds:
                more = {"wait": False} if kind == "get_result" else {}
                world.ask(client, {"harpcaller": 1, kind: job_id, **more})
        client.transport.loseWriteConnection()
        world.run_until(world.clock.rightNow + 60.0, lambda: client.is_lost)
        if client.waiting:
            world.complaints.append(f"nobody answered {client.waiting[0].request}")

    def _leave(self, daemon: Daemon) -> None:
        """Let a daemon that has stopped be gone, after all that may linger."""
        world = self.world

        def gone() -> None:
            world.look_for_leaks(daemon)
            daemon.kill()
            world.platter.die()
            world.daemon = None

        _ = world.clock.callLater(60.0, gone)
