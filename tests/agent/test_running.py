"""One running call, between its caller and its process."""

from __future__ import annotations

import signal
from collections.abc import Callable

from harpcaller.agent.running import PATIENCE, Core, RunningCall, make_running_call
from harpcaller.wire.agent import decode_message
from harpcaller.wire.ending import Failed
from tests.agent.fakes import FakeCaller, FakeProcess
from tests.house import HouseCase

GRACE = 5.0
LIMIT = 30.0
RECORD = b'{"stream":1}\n'
ANSWER = b'{"result":1}\n'

EVENTS: dict[str, Callable[[RunningCall], None]] = {
    "free_to_run": lambda call: call.free_to_run(),
    "said": lambda call: call.said(RECORD),
    "answered": lambda call: call.answered(ANSWER),
    "exited": lambda call: call.exited("it died"),
    "caller_gone": lambda call: call.caller_gone(),
    "time_ran_out": lambda call: call.time_ran_out(),
    "shut_down": lambda call: call.shut_down(),
}
#: How to get to each state.
PATHS: dict[str, tuple[str, ...]] = {
    "waiting": (),
    "running": ("free_to_run",),
    "answered": ("free_to_run", "answered"),
    "stopping": ("free_to_run", "time_ran_out"),
    "abandoned": ("caller_gone",),
    "over": ("free_to_run", "answered", "exited"),
}


class RunningCase(HouseCase):
    def begin(self, timeout_seconds: float | None = None, *, runs: bool = True) -> RunningCall:
        self.caller = FakeCaller()
        self.over: list[str] = []
        self.begins = 0
        core = Core(self.caller, self.clock, timeout_seconds, GRACE, self.over.append, self.begun)
        call = make_running_call(core)
        self.process = FakeProcess(call)
        core.attach(self.process)
        if runs:
            call.free_to_run()
        return call

    def begun(self) -> None:
        self.begins += 1

    def ending(self) -> Failed:
        self.assertTrue(self.caller.finished)
        message = decode_message(self.caller.told.splitlines()[-1])
        assert isinstance(message, Failed)
        return message


class LifeTests(RunningCase):
    def test_answer(self) -> None:
        """Records and the answer are relayed as they are; the call is over at the exit."""
        call = self.begin()
        self.assertIs(self.process, self.caller.producer)
        call.said(RECORD * 2)
        call.answered(ANSWER)
        self.assertEqual(RECORD * 2 + ANSWER, self.caller.told)
        self.assertTrue(self.caller.finished)
        self.assertEqual([], self.over)
        call.exited("normally")
        self.assertEqual(["result"], self.over)
        self.assertEqual([], self.process.ends)

    def test_exception_is_told_to_the_operator(self) -> None:
        """The log says of a call that raised that it did."""
        call = self.begin()
        call.answered(b'{"exception":{"type":"ValueError","message":"no"}}\n')
        call.exited("normally")
        self.assertEqual(["exception"], self.over)

    def test_runs_when_it_may(self) -> None:
        """Nothing is run and no time passes before the call may run."""
        call = self.begin(LIMIT, runs=False)
        self.clock.advance(2 * LIMIT)
        self.assertEqual((False, 0), (self.process.runs, self.begins))
        call.free_to_run()
        self.assertEqual((True, 1), (self.process.runs, self.begins))
        self.clock.advance(LIMIT)
        self.assertEqual([(signal.SIGXCPU, GRACE)], self.process.ends)
        call.exited("by a signal")

    def test_dies_without_a_word(self) -> None:
        """The caller is told how the process died."""
        call = self.begin()
        call.exited("the procedure's process was killed by signal 9")
        self.assertEqual(
            Failed("system_error", "the procedure's process was killed by signal 9"), self.ending()
        )
        self.assertEqual(["system_error"], self.over)

    def test_stays_after_its_answer(self) -> None:
        """A process that doesn't end after its answer is ended."""
        call = self.begin()
        call.answered(ANSWER)
        self.clock.advance(GRACE)
        self.assertEqual([(signal.SIGTERM, GRACE)], self.process.ends)
        call.exited("by a signal")
        self.assertEqual(["result"], self.over)

    def test_caller_goes(self) -> None:
        """When the caller goes, the group is ended and nobody is told anything."""
        call = self.begin(LIMIT)
        call.caller_gone()
        self.assertEqual([(signal.SIGTERM, GRACE)], self.process.ends)
        self.assertTrue(self.process.hushed)
        call.exited("by a signal")
        self.assertEqual(["cancelled"], self.over)
        self.assertEqual(b"", self.caller.told)

    def test_takes_too_long(self) -> None:
        """At its limit a procedure may clean up; its caller hears of the limit at the end."""
        call = self.begin(LIMIT)
        self.clock.advance(LIMIT)
        self.assertEqual([(signal.SIGXCPU, GRACE)], self.process.ends)
        call.said(RECORD)
        call.answered(ANSWER)
        self.assertEqual(RECORD, self.caller.told)
        call.exited("by a signal")
        self.assertEqual("timeout", self.ending().type)
        self.assertIn("30 seconds", self.ending().message)
        self.assertEqual(["timeout"], self.over)

    def test_cannot_be_killed(self) -> None:
        """If a process can't even be killed, the caller is told all the same."""
        call = self.begin(LIMIT)
        self.clock.advance(LIMIT)
        self.clock.advance(GRACE + PATIENCE)
        self.assertEqual("timeout", self.ending().type)
        self.assertEqual([], self.over, "it still takes a place")
        call.exited("at last")
        self.assertEqual(["timeout"], self.over)

    def test_caller_goes_while_it_is_stopped(self) -> None:
        """A caller that doesn't wait for the end of a stopped call changes nothing else."""
        call = self.begin(LIMIT)
        self.clock.advance(LIMIT)
        call.caller_gone()
        call.exited("by a signal")
        self.assertEqual(["timeout"], self.over)
        self.assertEqual(b"", self.caller.told)

    def test_agent_stops(self) -> None:
        """When the agent stops, the caller is told so once the process is gone."""
        call = self.begin()
        call.shut_down()
        self.assertEqual([(signal.SIGTERM, GRACE)], self.process.ends)
        self.assertFalse(self.caller.finished)
        call.exited("by a signal")
        self.assertEqual("shutdown", self.ending().type)


class TableTests(RunningCase):
    def test_every_event_in_every_state(self) -> None:
        """Nothing that can happen, at whatever time, is a surprise."""
        for state, path in PATHS.items():
            for name, event in EVENTS.items():
                with self.subTest(state=state, name=name):
                    call = self.begin(LIMIT, runs=False)
                    for step in path:
                        EVENTS[step](call)
                    event(call)
                    call.exited("in the end")
                    self.assertEqual(1, len(self.over), "over once and only once")
                    self.assertEqual([], self.clock.getDelayedCalls())
