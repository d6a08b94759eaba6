"""A call that outlives its caller's connection."""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable

from harpcaller.agent.feed import Feed
from harpcaller.agent.kept import KeptCall, KeptCore
from harpcaller.agent.running import Core, RunningCall, make_running_call
from harpcaller.agent.spool import MEMORY, Spool
from harpcaller.logs.events import EventLog
from tests.agent.fakes import FakeLink, FakeProcess
from tests.house import HouseCase

ORPHAN = 60.0
KEEP = 4 * MEMORY
ACKNOWLEDGED = b'{"harp":1,"stream_result":true,"resume":true}\n'
RECORD = b'{"stream":1}\n'
ANSWER = b'{"result":1}\n'


def numbered(first: int, end: int) -> bytes:
    return b"".join(b'{"stream":1,"n":%d}\n' % number for number in range(first, end))


class KeptCase(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = self.mktemp()
        os.mkdir(self.folder)
        self.begin()

    def begin(self) -> None:
        self.over: list[str] = []
        self.unheard: list[bool] = []
        self.exits: list[str] = []
        spool = Spool(self.folder, KEEP // 2)
        self.feed = Feed(KEEP, spool, EventLog("agent"), {"job": "j"})
        self.core = KeptCore(self.clock, ORPHAN, self.feed, self.unheard.append, self.over.append)
        self.kept = KeptCall(self.core)
        core = Core(self.kept, self.clock, None, 5.0, self.exits.append, lambda: None)
        self.call: RunningCall = make_running_call(core)
        self.process = FakeProcess(self.call)
        self.kept.acknowledge(True)
        core.attach(self.process)
        self.link = FakeLink()
        self.kept.begin(self.call, self.link)
        self.call.free_to_run()

    def attach(self, since: int, room: int = 2**60) -> FakeLink:
        link = FakeLink(room=room)
        self.assertTrue(self.kept.attach(link, since))
        return link

    def end(self) -> None:
        """Let the process go, and whatever is left of the call."""
        self.call.exited("in the end")
        self.kept.cancel()


class LifeTests(KeptCase):
    def test_listened_to_all_the_time(self) -> None:
        """Records have numbers; after the last line the connection waits for the word."""
        self.call.said(RECORD * 2)
        self.call.said(RECORD)
        self.call.answered(ANSWER)
        self.assertEqual(ACKNOWLEDGED + numbered(0, 3) + ANSWER, self.link.told)
        self.assertTrue(self.link.all_said)
        self.assertEqual((False, []), (self.link.closed, self.over))
        self.assertFalse(self.kept.cancel())
        self.assertEqual((True, ["heard"]), (self.link.closed, self.over))
        self.call.exited("normally")
        self.assertEqual(["result"], self.exits)

    def test_goes_on_after_a_break(self) -> None:
        """What is said while nobody listens comes on the next connection, as does the end."""
        self.call.said(RECORD)
        self.kept.lost(self.link)
        self.call.said(RECORD * 2)
        self.assertEqual([], self.process.ends)
        link = self.attach(1)
        self.call.said(RECORD)
        self.assertEqual(ACKNOWLEDGED + numbered(1, 4), link.told)
        self.call.answered(ANSWER)
        self.assertTrue(link.told.endswith(ANSWER))
        self.end()

    def test_comes_for_what_was_sent_already(self) -> None:
        """What was sent, but lost with the connection, comes again."""
        self.call.said(RECORD * 5)
        self.kept.lost(self.link)
        self.assertEqual(ACKNOWLEDGED + numbered(2, 5), self.attach(2).told)
        self.end()

    def test_end_waits(self) -> None:
        """How it ended can be asked for, again and again until it is said to be safe."""
        self.kept.lost(self.link)
        self.call.said(RECORD)
        self.call.answered(ANSWER)
        self.call.exited("normally")
        self.assertEqual([True], self.unheard)
        for _ in range(3):
            link = self.attach(0)
            self.assertEqual(ACKNOWLEDGED + numbered(0, 1) + ANSWER, link.told)
            self.assertTrue(link.all_said)
            self.kept.lost(link)
        self.assertEqual([True, False, True, False, True, False, True], self.unheard)
        self.attach(1)
        self.assertFalse(self.kept.cancel())
        self.assertEqual(["heard"], self.over)

    def test_taken_over(self) -> None:
        """A second connection takes the call over; that the first one is gone means nothing."""
        second = self.attach(0)
        self.assertTrue(self.link.dropped)
        self.kept.lost(self.link)
        self.call.said(RECORD)
        self.assertEqual(ACKNOWLEDGED + numbered(0, 1), second.told)
        self.end()

    def test_cancelled(self) -> None:
        """The process is ended, and the connection closed, also if there is none."""
        self.assertTrue(self.kept.cancel())
        self.assertEqual([(signal.SIGTERM, 5.0)], self.process.ends)
        self.assertTrue(self.link.closed)
        self.call.exited("by a signal")
        self.begin()
        self.kept.lost(self.link)
        self.assertTrue(self.kept.cancel())
        self.assertEqual(([(signal.SIGTERM, 5.0)], ["cancelled"]), (self.process.ends, self.over))
        self.call.exited("by a signal")

    def test_orphan(self) -> None:
        """A call that nobody comes for is ended."""
        self.clock.advance(10 * ORPHAN)
        self.kept.lost(self.link)
        self.clock.advance(ORPHAN - 1)
        self.assertEqual([], self.process.ends)
        self.clock.advance(1)
        self.assertEqual(([(signal.SIGTERM, 5.0)], ["orphaned"]), (self.process.ends, self.over))
        self.call.exited("by a signal")

    def test_attaching_stops_the_clock(self) -> None:
        """Each time that nobody listens is measured for itself."""
        for _ in range(3):
            self.kept.lost(self.link)
            self.clock.advance(ORPHAN - 1)
            self.link = self.attach(0)
        self.clock.advance(ORPHAN)
        self.assertEqual([], self.process.ends)
        self.end()

    def test_end_that_nobody_asks_for(self) -> None:
        """Is forgotten after a while, counted from the end."""
        self.kept.lost(self.link)
        self.clock.advance(ORPHAN - 1)
        self.call.answered(ANSWER)
        self.call.exited("normally")
        self.clock.advance(ORPHAN - 1)
        self.attach(0)
        self.kept.lost(self.feed.link or self.link)
        self.clock.advance(ORPHAN)
        self.assertEqual(["unheard"], self.over)
        self.assertFalse(self.kept.attach(FakeLink(), 0))

    def test_unknown_records(self) -> None:
        """Nobody gets records that aren't there, and who listens isn't disturbed."""
        self.assertFalse(self.kept.attach(FakeLink(), 1))
        self.assertFalse(self.link.dropped)
        self.end()


class FlowTests(KeptCase):
    def test_slow_reader(self) -> None:
        """A caller that reads slowly holds the process back, and loses nothing."""
        self.link.room = 100
        self.call.said(RECORD * 10)
        self.assertTrue(self.process.paused)
        self.call.said(RECORD * 10)
        self.assertEqual(ACKNOWLEDGED + numbered(0, 10), self.link.told)
        self.link.more_room(10_000)
        self.assertEqual(ACKNOWLEDGED + numbered(0, 20), self.link.told)
        self.assertFalse(self.process.paused)
        self.end()

    def test_slow_reader_at_the_end(self) -> None:
        """The last line is sent when there is room, and the word is waited for from then on."""
        self.link.room = 1
        self.call.said(RECORD)
        self.call.answered(ANSWER)
        self.assertFalse(self.link.all_said)
        self.link.more_room(1000)
        self.assertTrue(self.link.all_said)
        self.assertTrue(self.link.told.endswith(ANSWER))
        self.end()

    def test_slow_reader_goes(self) -> None:
        """Then the process isn't held back any more."""
        self.link.room = 1
        self.call.said(RECORD)
        self.assertTrue(self.process.paused)
        self.kept.lost(self.link)
        self.assertFalse(self.process.paused)
        self.end()

    def test_nobody_listens(self) -> None:
        """So much is kept and no more: then the process has to wait for somebody."""
        self.kept.lost(self.link)
        said = 0
        batch = 1000
        while not self.process.paused:
            self.call.said(RECORD * batch)
            said += batch
        self.assertGreater(self.kept.bytes, KEEP)
        self.assertLess(self.kept.bytes, KEEP + batch * 30)
        link = self.attach(0, room=10_000)
        self.assertTrue(self.process.paused)
        while link.room <= 0:
            link.more_room(100_000)
        self.assertFalse(self.process.paused)
        self.assertEqual(ACKNOWLEDGED + numbered(0, said), link.told)
        self.end()

    def test_long_stream(self) -> None:
        """Of what was sent only the last is kept, which is as much as can have been lost."""
        batch, size = 1000, 0
        said = 0
        while size < 20 * KEEP:
            self.call.said(RECORD * batch)
            said += batch
            size = len(self.link.told)
        self.assertLess(self.kept.bytes, 2 * KEEP)
        self.kept.lost(self.link)
        self.assertFalse(self.kept.attach(FakeLink(), 0))
        since = said - KEEP // 30
        self.assertEqual(ACKNOWLEDGED + numbered(since, said), self.attach(since).told)
        self.end()


class BrokenSpoolTests(KeptCase):
    """The disk is full, say."""

    def setUp(self) -> None:
        super().setUp()
        self.feed.spool = Spool("/nonexistent", KEEP // 2)

    def fill(self) -> bytes:
        big = b'{"stream":"%s"}\n' % (b"x" * MEMORY)
        self.call.said(big)
        return big[:-2] + b',"n":0}\n'

    def test_who_listens_goes_on(self) -> None:
        """The call goes on as one that isn't kept: it ends with its connection."""
        big = self.fill()
        self.call.said(RECORD)
        self.assertEqual(ACKNOWLEDGED + big + numbered(1, 2), self.link.told)
        self.assertFalse(self.kept.attach(FakeLink(), 0))
        self.kept.lost(self.link)
        self.assertEqual(1, len(self.process.ends))
        self.call.exited("by a signal")

    def test_end_comes(self) -> None:
        """Who listens hears the end."""
        self.fill()
        self.call.answered(ANSWER)
        self.assertTrue(self.link.told.endswith(ANSWER))
        self.assertTrue(self.link.all_said)
        self.kept.lost(self.link)
        self.assertEqual(["heard"], self.over)
        self.call.exited("normally")

    def test_nobody_listens(self) -> None:
        """The call is ended, as nobody could hear it whole."""
        self.kept.lost(self.link)
        self.fill()
        self.assertEqual((["cancelled"], 1), (self.over, len(self.process.ends)))
        self.call.exited("by a signal")

    def test_slow_reader(self) -> None:
        """Likewise if something wasn't sent yet."""
        self.link.room = 1
        self.call.said(RECORD)
        self.call.said(RECORD)
        self.fill()
        self.assertTrue(self.link.dropped)
        self.assertEqual((["cancelled"], 1), (self.over, len(self.process.ends)))
        self.call.exited("by a signal")


class UnreadableSpoolTests(KeptCase):
    """What was kept can't be read any more."""

    def setUp(self) -> None:
        super().setUp()
        spool = FaultySpool(self.folder, KEEP // 2)
        self.feed.spool = spool
        self.kept.lost(self.link)
        self.call.said(RECORD * 3)
        spool.is_broken = True

    def test_nobody_can_attach(self) -> None:
        """Who looks for a record in it doesn't find the call."""
        self.assertFalse(self.kept.attach(FakeLink(), 1))
        self.end()

    def test_call_is_ended(self) -> None:
        """Who would be sent the rest is dropped, and the call is ended."""
        link = FakeLink()
        self.kept.attach(link, 3)
        self.assertFalse(link.dropped)
        self.kept.pauseProducing()
        self.call.said(RECORD)
        self.kept.resumeProducing()
        self.assertTrue(link.dropped)
        self.assertEqual((["cancelled"], 1), (self.over, len(self.process.ends)))
        self.call.exited("by a signal")


class FaultySpool(Spool):
    """A spool whose disk breaks."""

    is_broken = False

    def read(self, position: int) -> bytes:
        if self.is_broken:
            raise OSError(errno.EIO, "Input/output error")
        return super().read(position)


EVENTS: dict[str, Callable[[KeptCase], object]] = {
    "told": lambda case: case.kept.tell(RECORD),
    "finished": lambda case: case.kept.finish(ANSWER),
    "attached": lambda case: case.kept.attach(FakeLink(), 0),
    "lost": lambda case: case.kept.lost(case.feed.link or case.link),
    "cancelled": lambda case: case.kept.cancel(),
    "time_ran_out": lambda case: case.kept.give_up(),
}
#: How to get to each state.
PATHS: dict[str, tuple[str, ...]] = {
    "attached": (),
    "orphaned": ("lost",),
    "delivering": ("finished",),
    "waiting": ("finished", "lost"),
    "over": ("cancelled",),
}


class TableTests(KeptCase):
    def test_every_event_in_every_state(self) -> None:
        """Nothing that can happen, at whatever time, is a surprise."""
        for state, path in PATHS.items():
            for name, event in EVENTS.items():
                with self.subTest(state=state, name=name):
                    self.begin()
                    for step in path:
                        EVENTS[step](self)
                    event(self)
                    self.kept.cancel()
                    self.call.exited("in the end")
                    self.assertEqual(1, len(self.over), "over once and only once")
                    self.assertEqual(1, len(self.exits))
                    self.assertEqual([], self.clock.getDelayedCalls())

    def tearDown(self) -> None:
        self.kept.cancel()
        self.call.exited("in the end")
