"""The checker itself: a true history passes, and each broken promise is complained of."""

from __future__ import annotations

from typing import Any

import attrs

from tests.fire.checker import complaints
from tests.fire.history import Answer, History, Listing, Question, Run, queue_key
from tests.house import HouseCase

JOBS = [f"0000000{number}-0000-4000-8000-000000000000" for number in range(10)]


class CheckerTests(HouseCase):
    """Job 1 was asked for at 10, ran from 12 to 15, said two records and returned."""

    def setUp(self) -> None:
        super().setUp()
        self.history = History()
        self.call = self.submit(1)
        run = Run(1, 12.0, 15.0, ["a", "b"], {"result": 1})
        self.history.runs.append(run)
        self.run_of_1 = run

    def submit(self, marker: int, at: float = 10.0, **more: Any) -> Question:
        """Let a call be acknowledged a second later."""
        request = {"host": "h", "procedure": "p", "arguments": [], "info": {"marker": marker}}
        return self.ask({**request, **more}, at, {"job_id": JOBS[marker]})

    def ask(self, request: Answer, at: float, *answers: Answer) -> Question:
        """Let something be asked, and be answered a second later."""
        question = Question(request, at, list(answers), at + 1 if answers else None)
        self.history.questions.append(question)
        return question

    def runs(self, marker: int, begun: float, over: float) -> None:
        """Let another job run and return."""
        self.history.runs.append(Run(marker, begun, over, [], {"result": marker}))

    def status(
        self, at: float, state: str, marker: int = 1, queue: Any = None, **times: float | None
    ) -> None:
        """Let the status of a job be told, job 1 if nothing else is said."""
        whole = {"submit": 10.5, "start": None, "end": None, **times}
        self.ask(
            {"get_status": JOBS[marker]},
            at,
            {
                "call": {"host": "h", "procedure": "p", "arguments": []},
                "time": {key: None if one is None else int(one) for key, one in whole.items()},
                "time_ms": {
                    key: None if one is None else int(one * 1000) for key, one in whole.items()
                },
                "info": {"marker": marker},
                "queue": queue,
                "state": state,
            },
        )

    def assert_fine(self) -> None:
        self.assertEqual([], complaints(self.history))

    def assert_complains(self, words: str) -> None:
        found = complaints(self.history)
        self.assertEqual([True], sorted({words in complaint for complaint in found}), found)

    # --- What is fine --------------------------------------------------------------------

    def test_true_history(self) -> None:
        """A job that is told of as it was gives no complaint."""
        records = [{"packet": 0, "data": "a"}, {"packet": 1, "data": "b"}]
        self.ask({"get_result": JOBS[1], "wait": False}, 12.0, {"no_result": True})
        self.status(12.5, "running", start=12.0)
        self.ask({"read_stream": JOBS[1]}, 13.0, records[0], {"continue": True})
        self.ask({"follow_stream": JOBS[1], "since": 0}, 12.0, *records, {"result": 1})
        self.ask({"follow_stream": JOBS[1], "since": 5}, 16.0, {"result": 1})
        self.ask({"cancel": JOBS[1]}, 17.0, {"cancelled": False})
        self.ask({"get_result": JOBS[1]}, 17.0, {"result": 1})
        self.ask({"get_result": JOBS[5]}, 17.0, {"error": {"type": "invalid_jobid"}})
        self.ask({"get_result": JOBS[1]}, 17.0, {"error": {"type": "storage_error"}})
        self.ask({"get_result": JOBS[1]}, 18.0)
        self.status(19.0, "ended", start=12.0, end=15.0)
        self.history.listings.append(Listing(20.0, [(JOBS[1], 1)]))
        self.assert_fine()

    def test_cut_answers(self) -> None:
        """An answer that was cut short says nothing but the records that came."""
        self.history.questions.append(
            Question({"follow_stream": JOBS[1], "since": 0}, 12.0, [{"packet": 0, "data": "a"}])
        )
        self.assert_fine()

    def test_pruned(self) -> None:
        """A job may be gone once an operator has pruned."""
        self.history.prunings.append((20.0, 30.0))
        self.ask({"get_result": JOBS[1]}, 21.0, {"error": {"type": "invalid_jobid"}})
        self.assert_fine()

    def test_queues(self) -> None:
        """Jobs of a queue that run one after the other, or together where two may."""
        for marker, number in ((2, 2), (3, 2), (4, 1), (5, 1)):
            self.submit(marker, 10.0 + marker, queue={"name": {"q": number}, "concurrency": number})
        self.runs(2, 20, 30)
        self.runs(3, 25, 35)
        self.runs(4, 20, 25)
        self.runs(5, 25, 30)
        self.assert_fine()

    def test_given_up_before_it_began(self) -> None:
        """A call whose time ran out while the network had it reaches its agent out of turn."""
        for marker in (2, 3):
            self.submit(marker, 10.0 * marker, queue={"name": {"q": 1}}, timeout=0.2)
        self.runs(3, 40, 42)
        self.runs(2, 44, 39)
        self.assert_fine()

    def test_kept_beyond_its_job(self) -> None:
        """What an agent keeps may run on when its job was cancelled, and isn't counted then."""
        for marker in (2, 3):
            self.submit(marker, 10.0 * marker, queue={"name": {"q": 1}})
            run = Run(marker, 40.0 + marker, 60.0, [], {"result": marker}, is_kept=True)
            self.history.runs.append(run)
        self.ask({"cancel": JOBS[2]}, 42.5, {"cancelled": True})
        self.ask({"get_result": JOBS[3]}, 42.5, {"result": 3})
        self.assert_fine()

    def test_cancelled_while_its_connection_closes(self) -> None:
        """A firewall may keep the end of a call from its agent; the next of the queue begins."""
        for marker in (2, 3):
            self.submit(marker, 10.0 * marker, queue={"name": {"q": 1}})
            self.runs(marker, 40.0 + marker, 60.0)
        self.ask({"cancel": JOBS[2]}, 42.5, {"cancelled": True})
        self.assert_fine()

    # --- What isn't ----------------------------------------------------------------------

    def test_runs_twice(self) -> None:
        """An agent was asked twice for one call."""
        self.runs(1, 16, 17)
        self.assert_complains("2 times")

    def test_refused_but_ran(self) -> None:
        """A call that was refused must not run."""
        self.history.questions.clear()
        call = self.submit(1)
        call.answers = [{"error": {"type": "storage_error", "message": ""}}]
        self.assert_complains("refused")

    def test_uncalled_run(self) -> None:
        """An agent was asked for something that nobody wants."""
        self.runs(7, 16, 17)
        self.assert_complains("nobody asked")

    def test_unknown(self) -> None:
        """An acknowledged job isn't known."""
        self.ask({"get_result": JOBS[1]}, 21.0, {"error": {"type": "invalid_jobid"}})
        self.assert_complains("no such job")

    def test_back_again(self) -> None:
        """A job that was pruned doesn't come back."""
        self.test_pruned()
        self.ask({"get_result": JOBS[1]}, 25.0, {"result": 1})
        self.assert_complains("is back")

    def test_another_end(self) -> None:
        """An end never changes."""
        self.ask({"get_result": JOBS[1]}, 16.0, {"result": 1})
        self.history.deaths.append(17.0)
        self.ask(
            {"get_result": JOBS[1]}, 20.0, {"error": {"type": "missing_result", "message": ""}}
        )
        self.assert_complains("its end was")

    def test_cancelled_but_returned(self) -> None:
        """What was cancelled doesn't return."""
        self.ask({"cancel": JOBS[1]}, 16.0, {"cancelled": True})
        self.ask({"get_result": JOBS[1]}, 18.0, {"result": 1})
        self.assert_complains("was cancelled, but")

    def test_ends_without_cause(self) -> None:
        """Each of these ends needs a cause that isn't there."""
        for ending, words in (
            ({"result": 2}, "the agent said"),
            ({"cancelled": True}, "nobody asked for that"),
            ({"error": {"type": "missing_result", "message": ""}}, "the daemon lived"),
            ({"error": {"type": "unknown_host", "message": ""}}, "always there"),
            ({"error": {"type": "sorcery", "message": ""}}, "no cause"),
        ):
            self.history.questions = [self.call]
            self.ask({"get_result": JOBS[1]}, 16.0, ending)
            self.assert_complains(words)

    def test_kept_but_missing(self) -> None:
        """A job of which its agent keeps the call, and somebody knows, outlives the daemon."""
        self.run_of_1.is_kept = True
        self.run_of_1.over_at = 13.0
        self.history.is_swift = True
        self.history.deaths = [14.0]
        self.ask({"read_stream": JOBS[1]}, 13.0, {"packet": 0, "data": "a"}, {"continue": True})
        self.ask(
            {"get_result": JOBS[1]}, 20.0, {"error": {"type": "missing_result", "message": "?"}}
        )
        self.assert_complains("its agent kept it")
        for excuse in ({"dead_agents": {"h"}}, {"disk_fails": 3.0}, {"is_swift": False}):
            with self.subTest(excuse=excuse):
                self.assertEqual([], complaints(attrs.evolve(self.history, **excuse)))

    def test_ends_with_cause(self) -> None:
        """And here it is."""
        queue = {"q": 1}
        self.call.request["queue"] = {"name": queue}
        self.history.deaths.append(12.0)
        self.history.unsure_hosts.add("h")
        self.history.queue_cancels.append((12.0, queue_key(queue)))
        self.run_of_1.ending = {"error": {"type": "sorcery", "message": "x"}}
        for ending in (
            {"cancelled": True},
            {"error": {"type": "missing_result", "message": ""}},
            {"error": {"type": "unknown_host", "message": ""}},
            {"error": {"type": "sorcery", "message": "x"}},
            {"error": {"type": "network_error", "message": ""}},
        ):
            self.history.questions = [self.call]
            self.ask({"get_result": JOBS[1]}, 16.0, ending)
            self.assert_fine()

    def test_calm(self) -> None:
        """Where nothing went wrong, a job ends as its agent said."""
        self.history.is_calm = True
        error = {"error": {"type": "network_error", "message": ""}}
        self.ask({"get_result": JOBS[1]}, 16.0, error)
        self.assert_complains("the agent said")

    def test_back_in_time(self) -> None:
        """Who asks later doesn't hear of an earlier state."""
        self.ask({"get_result": JOBS[1]}, 16.0, {"result": 1})
        self.ask({"get_result": JOBS[1], "wait": False}, 18.0, {"no_result": True})
        self.assert_complains("was ended, but later")

    def test_status_back_in_time(self) -> None:
        """Not by the status either."""
        self.status(13.0, "running", start=12.0)
        self.status(15.0, "queued")
        self.assert_complains("was running, but later")

    def test_times_that_never_were(self) -> None:
        """A time is one that the clock showed between the asking and the answer."""
        self.history.jumps = [(0.0, 0.0), (14.0, 1000.0)]
        self.status(12.5, "running", start=12.0)
        self.status(15.0, "ended", start=12.0, end=1015.0)
        self.assert_fine()
        self.status(16.0, "ended", start=12.0, end=500.0)
        self.assert_complains("was never")

    def test_states_without_times(self) -> None:
        """An ended job has the time of its end."""
        self.status(16.0, "ended", start=12.0)
        self.assert_complains("but its times are")

    def test_another_call(self) -> None:
        """A job's status tells what was called."""
        self.status(12.5, "running", start=12.0)
        self.call.request["procedure"] = "q"
        self.assert_complains("another call")

    def test_gaps(self) -> None:
        """A follower misses no record."""
        answers: list[Answer] = [{"packet": 0, "data": "a"}, {"packet": 2, "data": "c"}]
        self.run_of_1.records = ["a", "b", "c"]
        self.ask({"follow_stream": JOBS[1]}, 12.0, *answers, {"result": 1})
        self.assert_complains("got records [0, 2]")

    def test_wrong_beginning(self) -> None:
        """A follower gets what it asked for."""
        self.ask({"read_stream": JOBS[1]}, 12.0, {"packet": 1, "data": "b"}, {"continue": True})
        self.assert_complains("from 1 on")

    def test_wrong_record(self) -> None:
        """A record is what the agent said there."""
        self.ask({"read_stream": JOBS[1]}, 12.0, {"packet": 0, "data": "b"}, {"continue": True})
        self.assert_complains("didn't say there")

    def test_early_end(self) -> None:
        """No record is missing at the end."""
        self.ask({"read_stream": JOBS[1]}, 16.0, {"packet": 0, "data": "a"}, {"result": 1})
        self.assert_complains("after 2 records")

    def test_fewer_records(self) -> None:
        """Records don't go away."""
        records = [{"packet": 0, "data": "a"}, {"packet": 1, "data": "b"}]
        self.ask({"read_stream": JOBS[1]}, 12.0, *records, {"continue": True})
        self.ask({"read_stream": JOBS[1]}, 14.0, records[0], {"continue": True})
        self.assert_complains("later only 1")

    def test_never_ends(self) -> None:
        """When all is over, every job has ended and every question is answered."""
        self.history.settled = 20.0
        self.ask({"get_result": JOBS[1]}, 21.0, {"no_result": True})
        self.assert_complains("never ended")
        self.history.questions[-1].answers = [{"error": {"type": "shutdown", "message": ""}}]
        self.assert_complains("was refused")
        self.history.questions.pop()
        self.assert_complains("nobody asked")

    def test_lists(self) -> None:
        """A list has each job once, in the order of submission."""
        self.submit(2, 20.0)
        listing = Listing(30.0, [(JOBS[2], 2), (JOBS[1], 1)])
        self.history.listings.append(listing)
        self.assert_complains("behind")
        listing.jobs = [(JOBS[1], 1), (JOBS[2], 2), (JOBS[2], 2)]
        self.assert_complains("twice")
        listing.jobs = [(JOBS[1], 1)]
        self.assert_complains("lacks it")
        listing.jobs = [(JOBS[1], 1), (JOBS[2], 2), (JOBS[3], 3)]
        self.assert_complains("nobody asked for")
        listing.jobs = [(JOBS[1], 1), (JOBS[2], 2), (JOBS[3], 2)]
        self.assert_complains("became 2 jobs")

    def test_concurrency(self) -> None:
        """No more of a queue's jobs run at once than it allows."""
        for marker in (2, 3):
            self.submit(marker, 10.0, queue={"name": {"q": 1}, "concurrency": 1})
        self.runs(2, 20, 30)
        self.runs(3, 29, 35)
        self.assert_complains("ran 2 jobs")

    def test_start_out_of_order(self) -> None:
        """Where two may run at once, they are started in order all the same."""
        queue = {"name": {"q": 2}, "concurrency": 2}
        for marker, start in ((2, 41.0), (3, 40.0)):
            submitted = 10.0 * marker
            self.submit(marker, submitted, queue=queue)
            self.status(50.0, "running", marker, queue["name"], submit=submitted + 0.5, start=start)
        self.assert_complains("started")
        # Its first start may have been lost, before its agent was asked.
        self.history.disk_fails, self.history.deaths = 21.0, [39.0]
        self.assert_fine()

    def test_order(self) -> None:
        """The jobs of a queue run in the order of submission."""
        for marker in (2, 3):
            self.submit(marker, 10.0 * marker, queue={"name": {"q": 1}})
        self.runs(3, 40, 42)
        self.runs(2, 44, 45)
        self.assert_complains("submitted later")
