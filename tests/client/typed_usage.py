"""A program as a user writes it, for mypy to check: what has types is promised to have them."""

from __future__ import annotations

from typing import Any, assert_type

import harp


def call(rpc: harp.HarpCaller) -> list[str]:
    """Call, look, wait."""
    assert_type(rpc.web01, harp.RemoteServer)
    assert_type(rpc("web01"), harp.RemoteServer)
    host = rpc.host(
        "web01.example.net",
        queue={"service": "nginx"},
        concurrency=2,
        timeout=60,
        max_exec_time=300.5,
        info={"ticket": 17},
    )
    assert_type(host.restart_nginx, harp.RemoteProcedure)
    job = host.restart_nginx("graceful")
    assert_type(job, harp.RemoteCall)
    assert_type(job.id(), str)
    assert_type(job.cancel(), bool)
    assert_type(job.submit_time(), int)
    assert_type(job.end_time(), int | None)
    if job.result() is harp.CALL_NOT_FINISHED or job.result() is harp.CALL_CANCELLED:
        return []
    try:
        value: dict[str, list[str]] = job.get(wait=True)
    except harp.RemoteException as error:
        assert_type(error.type, str)
        return [error.message]
    except harp.CommunicationError as error:
        return [str(error)]
    return value["lines"]


def follow(rpc: harp.HarpCaller, job_id: str) -> list[tuple[int, Any]]:
    """Read a stream in its ways."""
    job = rpc.job(job_id)
    with job.follow(since=0, numbered=True) as records:
        pairs = [(number, record) for number, record in records]
    assert_type(job.stream(recent=10).all(), list[Any])
    return pairs


def direct() -> Any:
    """Call an agent."""
    server = harp.HarpServer("10.0.0.1", "user", "password", ca_file="/etc/ssl/ca.pem")
    for item in server.ticks(3):
        if isinstance(item, harp.Result):
            return item.value
    return None
