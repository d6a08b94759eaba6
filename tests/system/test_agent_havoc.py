"""Procedures that do the worst: the agent and other calls go on."""

from __future__ import annotations

import signal

from twisted.internet.task import deferLater

from harpcaller.wire.ending import Ending, Failed, Raised
from tests.system.agent_processes import ProcessCase, reactor

PROCEDURES = """
import ctypes, gc, os, resource, signal, socket, subprocess, sys, threading, time
from harpd.proc import procedure, streaming_procedure

TABLE = {"kept": True}

@procedure
def add(a, b):
    assert TABLE == {"kept": True}
    return a + b

@streaming_procedure
def beside():
    "Goes on beside whatever happens."
    while True:
        yield 1
        time.sleep(0.05)

@procedure
def crashes():
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.string_at(0)

@procedure
def leaves():
    os._exit(0)

@procedure
def exits():
    sys.exit("that's it")

@procedure
def kills_its_group():
    os.killpg(0, signal.SIGKILL)

@procedure
def recurses():
    return recurses()

@procedure
def fills_memory():
    limit = 512 * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    kept = []
    while True:
        kept.append(b"x" * 10_000_000)

@procedure
def opens_files():
    resource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))
    kept = []
    while True:
        kept.append(open("/dev/null"))

@procedure
def closes_all():
    os.closerange(0, 1000)

@procedure
def closes_output():
    os.close(1)
    os.close(2)
    sys.stdout = None
    return "fine"

@procedure
def spoils_tables():
    TABLE.clear()
    os.environ.clear()
    os.chdir("/tmp")
    sys.modules.clear()
    return len(TABLE)

@procedure
def stops_itself():
    os.kill(os.getpid(), signal.SIGSTOP)

@procedure
def deaf_and_busy():
    for number in (signal.SIGTERM, signal.SIGXCPU, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass

@procedure
def prints():
    while True:
        os.write(1, b"all work and no play\\n" * 1000)

@procedure
def prints_no_line():
    while True:
        os.write(1, b"x" * 65536)

@procedure
def leaves_a_printer():
    subprocess.Popen(["timeout", "5", "yes"])
    return "left"

@streaming_procedure
def streams():
    while True:
        yield "x" * 1000

@procedure
def threads():
    for _ in range(50):
        threading.Thread(target=time.sleep, args=(1000,)).start()
    return threading.active_count()

@procedure
def what_is_left_of_us():
    return {
        "oom": int(open("/proc/self/oom_score_adj").read()),
        "descriptors": subprocess.run(
            ["sh", "-c", "for fd in 0 1 2 3 4 5 6 7 8 9; do"
             " [ -e /proc/self/fd/$fd ] && echo $fd; done"], capture_output=True, text=True,
            close_fds=False,
        ).stdout.split(),
        "blocked": [line.split()[1] for line in subprocess.run(
            ["grep", "-E", "SigBlk|SigIgn", "/proc/self/status"],
            capture_output=True, text=True).stdout.splitlines()],
        "command": open("/proc/self/cmdline").read().split("\\0"),
        "environment": sorted(os.environ),
        "first": open("/proc/self/environ").read().split("\\0"),
        "session": [os.getsid(0) == os.getpid(), os.getpgrp() == os.getpid()],
    }
"""


class HavocTests(ProcessCase):
    procedures = PROCEDURES

    async def load_and_watch(self) -> None:
        await self.load()
        self.beside, self.beside_events = self.begin("beside")
        await self.beside_events.first_record()

    async def assert_all_goes_on(self) -> None:
        """Other calls run and can be started, by the same template."""
        heard = len(self.beside_events.records)
        self.assertEqual(3, await self.value_of("add", [1, 2]))
        while len(self.beside_events.records) == heard:
            await deferLater(reactor, 0.02)
        self.assertFalse(self.beside_events.over.called)
        self.assertEqual(0, self.deaths)

    async def ends(self, name: str) -> Ending | None:
        await self.load_and_watch()
        ending = await self.ending_of(name)
        how = self.how
        await self.assert_all_goes_on()
        self.how = how
        return ending

    async def is_ended(self, name: str) -> str:
        """Let it do its worst for a while, then end it as for a caller that went."""
        await self.load_and_watch()
        process, events = self.begin(name)
        await deferLater(reactor, 0.5)
        await self.assert_all_goes_on()
        process.hush()
        process.end(signal.SIGTERM, 0.5)
        how = await events.over
        await self.assert_all_goes_on()
        return how

    async def test_crashes(self) -> None:
        """A crash of the interpreter is told as what it is."""
        self.assertIsNone(await self.ends("crashes"))
        self.assertEqual("the procedure's process was killed by signal 11", self.how)

    async def test_leaves(self) -> None:
        """A process that goes without a word is told so."""
        self.assertIsNone(await self.ends("leaves"))
        self.assertIn("exit code 0 without a result", self.how)

    async def test_exits(self) -> None:
        """sys.exit is an exception like others."""
        ending = await self.ends("exits")
        assert isinstance(ending, Raised)
        self.assertEqual(("SystemExit", "that's it"), (ending.type, ending.message))

    async def test_kills_its_group(self) -> None:
        """Killing the own group hits nobody else."""
        self.assertIsNone(await self.ends("kills_its_group"))
        self.assertIn("signal 9", self.how)

    async def test_recurses(self) -> None:
        """Recursion without end is an exception."""
        ending = await self.ends("recurses")
        assert isinstance(ending, Raised)
        self.assertEqual("RecursionError", ending.type)

    async def test_fills_memory(self) -> None:
        """Running out of memory is an exception of this call alone."""
        ending = await self.ends("fills_memory")
        assert isinstance(ending, Raised)
        self.assertEqual("MemoryError", ending.type)

    async def test_opens_files(self) -> None:
        """So is running out of descriptors."""
        ending = await self.ends("opens_files")
        assert isinstance(ending, Raised)
        self.assertEqual("OSError", ending.type)

    async def test_closes_everything(self) -> None:
        """A procedure that closes what isn't its own harms itself only."""
        await self.ends("closes_all")
        self.assertIsInstance(await self.ending_of("closes_all"), (Failed, type(None)))
        self.assertEqual("fine", await self.value_of("closes_output"))

    async def test_spoils_tables(self) -> None:
        """What a call does to the procedures file's tables, no other call sees."""
        await self.load_and_watch()
        self.assertEqual(0, await self.value_of("spoils_tables"))
        await self.assert_all_goes_on()

    async def test_stops_itself(self) -> None:
        """A stopped process can be ended."""
        self.assertIn("signal", await self.is_ended("stops_itself"))

    async def test_deaf_and_busy(self) -> None:
        """So can one that listens to nothing."""
        self.assertIn("signal 9", await self.is_ended("deaf_and_busy"))

    async def test_prints_for_ever(self) -> None:
        """Printing without end doesn't keep the agent from its work, nor fill its log."""
        self.assertIn("signal", await self.is_ended("prints"))
        kinds = [event.get("kind") for event in self.events]
        self.assertLess(kinds.count("agent.procedure_printed"), 20_000)
        self.assertIn("agent.lines_left_out", kinds)

    async def test_prints_no_line(self) -> None:
        """Nor does a line without end."""
        self.assertIn("signal", await self.is_ended("prints_no_line"))
        self.assertLess(max(map(len, self.logged("agent.procedure_printed"))), 8193)

    async def test_leaves_a_printer(self) -> None:
        """A program that was left behind and prints isn't listened to for ever."""
        await self.load_and_watch()
        self.assertEqual("left", await self.value_of("leaves_a_printer"))
        await self.assert_all_goes_on()

    async def test_streams_for_ever(self) -> None:
        """A stream without end harms nobody."""
        how = await self.is_ended("streams")
        self.assertRegex(how, "signal 15|exit code 1", "whichever comes first: signal or EPIPE")

    async def test_threads(self) -> None:
        """Threads that a procedure leaves running don't keep its process."""
        await self.load_and_watch()
        self.assertEqual(51, await self.value_of("threads"))
        await self.assert_all_goes_on()

    async def test_clean_surroundings(self) -> None:
        """Programs start with three descriptors, no odd signals, and an environment that the
        operator chose; out of memory, the system takes calls before the agent."""
        await self.load()
        found = await self.value_of("what_is_left_of_us")
        self.assertEqual(["0", "1", "2"], found["descriptors"])
        for mask in found["blocked"]:
            self.assertEqual(0, int(mask, 16) & 0x7FFFFFFF)
        self.assertEqual([True, True], found["session"])
        self.assertEqual(200, found["oom"])
        self.assertEqual(["-P", "-m", "harpcaller.agent.template", ""], found["command"][1:])
        expected = sorted(self.template._environment)
        self.assertEqual(expected, found["environment"])
        self.assertEqual(expected, sorted(one.split("=")[0] for one in found["first"] if one))


class HavocWithoutCgroupsTests(HavocTests):
    """The same, where calls have keepers."""

    cgroups = False
