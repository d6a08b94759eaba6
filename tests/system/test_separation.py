"""What somebody can do who has taken over the process that strangers talk to."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from twisted.trial.unittest import SkipTest, TestCase

from harpcaller.agent.call_process import AgentReactor
from harpcaller.agent.calls import Calls
from harpcaller.agent.kept_calls import KeepSettings, KeptCalls
from harpcaller.agent.library import Library
from harpcaller.agent.orders import Load
from harpcaller.agent.separation import network_process
from harpcaller.agent.separation.channel import MOST_NEW
from harpcaller.agent.separation.conversation import Office
from harpcaller.agent.separation.network_process import NetworkProcess, NotStarting
from harpcaller.agent.separation.notes import BURST, RATE
from harpcaller.agent.separation.table import Confine, Leave, Terms
from harpcaller.logs.events import EventLog
from harpcaller.testing.certificates import make_authority
from harpcaller.wire.agent import Credentials
from harpcaller.wire.client import JobId
from tests.agent.fakes import FakeChecker, FakeLink, FakeTemplate, asked, described
from tests.system import hostile_network
from tests.system.agent_processes import is_running
from tests.system.agents import SECONDS, Agent, AgentCase, prepare

reactor = cast(AgentReactor, installed)
LOG = EventLog("agent")
ROOT = Path(__file__).parents[2]
NOBODY = 65534
TERMS = Terms(b"", b"", b"", 1000, True, 1000, 1)
MOST = 3


class AttackCase(TestCase):
    """A monitor, and a network process that is taken over."""

    timeout = 120

    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.saw)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.template = FakeTemplate({"ticks": described("ticks", streaming=True)})
        library = Library(self.load, reactor, LOG)
        self.successResultOf(Deferred.fromCoroutine(library.load(Load("x"))))
        self.calls = Calls(library, reactor, most=MOST, grace_seconds=5.0, log=LOG)
        self.kept_calls = KeptCalls(KeepSettings(60.0, self.mktemp()), reactor, LOG)
        self.office = Office(FakeChecker(), self.calls, self.kept_calls, LOG)
        self.waiting: dict[str, Deferred[None]] = {}
        self.lost: Deferred[str] = Deferred()
        self.addCleanup(self.end_all)

    async def load(self, order: Load, lost: object) -> FakeTemplate:
        return self.template

    def end_all(self) -> None:
        self.kept_calls.close()
        for process in self.template.processes:
            process.events.exited("in the end")

    def saw(self, event: LogEvent) -> None:
        self.events.append(event)
        if event.get("kind") == "agent.network_printed":
            waiter = self.waiting.pop(event["context"]["line"], None)
            if waiter is not None:
                reactor.callLater(0, waiter.callback, None)

    def printed(self) -> str:
        """Tell what the attacker said."""
        return "\n".join(
            event["context"]["line"]
            for event in self.events
            if event.get("kind") == "agent.network_printed"
        )

    async def taken_over(self, attack: str, *arguments: object) -> NetworkProcess:
        """Start a network process that is taken over at once."""
        program = str(Path(hostile_network.__file__))
        command = (sys.executable, "-P", program, attack, *map(str, arguments))
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        network = NetworkProcess(reactor, environ, self.office, LOG, self.lost.callback, command)
        self.addCleanup(network.gone)
        self.addCleanup(network.kill)
        is_root = os.geteuid() == 0
        await network.start(TERMS, Confine(is_root, NOBODY, NOBODY))
        await network.listen([socket.create_server(("127.0.0.1", 0))])
        return network

    async def through(self, attack: str, *arguments: object) -> str:
        """Let it do its worst; gives what it printed.  The monitor isn't impressed."""
        all_said: Deferred[None] = Deferred()
        self.waiting["that was all"] = all_said
        network = await self.taken_over(attack, *arguments)
        await all_said
        self.assertFalse(self.lost.called)
        network.kill()
        await network.gone()
        self.assertEqual([], [event for event in self.events if "log_failure" in event])
        return self.printed()

    async def ended(self, attack: str) -> str:
        """Let it do what ends it; gives why it was ended."""
        network = await self.taken_over(attack)
        reason = await self.lost
        await network.gone()
        await deferLater(reactor, 0)
        return reason


class RightsTests(AttackCase):
    """It has none, where the agent is root."""

    def setUp(self) -> None:
        if os.geteuid() != 0:
            raise SkipTest("only root's rights can be lost")
        super().setUp()

    async def test_files(self) -> None:
        """It can read no file, whoever may; and make none."""
        users = Path(self.mktemp()).absolute()
        users.touch(0o644)
        found = await self.through("what_is_there", users, Path(__file__).absolute())
        self.assertNotIn("DONE", found)
        self.assertEqual(12, found.count("No such file or directory"))

    async def test_other_processes(self) -> None:
        """It can't signal any process or look into it, become anybody, or start anything."""
        found = await self.through("others", os.getpid(), 1)
        self.assertNotIn("DONE", found)
        self.assertEqual(16, found.count("Operation not permitted"), found)
        for what in ("fork: Resource temp", "execve: No such", "low port: Permission denied"):
            self.assertIn(what, found)


class RulesTests(AttackCase):
    """It can't say what isn't in the table, or not now, and goes on by no such thing."""

    async def test_no_call_without_a_user(self) -> None:
        """A call of nobody ends it, and so does one on another's channel."""
        for attack in ("call_of_nobody", "other_channel"):
            self.lost = Deferred()
            self.assertEqual("a message that can't come now", await self.ended(attack))
        self.assertEqual([], self.template.processes)

    async def test_wrong_password(self) -> None:
        """A password that was guessed wrong begins nothing."""
        self.assertIn("wrong password", await self.through("call_after_refusal"))
        self.assertEqual([], self.template.processes)

    async def test_one_call_for_each_check(self) -> None:
        """Nobody calls twice on what was checked once; and the first call is ended, too."""
        self.assertEqual("a message that can't come now", await self.ended("two_calls"))
        (process,) = self.template.processes
        self.assertEqual(1, len(process.ends))

    async def test_no_other_caller(self) -> None:
        """Arguments can't say who calls, or what else is to run."""
        for attack in ("forged_caller", "second_line"):
            self.lost = Deferred()
            self.assertIn("Call: ", await self.ended(attack))
        self.assertEqual([], self.template.processes)

    async def test_jobs_of_others(self) -> None:
        """What another user has begun isn't even there."""
        request = asked("ticks")
        credentials = Credentials("alice", "")
        _ = self.kept_calls.begin(
            replace(request, job=JobId("a job"), credentials=credentials),
            FakeLink(),
            lambda keeper: self.calls.begin(request, keeper, "192.0.2.7"),
        )
        self.assertIn("no_such_job", await self.through("job_of_another"))

    async def test_nonsense(self) -> None:
        """Garbage, and what is too long, end it before it is kept in memory."""
        for attack, reason in (
            ("garbage_on_the_channel", ""),
            ("gigantic", "a message b'A' of 4294967295 bytes"),
            ("behind_the_question", "a message after what was asked for"),
            ("garbage", "there is no message"),
            ("gigantic_note", "a message b'N' of 2147483648 bytes"),
            ("ready_again", "Ready in stage serving"),
            ("listening_again", "Listening in stage serving"),
        ):
            self.lost = Deferred()
            self.assertIn(reason, await self.ended(attack), attack)

    async def test_descriptors(self) -> None:
        """It can send nothing but ends of channels, and none is left here."""
        # What the reactor opens at its first process stays.
        self.assertIn("without its descriptor", await self.ended("no_descriptor"))
        before = len(os.listdir("/proc/self/fd"))
        for attack, reason in (
            ("descriptor_of_nothing", "belongs to no message"),
            ("too_many_descriptors", "too many descriptors"),
            ("a_pipe", "no socket"),
            ("a_port", "no channel"),
            ("a_listener", "no channel"),
            ("itself", "there is no message"),
            ("descriptor_on_a_channel", "a descriptor on a channel"),
        ):
            self.lost = Deferred()
            self.assertIn(reason, await self.ended(attack), attack)
        while len(os.listdir("/proc/self/fd")) > before:
            await deferLater(reactor, 0.02)


class FloodTests(AttackCase):
    """It can keep the monitor busy, and no more."""

    async def test_channels(self) -> None:
        """Of too many some are closed at once; those that ask later are answered."""
        found = await self.through("flood_of_channels")
        self.assertIn("closed at once: True", found)
        self.assertIn("Finished()", found)
        self.assertLess(MOST_NEW, 900)

    async def test_calls(self) -> None:
        """There are no more calls than there may be."""
        self.assertIn("max_calls", await self.through("flood_of_calls"))
        self.assertEqual(MOST, len(self.template.processes))

    async def test_notes(self) -> None:
        """The log takes so many lines, none of which passes for another's."""
        before = time.monotonic()
        self.assertIn("Finished()", await self.through("flood_of_notes"))
        most = BURST + RATE * (time.monotonic() - before + 1)
        kinds = [event.get("kind") for event in self.events]
        self.assertLess(kinds.count("agent.network_said"), most)
        self.assertIn("agent.notes_left_out", kinds)
        self.assertNotIn("agent.call_started", kinds)


class EndTests(AttackCase):
    async def test_leaves(self) -> None:
        """Its end is told, and the calls that it had asked for are ended."""
        self.assertIn("exit code 3", await self.ended("leaves"))

    async def test_monitor_says_nothing_more(self) -> None:
        """The real one ends in order when the control socket is closed."""
        issued = make_authority().issue()
        terms = Terms(issued.certificate_pem, issued.key_pem, b"", 1000, True, 1000, 1)
        network = NetworkProcess(reactor, os.environ, self.office, LOG, self.lost.callback)
        await network.start(terms, Confine(False, 0, 0))
        network._control.transport.loseConnection()
        self.assertIn("exit code 0", await self.lost)
        await network.gone()

    async def test_monitor_says_something_else(self) -> None:
        """It doesn't start if it isn't told how."""
        network = NetworkProcess(reactor, os.environ, self.office, LOG, self.fail)
        with self.assertRaises(NotStarting):
            await network.start(cast(Terms, Leave()), Confine(False, 0, 0))
        await network.gone()

    async def test_never_starts(self) -> None:
        """One that ends before it listens, or takes too long, is no network process."""
        for program, reason in (
            ("import sys; sys.exit(5)", "code 5"),
            ("", "exit"),
            (None, "long"),
        ):
            if program is None:
                self.patch(network_process, "START_SECONDS", 0.1)
                program = "import time; time.sleep(1000)"
            command = (sys.executable, "-P", "-c", program)
            network = NetworkProcess(reactor, os.environ, self.office, LOG, self.fail, command)
            with self.assertRaises(NotStarting) as caught:
                await network.start(TERMS, Confine(False, 0, 0))
            await network.gone()
            self.assertIn(reason, str(caught.exception))
            with self.assertRaises(NotStarting):
                await network.listen([socket.create_server(("127.0.0.1", 0))])
            network.renew(TERMS)
            network.leave()

    async def test_no_process(self) -> None:
        """Nor is there one if the system has nothing left for it."""

        def fail(*arguments: object) -> None:
            raise OSError(11, "Resource temporarily unavailable")

        self.patch(network_process, "start_helper", fail)
        network = NetworkProcess(reactor, os.environ, self.office, LOG, self.fail)
        with self.assertRaises(NotStarting) as caught:
            await network.start(TERMS, Confine(False, 0, 0))
        self.assertIn("temporarily unavailable", str(caught.exception))

    async def test_no_program(self) -> None:
        """Nor is there one if the start is given up."""
        command = (sys.executable, "-P", "-c", "import time; time.sleep(1000)")
        network = NetworkProcess(reactor, os.environ, self.office, LOG, self.fail, command)
        starting = Deferred.fromCoroutine(network.start(TERMS, Confine(False, 0, 0)))
        starting.cancel()
        await network.gone()
        self.failureResultOf(starting)


class RealTests(AgentCase):
    """The real one, of an agent that runs."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        prepare(self.folder, make_authority())

    def start(self, *replacements: tuple[str, str], under: tuple[str, ...] = ()) -> int:
        """Start an agent; gives the process number of its network process."""
        conf = self.folder / "harpd.conf"
        for old, new in replacements:
            conf.write_text(conf.read_text().replace(old, new))
        self.agent = Agent(self.folder, under=under)
        self.addCleanup(self.agent.stop)
        self.agent.listening()
        return self.agent.helper("harpcaller.service.agent_network")

    def status(self, pid: int) -> dict[str, str]:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}

    def test_rights(self) -> None:
        """It is another user, without capabilities, files and a root, and starts nothing."""
        if os.geteuid() != 0:
            raise SkipTest("only root's rights can be lost")
        pid = self.start()
        status = self.status(pid)
        self.assertNotIn("0", status["Uid"].split())
        self.assertNotIn("0", status["Gid"].split())
        self.assertNotIn("0", status["Groups"].split())
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            self.assertEqual(0, int(status[kind], 16), kind)
        self.assertEqual("1", status["NoNewPrivs"])
        self.assertIn("(deleted)", os.readlink(f"/proc/{pid}/root"))
        limits = Path(f"/proc/{pid}/limits").read_text()
        self.assertRegex(limits, r"Max processes +0 +0 ")
        places = {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
        self.assertEqual({"/dev/null"}, {place for place in places if place.startswith("/")})
        self.assertEqual({"result": "printed"}, self.call("prints")[1])

    def test_as_root(self) -> None:
        """With root as its user it stays root, which the log tells; all else is the same."""
        if os.geteuid() != 0:
            raise SkipTest("only root can stay root")
        pid = self.start(("port: 0", "port: 0\n  user: root"))
        self.assertIn("as root it isn't confined", self.agent.wait_for("agent.network_confined"))
        status = self.status(pid)
        self.assertEqual("1", status["NoNewPrivs"])
        self.assertEqual(0, int(status["CapPrm"], 16))
        self.assertEqual({"result": "printed"}, self.call("prints")[1])
        self.assertEqual("auth_error", self.error("prints", (), "wrong")["type"])
        self.agent.wait_for('agent.refused {"peer":"127.0.0.1","type":"auth_error"')
        self.agent.process.send_signal(signal.SIGHUP)
        self.agent.wait_for("agent.reloaded")
        client = self.client()
        self.assertEqual({"result": "printed"}, client.send("prints").answer()[1])
        self.doCleanups()
        self.assertEqual(0, self.agent.process.returncode)

    def test_death_of_the_monitor(self) -> None:
        """Without a monitor it ends by itself, as root, too."""
        pid = self.start(("port: 0", "port: 0\n  user: root") if os.geteuid() == 0 else ("", ""))
        client = self.client()
        self.agent.process.kill()
        self.assertEqual(-signal.SIGKILL, self.agent.process.wait(SECONDS))
        self.until(lambda: not is_running(pid))
        with self.assertRaises(OSError):
            client.send("prints").line()
            client.send("prints")

    def test_signals(self) -> None:
        """Signals that are meant for the agent don't end it."""
        pid = self.start()
        for number in (
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
            signal.SIGUSR1,
            signal.SIGUSR2,
        ):
            os.kill(pid, number)
        self.assertEqual({"result": "printed"}, self.call("prints")[1])

    def test_its_death(self) -> None:
        """If it dies the agent ends, and fails, so that it is started anew; calls end, too."""
        pid = self.start()
        client = self.client().send("with_child")
        client.line()
        pids = [*client.line()["stream"], *self.agent.children()]
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(1, self.agent.process.wait(SECONDS))
        self.assertIn("signal 9", self.agent.wait_for("agent.network_died"))
        self.until(lambda: not any(map(is_running, pids)))
