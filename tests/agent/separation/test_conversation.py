"""What may come when on a channel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, globalLogPublisher
from zope.interface import implementer

from harpcaller.agent.calls import Calls
from harpcaller.agent.kept_calls import KeepSettings, KeptCalls
from harpcaller.agent.library import Library
from harpcaller.agent.orders import Load
from harpcaller.agent.seams import IAnswers
from harpcaller.agent.separation.conversation import (
    Interview,
    InterviewCore,
    Office,
    make_interview,
)
from harpcaller.agent.separation.table import Attach, Authenticate, Call, Cancel
from harpcaller.errors import AuthError
from harpcaller.logs.events import EventLog
from harpcaller.wire.client import JobId
from harpcaller.wire.values import Raw
from tests.agent.fakes import PASSWORD, FakeCaller, FakeChecker, FakeTemplate, described
from tests.house import HouseCase

LOG = EventLog("agent")
JOB = JobId("a job")


@implementer(IAnswers)
class Answers(FakeCaller):
    """Notes what is answered."""

    verdict: bool | None = None
    closed = False

    def known(self) -> None:
        self.verdict = True

    def refused(self, message: str) -> None:
        self.verdict = False

    def feed_from(self, producer: Any) -> None:
        self.producer = producer

    def said_all(self) -> None: ...

    def close(self) -> None:
        self.closed = True

    def drop(self) -> None:
        self.closed = True


class InterviewCase(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.template = FakeTemplate({"ticks": described("ticks", streaming=True)})
        library = Library(self.start, self.clock, LOG)
        self.successResultOf(Deferred.fromCoroutine(library.load(Load("x"))))
        self.checker = FakeChecker()
        self.office = Office(
            self.checker,
            Calls(library, self.clock, most=2, grace_seconds=5.0, log=LOG),
            KeptCalls(KeepSettings(60.0, self.mktemp()), self.clock, LOG),
            LOG,
        )
        self.breaches: list[str] = []
        self.addCleanup(self.end_all)

    async def start(self, order: Load, lost: object) -> FakeTemplate:
        return self.template

    def end_all(self) -> None:
        self.office.kept_calls.close()
        for process in self.template.processes:
            process.events.exited("in the end")

    def interview(self) -> tuple[Interview, Answers]:
        answers = Answers()
        return make_interview(InterviewCore(self.office, answers, self.breaches.append)), answers

    def known(self, user: str = "somebody") -> tuple[Interview, Answers]:
        interview, answers = self.interview()
        interview.said_who(Authenticate(user, PASSWORD, "192.0.2.1"))
        self.assertTrue(answers.verdict)
        return interview, answers


CALL = Call("ticks", Raw(b"[]"), None, None)

#: Every message, as it comes on a channel.
MESSAGES: dict[str, Callable[[Interview], None]] = {
    "authenticate": lambda interview: interview.said_who(Authenticate("u", PASSWORD, "?")),
    "call": lambda interview: interview.wanted_call(CALL),
    "attach": lambda interview: interview.wanted_attach(Attach(JOB, 0)),
    "list": lambda interview: interview.wanted_list(),
    "cancel": lambda interview: interview.wanted_cancel(Cancel(JOB)),
    "give up": lambda interview: interview.gave_up(),
}


class OrderTests(InterviewCase):
    def try_all_but(self, allowed: set[str], state: Callable[[], Interview]) -> None:
        for name, send in MESSAGES.items():
            interview = state()
            self.breaches.clear()
            begun = len(self.template.processes)
            send(interview)
            if name in allowed:
                self.assertEqual([], self.breaches, name)
            else:
                self.assertEqual(["a message that can't come now"], self.breaches, name)
                self.assertEqual(begun, len(self.template.processes), name)
                # Whatever comes after a breach has no effect at all.
                for later in MESSAGES.values():
                    later(interview)
                self.assertEqual(1, len(self.breaches))
                self.assertEqual(begun, len(self.template.processes), name)
            interview.lost()

    def test_first(self) -> None:
        """First of all somebody says who he is."""
        self.try_all_but({"authenticate"}, lambda: self.interview()[0])

    def test_while_checked(self) -> None:
        """Until that is known, nothing is asked for."""
        self.checker.slow = True

        def checking() -> Interview:
            interview, _ = self.interview()
            interview.said_who(Authenticate("u", PASSWORD, "?"))
            return interview

        self.try_all_but(set(), checking)

    def test_known(self) -> None:
        """Whoever is known asks for one thing."""
        self.try_all_but({"call", "attach", "list", "cancel"}, lambda: self.known()[0])

    def test_asked(self) -> None:
        """He may give that up, and nothing else."""
        for ask in ("call", "attach", "list", "cancel"):

            def asked(ask: str = ask) -> Interview:
                for process in self.template.processes:
                    process.events.exited("over")
                self.template.processes.clear()
                interview, _ = self.known()
                MESSAGES[ask](interview)
                return interview

            self.try_all_but({"give up"}, asked)

    def test_given_up(self) -> None:
        """Once."""

        def given_up() -> Interview:
            interview, _ = self.known()
            interview.wanted_list()
            interview.gave_up()
            return interview

        self.try_all_but(set(), given_up)

    def test_refused(self) -> None:
        """Who isn't known gets nothing, whatever he says."""
        interview, answers = self.interview()
        interview.said_who(Authenticate("u", "wrong", "?"))
        self.assertFalse(answers.verdict)
        for send in MESSAGES.values():
            send(interview)
        self.assertEqual([], self.template.processes)
        self.assertEqual(b"", answers.told)

    def test_late(self) -> None:
        """A verdict that nobody waits for changes nothing."""
        for state in (self.interview, self.known):
            interview, answers = state()
            answers.verdict = None
            interview.known()
            interview.refused(AuthError("too late"))
            self.assertIsNone(answers.verdict)
            interview.lost()
            interview.known()
            self.assertEqual([], self.template.processes)


class EffectTests(InterviewCase):
    def test_user(self) -> None:
        """A call is in the name of who was checked on its channel, and from where he said."""
        interview, answers = self.known("alice")
        interview.wanted_call(CALL)
        (process,) = self.template.processes
        assert process.wanted is not None
        self.assertEqual(("alice", "192.0.2.1"), (process.wanted.user, process.wanted.peer))
        self.assertTrue(answers.acknowledged)
        interview.lost()
        self.assertEqual(1, len(process.ends))

    def test_limit(self) -> None:
        """No more calls are begun than there may be."""
        for _ in range(2):
            self.known()[0].wanted_call(CALL)
        interview, answers = self.known()
        interview.wanted_call(CALL)
        self.assertEqual(2, len(self.template.processes))
        self.assertIn(b"max_calls", answers.told)
        self.assertTrue(answers.closed)

    def test_jobs_of_others(self) -> None:
        """Nobody attaches to a call of another user, or ends it."""
        interview, _ = self.known("alice")
        interview.wanted_call(Call("ticks", Raw(b"[]"), JOB, None))
        for want in (
            lambda one: one.wanted_attach(Attach(JOB, 0)),
            lambda one: one.wanted_cancel(Cancel(JOB)),
        ):
            other, answers = self.known("mallory")
            want(other)
            self.assertIn(b"no_such_job", answers.told)
        self.assertEqual([], self.template.processes[0].ends)

    def test_give_up(self) -> None:
        """A call that is given up is ended, whether it is kept or not."""
        for job in (None, JOB):
            interview, _ = self.known()
            interview.wanted_call(Call("ticks", Raw(b"[]"), job, None))
            interview.gave_up()
            self.assertEqual(1, len(self.template.processes[-1].ends))

    def test_asked_again_but_not_kept(self) -> None:
        """A call that may have been begun before isn't begun if nobody can know."""
        self.office.kept_calls.settings = KeepSettings(0.0)
        interview, answers = self.known()
        interview.wanted_call(Call("ticks", Raw(b"[]"), JOB, 1.0))
        self.assertIn(b"no_such_job", answers.told)
        self.assertEqual([], self.template.processes)

    def test_bug(self) -> None:
        """A checker that is broken lets nobody in."""
        seen: list[LogEvent] = []
        LOG._logger.observer = cast(ILogObserver, seen.append)
        self.addCleanup(setattr, LOG._logger, "observer", globalLogPublisher)

        async def broken(credentials: object, peer: str) -> None:
            raise ZeroDivisionError

        self.patch(FakeChecker, "check", lambda self, *args: broken(*args))
        interview, answers = self.interview()
        interview.said_who(Authenticate("u", PASSWORD, "?"))
        self.assertIsNone(answers.verdict)
        self.assertEqual(["agent.request_failed"], [event["kind"] for event in seen])
        interview.lost()
