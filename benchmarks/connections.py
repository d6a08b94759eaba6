"""Connections to an agent, new, resumed and kept; beside bare Twisted and a small C program.

Each makes the same calls: connect, check the certificate, send a request, read acknowledgement and
result, close; or, where connections are kept, only the middle of that.  Ours is the dispatcher's
calling part without store and clients (``caller.py``), ten calls at once; bare Twisted
(``bare.py``) likewise; the C program (``connections.c``, compiled with OpenSSL's headers if they
are there, otherwise ``openssl s_time``, which only connects) makes one after the other.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks.agents import keeping_stub, stub
from benchmarks.beside import Taken
from benchmarks.processes import ROOT, run
from benchmarks.report import Cell, Finding, Report, parser, reporting
from harpcaller.testing.certificates import make_authority

AT_ONCE = 10
OURS, TWISTED = "ours", "bare Twisted"
#: How many of the C program's new connections ours should do for the same processor time.
GOAL = 0.7

#: Makes calls of the agent on a port for some seconds.
Calling = Callable[[int, float], Taken]


@attrs.frozen
class Kind:
    """One way to call.

    Attributes:
        name: Of the connections.
        by: Who does it.
    """

    name: str
    by: dict[str, Calling]


def main() -> None:
    """Measure all of them by turns."""
    with reporting("connections", parser(__doc__)) as report, folder() as here:
        authority = make_authority()
        files = authority.issue("agent", names=["agent"]).write(here, "agent")
        ca = here / "ca.pem"
        ca.write_bytes(authority.certificate_pem)
        native = compiled(here) or s_time()
        if native is None:
            report.note("no C compiler with OpenSSL's headers, and no openssl: no reference in C")
        new, resumed, kept = kinds(ca, native)
        seconds, rounds = report.pick(3.0, 1.0, 0.2), report.pick(5, 2, 1)
        with stub(here, files.certificate, files.key) as agent:
            each = measure([new, resumed], agent.port, seconds, rounds)
        with keeping_stub(here, files.certificate, files.key) as agent:
            each |= measure([kept], agent.port, seconds, rounds)
        show(report, each)


@contextmanager
def folder() -> Iterator[Path]:
    """Have a folder for a while."""
    with tempfile.TemporaryDirectory(prefix="harpcaller-bench-") as name:
        yield Path(name)


def kinds(ca: Path, native: Callable[[str, Path], tuple[str, Calling]] | None) -> list[Kind]:
    """Give the ways to call."""

    def ours(kind: str) -> Calling:
        return lambda port, seconds: taken("benchmarks.caller", port, ca, AT_ONCE, seconds, kind)

    def twisted(port: int, seconds: float) -> Taken:
        return taken("benchmarks.bare", "calls", port, ca, AT_ONCE, seconds)

    made = [
        Kind(
            "new",
            {OURS: ours("new"), "ours, X25519 only": ours("classic"), TWISTED: twisted},
        ),
        Kind("resumed", {OURS: ours("resumed")}),
        Kind("kept", {OURS: ours("kept"), TWISTED: twisted}),
    ]
    for kind in made:
        if native is not None:
            name, calling = native(kind.name, ca)
            kind.by[name] = calling
    return made


def taken(module: str, *arguments: object) -> Taken:
    """Run one of the programs; give what it did."""
    return as_taken(run(module, *arguments))


def as_taken(found: dict[str, float]) -> Taken:
    """Read what a program has printed."""
    return Taken(found["total"], found["per_second"], found["processor_seconds"])


def compiled(here: Path) -> Callable[[str, Path], tuple[str, Calling]] | None:
    """Compile the C program, if that can be done here."""
    program = here / "connections"
    source = ROOT / "benchmarks" / "connections.c"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    command = [compiler, "-O2", "-o", str(program), str(source), "-lssl", "-lcrypto"]
    if subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode:
        return None

    def native(kind: str, ca: Path) -> tuple[str, Calling]:
        def calling(port: int, seconds: float) -> Taken:
            arguments = [str(program), str(port), str(ca), str(seconds), kind]
            printed = subprocess.run(arguments, stdout=subprocess.PIPE, check=True).stdout
            found: dict[str, float] = json.loads(printed)
            return as_taken(found)

        return "C", calling

    return native


_s_time = re.compile(rb"^([0-9]+) connections in ([0-9.]+)s;", re.MULTILINE).search


def s_time() -> Callable[[str, Path], tuple[str, Calling]] | None:
    """Let OpenSSL's own program connect, if it is there; it counts its user time only."""
    program = shutil.which("openssl")
    if program is None:
        return None

    def native(kind: str, ca: Path) -> tuple[str, Calling]:
        how = "-reuse" if kind == "resumed" else "-new"

        def calling(port: int, seconds: float) -> Taken:
            time = str(max(1, round(seconds)))
            command = [program, "s_time", "-connect", f"127.0.0.1:{port}", "-CAfile", str(ca)]
            printed = subprocess.run(
                [*command, "-verify", "2", how, "-time", time], stdout=subprocess.PIPE, check=True
            ).stdout
            found = _s_time(printed)
            assert found is not None, printed
            count = int(found[1])
            return Taken(count, count / float(time), float(found[2]))

        return "openssl s_time", calling

    return native


def measure(
    those: list[Kind], port: int, seconds: float, rounds: int
) -> dict[tuple[str, str], float]:
    """Let all make calls by turns; gives the processor time of one, in seconds."""
    count: dict[tuple[str, str], float] = defaultdict(float)
    spent: dict[tuple[str, str], float] = defaultdict(float)
    for _ in range(rounds):
        for kind in those:
            for name, calling in kind.by.items():
                found = calling(port, seconds)
                count[kind.name, name] += found.count
                spent[kind.name, name] += found.processor_seconds
    return {place: spent[place] / count[place] for place in count}


def show(report: Report, each: dict[tuple[str, str], float]) -> None:
    """Show what came of it."""
    rows: list[dict[str, Cell]] = []
    said = []
    for (kind, name), seconds in each.items():
        ours = each[kind, OURS]
        rows.append(
            {
                "connections": kind,
                "": name,
                "processor ms each": 1000 * seconds,
                "ours for the same time": seconds / ours,
            }
        )
        if name not in (OURS, TWISTED) and not name.startswith(OURS):
            least = GOAL if kind == "new" else None
            report.find(
                Finding(
                    f"calls, {kind} connections",
                    1 / ours,
                    "/processor s",
                    name,
                    1 / seconds,
                    least=least,
                )
            )
            said.append(f"{kind} {seconds / ours:.2f}")
    report.table(f"calls of an agent, {AT_ONCE} at once", rows)
    times = ", ".join(
        f"{kind} {1000 * seconds:.2f}" for (kind, name), seconds in each.items() if name == OURS
    )
    beside = f"; of the C program's calls for the same time: {', '.join(said)}" if said else ""
    report.sum_up(f"processor ms of a call: {times}{beside}")


if __name__ == "__main__":
    main()
