"""Queues give turns in order, as many at once as their creator said, and never recurse."""

from __future__ import annotations

import sys
import weakref

from zope.interface.verify import verifyObject

from harpcaller.interfaces import IBoard, IPlace
from harpcaller.queues.board import Board
from harpcaller.wire.client import JobId, QueueSpec
from harpcaller.wire.values import Raw
from tests.house import HouseCase

NAME = Raw(b'{"queue":"disks"}')


class BoardCase(HouseCase):
    """A board, and the jobs whose turns came."""

    def setUp(self) -> None:
        super().setUp()
        self.board = Board(self.clock)
        self.places: dict[str, IPlace] = {}
        self.started: list[str] = []
        # The turn that nobody is left to take.
        self.addCleanup(self.turn)

    def reserve(self, job: str, concurrency: int = 1, name: bytes = NAME) -> IPlace:
        place = self.board.reserve(JobId(job), QueueSpec(Raw(name), concurrency))
        self.places[job] = place
        return place

    def line_up(self, *jobs: str, concurrency: int = 1, name: bytes = NAME) -> None:
        for job in jobs:
            self.wait(self.reserve(job, concurrency, name), job)

    def wait(self, place: IPlace, job: str) -> None:
        place.wait(lambda: self.started.append(job))

    def leave(self, *jobs: str) -> None:
        for job in jobs:
            self.places[job].leave()

    def turn(self) -> None:
        self.clock.advance(0)

    def members(self, name: bytes = NAME) -> list[str]:
        return list(self.board.members(Raw(name)))


class TurnTests(BoardCase):
    def test_interfaces(self) -> None:
        """Board and places have every method of their interfaces."""
        verifyObject(IBoard, self.board)
        verifyObject(IPlace, self.reserve("a"))
        self.leave("a")

    def test_first_in_first_out(self) -> None:
        """Jobs start in the order in which they lined up."""
        self.line_up("a", "b", "c")
        self.turn()
        self.assertEqual(["a"], self.started)
        self.leave("a")
        self.turn()
        self.leave("b")
        self.turn()
        self.assertEqual(["a", "b", "c"], self.started)
        self.leave("c")

    def test_order_is_that_of_the_line(self) -> None:
        """A reservation keeps the queue alive, but no place in the line."""
        self.reserve("a")
        self.line_up("b")
        self.wait(self.places["a"], "a")
        self.turn()
        self.assertEqual((["b"], ["b", "a"]), (self.started, self.members()))
        self.leave("a", "b")

    def test_as_many_at_once_as_concurrency_says(self) -> None:
        """With three slots, three run; the fourth starts when one has left."""
        self.line_up("a", "b", "c", "d", "e", concurrency=3)
        self.turn()
        self.assertEqual(["a", "b", "c"], self.started)
        self.leave("b")
        self.turn()
        self.assertEqual(["a", "b", "c", "d"], self.started)
        self.assertEqual(["a", "c", "d", "e"], self.members())
        self.leave("a", "c", "d", "e")
        self.turn()

    def test_only_the_creator_sets_concurrency(self) -> None:
        """Later values are ignored while the queue lives."""
        self.line_up("a", concurrency=1)
        self.line_up("b", concurrency=5)
        self.assertEqual([1, 1], [self.places[job].concurrency for job in "ab"])
        self.turn()
        self.assertEqual(["a"], self.started)
        self.leave("a", "b")

    def test_reservation_creates_the_queue(self) -> None:
        """The first job sets the concurrency even if it lines up late."""
        self.reserve("a", 2)
        self.line_up("b", "c", "d", concurrency=9)
        self.turn()
        self.assertEqual(["b", "c"], self.started)
        self.leave("a", "b", "c", "d")

    def test_never_from_inside_wait(self) -> None:
        """Whoever lines up has finished doing so when its turn comes."""
        place = self.reserve("a")
        place.wait(lambda: self.started.append("a"))
        self.assertEqual([], self.started)
        self.turn()
        self.assertEqual(["a"], self.started)
        place.leave()

    def test_queues_are_apart(self) -> None:
        """A full queue holds up no other."""
        self.line_up("a", "b")
        self.line_up("c", name=b'{"queue":"nets"}')
        self.turn()
        self.assertEqual(["a", "c"], self.started)
        self.assertEqual([NAME, b'{"queue":"nets"}'], list(self.board.queues()))
        self.leave("a", "b", "c")

    def test_waiting_twice_is_once(self) -> None:
        """One place is one turn."""
        place = self.reserve("a", 5)
        self.wait(place, "a")
        self.wait(place, "a")
        self.turn()
        self.wait(place, "a")
        self.turn()
        self.assertEqual(["a"], self.started)
        place.leave()
        self.wait(place, "a")
        self.assertEqual([], self.members())

    def test_leaving_twice_is_once(self) -> None:
        """A slot isn't given back more often than it was taken."""
        self.line_up("a", "b", "c")
        self.turn()
        self.leave("a", "a")
        self.turn()
        self.assertEqual(["a", "b"], self.started)
        self.leave("a", "b", "c")


class LifeOfQueueTests(BoardCase):
    def test_born_with_first_gone_with_last(self) -> None:
        """A queue is listed exactly as long as it has jobs; then anybody may create it anew."""
        self.assertEqual([], list(self.board.queues()))
        self.line_up("a", "b", concurrency=1)
        self.turn()
        self.leave("a")
        self.assertEqual([NAME], list(self.board.queues()))
        self.leave("b")
        self.assertEqual([], list(self.board.queues()))
        self.line_up("c", concurrency=4)
        self.assertEqual(4, self.places["c"].concurrency)
        self.leave("c")

    def test_reserved_one_that_leaves_ends_it(self) -> None:
        """A call that couldn't be stored leaves no empty queue behind."""
        self.reserve("a", 1)
        self.assertEqual(([NAME], []), (list(self.board.queues()), self.members()))
        self.leave("a")
        self.assertEqual([], list(self.board.queues()))

    def test_reservation_keeps_it_alive(self) -> None:
        """The queue doesn't die between a call's arrival and its being stored."""
        self.line_up("a", concurrency=2)
        self.reserve("b", 7)
        self.leave("a")
        self.wait(self.places["b"], "b")
        self.assertEqual(2, self.places["b"].concurrency)
        self.turn()
        self.assertEqual(["b"], self.started)
        self.leave("b")

    def test_cancelled_in_the_middle(self) -> None:
        """One that waits can leave from anywhere; the others keep their order."""
        self.line_up("a", "b", "c", "d")
        self.turn()
        self.leave("c")
        self.assertEqual(["a", "b", "d"], self.members())
        self.leave("a")
        self.turn()
        self.leave("b")
        self.turn()
        self.assertEqual(["a", "b", "d"], self.started)
        self.leave("d")

    def test_leaving_before_the_turn_is_given(self) -> None:
        """A slot that was free stays free for the next."""
        self.line_up("a", "b")
        self.leave("a")
        self.turn()
        self.assertEqual(["b"], self.started)
        self.leave("b")

    def test_all_leave_before_the_turn(self) -> None:
        """A turn for nobody does no harm."""
        self.line_up("a")
        self.leave("a")
        self.turn()
        self.assertEqual([], self.started)

    def test_members_of_no_queue(self) -> None:
        """A queue that doesn't live has no jobs."""
        self.assertEqual([], self.members(b'{"no":"such"}'))


class NameTests(BoardCase):
    def same(self, one: bytes, other: bytes) -> bool:
        self.line_up("a", name=one)
        self.line_up("b", name=other)
        same = len(self.board.queues()) == 1
        self.assertEqual(["a", "b"] if same else ["a"], self.members(one))
        self.leave("a", "b")
        self.turn()
        return same

    def test_equal_as_json_values(self) -> None:
        """Key order, spaces, escapes and ways to write a number are irrelevant."""
        for one, other in (
            (b'{"a":1,"b":2}', b'{"b":2,"a":1}'),
            (b'{"a":1}', b'{ "a" : 1.0 }'),
            (b'{"a":100}', b'{"a":1e2}'),
            ('{"a":"ä"}'.encode(), b'{"a":"\\u00e4"}'),
            (b"{}", b"{ }"),
            (b'{"a":{"x":[1,{"y":2,"z":3}]}}', b'{"a":{"x":[1.0,{"z":3,"y":2}]}}'),
        ):
            self.assertTrue(self.same(one, other), (one, other))

    def test_different_values(self) -> None:
        """What isn't equal is another queue."""
        for one, other in (
            (b'{"a":1}', b'{"a":"1"}'),
            (b'{"a":1}', b'{"a":true}'),
            (b'{"a":[1,2]}', b'{"a":[2,1]}'),
            (b'{"a":9007199254740992}', b'{"a":9007199254740993}'),
            (b"{}", b'{"a":null}'),
        ):
            self.assertFalse(self.same(one, other), (one, other))

    def test_listed_as_its_creator_wrote_it(self) -> None:
        """The name comes back as it came in."""
        self.line_up("a", name=b'{ "b":1.0, "a":2 }')
        self.line_up("b", name=b'{"a":2,"b":1}')
        self.assertEqual([b'{ "b":1.0, "a":2 }'], list(self.board.queues()))
        self.leave("a", "b")


class CrowdTests(BoardCase):
    def test_five_thousand_end_at_once(self) -> None:
        """All of them are followed by the next, without recursion and without losing a slot."""
        jobs = [str(number) for number in range(10_000)]
        self.line_up(*jobs, concurrency=5_000)
        self.turn()
        self.assertEqual(jobs[:5_000], self.started)
        self.leave(*jobs[:5_000])
        self.turn()
        self.assertEqual(jobs, self.started)
        self.leave(*jobs[5_000:])
        self.assertEqual([], list(self.board.queues()))

    def test_five_thousand_that_end_as_they_start(self) -> None:
        """Reentrant leaving: each frees the slot for the next from inside its own start."""
        depths: list[int] = []
        for number in range(5_000):
            job = str(number)
            place = self.reserve(job)

            def start(job: str = job, place: IPlace = place) -> None:
                self.started.append(job)
                depths.append(_depth())
                place.leave()

            place.wait(start)
        self.turn()
        self.assertEqual([str(number) for number in range(5_000)], self.started)
        self.assertEqual(1, len(set(depths)), "starts are nested")
        self.assertEqual([], list(self.board.queues()))

    def test_five_thousand_cancelled_in_the_middle(self) -> None:
        """Every other one leaves the line; the rest keeps its order."""
        jobs = [str(number) for number in range(10_000)]
        self.line_up(*jobs, concurrency=10_000)
        self.leave(*jobs[1::2])
        self.turn()
        self.assertEqual(jobs[::2], self.started)
        self.leave(*jobs[::2])


class ReentranceTests(BoardCase):
    def test_start_makes_another_queue_empty(self) -> None:
        """A start may end the last job of a queue that is due in the same turn."""
        first = self.reserve("a", name=b'{"q":1}')
        first.wait(lambda: self.leave("b"))
        self.line_up("b", name=b'{"q":2}')
        self.turn()
        self.assertEqual(([], [b'{"q":1}']), (self.started, list(self.board.queues())))
        self.leave("a")

    def test_start_lines_up_another(self) -> None:
        """A start may bring a job into its own queue, and into a new one."""
        place = self.reserve("a")

        def start() -> None:
            place.leave()
            self.line_up("b")
            self.line_up("c", name=b'{"q":2}')

        place.wait(start)
        self.turn()
        self.turn()
        self.assertEqual(["b", "c"], self.started)
        self.leave("b", "c")

    def test_start_cancels_the_next(self) -> None:
        """One whose place was given up isn't started after all."""
        place = self.reserve("a", 2)
        place.wait(lambda: self.leave("b"))
        self.line_up("b", "c")
        self.turn()
        self.assertEqual(["c"], self.started)
        self.leave("a", "c")


class CloseTests(BoardCase):
    def test_no_turns_after_close(self) -> None:
        """A board that is closed starts nobody, and leaves nothing on the clock."""
        self.line_up("a", "b")
        self.board.close()
        self.assertEqual([], self.clock.getDelayedCalls())
        self.turn()
        self.assertEqual([], self.started)
        self.line_up("c", name=b'{"q":2}')
        self.leave("a")
        self.assertEqual([], self.clock.getDelayedCalls())
        self.assertEqual(["b"], self.members())

    def test_closing_twice(self) -> None:
        """Is as good as once, also with nothing to do."""
        self.board.close()
        self.board.close()

    def test_running_ones_still_leave(self) -> None:
        """After the close queues still end with their last job."""
        self.line_up("a", "b")
        self.turn()
        self.board.close()
        self.leave("a")
        self.assertEqual((["a"], ["b"]), (self.started, self.members()))
        self.leave("b")
        self.assertEqual([], list(self.board.queues()))

    def test_closed_from_inside_a_start(self) -> None:
        """Those behind the one that closes the board aren't started, in no queue."""
        place = self.reserve("a", 3)
        place.wait(self.board.close)
        self.line_up("b")
        self.line_up("c", name=b'{"q":2}')
        self.turn()
        self.assertEqual([], self.started)
        self.assertEqual(["a", "b"], self.members())


class _Job:
    """Holds its place, which holds what starts it, as a living job does."""

    def __init__(self, place: IPlace) -> None:
        self.place = place
        place.wait(self.start)

    def start(self) -> None:
        """Its turn came."""


class MemoryTests(BoardCase):
    """A hundred thousand jobs may leave a queue; none of them waits for the garbage collector."""

    def test_left_places(self) -> None:
        """Who stood in line, or ran, and left is forgotten by the last who knows of it."""
        jobs = [_Job(self.reserve(name)) for name in ("runs", "waits")]
        known = [weakref.ref(job) for job in jobs]
        self.turn()
        for job in reversed(jobs):
            job.place.leave()
        del job
        jobs.clear()
        self.places.clear()
        self.assertEqual([None, None], [one() for one in known])


def _depth() -> int:
    depth = 0
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        depth += 1
    return depth
