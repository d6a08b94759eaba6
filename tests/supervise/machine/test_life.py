"""The life of a supervised process: every event in every state, and the rules of restarting."""

from __future__ import annotations

import signal
from collections.abc import Callable
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise.machine.events import (
    Announce,
    ContinueWanted,
    Died,
    DownWanted,
    Event,
    ExitWanted,
    Finished,
    KillFinish,
    NotStarted,
    OnceWanted,
    PauseWanted,
    Quit,
    RaiseAlarm,
    RunFinish,
    SaidReady,
    Send,
    SignalWanted,
    Start,
    Started,
    TimeCame,
    UpWanted,
    Wish,
)
from harpcaller.supervise.machine.life import STAY_DOWN, TABLE, Child, Rules, State, Want
from harpcaller.supervise.machine.restarts import Ending, RestartPolicy, When

FAILED = Ending(1, None)
SUCCEEDED = Ending(0, None)
WELL = Rules(kill_after_seconds=5.0)
FRAGILE = Rules(RestartPolicy(give_up_deaths=1, give_up_seconds=100.0))
LATER = 1000.0


def down() -> Child:
    return Child(WELL)


def starting() -> Child:
    child = down()
    child.happened(UpWanted(), 0.0)
    return child


def up() -> Child:
    child = starting()
    child.happened(Started(7), 0.0)
    return child


def ready() -> Child:
    child = up()
    child.happened(SaidReady(), 0.0)
    return child


def paused() -> Child:
    child = up()
    child.happened(PauseWanted(), 0.0)
    return child


def stopping() -> Child:
    child = up()
    child.happened(DownWanted(), 0.0)
    return child


def finishing() -> Child:
    child = up()
    child.happened(Died(FAILED, True), 0.5)
    return child


def backoff() -> Child:
    child = up()
    child.happened(Died(FAILED, False), 0.5)
    return child


def given_up() -> Child:
    child = up()
    child.rules = FRAGILE
    child.happened(Died(FAILED, False), 0.5)
    return child


def ended() -> Child:
    child = down()
    child.happened(ExitWanted(), 0.0)
    return child


WAYS: dict[State, Callable[[], Child]] = {
    State.DOWN: down,
    State.STARTING: starting,
    State.UP: up,
    State.READY: ready,
    State.PAUSED: paused,
    State.STOPPING: stopping,
    State.FINISHING: finishing,
    State.BACKOFF: backoff,
    State.GIVEN_UP: given_up,
    State.ENDED: ended,
}

EVENTS: tuple[Event, ...] = (
    UpWanted(),
    DownWanted(),
    OnceWanted(),
    ExitWanted(),
    PauseWanted(),
    ContinueWanted(),
    SignalWanted(signal.SIGHUP),
    Started(8),
    NotStarted(5.0),
    SaidReady(),
    Died(FAILED, False),
    Finished(SUCCEEDED),
    TimeCame(),
)

A = Announce()
HUP = Send(signal.SIGHUP)
CONT = Send(signal.SIGCONT)
STOP = Send(signal.SIGSTOP)
END = (Send(signal.SIGTERM), CONT, A)
S = State
N = None

#: For each state, in the order of EVENTS: the state that follows and the wishes; None where
#: nothing happens.  The time is long after the last start.
EXPECTED: dict[State, list[tuple[State, tuple[Wish, ...]] | None]] = {
    S.DOWN: [
        (S.STARTING, (Start(),)),
        (S.DOWN, (A,)),
        (S.STARTING, (Start(),)),
        (S.ENDED, (A, Quit())),
        (S.DOWN, (A,)),
        (S.DOWN, (A,)),
        *[N] * 7,
    ],
    S.STARTING: [
        (S.STARTING, (A,)),
        (S.DOWN, (A,)),
        (S.STARTING, (A,)),
        (S.ENDED, (A, Quit())),
        (S.STARTING, (A,)),
        (S.STARTING, (A,)),
        N,
        (S.UP, (A,)),
        (S.BACKOFF, (A,)),
        *[N] * 4,
    ],
    S.UP: [
        (S.UP, (A,)),
        (S.STOPPING, END),
        (S.UP, (A,)),
        (S.UP, (A,)),
        (S.PAUSED, (STOP, A)),
        (S.UP, (CONT, A)),
        (S.UP, (HUP,)),
        *[N] * 2,
        (S.READY, (A,)),
        (S.STARTING, (Start(),)),
        *[N] * 2,
    ],
    S.READY: [
        (S.READY, (A,)),
        (S.STOPPING, END),
        (S.READY, (A,)),
        (S.READY, (A,)),
        (S.PAUSED, (STOP, A)),
        (S.READY, (CONT, A)),
        (S.READY, (HUP,)),
        *[N] * 3,
        (S.STARTING, (Start(),)),
        *[N] * 2,
    ],
    S.PAUSED: [
        (S.PAUSED, (A,)),
        (S.STOPPING, END),
        (S.PAUSED, (A,)),
        (S.PAUSED, (A,)),
        (S.PAUSED, (STOP, A)),
        (S.UP, (CONT, A)),
        (S.PAUSED, (HUP,)),
        *[N] * 3,
        (S.STARTING, (Start(),)),
        *[N] * 2,
    ],
    S.STOPPING: [
        (S.STOPPING, (A,)),
        (S.STOPPING, END),
        (S.STOPPING, (A,)),
        (S.STOPPING, (A,)),
        (S.PAUSED, (STOP, A)),
        (S.STOPPING, (CONT, A)),
        (S.STOPPING, (HUP,)),
        *[N] * 3,
        (S.DOWN, (A,)),
        N,
        (S.STOPPING, (Send(signal.SIGKILL),)),
    ],
    S.FINISHING: [
        (S.FINISHING, (A,)),
        (S.FINISHING, (A,)),
        (S.FINISHING, (A,)),
        (S.FINISHING, (A,)),
        (S.FINISHING, (A,)),
        (S.FINISHING, (A,)),
        *[N] * 5,
        (S.STARTING, (Start(),)),
        (S.FINISHING, (KillFinish(),)),
    ],
    S.BACKOFF: [
        (S.STARTING, (Start(),)),
        (S.DOWN, (A,)),
        (S.STARTING, (Start(),)),
        (S.ENDED, (A, Quit())),
        (S.BACKOFF, (A,)),
        (S.BACKOFF, (A,)),
        *[N] * 6,
        (S.STARTING, (Start(),)),
    ],
    S.GIVEN_UP: [
        (S.STARTING, (Start(),)),
        (S.DOWN, (A,)),
        (S.STARTING, (Start(),)),
        (S.ENDED, (A, Quit())),
        (S.GIVEN_UP, (A,)),
        (S.GIVEN_UP, (A,)),
        *[N] * 7,
    ],
    S.ENDED: [N] * 13,
}


class TableTests(SynchronousTestCase):
    def test_every_state_and_event(self) -> None:
        """Each event does what the table says, in each state."""
        for state, way in WAYS.items():
            self.assertEqual(len(EVENTS), len(EXPECTED[state]), state)
            for event, expected in zip(EVENTS, EXPECTED[state], strict=True):
                child = way()
                self.assertIs(state, child.state)
                wishes = child.happened(event, LATER)
                then, wished = expected or (state, ())
                what = f"{event} while {state.value}"
                self.assertEqual((then, list(wished)), (child.state, wishes), what)

    def test_table_is_complete(self) -> None:
        """No state and no event is left out."""
        self.assertEqual(set(State), set(TABLE))
        self.assertEqual(set(State), set(EXPECTED))
        for state, events in TABLE.items():
            self.assertEqual({type(event) for event in EVENTS}, set(events), state)

    @given(st.lists(st.tuples(st.sampled_from(EVENTS), st.floats(0, 3)), max_size=40))
    def test_pid_is_there_when_something_runs(self, course: list[tuple[Event, float]]) -> None:
        """Whatever happens: a pid belongs to the states in which a process runs, a time to wait
        for to those that wait, and nothing is wished for of a process that isn't there."""
        child = Child(FRAGILE)
        now = 0.0
        for event, seconds in course:
            now += seconds
            had_process = child.pid != 0
            wishes = child.happened(event, now)
            runs = child.state in (S.UP, S.READY, S.PAUSED, S.STOPPING)
            self.assertEqual(runs, child.pid != 0)
            if any(isinstance(wish, Send) for wish in wishes):
                self.assertTrue(had_process)
            if child.state in (S.DOWN, S.STARTING, S.GIVEN_UP, S.ENDED):
                self.assertIsNone(child.due)
            if child.state is S.BACKOFF:
                self.assertIsNotNone(child.due)
            if Start() in wishes:
                self.assertEqual(Start(), wishes[-1])

    @given(st.lists(st.tuples(st.sampled_from(EVENTS), st.floats(0, 0.7)), max_size=60))
    def test_never_over_one_start_a_second(self, course: list[tuple[Event, float]]) -> None:
        """Whatever is commanded and whatever dies, two starts are a second apart."""
        child = Child(Rules())
        now = 0.0
        starts: list[float] = []
        for event, seconds in course:
            now += seconds
            if isinstance(event, TimeCame) and (child.due is None or now < child.due):
                continue
            if isinstance(event, Started):
                continue
            if Start() in child.happened(event, now):
                starts.append(now)
                child.happened(Started(9), now)
        for one, next_one in pairwise(starts):
            self.assertGreaterEqual(next_one - one, 1.0)


class RestartTests(SynchronousTestCase):
    def test_quick_death_waits_for_its_second(self) -> None:
        """What dies at once is started a second after its last start, as in the original."""
        child = up()
        self.assertEqual([A], child.happened(Died(FAILED, False), 0.25))
        self.assertEqual((S.BACKOFF, 1.0), (child.state, child.due))
        self.assertEqual([Start()], child.happened(TimeCame(), 1.0))

    def test_later_death_is_followed_at_once(self) -> None:
        """What lived for over a second is started again without any wait."""
        child = up()
        self.assertEqual([Start()], child.happened(Died(FAILED, False), 1.5))

    def test_delay_grows_up_to_its_cap(self) -> None:
        """With a backoff each death in a row doubles the wait."""
        child = Child(Rules(RestartPolicy(When.ALWAYS, 2.0, 10.0)))
        now = 0.0
        child.happened(UpWanted(), now)
        delays = []
        for _number in range(5):
            child.happened(Started(7), now)
            child.happened(Died(FAILED, False), now)
            assert child.due is not None
            delays.append(child.due - now)
            now = child.due
            child.happened(TimeCame(), now)
        self.assertEqual([2.0, 4.0, 8.0, 10.0, 10.0], delays)

    def test_good_run_ends_the_streak(self) -> None:
        """A run as long as the longest delay is a good one."""
        child = Child(Rules(RestartPolicy(When.ALWAYS, 2.0, 10.0)))
        child.happened(UpWanted(), 0.0)
        child.happened(Started(7), 0.0)
        child.happened(Died(FAILED, False), 0.0)
        child.happened(TimeCame(), 2.0)
        child.happened(Started(7), 2.0)
        child.happened(Died(FAILED, False), 12.0)
        self.assertEqual((1, 14.0), (child.deaths.in_a_row, child.due))

    def test_up_shortens_a_delay(self) -> None:
        """Somebody who says "up" doesn't wait for the backoff, only for the second."""
        child = Child(Rules(RestartPolicy(When.ALWAYS, 60.0, 600.0)))
        child.happened(UpWanted(), 0.0)
        child.happened(Started(7), 0.0)
        child.happened(Died(FAILED, False), 0.0)
        self.assertEqual(60.0, child.due)
        child.happened(UpWanted(), 0.5)
        self.assertEqual((S.BACKOFF, 1.0), (child.state, child.due))

    def test_enough_deaths_in_a_time_are_given_up(self) -> None:
        """Then nobody tries any more, and somebody is told."""
        child = Child(Rules(RestartPolicy(give_up_deaths=3, give_up_seconds=10.0)))
        child.happened(UpWanted(), 0.0)
        for now in (0.0, 2.0):
            child.happened(Started(7), now)
            self.assertEqual([Start()], child.happened(Died(FAILED, False), now + 1.5))
        child.happened(Started(7), 4.0)
        self.assertEqual([A, RaiseAlarm()], child.happened(Died(FAILED, False), 5.5))
        self.assertEqual((S.GIVEN_UP, Want.UP), (child.state, child.want))

    def test_deaths_far_apart_are_not_given_up(self) -> None:
        """Only those within the time count."""
        child = Child(Rules(RestartPolicy(give_up_deaths=2, give_up_seconds=10.0)))
        child.happened(UpWanted(), 0.0)
        for now in (0.0, 20.0, 40.0):
            child.happened(Started(7), now)
            self.assertEqual([Start()], child.happened(Died(FAILED, False), now + 2.0))

    def test_asked_for_deaths_are_no_failures(self) -> None:
        """A restart by command is neither delayed nor counted."""
        child = Child(FRAGILE)
        child.happened(UpWanted(), 0.0)
        child.happened(Started(7), 0.0)
        child.happened(SignalWanted(signal.SIGTERM), 2.0)
        self.assertEqual([Start()], child.happened(Died(Ending(None, 15), False), 2.1))

    def test_on_failure_leaves_success_alone(self) -> None:
        """A process that found all well isn't started again if only failures are to be."""
        for ending, state in ((SUCCEEDED, S.DOWN), (FAILED, S.STARTING)):
            child = Child(Rules(RestartPolicy(When.ON_FAILURE)))
            child.happened(UpWanted(), 0.0)
            child.happened(Started(7), 0.0)
            child.happened(Died(ending, False), 2.0)
            self.assertIs(state, child.state)

    def test_never_is_once(self) -> None:
        """A process that is never to be restarted is down after its first death."""
        child = Child(Rules(RestartPolicy(When.NEVER)))
        child.happened(UpWanted(), 0.0)
        child.happened(Started(7), 0.0)
        child.happened(Died(FAILED, False), 2.0)
        self.assertEqual((S.DOWN, Want.ONCE), (child.state, child.want))

    def test_refused_process_is_tried_again(self) -> None:
        """When the system has no process to give, it is asked again after a while."""
        child = starting()
        child.happened(NotStarted(5.0), 1.0)
        self.assertEqual((S.BACKOFF, 6.0), (child.state, child.due))
        self.assertEqual([Start()], child.happened(TimeCame(), 6.0))


class WantTests(SynchronousTestCase):
    def test_once_is_not_started_again(self) -> None:
        """After "once" a running process is left alone, and stays down when it ends."""
        child = up()
        child.happened(OnceWanted(), 2.0)
        child.happened(Died(FAILED, False), 3.0)
        self.assertEqual((S.DOWN, Want.ONCE), (child.state, child.want))

    def test_up_while_stopping_brings_it_back(self) -> None:
        """ "Down", then "up" before it has obeyed: it ends and is started again."""
        child = stopping()
        child.happened(UpWanted(), 2.0)
        self.assertEqual([Start()], child.happened(Died(Ending(None, 15), False), 3.0))

    def test_exit_waits_for_the_end(self) -> None:
        """ "Exit" doesn't signal a running process; supervision ends when it does."""
        child = up()
        self.assertEqual([A], child.happened(ExitWanted(), 2.0))
        self.assertEqual([A, Quit()], child.happened(Died(SUCCEEDED, False), 3.0))
        self.assertIs(S.ENDED, child.state)

    def test_exit_cannot_be_taken_back(self) -> None:
        """ "Exit", then "up": it still ends."""
        child = up()
        child.happened(ExitWanted(), 2.0)
        child.happened(UpWanted(), 2.0)
        self.assertIn(Quit(), child.happened(Died(SUCCEEDED, False), 3.0))

    def test_kill_follows_what_is_not_obeyed(self) -> None:
        """With a time-out, SIGKILL comes once the time is over, however often it was told."""
        child = stopping()
        self.assertEqual(5.0, child.due)
        child.happened(DownWanted(), 3.0)
        self.assertEqual(5.0, child.due)
        self.assertEqual([Send(signal.SIGKILL)], child.happened(TimeCame(), 5.0))
        self.assertIsNone(child.due)

    def test_kill_follows_with_a_later_time_out(self) -> None:
        """One that was told to end without a time-out gets one when all are to end."""
        child = Child()
        child.happened(UpWanted(), 0.0)
        child.happened(Started(7), 0.0)
        child.happened(DownWanted(), 1.0)
        child.rules = WELL
        child.happened(DownWanted(), 10.0)
        self.assertEqual(15.0, child.due)
        self.assertEqual([Send(signal.SIGKILL)], child.happened(TimeCame(), 15.0))

    def test_no_kill_without_time_out(self) -> None:
        """As in the original, nobody is killed for taking his time."""
        child = Child()
        child.happened(UpWanted(), 0.0)
        child.happened(Started(7), 0.0)
        child.happened(DownWanted(), 0.0)
        self.assertIsNone(child.due)

    def test_own_signal_tells_it_to_end(self) -> None:
        """A service may ask for another signal than SIGTERM."""
        child = Child(Rules(down_signal=signal.SIGQUIT))
        child.happened(UpWanted(), 0.0)
        child.happened(Started(7), 0.0)
        self.assertEqual([Send(signal.SIGQUIT), CONT, A], child.happened(DownWanted(), 1.0))


class PauseTests(SynchronousTestCase):
    def test_goes_on_as_what_it_was(self) -> None:
        """What was ready is ready again after a pause; what was ending goes on ending."""
        for way in (ready, stopping, up):
            child = way()
            before = child.state
            child.happened(PauseWanted(), 1.0)
            self.assertTrue(child.is_paused)
            child.happened(ContinueWanted(), 1.0)
            self.assertIs(before, child.state)

    def test_readiness_is_heard_in_a_pause(self) -> None:
        """A word that was on its way counts."""
        child = paused()
        child.happened(SaidReady(), 1.0)
        child.happened(ContinueWanted(), 1.0)
        self.assertIs(S.READY, child.state)

    def test_restarted_process_is_not_ready(self) -> None:
        """The next process has to say it for itself."""
        child = ready()
        child.happened(Died(FAILED, False), 2.0)
        child.happened(Started(8), 2.0)
        child.happened(PauseWanted(), 2.0)
        child.happened(ContinueWanted(), 2.0)
        self.assertIs(S.UP, child.state)


class FinishTests(SynchronousTestCase):
    def test_finish_runs_before_the_restart(self) -> None:
        """The process is gone from the status; the next starts when the script is done."""
        child = up()
        self.assertEqual([A, RunFinish(FAILED)], child.happened(Died(FAILED, True), 2.0))
        self.assertEqual((0, 7.0), (child.pid, child.due))
        self.assertEqual([Start()], child.happened(Finished(SUCCEEDED), 3.0))

    def test_finish_may_refuse_the_restart(self) -> None:
        """Exit code 125 of the script means: don't start it any more."""
        child = finishing()
        wishes = child.happened(Finished(Ending(STAY_DOWN, None)), 2.0)
        self.assertEqual((S.GIVEN_UP, [A, RaiseAlarm()]), (child.state, wishes))

    def test_refusal_of_what_is_not_wanted_is_no_alarm(self) -> None:
        """Down is down, whatever the script says."""
        child = finishing()
        child.happened(DownWanted(), 1.0)
        self.assertEqual([A], child.happened(Finished(Ending(STAY_DOWN, None)), 2.0))
        self.assertIs(S.DOWN, child.state)

    def test_words_count_while_finishing(self) -> None:
        """Down, once and exit while the script runs decide what follows it."""
        for event, state in ((DownWanted(), S.DOWN), (OnceWanted(), S.STARTING)):
            child = finishing()
            child.happened(event, LATER)
            child.happened(Finished(SUCCEEDED), LATER)
            self.assertIs(state, child.state)
        child = finishing()
        child.happened(ExitWanted(), LATER)
        self.assertEqual([A, Quit()], child.happened(Finished(SUCCEEDED), LATER))

    def test_finish_may_take_any_time_if_asked(self) -> None:
        """No time-out, no SIGKILL."""
        child = up()
        child.rules = Rules(finish_seconds=None)
        child.happened(Died(FAILED, True), 2.0)
        self.assertIsNone(child.due)

    def test_finish_is_killed_with_a_later_time_out(self) -> None:
        """One that may take any time gets a limit when somebody else needs the end."""
        child = up()
        child.rules = Rules(finish_seconds=None)
        child.happened(Died(FAILED, True), 2.0)
        child.rules = Rules(finish_seconds=60.0)
        child.happened(DownWanted(), 3.0)
        self.assertEqual(63.0, child.due)
        child.happened(DownWanted(), 4.0)
        self.assertEqual(63.0, child.due)
        self.assertEqual([KillFinish()], child.happened(TimeCame(), 63.0))
