"""Holding every answer that anybody ever got against what the design promises.

Only what is promised is asserted, so that a complaint is a fault.  The model is of the plain kind:
a job is submitted, may start, says records, and ends once; who asks later never hears of an
earlier state.  What may have come of a job is bounded by what was done to it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import chain, pairwise

from tests.fire.answers import (
    REFUSALS,
    STATES,
    all_records,
    least,
    may_be_ending,
    most_state,
    told_ending,
)
from tests.fire.history import Answer, History, Listing, Question, Run
from tests.fire.jobs import Job
from tests.fire.queueing import queues_are_kept

#: What an agent or the way to it can do to a call at any time.
_AGENTS_DOING = frozenset({"network_error", "timeout", "protocol_error", "tls_error"})


#: Whatever runs shorter isn't ended by the dispatcher's own limits, in seconds.
_SHORT = 2.5


def complaints(history: History) -> list[str]:
    """Tell everything that should not have been; empty if all promises were kept."""
    return [*_Checker(history).all()]


class _Checker:
    def __init__(self, history: History) -> None:
        self.history = history
        self.calls = {one.marker: one for one in history.questions if one.kind == "call"}
        self.runs: dict[int, list[Run]] = defaultdict(list)
        for run in history.runs:
            self.runs[run.marker].append(run)
        self.jobs: dict[str, Job] = {}
        for call in self.calls.values():
            if call.job_id is not None:
                self._know(call.job_id, call)
        for job_id, marker in chain.from_iterable(one.jobs for one in history.listings):
            if job_id not in self.jobs and marker in self.calls:
                self._know(job_id, self.calls[marker])
        for question in history.questions:
            if question.kind in ("follow_stream", "read_stream"):
                job = self.jobs.get(question.job_id or "")
                if job is not None:
                    job.read.append(question)
        answered = [one for one in history.questions if one.last is not None]
        for question in sorted(answered, key=lambda one: one.answered_at or 0.0):
            job = self.jobs.get(question.job_id or "")
            if job is not None and question.kind != "call":
                job.asked.append(question)

    def _know(self, job_id: str, call: Question) -> None:
        run = next(iter(self.runs.get(call.marker, ())), None)
        self.jobs[job_id] = Job(job_id, call, run=run)

    def all(self) -> Iterator[str]:
        yield from self.nothing_runs_twice()
        yield from self.one_job_for_a_call()
        for job in self.jobs.values():
            for check in (
                self.one_ending_for_ever,
                self.acknowledged_jobs_are_known,
                self.endings_have_a_cause,
                self.time_goes_forward,
                self.statuses_are_true,
                self.records_are_whole,
                self.everything_ends,
            ):
                for complaint in check(job):
                    yield f"{job}: {complaint}"
        yield from self.lists_are_whole()
        yield from queues_are_kept(self.history, self.jobs.values())

    # --- Runs and ids --------------------------------------------------------------------

    def nothing_runs_twice(self) -> Iterator[str]:
        for marker, runs in self.runs.items():
            if len(runs) > 1:
                yield f"call {marker} was asked of an agent {len(runs)} times"
            call = self.calls.get(marker)
            if call is None:
                yield f"call {marker} ran, but nobody asked for it"
            elif runs[0].begun_at < call.asked_at:
                yield f"call {marker} ran before it was asked for"
            elif call.error is not None and (call.answered_at or 0.0) < runs[0].begun_at:
                yield f"call {marker} was refused ({call.error}), but ran"

    def one_job_for_a_call(self) -> Iterator[str]:
        seen = Counter(job.call.marker for job in self.jobs.values())
        for marker, count in seen.items():
            if count > 1:
                yield f"call {marker} became {count} jobs"

    # --- One job -------------------------------------------------------------------------

    def one_ending_for_ever(self, job: Job) -> Iterator[str]:
        for question in job.asked:
            told = told_ending(question)
            if told is None:
                continue
            if job.ending is None:
                job.ending = told
            elif told != job.ending:
                yield f"its end was {job.ending}, then {told}"
        for question in job.asked:
            if question.kind == "cancel" and question.last == {"cancelled": True}:
                if job.ending is None:
                    job.ending = {"cancelled": True}
                elif job.ending != {"cancelled": True}:
                    yield f"it was cancelled, but its end is {job.ending}"

    def acknowledged_jobs_are_known(self, job: Job) -> Iterator[str]:
        known_at = job.call.answered_at
        for question in job.asked:
            answered_at = question.answered_at or 0.0
            if question.error == "invalid_jobid":
                job.gone_at = job.gone_at or answered_at
                was_known = known_at is not None and known_at < question.asked_at
                if was_known and not self._may_be_pruned(job, answered_at):
                    yield f"{question.request} was answered: no such job"
            elif job.gone_at is not None and question.asked_at > job.gone_at:
                # No job to cancel is no error.
                is_back = question.error is None and question.last != {"cancelled": False}
                if is_back:
                    yield f"it was gone, but is back: {question.request} got {question.last}"

    def _may_be_pruned(self, job: Job, at: float) -> bool:
        told = [one.last for one in job.asked if one.kind == "get_status" and one.error is None]
        ended = [one["time_ms"]["end"] / 1000 for one in told if one and one["time_ms"]["end"]]
        # If nobody was told when it ended, it may have been at any time.
        ended_at = min(ended, default=float("-inf"))
        return any(begun <= at and ended_at <= before for begun, before in self.history.prunings)

    def endings_have_a_cause(self, job: Job) -> Iterator[str]:
        ending, run = job.ending, job.run
        if ending is None:
            return
        said = None if run is None else run.ending
        if "result" in ending or "exception" in ending:
            if ending != said:
                yield f"its end is {ending}, but the agent said {said}"
            return
        if "cancelled" in ending:
            if not self._may_be_cancelled(job):
                yield "it was cancelled, but nobody asked for that"
            return
        if (
            self.history.is_calm
            and said is not None
            and not {"timeout", "max_exec_time"} & set(job.call.request)
        ):
            if ending != said:
                yield f"its end is {ending}, but the agent said {said}"
            return
        kind = ending["error"]["type"]
        begun = job.call.asked_at
        if said is not None and "error" in said and said["error"]["type"] == kind:
            return
        if kind in _AGENTS_DOING:
            # The whole of what an agent says may be lost with its last line only.
            return
        if kind == "unknown_host":
            if job.call.request["host"] not in self.history.unsure_hosts:
                yield f"its end is {ending}, but the host was always there"
        elif kind == "missing_result":
            if not any(begun <= death for death in self.history.deaths):
                if job.call.request["host"] not in self.history.dead_agents:
                    yield f"its end is {ending}, but the daemon lived"
            elif self._was_safe(job):
                yield f"its end is {ending}, but its agent kept it"
        else:
            yield f"its end is {ending}, which has no cause"

    def _was_safe(self, job: Job) -> bool:
        """Tell whether a death of the daemon can't have cost the job its end.

        That its agent keeps it is stored before its first record is told.  What the dispatcher
        ends itself, its agent may hear of before that is stored.
        """
        run, history = job.run, self.history
        if run is None or not run.is_kept or run.over_at is None:
            return False
        host = job.call.request["host"]
        return (
            any(question.records for question in job.read)
            and run.over_at - run.begun_at < _SHORT
            and not {"timeout", "max_exec_time"} & set(job.call.request)
            and history.is_swift
            and history.disk_fails is None
            and host not in history.dead_agents | history.unsure_hosts
            and not self._may_be_cancelled_by_request(job)
        )

    def _may_be_cancelled(self, job: Job) -> bool:
        if any(death >= job.call.asked_at for death in self.history.deaths):
            return True
        return self._may_be_cancelled_by_request(job)

    def _may_be_cancelled_by_request(self, job: Job) -> bool:
        queue = job.call.request.get("queue")
        until = min((one.answered_at or 0.0 for one in job.asked if told_ending(one)), default=0.0)
        if queue is not None and self.history.cancelled_queue(queue["name"], until or float("inf")):
            return True
        return any(
            one.kind == "cancel" and str(one.request["cancel"]) == job.job_id
            for one in self.history.questions
        )

    def time_goes_forward(self, job: Job) -> Iterator[str]:
        """Who asks after an answer hears of nothing earlier than that answer."""
        told: list[tuple[float, int, int]] = []
        for question in sorted(job.asked, key=lambda one: one.asked_at):
            state, count = least(question)
            for at, least_state, least_count in told:
                if at >= question.asked_at:
                    continue
                most = most_state(question)
                if most < least_state:
                    yield (
                        f"it was {STATES[least_state]}, but later {question.request} was"
                        f" answered {question.last}"
                    )
                if all_records(question) is not None and len(question.records) < least_count:
                    yield f"{least_count} records were there, later only {len(question.records)}"
            told.append((question.answered_at or 0.0, state, count))

    def statuses_are_true(self, job: Job) -> Iterator[str]:
        request = job.call.request
        wanted = {key: request[key] for key in ("host", "procedure", "arguments")}
        queue = request.get("queue")
        for question in job.asked:
            status = question.last
            if question.kind != "get_status" or status is None or "error" in status:
                continue
            if status["call"] != wanted or status["info"] != request["info"]:
                yield f"it is told to be another call: {status}"
            name = None if queue is None else queue["name"]
            if status["queue"] != name:
                yield f"it is told to be in queue {status['queue']}, not {name}"
            yield from self._times_are_sane(job, question, status)

    def _times_are_sane(self, job: Job, question: Question, status: Answer) -> Iterator[str]:
        until = question.answered_at or 0.0
        submitted = job.call.answered_at
        for key, seconds in status["time"].items():
            milliseconds = status["time_ms"][key]
            if (seconds is None) is not (milliseconds is None):
                yield f"its {key} is {seconds} s, but {milliseconds} ms"
            if milliseconds is None:
                continue
            if seconds != milliseconds // 1000:
                yield f"its {key} is {seconds} s, but {milliseconds} ms"
            latest = until if key != "submit" or submitted is None else min(until, submitted)
            if not self.history.was_wall_time(milliseconds / 1000, job.call.asked_at, latest):
                yield f"its {key} time {milliseconds} ms was never"
        state = status["state"]
        times = status["time"]
        if times["submit"] is None or (state == "ended") is not (times["end"] is not None):
            yield f"it is {state}, but its times are {times}"

    def records_are_whole(self, job: Job) -> Iterator[str]:
        said = [] if job.run is None else job.run.records
        final: set[int] = set()
        for question in job.read:
            records = question.records
            numbers = [record["packet"] for record in records]
            if any(second != first + 1 for first, second in pairwise(numbers)):
                yield f"{question.request} got records {numbers}"
            since = question.request.get("since")
            if (
                since is None
                and question.kind == "read_stream"
                and "recent" not in question.request
            ):
                since = 0
            if since is not None and numbers and numbers[0] != since:
                yield f"{question.request} got records from {numbers[0]} on"
            for record in records:
                number = record["packet"]
                if number >= len(said) or record["data"] != said[number]:
                    yield f"record {number} is {record['data']}, which the agent didn't say there"
                    break
            if told_ending(question) is not None and numbers:
                final.add(numbers[-1] + 1)
            elif told_ending(question) is not None and since is not None:
                is_too_little = since < len(said) and self._must_be_whole(job)
                if is_too_little:
                    yield f"{question.request} got no records of {len(said)}"
        if len(final) > 1:
            yield f"its records ended at different numbers: {sorted(final)}"
        if final and self._must_be_whole(job) and final != {len(said)}:
            yield f"it returned after {len(said)} records, but {sorted(final)} are told"

    def _must_be_whole(self, job: Job) -> bool:
        return self.history.keeps_records and job.ending is not None and "result" in job.ending

    def everything_ends(self, job: Job) -> Iterator[str]:
        settled = self.history.settled
        if settled is None:
            return
        late = [one for one in job.asked if one.asked_at >= settled]
        for question in late:
            if question.last in ({"no_result": True}, {"continue": True}):
                yield f"it never ended: {question.last}"
                continue
            # A job may have ended because the disk failed; then that is what is told.
            is_its_end = question.error == "storage_error" and may_be_ending(question)
            if question.error in REFUSALS and not (is_its_end and self.history.disk_fails):
                yield f"long after all strikes, {question.request} was refused: {question.last}"
        if job.call.answered_at is not None and not late:
            yield "nobody asked for it at the end"

    # --- Lists and queues ----------------------------------------------------------------

    def lists_are_whole(self) -> Iterator[str]:
        for listing in self.history.listings:
            ids = [job_id for job_id, _ in listing.jobs]
            if len(set(ids)) != len(ids):
                yield "a list has a job twice"
            for job_id, marker in listing.jobs:
                if marker not in self.calls:
                    yield f"a list has job {job_id} that nobody asked for"
            listed = set(ids)
            for job in self.jobs.values():
                told = job.call.answered_at
                is_due = told is not None and told < listing.asked_at
                if is_due and job.job_id not in listed and not self.history.prunings:
                    yield f"{job}: a list lacks it"
            yield from self._in_order(listing)

    def _in_order(self, listing: Listing) -> Iterator[str]:
        jobs = [self.jobs[job_id] for job_id, _ in listing.jobs if job_id in self.jobs]
        latest = 0.0
        for job in jobs:
            told = job.call.answered_at
            if told is not None and told < latest:
                yield f"{job}: a list has it behind a job that was submitted later"
            latest = max(latest, job.call.asked_at)
