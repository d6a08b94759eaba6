"""Clients of the dispatcher, in a process of their own.

``python -m benchmarks.load calls PORT CONCURRENCY SECONDS kept|new`` submits calls and waits
for their results, on connections that are kept or on a new one for each request as old
clients do; ``python -m benchmarks.load submit PORT CONCURRENCY COUNT`` submits jobs to a
queue whose first job never ends.  Either prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

CALL = b'{"harpcaller":1,"host":"agent","procedure":"ping","arguments":[]}\n'
WAITING = (
    b'{"harpcaller":1,"host":"agent","procedure":"hold","arguments":["web01",{"deep":[1,2,3]}],'
    b'"timeout":3600,"queue":{"name":{"for":"benchmark"},"concurrency":1}}\n'
)
#: Seconds of calls that aren't measured, at first.
WARM_UP = 0.5


async def ask(streams: Streams, request: bytes) -> dict[str, object]:
    """Send a request, read its answer."""
    reader, writer = streams
    writer.write(request)
    line = await reader.readline()
    answer = json.loads(line or b"{}")
    if not line or "error" in answer:
        raise SystemExit(f"the dispatcher said {line!r}")
    assert isinstance(answer, dict)
    return answer


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Streams]:
    """Be connected for a while."""
    streams = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield streams
    finally:
        streams[1].close()


def result_of(job: object) -> bytes:
    """Ask for a job's result."""
    return b'{"harpcaller":1,"get_result":"%s"}\n' % str(job).encode()


async def call_kept(port: int, until: float, took: list[float]) -> None:
    """Call again and again on one connection."""
    async with connected(port) as streams:
        while (start := time.perf_counter()) < until:
            job = (await ask(streams, CALL))["job_id"]
            await ask(streams, result_of(job))
            took.append(time.perf_counter() - start)


async def call_new(port: int, until: float, took: list[float]) -> None:
    """Call again and again with a connection for each request."""
    while (start := time.perf_counter()) < until:
        async with connected(port) as streams:
            job = (await ask(streams, CALL))["job_id"]
        async with connected(port) as streams:
            await ask(streams, result_of(job))
        took.append(time.perf_counter() - start)


async def calls(port: int, concurrency: int, seconds: float, kind: str) -> dict[str, float]:
    """Measure calls from submission to result."""
    one = call_kept if kind == "kept" else call_new
    warming: list[float] = []
    await run(one, concurrency, port, time.perf_counter() + WARM_UP, warming)
    took: list[float] = []
    started = time.perf_counter()
    await run(one, concurrency, port, started + seconds, took)
    elapsed = time.perf_counter() - started
    took.sort()
    return {
        "calls": len(warming) + len(took),
        "per_second": len(took) / elapsed,
        "p50_ms": 1000 * took[len(took) // 2],
        "p99_ms": 1000 * took[len(took) * 99 // 100],
    }


async def run(one: object, concurrency: int, port: int, until: float, took: list[float]) -> None:
    """Let some clients run side by side."""
    assert callable(one)
    await asyncio.gather(*(one(port, until, took) for _ in range(concurrency)))


async def submit(port: int, concurrency: int, count: int) -> dict[str, float]:
    """Measure submissions, early and late ones apart."""
    done: list[float] = []

    async def one(times: int) -> None:
        async with connected(port) as streams:
            for _ in range(times):
                await ask(streams, WAITING)
                done.append(time.perf_counter())

    started = time.perf_counter()
    await asyncio.gather(*(one(count // concurrency) for _ in range(concurrency)))
    tenth = len(done) // 10
    return {
        "count": len(done),
        "per_second": len(done) / (done[-1] - started),
        "early": tenth / (done[tenth - 1] - started),
        "late": tenth / (done[-1] - done[-tenth - 1]),
    }


def main() -> None:
    """Do what the arguments say."""
    what, port, concurrency, *rest = sys.argv[1:]
    if what == "calls":
        work = calls(int(port), int(concurrency), float(rest[0]), rest[1])
    else:
        work = submit(int(port), int(concurrency), int(rest[0]))
    print(json.dumps(asyncio.run(work)))


if __name__ == "__main__":
    main()
