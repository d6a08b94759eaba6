"""Which calls run now, and whether one more may."""

from __future__ import annotations

import errno

from twisted.internet.defer import Deferred

from harpcaller.agent.calls import Calls
from harpcaller.agent.library import Library
from harpcaller.agent.orders import Load
from harpcaller.agent.seams import Wanted
from harpcaller.errors import (
    InvalidArgumentList,
    NoSuchProcedure,
    ProcedureLoadingError,
    Shutdown,
    SystemUnable,
    WireError,
)
from harpcaller.logs.events import EventLog
from harpcaller.wire.values import Raw
from tests.agent.fakes import FakeCaller, FakeProcess, FakeTemplate, asked, described
from tests.house import HouseCase

LOG = EventLog("agent")


class CallsCase(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.template = FakeTemplate(
            {
                "ticks": described("ticks", streaming=True),
                "plain": described("plain", like=lambda a: a),
                "write": described("write", lock="disk", timeout_seconds=30),
                "wipe": described("wipe", lock="disk"),
                "print": described("print", lock="printer"),
            }
        )
        self.library = Library(self.start, self.clock, LOG)
        self.calls = Calls(self.library, self.clock, most=2, grace_seconds=5.0, log=LOG)
        self.caller = FakeCaller()

    async def start(self, order: Load, lost: object) -> FakeTemplate:
        return self.template

    def load(self) -> None:
        loaded = Deferred.fromCoroutine(self.library.load(Load("x")))
        self.assertTrue(self.successResultOf(loaded))

    def refused(self, error: type[WireError], procedure: str, arguments: bytes = b"[]") -> str:
        with self.assertRaises(error) as caught:
            self.calls.begin(asked(procedure, arguments), self.caller, "peer")
        self.assertIsNone(self.caller.acknowledged)
        message: str = caught.exception.message
        return message


class CallsTests(CallsCase):
    def test_acknowledged_and_started(self) -> None:
        """The caller hears at once whether records may come; the process gets the arguments."""
        self.load()
        self.calls.begin(asked("ticks"), self.caller, "peer")
        self.assertIs(True, self.caller.acknowledged)
        other = FakeCaller()
        self.calls.begin(asked("plain", b"[1e5]"), other, "peer")
        self.assertIs(False, other.acknowledged)
        wanted = [process.wanted for process in self.template.processes]
        self.assertEqual(
            [
                Wanted(1, "ticks", Raw(b"[]"), "somebody", "peer"),
                Wanted(2, "plain", Raw(b"[1e5]"), "somebody", "peer"),
            ],
            wanted,
        )
        self.assertTrue(all(process.runs for process in self.template.processes))
        self.assertEqual(2, len(self.calls))

    def test_refusals(self) -> None:
        """What can't run is refused, and nothing is started."""
        self.refused(ProcedureLoadingError, "ticks")
        self.load()
        self.assertIn("'nix'", self.refused(NoSuchProcedure, "nix"))
        self.refused(InvalidArgumentList, "plain", b"[1,2]")
        self.template.broken = OSError(errno.EMFILE, "Too many open files")
        self.assertIn("Too many open files", self.refused(SystemUnable, "ticks"))
        self.assertEqual(0, len(self.calls))

    def test_as_many_as_allowed(self) -> None:
        """More calls than allowed are refused at once; a place is free when a process is gone."""
        self.load()
        for _ in range(2):
            self.calls.begin(asked("ticks"), FakeCaller(), "peer")
        self.assertIn("max_calls", self.refused(SystemUnable, "ticks"))
        first = self.template.processes[0].events
        first.answered(b'{"result":1}\n')
        self.refused(SystemUnable, "ticks")
        first.exited("normally")
        self.calls.begin(asked("ticks"), self.caller, "peer")
        for process in self.template.processes[1:]:
            process.events.exited("dead")

    def test_stop(self) -> None:
        """A stopping agent takes no new calls, ends those that run, and knows when all ended."""
        self.load()
        self.calls.begin(asked("ticks"), FakeCaller(), "peer")
        self.calls.refuse_more()
        self.refused(Shutdown, "ticks")
        waiting = self.calls.idle()
        given_up = self.calls.idle()
        given_up.cancel()
        self.failureResultOf(given_up)
        self.calls.shut_down()
        self.assertEqual(1, len(self.template.processes[0].ends))
        self.assertNoResult(waiting)
        self.template.processes[0].events.exited("by a signal")
        self.successResultOf(waiting)
        self.successResultOf(self.calls.idle())


class LockTests(CallsCase):
    def setUp(self) -> None:
        super().setUp()
        self.calls.most = 10
        self.load()

    def begin(self, procedure: str) -> FakeProcess:
        self.caller = FakeCaller()
        self.call = self.calls.begin(asked(procedure), self.caller, "peer")
        return self.template.processes[-1]

    def test_one_at_a_time_in_order(self) -> None:
        """Calls with the same lock run one after another, first come, first served."""
        processes = [self.begin(name) for name in ("write", "wipe", "write")]
        first, second, third = processes
        self.assertEqual([True, False, False], [process.runs for process in processes])
        first.events.answered(b'{"result":1}\n')
        self.assertFalse(second.runs, "the first process is there yet")
        first.events.exited("normally")
        self.assertEqual([True, True, False], [process.runs for process in processes])
        second.events.exited("killed")
        self.assertTrue(third.runs)
        third.events.exited("normally")
        self.assertTrue(self.begin("wipe").runs, "the lock is free again")
        self.template.processes[-1].events.exited("normally")

    def test_acknowledged_while_it_waits(self) -> None:
        """A caller hears at once that his call is taken; its time begins when it runs."""
        first, second = self.begin("wipe"), self.begin("write")
        self.assertIs(False, self.caller.acknowledged)
        self.clock.advance(1000.0)
        first.events.exited("normally")
        self.clock.advance(29.0)
        self.assertEqual([], second.ends)
        self.clock.advance(1.0)
        self.assertEqual(1, len(second.ends))
        second.events.exited("by a signal")

    def test_other_locks(self) -> None:
        """Calls with another lock, or with none, don't wait."""
        self.assertTrue(all(self.begin(name).runs for name in ("write", "print", "ticks")))
        for process in self.template.processes:
            process.events.exited("normally")

    def test_gives_up_waiting(self) -> None:
        """A caller that goes while it waits runs nothing, and holds nobody up."""
        first, second = self.begin("write"), self.begin("write")
        self.call.caller_gone()
        self.assertTrue(second.hushed)
        second.events.exited("by a signal")
        third = self.begin("write")
        first.events.exited("normally")
        self.assertFalse(second.runs)
        self.assertTrue(third.runs)
        third.events.exited("normally")

    def test_turn_comes_while_it_goes(self) -> None:
        """A waiting call whose process is still on its way out is passed over."""
        first, second, third = (self.begin("write") for _ in range(3))
        self.calls._running[2].caller_gone()
        first.events.exited("normally")
        self.assertFalse(second.runs)
        second.events.exited("by a signal")
        self.assertTrue(third.runs)
        third.events.exited("normally")

    def test_agent_stops(self) -> None:
        """Waiting calls end with the agent, unrun."""
        first, second = self.begin("write"), self.begin("write")
        self.calls.shut_down()
        first.events.exited("by a signal")
        second.events.exited("by a signal")
        self.assertFalse(second.runs)
        self.assertIn(b"shutdown", self.caller.told)

    def test_takes_a_place(self) -> None:
        """A waiting call counts as one."""
        self.calls.most = 2
        first, second = self.begin("write"), self.begin("write")
        self.caller = FakeCaller()
        self.assertIn("max_calls", self.refused(SystemUnable, "ticks"))
        first.events.exited("normally")
        second.events.exited("normally")
