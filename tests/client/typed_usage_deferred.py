"""A program for Twisted as a user writes it, for mypy to check."""

from __future__ import annotations

from typing import Any, assert_type

from twisted.internet.defer import Deferred

from harpcaller.client import deferred
from harpcaller.client.deferred import HarpCaller, HarpServer


def call(rpc: HarpCaller) -> Deferred[bool]:
    """Call, and chain callbacks."""
    assert_type(rpc.web01, deferred.RemoteServer)
    submitted = rpc.host("web01", queue={"service": "nginx"}).restart_nginx("graceful")
    result = assert_type(submitted, Deferred[deferred.RemoteCall]).addCallback(
        lambda job: job.get()
    )
    return result.addCallback(bool)


async def wait(rpc: HarpCaller, job_id: str) -> list[Any]:
    """Look at a job in a coroutine."""
    job = rpc.job(job_id)
    assert_type(job.id(), str)
    assert_type(await job.cancel(), bool)
    assert_type(await job.submit_time(), int)
    assert_type(await job.start_time(), int | None)
    pairs = []
    async with job.follow(since=0, numbered=True) as records:
        assert_type(records, deferred.RecordIterator)
        async for number, record in records:
            pairs.append((number, record))
    await job.stream().each(print)
    assert_type(await job.stream(recent=10).all(), list[Any])
    return pairs


async def direct(reactor: object) -> Any:
    """Call an agent."""
    server = HarpServer(reactor, "10.0.0.1", "user", "password", ca_file="/etc/ssl/ca.pem")
    async for item in await server.ticks(3):
        if isinstance(item, deferred.Result):
            return item.value
    return None
