"""What can happen to a supervised process, and what its machine may wish for.

PURE values.  Events are in the past tense, wishes are imperative.
"""

from __future__ import annotations

from typing import NamedTuple

from harpcaller.supervise.machine.restarts import Ending


class _Bare:
    """A value that is told apart by its class alone; empty tuples would all be equal."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class UpWanted(_Bare):
    """Somebody wants it up, and kept up."""

    __slots__ = ()


class DownWanted(_Bare):
    """Somebody wants it down, and kept down."""

    __slots__ = ()


class OnceWanted(_Bare):
    """Somebody wants it started if it is down, and not started again."""

    __slots__ = ()


class ExitWanted(_Bare):
    """Somebody wants its supervision to end as soon as it is down."""

    __slots__ = ()


class PauseWanted(_Bare):
    """Somebody wants it stopped in its tracks."""

    __slots__ = ()


class ContinueWanted(_Bare):
    """Somebody wants it to go on."""

    __slots__ = ()


class SignalWanted(NamedTuple):
    """Somebody wants it to get a signal."""

    number: int


class Started(NamedTuple):
    """There is a process now."""

    pid: int


class NotStarted(NamedTuple):
    """The system had none to give; worth another try in a while."""

    retry_seconds: float


class SaidReady(_Bare):
    """The process says that it does its work from now on."""

    __slots__ = ()


class Died(NamedTuple):
    """The process ended.  ``has_finish``: there is a script to run now."""

    ending: Ending
    has_finish: bool


class Finished(NamedTuple):
    """The finish script ended."""

    ending: Ending


class TimeCame(_Bare):
    """It is as late as the machine's ``due``."""

    __slots__ = ()


Event = (
    UpWanted
    | DownWanted
    | OnceWanted
    | ExitWanted
    | PauseWanted
    | ContinueWanted
    | SignalWanted
    | Started
    | NotStarted
    | SaidReady
    | Died
    | Finished
    | TimeCame
)


class Start(_Bare):
    """Start the process as soon as what it needs is there; then tell how it went."""

    __slots__ = ()


class Send(NamedTuple):
    """Send the process a signal."""

    number: int


class RunFinish(NamedTuple):
    """Run the finish script; tell when it ended."""

    ending: Ending


class KillFinish(_Bare):
    """Kill the finish script, it takes too long."""

    __slots__ = ()


class Announce(_Bare):
    """Write down how things are."""

    __slots__ = ()


class RaiseAlarm(_Bare):
    """Run the alert command: the process is given up."""

    __slots__ = ()


class Quit(_Bare):
    """End the supervision."""

    __slots__ = ()


Wish = Start | Send | RunFinish | KillFinish | Announce | RaiseAlarm | Quit
