"""All services of a directory, as people see them."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.supervise.machine.restarts import Ending
from harpcaller.supervise.servicedir.detail import Detail
from harpcaller.supervise.servicedir.seen import Normally, NotRunning, NotSeen, Seen
from harpcaller.supervise.servicedir.status import Status
from harpcaller.supervise.tools.status_table import Row, duration, render, row

NOW = 1_700_000_000.0


def seen(
    pid: int,
    detail: Detail | None = None,
    *,
    want: bytes = b"u",
    paused: bool = False,
    normally: Normally = Normally.UP,
    encore: str | None = None,
) -> Seen:
    """Make a service whose pid changed 100 seconds ago."""
    changed = int((NOW - 100) * 10**9)
    return Seen(Status(changed, pid, paused, want[0], encore), normally, detail)


class RowTests(SynchronousTestCase):
    """A service in words."""

    def shown(self, what: Seen | NotSeen) -> tuple[str, str, str, str]:
        """Give the state, for how long, the pid and the rest."""
        made = row("web", what, NOW, 50.0)
        self.assertEqual("web", made.service)
        return made.state, made.since, made.pid, made.more

    def test_supervised_by_us(self) -> None:
        """The state has a word, and why it is so is told."""
        self.assertEqual(
            ("ready", "1m 40s", "7", ""), self.shown(seen(7, Detail("", 0, "ready", 0.0)))
        )
        dead = Detail("", 0, "backoff", 0.0, retry=52.0, deaths=3, ending=Ending(1, None))
        more = "next try in 2 s; died 3 times in a row, the last: exit code 1"
        self.assertEqual(("backoff", "1m 40s", "-", more), self.shown(seen(0, dead)))
        waiting = Detail("", 0, "starting", 0.0, waits_for=("db",))
        self.assertEqual(("starting", "1m 40s", "-", "waits for db"), self.shown(seen(0, waiting)))

    def test_supervised_by_others(self) -> None:
        """What the original tells is enough."""
        self.assertEqual(("up", "1m 40s", "7", ""), self.shown(seen(7)))
        self.assertEqual(("down", "1m 40s", "-", "normally up"), self.shown(seen(0)))
        self.assertEqual(("running", "1m 40s", "7", ""), self.shown(seen(7, encore="running")))

    def test_unlike_it_should_be(self) -> None:
        """That is told."""
        self.assertEqual("normally down", self.shown(seen(7, normally=Normally.DOWN))[3])
        self.assertEqual("", self.shown(seen(0, normally=Normally.DOWN))[3])
        self.assertEqual("want down", self.shown(seen(7, want=b"d"))[3])
        self.assertEqual("paused", self.shown(seen(7, Detail("", 0, "ready", 0.0), paused=True))[0])

    def test_not_seen(self) -> None:
        """Why not is told."""
        self.assertEqual(
            ("unsupervised", "-", "-", "supervise not running"),
            self.shown(NotRunning("supervise not running")),
        )
        self.assertEqual(("unknown", "-", "-", "x"), self.shown(NotSeen("x")))

    def test_durations(self) -> None:
        """Two units are enough."""
        for seconds, text in [
            (-5, "0s"),
            (0.9, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3661, "1h 1m"),
            (90000, "1d 1h"),
            (400 * 86400, "400d 0h"),
        ]:
            self.assertEqual(text, duration(seconds))


class RenderTests(SynchronousTestCase):
    """The table."""

    def test_columns(self) -> None:
        """Columns stand under each other; nothing can play with the terminal."""
        rows = [Row("web", "ready", "2d 3h", "1234", ""), Row("a\x1b[1m", "down", "1s", "-", "why")]
        self.assertEqual(
            "SERVICE  STATE  FOR    PID\n"
            "web      ready  2d 3h  1234\n"
            "a?[1m    down   1s     -     why\n",
            render(rows),
        )

    def test_nothing(self) -> None:
        """Titles tell that it was looked."""
        self.assertEqual("SERVICE  STATE  FOR  PID\n", render([]))
