"""Calls of the real agent; beside a server that forks itself, or starts a Python, for each call.

Ten clients call a procedure that does nothing, each call on a TLS connection of its own; of the
agent also on connections that they keep, as the dispatcher does.  Then
some calls that last, and what memory each adds: its part of what is shared, and its own (PSS).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs

from benchmarks import weigh
from benchmarks.agents import PROCEDURES_FILE, harpd
from benchmarks.handshakes import REQUEST
from benchmarks.processes import Server, run, serving
from benchmarks.report import Cell, Finding, Report, parser, reporting
from harpcaller.testing.certificates import make_authority

US = "harpd, a template process"
KEPT = "harpd, connections kept"
FORKING = "a server that forks itself"
STARTING = "a new interpreter a call"

CONCURRENCY = 10


@attrs.define
class Runs:
    """What was measured of one kind of server."""

    rates: list[float] = attrs.Factory(list)
    each: list[float] = attrs.Factory(list)

    @property
    def rate(self) -> float:
        """Give calls a second."""
        return statistics.median(self.rates)


def main() -> None:
    """Measure all three by turns."""
    with reporting("agent", parser(__doc__)) as report:
        folder = Path(tempfile.mkdtemp(prefix="harpcaller-bench-"))
        try:
            with servers(folder) as (ca, all_three):
                measure(report, ca, all_three)
        finally:
            shutil.rmtree(folder)


@contextmanager
def servers(folder: Path) -> Iterator[tuple[Path, dict[str, Server]]]:
    """Run the agent and what it is held against."""
    authority = make_authority()
    files = authority.issue().write(folder, "agent")
    ca = folder / "ca.pem"
    ca.write_bytes(authority.certificate_pem)
    bare = "benchmarks.bare_agent", files.certificate, files.key, folder / PROCEDURES_FILE
    with ExitStack() as stack:
        agent = stack.enter_context(harpd(folder, files.certificate, files.key))
        forking = stack.enter_context(serving(*bare, "fork"))
        starting = stack.enter_context(serving(*bare, "interpreter"))
        yield ca, {US: agent, FORKING: forking, STARTING: starting}


def measure(report: Report, ca: Path, all_three: dict[str, Server]) -> None:
    """Measure rates by turns, then memory."""
    seconds = report.pick(5.0, 2.0, 0.2)
    runs = {name: Runs() for name in (KEPT, *all_three)}
    for _ in range(report.pick(5, 2, 1)):
        for name, one in runs.items():
            server = all_three[US if name == KEPT else name]
            before = server.processor_seconds()
            place = (server.port, ca, CONCURRENCY, seconds)
            found = run("benchmarks.handshakes", *place, "kept" if name == KEPT else "full")
            one.rates.append(found["per_second"])
            one.each.append((server.processor_seconds() - before) / found["count"])
    # An interpreter has started by the end of the pause.
    count, pause = report.pick((100, 5.0), (30, 2.0), (3, 0.5))
    memory = {
        name: weigh_calls(server, ca, count, pause, is_bare=name != US)
        for name, server in all_three.items()
    }
    rows: list[dict[str, Cell]] = [
        {
            "": name,
            "calls/s": one.rate,
            "processor ms each": 1000 * statistics.median(one.each),
            "PSS of a running call, KiB": memory[name] / 1024 if name in memory else None,
        }
        for name, one in runs.items()
    ]
    report.table(f"calls of a procedure that does nothing, {CONCURRENCY} at once", rows)
    rate = runs[US].rate
    report.find(Finding("calls of harpd", rate, "/s", least=300))
    report.find(Finding("calls of harpd, connections kept", runs[KEPT].rate, "/s", least=300))
    for than, least in ((STARTING, 10.0), (FORKING, None)):
        report.find(Finding("calls of harpd", rate, "/s", than, runs[than].rate, least=least))
        ours, theirs = (1 / statistics.median(runs[name].each) for name in (US, than))
        report.find(Finding("calls of harpd", ours, "/processor s", than, theirs, least=least))
    for than in (STARTING, FORKING):
        ours, theirs = (memory[name] / 1024 for name in (US, than))
        report.find(Finding("PSS of a running call", ours, "KiB", than, theirs))
    report.sum_up(
        f"{rate:,.0f} calls a second, {runs[KEPT].rate:,.0f} on kept connections;"
        f" {rate / runs[STARTING].rate:.1f} times as many as by new"
        f" interpreters, {rate / runs[FORKING].rate:.1f} times as many as by forks of the server;"
        f" {memory[US] / 1024:,.0f} KiB for each that runs"
    )


def weigh_calls(server: Server, ca: Path, count: int, pause: float, *, is_bare: bool) -> float:
    """Have some calls run, and give what each of them adds, in bytes."""
    context = ssl.create_default_context(cafile=str(ca))
    context.check_hostname = False
    helpers = weigh.descendants(server.pid)
    before = weigh_family(server.pid)
    with ExitStack() as stack:
        for _ in range(count):
            plain = socket.create_connection(("127.0.0.1", server.port), 60)
            tls = stack.enter_context(context.wrap_socket(plain))
            tls.sendall(REQUEST.replace(b'"ping"', b'"hold"'))
            tls.recv(65536)
        time.sleep(pause)
        after = weigh_family(server.pid)
        if is_bare:
            # The agent ends a call whose connection is closed.
            for pid in set(weigh.descendants(server.pid)) - set(helpers):
                os.kill(pid, signal.SIGKILL)
    while len(weigh.descendants(server.pid)) > len(helpers):
        time.sleep(0.05)
    return (after - before) / count


def weigh_family(pid: int) -> int:
    """Give the memory of a process and all below it, in bytes."""
    return sum(weigh.memory(one).shared for one in (pid, *weigh.descendants(pid)))


if __name__ == "__main__":
    main()
