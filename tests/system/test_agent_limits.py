"""What one call may have: how many processes, and how much memory."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from harpcaller.agent.orders import Load
from harpcaller.agent.processes import everybody
from harpcaller.wire.ending import Raised
from tests.system.agent_processes import ProcessCase

#: As each is a process for a moment, and a test may fail: never more than 2 ** DOUBLINGS.
DOUBLINGS = 8
MOST = 40

PROCEDURES = f"""
import os, signal, time
from harpd.proc import procedure, streaming_procedure

def double(apart):
    "A fork bomb with an end: whoever is there forks, a number of times, and stays a while."
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for generation in range({DOUBLINGS}):
        if os.fork() == 0:
            signal.alarm(40)
            if apart:
                os.setsid()
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        time.sleep(0.5)

@streaming_procedure
def bomb(apart):
    yield os.getpid()
    double(apart)

@streaming_procedure
def restless(apart):
    "Many processes of which none stays: each forks another one and goes."
    deadline = time.monotonic() + 40
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    yield os.getpid()
    for generation in range(5):
        os.fork()
    if os.getpid() != os.getpgrp():
        while time.monotonic() < deadline:
            if os.fork() != 0:
                os._exit(0)
            if apart:
                os.setsid()
        os._exit(0)
    time.sleep(40)

@procedure
def few():
    children = []
    for _ in range(10):
        pid = os.fork()
        if pid == 0:
            time.sleep(1.2)
            os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    return len(children)

@procedure
def fills_memory():
    kept = []
    while len(kept) < 100:
        kept.append(b"x" * 10_000_000)
    return len(kept)

@streaming_procedure
def kills_its_parent():
    yield os.getpid()
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(60)

@streaming_procedure
def idles():
    yield [os.getppid(), os.getpid()]
    time.sleep(40)

@procedure
def add(a, b):
    return a + b
"""


def may_set_priorities() -> bool:
    """Tell whether we have CAP_SYS_NICE."""
    status = Path("/proc/self/status").read_text()
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("CapEff:")]
    return bool(int(mask, 16) & 1 << 23)


class LimitsTests(ProcessCase):
    timeout = 120
    procedures = PROCEDURES

    async def load_limited(self, processes: int | None = None, memory: int | None = None) -> None:
        await self.load(Load(str(self.file), max_processes=processes, max_memory=memory))

    def left_of(self, pid: int) -> list[int]:
        """Tell who is left of a process's group and session."""
        return [one.pid for one in everybody() if pid in (one.pid, one.group, one.parent)]

    async def is_stopped(self, apart: bool) -> None:
        await self.load_limited(MOST)
        _, events = self.begin("bomb", [apart])
        self.assertIn(f"more than {MOST} processes", await events.over)
        self.assertEqual([], self.left_of(events.records[0]))
        self.assertEqual(3, await self.value_of("add", [1, 2]))
        self.assertEqual(0, self.deaths)

    async def test_bomb(self) -> None:
        """A call that multiplies is ended with all it has, and told why; others go on."""
        await self.is_stopped(False)

    async def test_bomb_apart(self) -> None:
        """So is one whose processes are in a session of their own each."""
        await self.is_stopped(True)

    async def is_ended(self, apart: bool) -> None:
        await self.load_limited()
        process, events = self.begin("restless", [apart])
        await events.first_record()
        process.end(signal.SIGTERM, 0.5)
        self.assertIn("signal 9", await events.over)
        self.assertEqual([], self.left_of(events.records[0]))

    async def test_restless(self) -> None:
        """Processes that come and go as fast as they can are caught."""
        await self.is_ended(False)

    async def test_restless_apart(self) -> None:
        """In whatever session they are."""
        await self.is_ended(True)

    async def test_few(self) -> None:
        """Whoever stays below the limit isn't troubled."""
        await self.load_limited(MOST)
        self.assertEqual(10, await self.value_of("few"))

    async def test_memory(self) -> None:
        """A call that takes more memory than it may gets an exception."""
        await self.load_limited(memory=300_000_000)
        ending = await self.ending_of("fills_memory")
        assert isinstance(ending, Raised)
        self.assertEqual("MemoryError", ending.type)
        self.assertEqual(3, await self.value_of("add", [1, 2]))


class LimitsWithoutCgroupsTests(LimitsTests):
    """The same, where calls have keepers."""

    cgroups = False

    async def test_priorities(self) -> None:
        """Who is to end calls doesn't wait for its turn among them; they have usual priority."""
        await self.load_limited()
        _, events = self.begin("idles")
        await events.first_record()
        policy = os.SCHED_RR if may_set_priorities() else os.SCHED_OTHER
        keeper, worker = events.records[0]
        reset = os.SCHED_RESET_ON_FORK
        self.assertEqual(policy, os.sched_getscheduler(keeper) & ~reset)
        self.assertEqual(os.SCHED_OTHER, os.sched_getscheduler(worker) & ~reset)

    async def test_kills_its_keeper(self) -> None:
        """A procedure that kills its keeper dies with it."""
        await self.load_limited()
        _, events = self.begin("kills_its_parent")
        self.assertIn("signal 9", await events.over)
        await self.until_gone(events.records[0])
        self.assertEqual(3, await self.value_of("add", [1, 2]))
