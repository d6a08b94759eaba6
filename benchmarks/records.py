"""Records that a call streams, stored and followed; beside a bare relay of lines.

An agent streams over TLS as fast as it may; the dispatcher stores each record, and one client
follows.  In its place a Twisted program that reads lines from TLS and writes them to TCP.  The
agent writes each record by itself, as one does that has something to tell now and then; or
sixteen at once, which costs a relay next to nothing: it splits and joins them in C.
"""

from __future__ import annotations

from benchmarks import original
from benchmarks.agents import streamer
from benchmarks.beside import US, Beside, by_turns, spending
from benchmarks.processes import Server, run, serving
from benchmarks.report import Finding, Report, parser, reporting
from benchmarks.world import World, world

#: How many records are in a write.
TOGETHER = (1, 16)


def main() -> None:
    """Measure both by turns."""
    options = parser(__doc__)
    with reporting("records", options) as report, world(agent=streamer) as here:
        count = report.pick(200_000, 30_000, 500)
        words = []
        for together in TOGETHER:
            place = (here.agent_port, here.ca, count, together)
            with serving("benchmarks.bare", "relay", *place) as relay:
                found = measure(report, here, relay, count, together)
            report.table(f"{count:,} {found.what}", found.table())
            found.find(report, per_second=20_000, least=0.3 if together == 1 else None)
            there = original.RECORDS
            rate = found.rates[US]
            report.find(Finding(found.what, rate, "/s", original.THAN, there, least=2.4))
            words.append(str(found))
        report.sum_up("; ".join(words))


def measure(report: Report, here: World, relay: Server, count: int, together: int) -> Beside:
    """Stream through either, some times."""

    def stored() -> dict[str, float]:
        found = run("benchmarks.load", "stream", here.port, count, together)
        assert found["count"] == count, found
        return found

    def relayed() -> dict[str, float]:
        found = run("benchmarks.load", "relayed", relay.port)
        # The relay passes the acknowledgement on, too.
        assert found["count"] == count + 1, found
        return found

    return by_turns(
        f"records, {together} in a write",
        "bare Twisted relay",
        report.pick(5, 3, 1),
        lambda: spending(here.processor_seconds, stored),
        lambda: spending(relay.processor_seconds, relayed),
    )


if __name__ == "__main__":
    main()
