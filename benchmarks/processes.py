"""The other programs of the benchmarks, as processes: servers, and what prints a line of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks import weigh

ROOT = Path(__file__).resolve().parent.parent


@attrs.frozen
class Server:
    """A process that listens."""

    port: int
    pid: int

    def processor_seconds(self) -> float:
        """Give the processor time that it, its helpers and children that have ended took."""
        return weigh.family_seconds(self.pid)


@contextmanager
def serving(module: str, *arguments: object) -> Iterator[Server]:
    """Run one of the other modules, which prints its port, for a while."""
    process = _start(module, *map(str, arguments))
    try:
        assert process.stdout is not None
        yield Server(int(process.stdout.readline()), process.pid)
    finally:
        end(process)


def run(module: str, *arguments: object) -> dict[str, float]:
    """Run one of the other modules as a process, and read the line of JSON that it prints."""
    with _start(module, *map(str, arguments)) as process:
        output, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{module} failed")
    found = json.loads(output)
    assert isinstance(found, dict)
    return found


def _start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments], stdout=subprocess.PIPE, cwd=ROOT
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask a process to end, and make it end if it doesn't."""
    process.terminate()
    try:
        process.wait(120)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
