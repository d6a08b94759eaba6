"""How far a service is from where it was told to go, whoever supervises it."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise.servicedir.detail import Detail
from harpcaller.supervise.servicedir.seen import Normally, NotRunning, NotSeen, Seen
from harpcaller.supervise.servicedir.status import Status
from harpcaller.supervise.tools.waiting import Progress, progress

THERE, ON_ITS_WAY, NEVER = Progress.THERE, Progress.ON_ITS_WAY, Progress.NEVER


def seen(pid: int, state: str | None, want: str = "u", *, tells: bool = False) -> Seen:
    detail = None if state is None else Detail("00", pid, state, 0.0)
    return Seen(Status(0, pid, False, ord(want)), Normally.UP, detail, tells)


class ProgressTests(SynchronousTestCase):
    def check(self, goal: str, how: Progress, what: Seen | NotSeen, leaves: bool = False) -> None:
        self.assertEqual(how, progress(goal, what, leaves), (goal, what))

    def test_up(self) -> None:
        """There is a process."""
        self.check("u", THERE, seen(5, "up"))
        self.check("u", THERE, seen(5, None))
        for state in ("starting", "backoff", "down", "finishing", None):
            self.check("u", ON_ITS_WAY, seen(0, state))

    def test_ready(self) -> None:
        """It said so; being up is as much as can be known of one that doesn't tell."""
        self.check("U", THERE, seen(5, "ready", tells=True))
        self.check("U", ON_ITS_WAY, seen(5, "up", tells=True))
        self.check("U", THERE, seen(5, "up"))
        self.check("U", ON_ITS_WAY, seen(5, "stopping"))
        self.check("U", ON_ITS_WAY, seen(0, "starting"))
        self.check("U", THERE, seen(5, None, tells=True))
        self.check("U", ON_ITS_WAY, seen(0, None))

    def test_another_process(self) -> None:
        """One that was told to end isn't up again as long as it hasn't."""
        for goal in ("u", "U"):
            for old, how in (((5, 0), ON_ITS_WAY), ((4, 0), THERE), ((5, 1), THERE)):
                self.assertEqual(how, progress(goal, seen(5, "ready"), False, old), (goal, old))

    def test_down(self) -> None:
        """There is no process, and none is about to be."""
        self.check("d", THERE, seen(0, "down", "d"))
        self.check("d", THERE, seen(0, "given up"))
        self.check("d", THERE, seen(0, None, "d"))
        for state in ("starting", "backoff", "finishing", None):
            self.check("d", ON_ITS_WAY, seen(0, state))
        self.check("d", ON_ITS_WAY, seen(5, "stopping", "d"))
        self.check("d", ON_ITS_WAY, seen(0, "down", "d"), leaves=True)

    def test_in_vain(self) -> None:
        """What was given up won't come up; where nobody supervises, nothing will."""
        for goal in ("u", "U"):
            self.check(goal, NEVER, seen(0, "given up"))
            self.check(goal, NEVER, NotRunning("supervise not running"))
        self.check("d", THERE, NotRunning("supervise not running"))
        self.check("d", NEVER, NotSeen("unable to open supervise/ok: access denied"))
