"""The dispatcher's calling part alone, in a process of its own: no store, no clients.

``python -m benchmarks.caller PORT CA CONCURRENCY SECONDS new|classic|resumed|kept`` makes calls of
an agent and prints one line of JSON.  ``new`` makes a connection for each and checks the
agent's certificate each time, ``classic`` does so without offering a quantum-safe key exchange,
``resumed`` takes up the last TLS session, ``kept`` keeps connections as far as the agent does.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

from cryptography import x509
from OpenSSL import SSL
from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults, succeed
from zope.interface import implementer

from harpcaller.call.caller import Caller
from harpcaller.call.connections import Connections
from harpcaller.call.context import AgentContext
from harpcaller.call.endpoint import endpoint_to
from harpcaller.call.pool import PoolSettings
from harpcaller.call.trust import Trust
from harpcaller.interfaces import Host, ICallSink, Limits
from harpcaller.service.reactor import Reactor
from harpcaller.wire.agent import Credentials
from harpcaller.wire.client import Call, JobId
from harpcaller.wire.ending import Returned
from harpcaller.wire.values import Raw

reactor = cast(Reactor, _reactor)

CALL = Call("agent", "ping", Raw(b"[]"))
LIMITS = Limits(60.0, 600.0)
#: Calls that aren't measured, at first.
WARM_UP = 100


@implementer(ICallSink)
class Nowhere:
    """Where records go."""

    def resumable(self) -> None:
        """Know that the agent keeps the call."""

    def record(self, *data: Raw) -> Deferred[None]:
        """Forget records."""
        return succeed(None)


class Calls:
    """Calls one after the other, some at once, for some time."""

    def __init__(self, caller: Caller, host: Host, seconds: float) -> None:
        self._caller = caller
        self._host = host
        self._seconds = seconds
        self._count = 0
        self._since = self._spent = 0.0

    async def run(self) -> None:
        """Call until the time is over."""
        while not self._since or time.perf_counter() < self._since + self._seconds:
            job = JobId(str(uuid4()))
            cleared: Deferred[None] = succeed(None)
            ending = await self._caller.call(self._host, job, CALL, LIMITS, Nowhere(), cleared)
            if not isinstance(ending, Returned):
                raise SystemExit(f"the call ended with {ending}")
            self._caller.forget(job)
            self._count += 1
            if self._count == WARM_UP:
                self._since, self._spent = time.perf_counter(), time.process_time()

    def found(self) -> dict[str, float]:
        """Tell what came of it."""
        count = self._count - WARM_UP
        elapsed = time.perf_counter() - self._since
        spent = time.process_time() - self._spent
        return {"total": count, "per_second": count / elapsed, "processor_seconds": spent}


def context(ca: str, kind: str) -> AgentContext:
    """Give the TLS of a kind of connections."""
    authority = x509.load_pem_x509_certificate(Path(ca).read_bytes())
    made = AgentContext(Trust(authorities=(authority,)), time.time)
    if kind in ("new", "classic"):
        made._remember = _forget  # type: ignore[method-assign]  # nobody else wants that
    if kind == "classic":
        # There is no public way; it is only here to know the price.
        lib: Any = SSL._lib  # type: ignore[attr-defined]
        lib.SSL_CTX_set1_curves_list(made._context._context, b"X25519")
    return made


def _forget(host: Host, connection: SSL.Connection, expires: float) -> None:
    """Keep no session."""


def main() -> None:
    """Make calls, and print what came of it."""
    port, ca, concurrency, seconds, kind = sys.argv[1:]
    settings = PoolSettings() if kind == "kept" else PoolSettings(idle_seconds=0)
    connections = Connections(
        context(ca, kind),
        10.0,
        lambda host, limit: endpoint_to(reactor, host, limit),
        reactor,
        settings,
    )
    caller = Caller(connections, reactor)
    host = Host("agent", "127.0.0.1", int(port), Credentials("bench", "secret"))
    calls = Calls(caller, host, float(seconds))
    failures: list[object] = []

    def run() -> None:
        running = [Deferred.fromCoroutine(calls.run()) for _ in range(int(concurrency))]
        together = gatherResults(running, consumeErrors=True).addErrback(failures.append)
        _ = together.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(run)
    reactor.run()
    if failures:
        raise SystemExit(str(failures[0]))
    found = calls.found()
    caller.stop()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
