"""A no-op for Celery and for RQ, and a client that has it run; in a Python that has both.

``python -m benchmarks.rivals_client celery|rq COUNT WINDOW`` has so many run, so many at a time,
and prints one line of JSON.  ``RIVALS_REDIS`` says where Redis is.  Nothing of harpcaller is here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from importlib import import_module
from typing import Any

PATIENCE = 60
URL = os.environ.get("RIVALS_REDIS", "")


def noop() -> dict[str, bool]:
    """Do nothing."""
    return {"ok": True}


def celery_app() -> Any:
    """Give what Celery's worker and client share."""
    app = import_module("celery").Celery("rivals", broker=URL, backend=URL)
    app.conf.broker_connection_retry_on_startup = True
    return app


def celery_calls() -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Give what submits a task, and what waits for its result."""
    task = app.task(name="noop")(noop)
    return task.delay, lambda result: result.get(timeout=PATIENCE)


def rq_calls() -> tuple[Callable[[], Any], Callable[[Any], Any]]:
    """Give what submits a job, and what waits for its result."""
    # Jobs name what they call by its module; this one is the main program here.
    nothing = import_module("benchmarks.rivals_client").noop
    # Its own timeout would be shorter than some waits for a result.
    redis = import_module("redis").Redis.from_url(URL, socket_timeout=2 * PATIENCE)
    queue = import_module("rq").Queue(connection=redis)

    def result(job: Any) -> Any:
        return job.latest_result(timeout=PATIENCE).return_value

    return lambda: queue.enqueue(nothing), result


def calls(
    submit: Callable[[], Any], result: Callable[[Any], Any], count: int, window: int
) -> dict[str, float]:
    """Have so many run, and read what came of each."""
    started, spent = time.perf_counter(), time.process_time()
    pending: deque[Any] = deque()
    for _ in range(count):
        if len(pending) == window:
            check(result(pending.popleft()))
        pending.append(submit())
    for one in pending:
        check(result(one))
    seconds = time.perf_counter() - started
    return {
        "count": count,
        "seconds": seconds,
        "per_second": count / seconds,
        "processor_seconds": time.process_time() - spent,
    }


def check(found: Any) -> None:
    """Be sure that it was run."""
    if found != {"ok": True}:
        raise SystemExit(f"the result is {found!r}")


def main() -> None:
    """Do what the arguments say."""
    kind, count, window = sys.argv[1:]
    submit, result = celery_calls() if kind == "celery" else rq_calls()
    # Connections are made, and the workers warm, by then.
    calls(submit, result, int(window), int(window))
    print(json.dumps(calls(submit, result, int(count), int(window))))


if URL:
    app = celery_app()
    app.task(name="noop")(noop)

if __name__ == "__main__":
    main()
