"""The life of one supervised process, as a machine.

::

    down        nothing runs and nothing is to
    starting    it may be started, and will be once what it needs is there
    up          it runs
    ready       it runs and said that it is ready
    paused      it runs but was stopped by SIGSTOP
    stopping    it runs and was told to end
    finishing   it ended and its finish script runs
    backoff     it is wanted and its time hasn't come
    given up    it is wanted and died too often; only a word from somebody starts it
    ended       nobody looks after it any more

What follows on what is in :data:`TABLE`, which has an entry for each state and each event:
an event that means nothing (a time that came too late, a word of readiness from a process
that is gone) is there as ``_nothing``.

Not on Automat, whose import takes longer than this whole program may take to start (see
``doc/decisions``).  PURE: times are seconds on a clock that never jumps, and come in with
each event.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

from harpcaller.supervise.machine import events
from harpcaller.supervise.machine.restarts import BETWEEN_STARTS, Deaths, Ending
from harpcaller.supervise.machine.states import Rules, State, Want

__all__ = ["STAY_DOWN", "TABLE", "Child", "Rules", "State", "Want"]

#: A finish script that exits with this doesn't want its service back (as in s6).
STAY_DOWN = 125

#: Signals that end most processes: a death after one that was asked for is no failure.
_FATAL = frozenset(
    (signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGALRM)
)


class Child:
    """One supervised process.

    Attributes:
        state: Where it is in its life.
        want: What is to become of it.
        pid: Its process, 0 if there is none.
        is_leaving: Whether its supervision ends as soon as it is down.
        ending: How it ended the last time.
        deaths: Those that nobody asked for.
        due: When to tell that :class:`~.events.TimeCame`; None: never.
        rules: Taken anew by whoever drives this, before each start.
    """

    __slots__ = (
        "_again",
        "_asked",
        "_delayed_until",
        "_ready",
        "_started_at",
        "_stopping",
        "_wishes",
        "deaths",
        "due",
        "ending",
        "is_leaving",
        "pid",
        "rules",
        "state",
        "want",
    )

    def __init__(self, rules: Rules = Rules()) -> None:  # noqa: B008 - immutable
        self.state = State.DOWN
        self.want = Want.DOWN
        self.pid = 0
        self.is_leaving = False
        self.ending: Ending | None = None
        self.deaths = Deaths()
        self.due: float | None = None
        self.rules = rules
        self._ready = False  # it said so, and may be paused now
        self._stopping = False  # it was told to end, and may be paused now
        self._asked = False  # its death, when it comes, was asked for
        self._again = False  # start it when the finish script is done
        self._started_at = -BETWEEN_STARTS
        self._delayed_until = -BETWEEN_STARTS
        self._wishes: list[events.Wish] = []

    @property
    def is_paused(self) -> bool:
        """Whether it was stopped by SIGSTOP."""
        return self.state is State.PAUSED

    def happened(self, event: events.Event, now: float) -> list[events.Wish]:
        """Take note of an event.

        Returns:
            What is to be done, in this order.  Doing it may tell of further events only
            after all was done, but for :class:`Start`, which comes last.
        """
        self._wishes = []
        self.state = TABLE[self.state][type(event)](self, event, now)
        return self._wishes

    # --- parts of transitions ---------------------------------------------------------------

    def _wish(self, *wishes: events.Wish) -> None:
        self._wishes += wishes

    def _start(self, now: float) -> State:
        """Start it, or wait for the time when that is allowed."""
        allowed = max(self._started_at + BETWEEN_STARTS, self._delayed_until)
        self._again = False
        if now < allowed:
            self.due = allowed
            self._wish(events.Announce())
            return State.BACKOFF
        self.due = None
        # How that goes is written down at once, so there is nothing to announce before.
        self._wish(events.Start())
        return State.STARTING

    def _start_by_order(self, now: float) -> State:
        """Start it because somebody says so, whatever it did before."""
        self.deaths.forget()
        self._delayed_until = now
        return self._start(now)

    def _rest(self) -> State:
        """Be down, and stay so."""
        self.due = None
        self._again = False
        self._wish(events.Announce())
        return State.DOWN

    def _quit(self) -> State:
        self.due = None
        self._wish(events.Announce(), events.Quit())
        return State.ENDED

    def _after_death(self, now: float) -> State:
        """Decide what follows, once nothing of it runs any more."""
        if self.is_leaving:
            return self._quit()
        if not self._again:
            return self._rest()
        if self.deaths.are_enough(self.rules.restarts):
            return self._give_up()
        return self._start(now)

    def _give_up(self) -> State:
        self.due = None
        self._wish(events.Announce(), events.RaiseAlarm())
        return State.GIVEN_UP

    # --- words from outside -----------------------------------------------------------------

    def _up_from_rest(self, _event: events.UpWanted, now: float) -> State:
        self.want = Want.UP
        return self._start_by_order(now)

    def _once_from_rest(self, _event: events.OnceWanted, now: float) -> State:
        self.want = Want.ONCE
        return self._start_by_order(now)

    def _want_up(self, _event: events.UpWanted, _now: float) -> State:
        self.want = Want.UP
        self._wish(events.Announce())
        return self.state

    def _want_once(self, _event: events.OnceWanted, _now: float) -> State:
        self.want = Want.ONCE
        self._wish(events.Announce())
        return self.state

    def _want_down(self, _event: events.DownWanted, _now: float) -> State:
        self.want = Want.DOWN
        return self._rest()

    def _tell_to_end(self, _event: events.DownWanted, now: float) -> State:
        self.want = Want.DOWN
        self._asked = True
        if self.due is None and self.rules.kill_after_seconds is not None:
            # Told again, it gets no longer; but it may be only now that there is a limit.
            self.due = now + self.rules.kill_after_seconds
        self._stopping = True
        # One that is paused has to wake up to hear it.
        self._wish(
            events.Send(self.rules.down_signal), events.Send(signal.SIGCONT), events.Announce()
        )
        return State.STOPPING

    def _leave_later(self, _event: events.ExitWanted, _now: float) -> State:
        self.is_leaving = True
        self._wish(events.Announce())
        return self.state

    def _leave_now(self, _event: events.ExitWanted, _now: float) -> State:
        self.is_leaving = True
        return self._quit()

    def _pause(self, _event: events.PauseWanted, _now: float) -> State:
        self._wish(events.Send(signal.SIGSTOP), events.Announce())
        return State.PAUSED

    def _continue(self, _event: events.ContinueWanted, _now: float) -> State:
        self._wish(events.Send(signal.SIGCONT), events.Announce())
        if self._stopping:
            return State.STOPPING
        return State.READY if self._ready else State.UP

    def _send(self, event: events.SignalWanted, _now: float) -> State:
        self._asked = self._asked or event.number in _FATAL
        self._wish(events.Send(event.number))
        return self.state

    def _up_after_finish(self, event: events.UpWanted, now: float) -> State:
        self._expect_order(now)
        return self._want_up(event, now)

    def _once_after_finish(self, event: events.OnceWanted, now: float) -> State:
        self._expect_order(now)
        return self._want_once(event, now)

    def _expect_order(self, now: float) -> None:
        self.deaths.forget()
        self._delayed_until = now
        self._again = True

    def _down_after_finish(self, _event: events.DownWanted, now: float) -> State:
        self.want = Want.DOWN
        self._again = False
        if self.due is None and self.rules.finish_seconds is not None:
            self.due = now + self.rules.finish_seconds  # a limit that is there only now
        self._wish(events.Announce())
        return self.state

    # --- what the system tells --------------------------------------------------------------

    def _is_started(self, event: events.Started, now: float) -> State:
        self.pid = event.pid
        self._started_at = now
        self._ready = self._stopping = self._asked = False
        self._wish(events.Announce())
        return State.UP

    def _is_not_started(self, event: events.NotStarted, now: float) -> State:
        self.due = now + event.retry_seconds
        self._wish(events.Announce())
        return State.BACKOFF

    def _is_ready(self, _event: events.SaidReady, _now: float) -> State:
        self._ready = True
        self._wish(events.Announce())
        return State.READY

    def _is_ready_silently(self, _event: events.SaidReady, _now: float) -> State:
        self._ready = True
        return self.state

    def _has_died(self, event: events.Died, now: float) -> State:
        self.pid = 0
        self.ending = event.ending
        restarts = self.rules.restarts
        if self._asked:
            self.deaths.forget()
        else:
            self.deaths.count(restarts, now, now - self._started_at)
        self._delayed_until = now + self.deaths.delay_seconds(restarts)
        if self.want is Want.UP and not self._asked and not restarts.restarts_after(event.ending):
            self.want = Want.ONCE  # as if it had been asked for: this was the once
        self._again = self.want is Want.UP
        self._ready = self._stopping = self._asked = False
        if not event.has_finish:
            return self._after_death(now)
        limit = self.rules.finish_seconds
        self.due = None if limit is None else now + limit
        self._wish(events.Announce(), events.RunFinish(event.ending))
        return State.FINISHING

    def _has_finished(self, event: events.Finished, now: float) -> State:
        if event.ending.code == STAY_DOWN and self._again and not self.is_leaving:
            return self._give_up()
        return self._after_death(now)

    # --- times ------------------------------------------------------------------------------

    def _try_now(self, _event: events.TimeCame, now: float) -> State:
        return self._start(now)

    def _kill(self, _event: events.TimeCame, _now: float) -> State:
        self.due = None
        if self._stopping:
            self._wish(events.Send(signal.SIGKILL))
        return self.state

    def _kill_finish(self, _event: events.TimeCame, _now: float) -> State:
        self.due = None
        self._wish(events.KillFinish())
        return self.state

    # --- what changes nothing ---------------------------------------------------------------

    def _announce(self, _event: events.Event, _now: float) -> State:
        self._wish(events.Announce())
        return self.state

    def _nothing(self, _event: events.Event, _now: float) -> State:
        return self.state


_Transition = Callable[[Child, Any, float], State]

#: Nothing is there that could have been started, died, or got ready.
_NO_PROCESS: Mapping[type, _Transition] = {
    # Has no effect, but the original writes its status down after these words.
    events.PauseWanted: Child._announce,
    events.ContinueWanted: Child._announce,
    events.SignalWanted: Child._nothing,
    events.Started: Child._nothing,
    events.NotStarted: Child._nothing,
    events.SaidReady: Child._nothing,
    events.Died: Child._nothing,
    events.Finished: Child._nothing,
    events.TimeCame: Child._nothing,
}

#: No process, and a word is all that it takes to start one.
_AT_REST: Mapping[type, _Transition] = {
    **_NO_PROCESS,
    events.UpWanted: Child._up_from_rest,
    events.OnceWanted: Child._once_from_rest,
    events.DownWanted: Child._want_down,
    events.ExitWanted: Child._leave_now,
}

_RUNNING: Mapping[type, _Transition] = {
    events.UpWanted: Child._want_up,
    events.DownWanted: Child._tell_to_end,
    events.OnceWanted: Child._want_once,
    events.ExitWanted: Child._leave_later,
    events.PauseWanted: Child._pause,
    events.ContinueWanted: Child._continue,
    events.SignalWanted: Child._send,
    events.Started: Child._nothing,
    events.NotStarted: Child._nothing,
    events.SaidReady: Child._is_ready,
    events.Died: Child._has_died,
    events.Finished: Child._nothing,
    events.TimeCame: Child._kill,
}

_EVENTS = tuple(_RUNNING)

#: What each event does in each state.
TABLE: Mapping[State, Mapping[type, _Transition]] = {
    State.DOWN: _AT_REST,
    State.STARTING: {
        **_NO_PROCESS,
        events.UpWanted: Child._want_up,
        events.OnceWanted: Child._want_once,
        events.DownWanted: Child._want_down,
        events.ExitWanted: Child._leave_now,
        events.Started: Child._is_started,
        events.NotStarted: Child._is_not_started,
    },
    State.UP: _RUNNING,
    State.READY: {**_RUNNING, events.SaidReady: Child._nothing},
    State.PAUSED: {**_RUNNING, events.SaidReady: Child._is_ready_silently},
    State.STOPPING: {**_RUNNING, events.SaidReady: Child._is_ready_silently},
    State.FINISHING: {
        **_NO_PROCESS,
        events.UpWanted: Child._up_after_finish,
        events.OnceWanted: Child._once_after_finish,
        events.DownWanted: Child._down_after_finish,
        events.ExitWanted: Child._leave_later,
        events.Finished: Child._has_finished,
        events.TimeCame: Child._kill_finish,
    },
    State.BACKOFF: {**_AT_REST, events.TimeCame: Child._try_now},
    State.GIVEN_UP: _AT_REST,
    State.ENDED: dict.fromkeys(_EVENTS, Child._nothing),
}
