"""A job's life: every input in every state, and one ending whoever is first."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from harpcaller.interfaces import Ended, Fact, Recorded, Resumable, Started
from harpcaller.job.life import Life, new_life
from harpcaller.wire.client_answers import Record
from harpcaller.wire.ending import Cancelled, Failed, Raised, Returned
from harpcaller.wire.values import Raw

DONE = Returned(Raw(b"1"))
HOST = Failed("unknown_host", "no such host")
SAID = Raw(b'"line"')


def queued() -> Life:
    return new_life()


def running() -> Life:
    life = new_life()
    assert life.turn_came(1.0) == Started(1.0)
    return life


def resumable() -> Life:
    life = running()
    assert life.kept(1.5) == Resumable(1.5)
    return life


def ended_by_itself() -> Life:
    life = running()
    assert life.finished(2.0, DONE) is not None
    return life


def failed_before_start() -> Life:
    life = queued()
    assert life.finished(2.0, HOST) is not None
    return life


def cancelled_while_queued() -> Life:
    life = queued()
    assert life.cancelled(2.0) is not None
    return life


def cancelled_while_running() -> Life:
    life = running()
    assert life.cancelled(2.0) is not None
    return life


def turn_came(life: Life) -> Fact | None:
    return life.turn_came(5.0)


def kept(life: Life) -> Fact | None:
    return life.kept(5.0)


def said_alone(life: Life, now: float, data: Raw) -> Fact | None:
    facts = life.said(now, [data])
    if facts is None:
        return None
    (fact,) = facts
    return fact


def said(life: Life) -> Fact | None:
    return said_alone(life, 5.0, SAID)


def finished(life: Life) -> Fact | None:
    return life.finished(5.0, DONE)


def cancelled(life: Life) -> Fact | None:
    return life.cancelled(5.0)


ENDED = (ended_by_itself, failed_before_start, cancelled_while_queued, cancelled_while_running)
INPUTS = (turn_came, kept, said, finished, cancelled)

#: The table in the module's docstring: state, input, and the fact to write down.
TABLE: list[tuple[Callable[[], Life], Callable[[Life], Fact | None], Fact | None]] = [
    (queued, turn_came, Started(5.0)),
    (queued, kept, None),
    (queued, said, None),
    (queued, finished, Ended(DONE, 5.0)),
    (queued, cancelled, Ended(Cancelled(), 5.0)),
    (running, turn_came, None),
    (running, kept, Resumable(5.0)),
    (running, said, Recorded(Record(0, SAID, 5.0))),
    (running, finished, Ended(DONE, 5.0)),
    (running, cancelled, Ended(Cancelled(), 5.0)),
    (resumable, turn_came, None),
    (resumable, kept, None),
    (resumable, said, Recorded(Record(0, SAID, 5.0))),
    (resumable, finished, Ended(DONE, 5.0)),
    (resumable, cancelled, Ended(Cancelled(), 5.0)),
    *((state, happens, None) for state in ENDED for happens in INPUTS),
]


class TableTests(SynchronousTestCase):
    def test_every_state_and_input(self) -> None:
        """Each input gives the fact that the table says, or comes too late."""
        for state, happens, fact in TABLE:
            what = f"{happens.__name__} while {state.__name__}"
            self.assertEqual(fact, happens(state()), what)

    def test_table_is_complete(self) -> None:
        """No state and no input is left out."""
        states = (queued, running, resumable, *ENDED)
        expected = {(state, happens) for state in states for happens in INPUTS}
        self.assertEqual(expected, {(state, happens) for state, happens, _ in TABLE})
        self.assertEqual(len(expected), len(TABLE))

    def test_late_inputs_change_nothing(self) -> None:
        """What comes too late leaves the state as it was."""
        for state, late, fact in TABLE:
            if fact is not None:
                continue
            for happens in INPUTS:
                untouched, disturbed = state(), state()
                late(disturbed)
                what = f"{happens.__name__} after {late.__name__} while {state.__name__}"
                self.assertEqual(happens(untouched), happens(disturbed), what)


class CourseTests(SynchronousTestCase):
    def test_records_are_numbered_from_zero(self) -> None:
        """Absolute numbers without gaps, each with the time it was heard at."""
        life = running()
        facts = [said_alone(life, 10.0 + number, Raw(b"%d" % number)) for number in range(3)]
        self.assertEqual(
            [Recorded(Record(number, Raw(b"%d" % number), 10.0 + number)) for number in range(3)],
            facts,
        )

    def test_records_at_once(self) -> None:
        """Those that come together are numbered in their order, and have one time."""
        life = running()
        self.assertEqual(Recorded(Record(0, SAID, 1.0)), said_alone(life, 1.0, SAID))
        self.assertEqual(
            [Recorded(Record(number, Raw(b"%d" % number), 2.0)) for number in (1, 2)],
            life.said(2.0, [Raw(b"1"), Raw(b"2")]),
        )
        self.assertEqual(Recorded(Record(3, SAID, 3.0)), said_alone(life, 3.0, SAID))

    def test_late_records_have_no_number(self) -> None:
        """What is said before the start or after the end isn't counted."""
        life = queued()
        life.said(0.0, [SAID])
        life.turn_came(1.0)
        self.assertEqual(Recorded(Record(0, SAID, 2.0)), said_alone(life, 2.0, SAID))

    def test_goes_on_with_its_records(self) -> None:
        """A job that is taken up again goes on with the number after its last record."""
        life = new_life(7)
        life.turn_came(1.0)
        self.assertEqual(Recorded(Record(7, SAID, 2.0)), said_alone(life, 2.0, SAID))

    def test_lives_are_apart(self) -> None:
        """One job's records and end are none of another's business."""
        one, other = running(), running()
        one.said(1.0, [SAID])
        one.cancelled(2.0)
        self.assertEqual(Recorded(Record(0, SAID, 3.0)), said_alone(other, 3.0, SAID))

    def test_any_ending_is_written_as_it_is(self) -> None:
        """The machine doesn't look into how a call ended."""
        for ending in (DONE, HOST, Raised("ValueError", "x", Raw(b"{}")), Cancelled()):
            self.assertEqual(Ended(ending, 3.0), running().finished(3.0, ending))

    @given(st.lists(st.sampled_from(INPUTS)))
    def test_facts_are_in_order(self, inputs: list[Callable[[Life], Fact | None]]) -> None:
        """Whatever happens, the facts read: at most one start, records, at most one end."""
        life = new_life()
        facts = [fact for fact in (happens(life) for happens in inputs) if fact is not None]
        letters = {Started: "s", Resumable: "k", Recorded: "r", Ended: "e"}
        kinds = "".join(letters[type(fact)] for fact in facts)
        self.assertRegex(kinds, r"\A(s[kr]*)?e?\Z")
        self.assertLessEqual(kinds.count("k"), 1)
        numbers = [fact.record.number for fact in facts if isinstance(fact, Recorded)]
        self.assertEqual(list(range(len(numbers))), numbers)
