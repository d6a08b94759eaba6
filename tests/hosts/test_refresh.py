"""The script is run when it should, never twice at once, and no failure is the last run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from zope.interface import implementer

from harpcaller.hosts.cache import Cache
from harpcaller.hosts.refresh import MOST_ERROR_LINES, SLICE, Plan, Refresher
from harpcaller.hosts.registry import Table
from harpcaller.interfaces import IProcessRunner, ProcessEnded
from harpcaller.testing.processes import FakeProcessRunner, Program
from harpcaller.wire.values import encode
from tests.effort import tries
from tests.hosts.recording import RecordingLog
from tests.hosts.test_entries import ENTRY, SECRET, WEB01
from tests.house import HouseCase

SCRIPT = Path("/etc/harpcaller/update-hosts")
LINE = encode(ENTRY) + b"\n"
#: When the tests begin.
NOW = 1_000_000.0


@implementer(IProcessRunner)
class BrokenRunner:
    """A runner with a bug in it."""

    def run(
        self, argv: Sequence[str], *, error_line: Callable[[bytes], None], timeout_seconds: float
    ) -> Deferred[ProcessEnded]:
        raise ZeroDivisionError("a bug")


class RefreshCase(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir(parents=True)
        self.path = self.folder / "hosts.db"
        self.clock.advance(NOW)
        self.runner = FakeProcessRunner(self.clock)
        self.script(output=LINE)
        self.log = RecordingLog()
        self.table = Table()
        self.plan = Plan(SCRIPT, self.path, refresh_seconds=900, timeout_seconds=60)
        self.refresher = self.make(self.runner)

    def make(self, runner: IProcessRunner) -> Refresher:
        return Refresher(
            table=self.table,
            runner=runner,
            clock=self.clock,
            now=self.clock.seconds,
            plan=self.plan,
            log=self.log,
        )

    def script(self, **what: Any) -> None:
        """Say what the script does from now on."""
        self.runner.programs[str(SCRIPT)] = Program(**what)

    def write_cache(self, age: float, *known: Any) -> None:
        for _ in Cache(self.path, self.log).steps(known or (WEB01,), NOW - age):
            pass

    def start(self) -> None:
        """Start, and let the first run end."""
        started = self.refresher.start()
        self.addCleanup(self.stop)
        self.clock.advance(0)
        self.successResultOf(started)

    def stop(self) -> None:
        stopped = self.refresher.stop()
        self.clock.advance(0)
        self.successResultOf(stopped)

    def runs(self) -> int:
        return len(self.runner.started)

    def names(self) -> list[str]:
        return [host.hostname for host in self.table.all()]


class StartTests(RefreshCase):
    def test_without_cache_start_waits_for_the_first_run(self) -> None:
        """A dispatcher that knows no hosts isn't up yet."""
        started = self.refresher.start()
        self.assertNoResult(started)
        self.clock.advance(0)
        self.successResultOf(started)
        self.assertEqual(["web01.example.net"], self.names())
        self.stop()

    def test_without_cache_a_failing_script_does_not_keep_it_down(self) -> None:
        """It is up with no hosts, and the log says why."""
        self.script(exit_code=1)
        self.start()
        self.assertEqual([], self.names())
        self.assertIn("hosts.refresh_failed", self.log.told.kinds())

    def test_fresh_cache_is_enough(self) -> None:
        """A restart doesn't run the script."""
        self.write_cache(450)
        self.successResultOf(self.refresher.start())
        self.assertEqual(["web01.example.net"], self.names())
        self.assertEqual(0, self.runs())
        self.stop()

    def test_old_cache_is_used_and_the_script_run(self) -> None:
        """Nobody waits for the script if there is something to start with."""
        self.script(output=b"")
        self.write_cache(451)
        self.successResultOf(self.refresher.start())
        self.assertEqual((["web01.example.net"], 1), (self.names(), self.runs()))
        self.clock.advance(0)
        self.assertEqual([], self.names())
        self.stop()

    def test_cache_from_the_future_is_old(self) -> None:
        """A clock that went back doesn't keep a stale registry for years."""
        self.write_cache(-10)
        self.start()
        self.assertEqual(1, self.runs())

    def test_damaged_cache(self) -> None:
        """It is set aside, and the script is run as on the first start."""
        self.path.write_text("x")
        self.start()
        self.assertEqual(["web01.example.net"], self.names())
        self.assertTrue((self.folder / "hosts.db.damaged").exists())

    def test_stop_during_the_first_run(self) -> None:
        """Start is let go, and nothing is left running."""
        self.script(seconds=None)
        started = self.refresher.start()
        stopped = self.refresher.stop()
        self.assertNoResult(stopped)
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.successResultOf(started)
        self.assertEqual(0, self.runner.running)
        self.assertNotIn("hosts.refresh_failed", self.log.told.kinds())


class RunTests(RefreshCase):
    def refreshed(self) -> str | None:
        """Run the script; tells why nothing changed."""
        result = self.refresher.refresh()
        self.clock.pump([0] * 5)
        return self.successResultOf(result)

    def test_registry_becomes_what_was_printed(self) -> None:
        """Exactly that, and the cache too."""
        self.assertIsNone(self.refreshed())
        self.assertEqual(["web01.example.net"], self.names())
        cached = Cache(self.path, self.log).read()
        assert cached is not None
        self.assertEqual(((WEB01,), NOW), (cached.hosts, cached.written_at))

    def test_nothing_printed_empties_it(self) -> None:
        """The script is the boss."""
        self.table.replace([WEB01])
        self.script(output=b"")
        self.assertIsNone(self.refreshed())
        self.assertEqual([], self.names())

    def test_script_is_a_plain_command_with_a_time_limit(self) -> None:
        """No shell, no arguments."""
        self.script(seconds=None)
        result = self.refresher.refresh()
        self.clock.advance(60)
        self.assertEqual(
            f"{SCRIPT}: it ran longer than 60 seconds, and was ended",
            self.successResultOf(result),
        )
        self.assertEqual([(str(SCRIPT),)], self.runner.started)

    def test_failures_change_nothing_and_say_why(self) -> None:
        """The operator who asked hears the same as the log."""
        self.table.replace([WEB01])
        cases: list[tuple[dict[str, Any], str]] = [
            ({"output": b"", "exit_code": 3}, "it ended with exit code 3"),
            ({"exit_code": None, "signal": 9}, "it was killed by signal 9 (SIGKILL)"),
            ({"exit_code": None, "signal": 50}, "it was killed by signal 50 (unnamed)"),
        ]
        for what, why in cases:
            self.script(**what)
            self.assertEqual(f"{SCRIPT}: {why}", self.refreshed())
            self.assertEqual(["web01.example.net"], self.names())
            self.assertEqual(
                {"script": str(SCRIPT), "why": f"{SCRIPT}: {why}"},
                self.log.told.context("hosts.refresh_failed"),
            )
        self.assertEqual((3, 3), (self.refresher.runs, self.refresher.failures))
        self.assertFalse(self.path.exists())

    def test_script_that_cannot_be_started(self) -> None:
        """The system's reason is told."""
        self.runner.programs.clear()
        self.assertEqual(f"{SCRIPT} can't be started: No such file or directory", self.refreshed())

    def test_bug_in_a_run_is_logged_and_is_not_the_last_run(self) -> None:
        """Whatever happens, the next refresh comes."""
        self.refresher = self.make(BrokenRunner())
        self.assertEqual("a bug; the log has more", self.refreshed())
        self.assertEqual("a bug; the log has more", self.refreshed())
        self.assertEqual("bug", self.log.told.events[0][0])

    def test_ignored_lines_are_counted_in_one_event(self) -> None:
        """Ten thousand comments are no ten thousand log lines."""
        self.script(output=b"# " + SECRET.encode() + b"\n" + LINE + b"[]\n" * 10)
        self.assertIsNone(self.refreshed())
        context = self.log.told.context("hosts.lines_ignored")
        self.assertEqual(11, context["lines"])
        self.assertEqual("line 1: not a JSON object", context["first"][0])
        self.assertNotIn(SECRET, str(self.log.told.events))

    def test_error_output_is_logged_line_by_line(self) -> None:
        """The script's author finds it in the daemon's log."""
        self.script(output=LINE, errors=[b"one", b"two"])
        self.assertIsNone(self.refreshed())
        said = [c["line"] for _, kind, c in self.log.told.events if kind == "hosts.script_said"]
        self.assertEqual([b"one", b"two"], said)

    def test_endless_error_output_is_counted(self) -> None:
        """It can't fill the disk by way of the log, and nothing is dropped unsaid."""
        self.script(errors=[b"x"] * (MOST_ERROR_LINES + 7))
        self.assertIsNone(self.refreshed())
        self.assertEqual(MOST_ERROR_LINES, self.log.told.kinds().count("hosts.script_said"))
        self.assertEqual({"lines": 7}, self.log.told.context("hosts.script_said_more"))

    def test_cache_that_cannot_be_written(self) -> None:
        """The registry is right all the same."""
        self.path.mkdir()
        self.assertIsNone(self.refreshed())
        self.assertEqual(["web01.example.net"], self.names())
        self.assertIn("hosts.cache_unwritable", self.log.told.kinds())


class TurningClock(Clock):
    """A clock that can take one turn, as a reactor does: what is due now and no more."""

    def turn(self) -> None:
        due = [call for call in self.calls if call.getTime() <= self.seconds()]
        for call in due:
            self.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)


class SliceTests(RefreshCase):
    def setUp(self) -> None:
        super().setUp()
        self.turns = TurningClock()
        self.turns.advance(NOW)
        self.clock = self.turns
        self.runner = FakeProcessRunner(self.turns)
        lines = [encode({**ENTRY, "hostname": f"h{n}"}) for n in range(3 * SLICE)]
        self.script(output=b"\n".join(lines))
        self.refresher = self.make(self.runner)

    def test_many_hosts_leave_the_reactor_its_turns(self) -> None:
        """Calls go on while a big registry is read and written."""
        result = self.refresher.refresh()
        for _ in range(3):
            self.turns.turn()
            self.assertEqual(0, len(self.table.all()))
        self.turns.turn()
        self.assertEqual(3 * SLICE, len(self.table.all()))
        for _ in range(3):
            self.assertNoResult(result)
            self.turns.turn()
        self.assertIsNone(self.successResultOf(result))

    def test_stop_while_the_cache_is_written(self) -> None:
        """The old cache stays whole, and nothing is left beside it."""
        result = self.refresher.refresh()
        for _ in range(5):
            self.turns.turn()
        self.assertTrue((self.folder / "hosts.db.new").exists())
        self.successResultOf(self.refresher.stop())
        self.assertEqual("the daemon is stopping", self.successResultOf(result))
        self.assertEqual([], list(self.folder.iterdir()))


class DemandTests(RefreshCase):
    def test_demand_during_a_run_joins_it(self) -> None:
        """Never twice at once; everybody gets the same answer."""
        self.script(output=LINE, seconds=5)
        first, second = self.refresher.refresh(), self.refresher.refresh()
        self.clock.advance(5)
        self.assertIsNone(self.successResultOf(first))
        self.assertIsNone(self.successResultOf(second))
        self.assertEqual(1, self.runs())

    def test_demand_after_a_run_runs_again(self) -> None:
        """Joining ends with the run."""
        for _ in range(2):
            result = self.refresher.refresh()
            self.clock.advance(0)
            self.assertIsNone(self.successResultOf(result))
        self.assertEqual(2, self.runs())

    def test_one_who_gives_up_does_not_end_the_run(self) -> None:
        """An operator's Ctrl-C is not everybody's."""
        self.script(output=LINE, seconds=5)
        first, second = self.refresher.refresh(), self.refresher.refresh()
        first.cancel()
        _ = self.failureResultOf(first, CancelledError)
        self.clock.advance(5)
        self.assertIsNone(self.successResultOf(second))

    def test_demand_made_by_one_that_was_answered(self) -> None:
        """It starts a new run, and is not answered by the old one."""
        self.script(output=LINE, seconds=1)
        again: list[Deferred[str | None]] = []
        result = self.refresher.refresh()
        _ = result.addCallback(lambda _: again.append(self.refresher.refresh()))
        self.clock.advance(1)
        self.assertNoResult(again[0])
        self.clock.advance(1)
        self.assertIsNone(self.successResultOf(again[0]))
        self.assertEqual(2, self.runs())

    def test_demand_after_stop(self) -> None:
        """It gets an answer, and no run."""
        self.start()
        self.stop()
        self.assertEqual("the daemon is stopping", self.successResultOf(self.refresher.refresh()))
        self.assertEqual(1, self.runs())


class IntervalTests(RefreshCase):
    def test_runs_every_interval(self) -> None:
        """Also after runs that failed."""
        self.start()
        self.script(exit_code=1)
        for expected in (2, 3):
            self.clock.advance(900)
            self.clock.advance(0)
            self.assertEqual(expected, self.runs())
        self.runner.programs.clear()
        self.clock.advance(900)
        self.assertEqual(4, self.runs())
        self.script(output=LINE)
        self.clock.advance(900)
        self.assertEqual(5, self.runs())

    def test_run_longer_than_the_interval(self) -> None:
        """The next one comes when it is over, at a later interval; never two at once."""
        self.plan = attrs.evolve(self.plan, timeout_seconds=10_000)
        self.refresher = self.make(self.runner)
        self.write_cache(0)
        self.script(output=LINE, seconds=2000)
        self.start()
        for _ in range(60):
            self.clock.advance(100)
        self.assertEqual(1, self.runner.most_running)
        self.assertEqual(2, self.runs())

    def test_stop_twice(self) -> None:
        """The second finds nothing to do."""
        self.start()
        self.stop()
        self.stop()

    def test_stop_before_start(self) -> None:
        """A start-up that failed early can stop everything."""
        self.stop()


class ReconfigureTests(RefreshCase):
    def setUp(self) -> None:
        super().setUp()
        self.other = attrs.evolve(self.plan, script=Path("/other"))
        self.runner.programs["/other"] = Program(output=LINE.replace(b"web01", b"web02"))

    def test_other_script_is_run_at_once(self) -> None:
        """And from then on instead of the old one."""
        self.start()
        self.refresher.reconfigure(self.other)
        self.clock.advance(0)
        self.assertEqual(["web02.example.net"], self.names())
        self.clock.advance(900)
        self.assertEqual([(str(SCRIPT),), ("/other",), ("/other",)], self.runner.started)

    def test_other_script_ends_a_run_of_the_old_one(self) -> None:
        """Those who waited for the old get the new one's answer."""
        self.write_cache(0)
        self.start()
        self.script(output=LINE, seconds=None)
        result = self.refresher.refresh()
        self.refresher.reconfigure(self.other)
        self.clock.pump([0, 0])
        self.assertIsNone(self.successResultOf(result))
        self.assertEqual(["web02.example.net"], self.names())
        self.assertEqual(1, self.runner.most_running)

    def test_there_and_back_again(self) -> None:
        """Two reloads in a row never let two scripts run at once."""
        self.script(output=LINE, seconds=None)
        result = self.refresher.refresh()
        self.addCleanup(self.stop)
        _ = self.refresher.start()
        self.refresher.reconfigure(self.other)
        self.script(output=LINE)
        self.refresher.reconfigure(self.plan)
        self.clock.advance(0)
        self.assertIsNone(self.successResultOf(result))
        self.assertEqual(1, self.runner.most_running)
        self.assertEqual([(str(SCRIPT),), (str(SCRIPT),)], self.runner.started)

    def test_same_plan_changes_nothing(self) -> None:
        """A reload doesn't shift the rhythm."""
        self.start()
        self.clock.advance(899)
        self.refresher.reconfigure(self.plan)
        self.assertEqual(1, self.runs())
        self.clock.advance(1)
        self.assertEqual(2, self.runs())

    def test_other_interval_counts_from_now(self) -> None:
        """Shorter or longer."""
        self.start()
        self.refresher.reconfigure(attrs.evolve(self.plan, refresh_seconds=10))
        self.assertEqual(1, self.runs())
        self.clock.advance(10)
        self.assertEqual(2, self.runs())

    def test_other_cache_is_filled_at_once(self) -> None:
        """The next start finds it where the configuration says."""
        self.start()
        other = self.folder / "other.db"
        self.refresher.reconfigure(attrs.evolve(self.plan, cache=other))
        self.clock.advance(0)
        self.assertTrue(other.exists())

    def test_other_time_limit_is_for_the_next_run(self) -> None:
        """Nothing is disturbed for it."""
        self.start()
        self.refresher.reconfigure(attrs.evolve(self.plan, timeout_seconds=1))
        self.script(seconds=None)
        result = self.refresher.refresh()
        self.clock.advance(1)
        self.assertIn("longer than 1 seconds", str(self.successResultOf(result)))

    def test_before_start_and_after_stop(self) -> None:
        """Only the plan is changed."""
        self.refresher.reconfigure(self.other)
        self.start()
        self.stop()
        self.refresher.reconfigure(self.plan)
        self.assertEqual([("/other",)], self.runner.started)


class Life(RuleBasedStateMachine):
    """Any mix of time, demands, failures and reloads."""

    case: RefreshCase

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.runner = FakeProcessRunner(self.clock)
        folder = Path(self.case.mktemp())
        folder.mkdir(parents=True)
        self.plan = Plan(SCRIPT, folder / "hosts.db", 900, 60)
        self.table = Table()
        self.refresher = Refresher(
            table=self.table,
            runner=self.runner,
            clock=self.clock,
            now=self.clock.seconds,
            plan=self.plan,
            log=RecordingLog(),
        )
        self.asked: list[Deferred[str | None]] = []
        _ = self.refresher.start()

    @rule(seconds=st.sampled_from([0, 1, 30, 60, 450, 900, 2000]))
    def time_passes(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def somebody_asks(self) -> None:
        self.asked.append(self.refresher.refresh())

    @rule(
        there=st.booleans(),
        seconds=st.sampled_from([0, 5, 1000, None]),
        exit_code=st.sampled_from([0, 1]),
    )
    def script_changes(self, there: bool, seconds: float | None, exit_code: int) -> None:
        self.runner.programs.clear()
        if there:
            program = Program(LINE, (b"said",), exit_code, seconds=seconds)
            self.runner.programs = {str(SCRIPT): program, "/other": program}

    @rule(script=st.sampled_from([SCRIPT, Path("/other")]), refresh=st.sampled_from([100, 900]))
    def reload(self, script: Path, refresh: float) -> None:
        self.plan = attrs.evolve(self.plan, script=script, refresh_seconds=refresh)
        self.refresher.reconfigure(self.plan)

    @invariant()
    def never_twice_at_once(self) -> None:
        assert self.runner.most_running <= 1

    def teardown(self) -> None:
        before = len(self.runner.started)
        self.clock.pump([0, 61, 0, 900, 0, 61])
        assert len(self.runner.started) > before, "the interval has ended for good"
        stopped = self.refresher.stop()
        self.clock.pump([0, 0])
        assert stopped.called
        assert all(asked.called for asked in self.asked)
        assert self.runner.running == 0
        assert not self.clock.getDelayedCalls()


class LifeTests(RefreshCase):
    def test_any_life(self) -> None:
        """One run at most, everybody is answered, the interval goes on, nothing is left."""
        case = self

        class OneLife(Life):
            pass

        OneLife.case = case
        run_state_machine_as_test(OneLife, settings=settings(max_examples=tries(60)))
