"""What a call has started ends with it, or stays on purpose."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest

from harpcaller.agent.call_process import CallProcess
from harpcaller.agent.cgroups import own_folder
from harpcaller.agent.processes import everybody
from tests.system.agent_processes import Events, ProcessCase, is_running, reactor

PROCEDURES = """
import os, signal, time
from harpd.proc import procedure, streaming_procedure

def fugitive():
    "Start a process that does all it can to get away; gives its number."
    r, w = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for number in range(1, 65):
                    if number not in (signal.SIGKILL, signal.SIGSTOP, signal.SIGALRM):
                        try:
                            signal.signal(number, signal.SIG_IGN)
                        except OSError:
                            pass
                os.write(w, b"%d" % os.getpid())
                os.closerange(0, 100)
                signal.alarm(60)  # a test that fails leaves nothing either
                while True:
                    time.sleep(1)
        os._exit(0)
    os.wait()
    os.close(w)
    return int(os.read(r, 100))

@streaming_procedure
def with_fugitive():
    yield fugitive()
    time.sleep(1000)

@procedure
def leaves_one():
    return fugitive()

@streaming_procedure
def dies_with_fugitive():
    yield fugitive()
    os.kill(os.getpid(), signal.SIGKILL)

@streaming_procedure
def goes_with_fugitive():
    yield fugitive()
    os._exit(3)

@streaming_procedure
def catches():
    "Have a fugitive, and be through at SIGTERM."
    def enough(number, frame):
        raise TimeoutError("enough")
    signal.signal(signal.SIGTERM, enough)
    yield fugitive()
    time.sleep(1000)

@streaming_procedure
def polite():
    "Have a child in another session that cleans up when it is told to end."
    r, w = os.pipe()
    child = os.fork()
    if child == 0:
        os.setsid()
        def clean_up(number, frame):
            print("cleaned up", flush=True)
            os._exit(0)
        signal.signal(signal.SIGTERM, clean_up)
        os.write(w, b"x")
        time.sleep(60)
        os._exit(0)
    os.read(r, 1)
    yield child
    time.sleep(1000)

@streaming_procedure
def runs_away():
    "A family that never stays in one process for long, nor in one session."
    deadline = time.monotonic() + 60
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        while time.monotonic() < deadline:
            if os.fork() != 0:
                os._exit(0)
            os.setsid()
            time.sleep(0.005)
        os._exit(0)
    yield "run"
    time.sleep(1000)

@streaming_procedure
def multiplies():
    "A small fork bomb: whoever is there forks again, up to a number of them."
    deadline = time.monotonic() + 30
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for generation in range(6):
        os.fork()
    if os.getpid() != os.getpgrp():
        while time.monotonic() < deadline:
            time.sleep(0.05)
            if os.fork() != 0:
                os._exit(0)
        os._exit(0)
    yield "run"
    time.sleep(1000)

@procedure
def add(a, b):
    return a + b
"""


class FamilyCase(ProcessCase):
    procedures = PROCEDURES

    async def fugitive_of(self, name: str) -> tuple[CallProcess, Events, int]:
        await self.load()
        process, events = self.begin(name)
        await events.first_record()
        pid = events.records[0]
        self.addCleanup(self.kill, pid)
        return process, events, pid

    def kill(self, pid: int) -> None:
        if is_running(pid):
            os.kill(pid, signal.SIGKILL)


class FamilyTests(FamilyCase):
    async def test_cancelled(self) -> None:
        """Two new sessions and deaf ears don't save a process from its call's end."""
        process, events, pid = await self.fugitive_of("with_fugitive")
        self.assertTrue(is_running(pid))
        self.assertNotEqual(os.getpgid(pid), await self.forked(), "it isn't in the call's group")
        process.hush()
        process.end(signal.SIGTERM, 0.3)
        await events.over
        self.assertFalse(is_running(pid), "gone when the call is over, not later")

    async def test_too_slow(self) -> None:
        """Nor from its call's time limit."""
        process, events, pid = await self.fugitive_of("with_fugitive")
        process.end(signal.SIGXCPU, 0.3)
        await events.over
        self.assertFalse(is_running(pid))

    async def test_procedure_ends_well_when_told_to(self) -> None:
        """Nor does it help that the procedure itself is through when it is told to end."""
        process, events, pid = await self.fugitive_of("catches")
        process.end(signal.SIGTERM, 0.3)
        self.assertEqual(
            "the procedure's process ended with exit code 0 without a result", await events.over
        )
        self.assertFalse(is_running(pid))

    async def test_all_are_asked_first(self) -> None:
        """A process in a session of its own is asked to end before it is killed, too."""
        process, events, pid = await self.fugitive_of("polite")
        process.end(signal.SIGTERM, 10.0)
        await events.over
        self.assertFalse(is_running(pid))
        self.assertIn("cleaned up", self.logged("agent.procedure_printed"))

    async def test_left_on_purpose(self) -> None:
        """What a procedure has left behind when it was through stays."""
        await self.load()
        pid = await self.value_of("leaves_one")
        self.addCleanup(self.kill, pid)
        self.assertEqual(3, await self.value_of("add", [1, 2]))
        self.assertTrue(is_running(pid))
        self.template.retire()
        await self.template.gone()
        self.assertTrue(is_running(pid))

    async def test_dies(self) -> None:
        """A process that died can't have meant to leave anything; nor one that just went."""
        await self.load()
        for events, how in [
            (self.begin("dies_with_fugitive")[1], "was killed by signal 9"),
            (self.begin("goes_with_fugitive")[1], "ended with exit code 3 without a result"),
        ]:
            self.assertIn(how, await events.over)
            self.assertFalse(is_running(events.records[0]))

    async def test_template_killed(self) -> None:
        """If the template is killed, fugitives end all the same."""
        _, events, pid = await self.fugitive_of("with_fugitive")
        self.template.kill()
        await events.over
        await self.until_gone(pid)

    async def test_agent_dies(self) -> None:
        """If the agent is gone, too."""
        _, _, pid = await self.fugitive_of("with_fugitive")
        self.hang_up()
        await self.template.gone()
        self.assertFalse(is_running(pid))

    async def test_runs_away(self) -> None:
        """A family that forks and dies all the time is caught."""
        await self.load()
        process, events = self.begin("runs_away")
        await events.first_record()
        process.end(signal.SIGTERM, 0.2)
        self.assertIn("signal 9", await events.over)

    async def test_multiplies(self) -> None:
        """Nor is it of use to be many; other calls go on meanwhile."""
        await self.load()
        process, events = self.begin("multiplies")
        await events.first_record()
        group = await self.forked()
        self.assertEqual(3, await self.value_of("add", [1, 2]))
        process.end(signal.SIGTERM, 0.2)
        self.assertIn("signal 9", await events.over)
        self.assertEqual(3, await self.value_of("add", [1, 2]))
        self.assertEqual([], [seen for seen in everybody() if seen.group == group])


class FamilyWithoutCgroupsTests(FamilyTests):
    """The same, where calls have keepers."""

    cgroups = False

    async def test_way_is_logged(self) -> None:
        """The log tells how calls are kept together."""
        await self.load()
        contexts = [e["context"] for e in self.events if e["kind"] == "agent.calls_kept_together"]
        self.assertEqual([{"by": "keeper processes"}], contexts)


class CgroupTests(FamilyCase):
    """What there is of control groups, and when."""

    async def load_cgroups(self) -> Path:
        await self.load()
        (context,) = [e["context"] for e in self.events if e["kind"] == "agent.calls_kept_together"]
        _, _, folder = context["by"].partition("cgroups in ")
        if not folder:
            raise SkipTest("there are no control groups that could be used here")
        return Path(folder)

    async def test_one_for_each_call(self) -> None:
        """A call has a group as long as it lives; the template's own goes with the template."""
        folder = await self.load_cgroups()
        process, events = self.begin("with_fugitive")
        await events.first_record()
        (group,) = [path for path in folder.iterdir() if path.is_dir()]
        self.assertEqual("call-1", group.name)
        here = own_folder(
            Path(f"/proc/{events.records[0]}/cgroup").read_text(),
            Path("/proc/self/mountinfo").read_text(),
        )
        self.assertEqual(group, here)
        process.end(signal.SIGKILL, 0.0)
        await events.over
        self.assertFalse(group.exists())
        self.template.retire()
        await self.template.gone()
        self.assertFalse(folder.exists())

    async def test_stays_with_what_was_left(self) -> None:
        """A group that something lives in is removed after a later call."""
        folder = await self.load_cgroups()
        pid = await self.value_of("leaves_one")
        group = folder / "call-1"
        self.assertTrue(group.exists())
        os.kill(pid, signal.SIGKILL)
        await self.until_gone(pid)
        while group.exists():
            await self.value_of("add", [1, 2])
            await deferLater(reactor, 0.02)

    async def test_cleared_away_later(self) -> None:
        """What a template had to leave is removed by a later one."""
        folder = await self.load_cgroups()
        pid = await self.value_of("leaves_one")
        self.template.retire()
        await self.template.gone()
        self.assertTrue(folder.exists())
        self.kill(pid)
        await self.until_gone(pid)
        self.template = self.new_template()
        await self.load()
        self.assertFalse(folder.exists())
