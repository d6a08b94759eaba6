"""What is promised of queues, for the checker: no more at once than allowed, and in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import combinations

from tests.fire.history import History, queue_key
from tests.fire.jobs import Job


def queues_are_kept(history: History, jobs: Iterable[Job]) -> Iterator[str]:
    """Tell of every queue that broke a promise.

    Args:
        history: Of the whole.
        jobs: All of them, with their ends.
    """
    queues: dict[bytes, list[Job]] = defaultdict(list)
    for job in jobs:
        queue = job.call.request.get("queue")
        if queue is not None:
            queues[queue_key(queue["name"])].append(job)
    for name, members in queues.items():
        most = max(int(job.call.request["queue"].get("concurrency", 1)) for job in members)
        for complaint in (
            *_too_many_run(members, most),
            # More than one are started in order, but the network may deliver them in another.
            *(_run_out_of_order(members) if most == 1 else ()),
            *_start_out_of_order(members, history),
        ):
            yield f"queue {name!r} {complaint}"


def _run(job: Job) -> tuple[float, float] | None:
    """Give from when to when a job ran and the dispatcher certainly counted it as running.

    A request that travels slowly may reach the agent when the dispatcher has given it up, and
    what an agent keeps may run on when the dispatcher has. A job that the dispatcher ends itself,
    by a cancel say, counts no more, however long its connection takes to close.
    """
    run = job.run
    if run is None or run.over_at is None or run.over_at <= run.begun_at:
        return None
    if job.ending != run.ending and (run.is_kept or job.ending is not None):
        return None
    return run.begun_at, run.over_at


def _too_many_run(jobs: Iterable[Job], most: int) -> Iterator[str]:
    edges: list[tuple[float, int]] = []
    for begun, over in filter(None, map(_run, jobs)):
        edges += [(begun, 1), (over, -1)]
    running = 0
    for at, step in sorted(edges):
        running += step
        if running > most:
            yield f"ran {running} jobs at {at:.3f}, allowed are {most}"
            return


def _run_out_of_order(jobs: Iterable[Job]) -> Iterator[str]:
    ran = [(found[0], job) for job in jobs if (found := _run(job)) is not None]
    latest: Job | None = None
    for _, job in sorted(ran, key=lambda one: one[0]):
        if latest is not None and _is_earlier(job, latest):
            yield f"ran {job} after {latest}, which was submitted later"
        if latest is None or job.call.asked_at > latest.call.asked_at:
            latest = job


def _start_out_of_order(jobs: Iterable[Job], history: History) -> Iterator[str]:
    """However many may run at once, they are started in order; their statuses tell when.

    Not to be told where the clock was set, or where a start may have waited for its host.
    """
    if len(history.jumps) > 1:
        return
    started = [
        (at, job)
        for job in jobs
        if job.call.request["host"] not in history.unsure_hosts
        and (at := _told_start(job)) is not None
    ]
    for one, other in combinations(sorted(started, key=lambda one: one[1].call.asked_at), 2):
        if _may_be_a_second_start(one[1], one[0], history):
            continue
        if one[0] > other[0] and _is_earlier(one[1], other[1]):
            yield f"started {one[1]} at {one[0]}, but {other[1]} at {other[0]}"


def _may_be_a_second_start(job: Job, at: float, history: History) -> bool:
    """Tell whether a failing disk and a death may have cost the job an earlier start.

    It wasn't asked for then: that it starts is stored first.
    """
    if history.disk_fails is None:
        return False
    started_at = at / 1000 - history.jumps[0][1]
    begun = max(job.call.asked_at, history.disk_fails)
    return any(begun <= death < started_at for death in history.deaths)


def _is_earlier(job: Job, other: Job) -> bool:
    """Tell whether a job certainly was submitted before another."""
    told = job.call.answered_at
    return told is not None and told < other.call.asked_at


def _told_start(job: Job) -> float | None:
    """Give when a job started, in milliseconds, as its last status had it."""
    told = [one.last for one in job.asked if one.kind == "get_status" and one.error is None]
    return next((last["time_ms"]["start"] for last in reversed(told) if last is not None), None)
