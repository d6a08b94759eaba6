"""The procedures in force."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import CancelledError, Deferred

from harpcaller.agent.library import FIRST_DELAY, Library, NotLoading
from harpcaller.agent.orders import Load
from harpcaller.errors import NoSuchProcedure, ProcedureLoadingError
from harpcaller.logs.events import EventLog
from tests.agent.fakes import FakeTemplate, described
from tests.house import HouseCase


class LibraryTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.starting: list[Deferred[FakeTemplate]] = []
        self.lost: list[Callable[[], None]] = []
        self.library = Library(self.start, self.clock, EventLog("agent"))

    async def start(self, order: Load, lost: Callable[[], None]) -> FakeTemplate:
        self.lost.append(lost)
        self.starting.append(Deferred())
        return await self.starting[-1]

    def load(self) -> Deferred[bool]:
        return Deferred.fromCoroutine(self.library.load(Load("harpd.py")))

    def loaded(self, name: str) -> FakeTemplate:
        """Load a file with one procedure."""
        loading = self.load()
        template = FakeTemplate({name: described(name)})
        self.starting[-1].callback(template)
        self.assertTrue(self.successResultOf(loading))
        return template

    def test_nothing_loaded(self) -> None:
        """Before anything is loaded there is an error of its own."""
        with self.assertRaises(ProcedureLoadingError):
            self.library.find("x")

    def test_replaced_whole(self) -> None:
        """New procedures take the place of the old ones, whose calls may go on."""
        old = self.loaded("old")
        self.assertEqual("old", self.library.find("old").name)
        new = self.loaded("new")
        with self.assertRaises(NoSuchProcedure):
            self.library.find("old")
        self.assertEqual((True, False), (old.retired, new.retired))

    def test_old_ones_stay_if_new_ones_do_not_load(self) -> None:
        """A file that doesn't load changes nothing."""
        old = self.loaded("old")
        loading = self.load()
        self.starting[-1].errback(NotLoading("harpd.py:5: SyntaxError"))
        self.assertFalse(self.successResultOf(loading))
        self.assertEqual("old", self.library.find("old").name)
        self.assertFalse(old.retired)

    def test_status(self) -> None:
        """The operator sees what is in force, and why it isn't what the file says."""
        self.assertEqual("procedures: none", self.library.status())
        self.loaded("x")
        self.assertEqual("procedures: 1", self.library.status())
        _ = self.load()
        self.starting[-1].errback(NotLoading("harpd.py:5:\nSyntaxError"))
        self.assertEqual(
            "procedures: 1; their file couldn't be loaded: harpd.py:5: SyntaxError",
            self.library.status(),
        )
        self.loaded("y")
        self.assertEqual((None, "procedures: 1"), (self.library.problem, self.library.status()))

    def test_overtaken(self) -> None:
        """Of two loads at once, the later counts, whichever is ready first."""
        first, second = self.load(), self.load()
        late, wanted = FakeTemplate(), FakeTemplate({"x": described("x")})
        self.starting[1].callback(wanted)
        self.starting[0].callback(late)
        self.assertEqual((False, True), (self.successResultOf(first), self.successResultOf(second)))
        self.assertEqual("x", self.library.find("x").name)
        self.assertTrue(late.retired)

    def test_dead_template_is_replaced(self) -> None:
        """If the template process dies there is another soon; meanwhile callers are told."""
        self.loaded("x")
        self.lost[-1]()
        with self.assertRaises(ProcedureLoadingError):
            self.library.find("x")
        self.clock.advance(FIRST_DELAY)
        self.starting[-1].errback(NotLoading("fork failed"))
        self.clock.advance(2 * FIRST_DELAY - 0.1)
        self.assertEqual(2, len(self.starting))
        self.clock.advance(0.1)
        self.starting[-1].callback(FakeTemplate({"x": described("x")}))
        self.assertEqual("x", self.library.find("x").name)

    def test_dies_while_another_is_loaded(self) -> None:
        """If another is on its way already, none is started besides."""
        self.loaded("old")
        loading = self.load()
        self.lost[0]()
        self.starting[-1].callback(FakeTemplate({"x": described("x")}))
        self.assertTrue(self.successResultOf(loading))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_loading_is_given_up(self) -> None:
        """Whoever waits for a load can give it up."""
        loading = self.load()
        loading.cancel()
        self.failureResultOf(loading, CancelledError)

    def test_death_of_an_old_template(self) -> None:
        """That a replaced template ends is nothing to act upon."""
        self.loaded("old")
        self.loaded("new")
        self.lost[0]()
        self.assertEqual("new", self.library.find("new").name)

    def test_death_while_loading(self) -> None:
        """A template that dies while it loads is reported by its starter, once."""
        loading = self.load()
        self.lost[0]()
        self.starting[0].errback(NotLoading("it died"))
        self.assertFalse(self.successResultOf(loading))

    def test_load_replaces_waiting(self) -> None:
        """A reload by hand doesn't wait for the next try."""
        self.loaded("x")
        self.lost[-1]()
        self.loaded("y")
        self.assertEqual("y", self.library.find("y").name)

    def test_stop(self) -> None:
        """After stop there is nothing; what is being loaded is given up, and nothing else is."""
        template = self.loaded("x")
        loading = self.load()
        self.successResultOf(Deferred.fromCoroutine(self.library.stop()))
        self.assertTrue(template.retired)
        self.assertTrue(self.starting[-1].called, "cancelled")
        self.assertFalse(self.successResultOf(loading))
        self.assertFalse(self.successResultOf(self.load()))
        self.assertEqual(2, len(self.starting))

    def test_stop_waits_for_replaced_ones(self) -> None:
        """Stop waits for old templates, too, which may have calls yet."""
        old = self.loaded("old")
        old.stays = []
        self.loaded("new")
        stopping = Deferred.fromCoroutine(self.library.stop())
        self.assertNoResult(stopping)
        for gone in old.stays:
            gone.callback(None)
        self.successResultOf(stopping)

    def test_stop_while_a_dead_template_is_to_be_replaced(self) -> None:
        """Nothing is started after stop."""
        self.loaded("x")
        self.lost[-1]()
        self.successResultOf(Deferred.fromCoroutine(self.library.stop()))
        self.clock.advance(1000)
        self.assertEqual(1, len(self.starting))
