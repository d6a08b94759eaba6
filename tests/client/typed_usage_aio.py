"""A program for asyncio as a user writes it, for mypy to check."""

from __future__ import annotations

import asyncio
from typing import Any, assert_type

import harp.aio


async def call(rpc: harp.aio.HarpCaller) -> list[str]:
    """Call, look, wait."""
    assert_type(rpc.web01, harp.aio.RemoteServer)
    assert_type(rpc("web01", timeout=5)["some.procedure"], harp.aio.RemoteProcedure)
    host = rpc.host("web01.example.net", queue={"service": "nginx"}, concurrency=2)
    job = await host.restart_nginx("graceful")
    assert_type(job, harp.aio.RemoteCall)
    assert_type(job.id(), str)
    assert_type(await job.cancel(), bool)
    assert_type(await job.submit_time(), int)
    assert_type(await job.end_time(), int | None)
    assert_type(await job.host(), str)
    if await job.result() is harp.aio.CALL_NOT_FINISHED:
        return []
    try:
        value: dict[str, list[str]] = await asyncio.wait_for(job.get(), 5)
    except harp.aio.RemoteException as error:
        return [error.message]
    return value["lines"]


async def follow(rpc: harp.aio.HarpCaller, job_id: str) -> list[tuple[int, Any]]:
    """Read a stream in its ways."""
    job = rpc.job(job_id)
    async with job.follow(since=0, numbered=True) as records:
        assert_type(records, harp.aio.RecordIterator)
        pairs = [(number, record) async for number, record in records]
    assert_type(await job.stream(recent=10).all(), list[Any])
    return pairs


async def direct() -> Any:
    """Call an agent."""
    server = harp.aio.HarpServer("10.0.0.1", "user", "password", ca_file="/etc/ssl/ca.pem")
    async for item in await server.ticks(3):
        if isinstance(item, harp.aio.Result):
            return item.value
    return None


async def main() -> None:
    """Do it all."""
    async with harp.aio.HarpCaller("dispatcher", read_timeout=60) as rpc:
        await asyncio.gather(call(rpc), follow(rpc, "id"), direct())
