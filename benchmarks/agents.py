"""The agents that programs here can have: stubs that cost next to nothing, and the real one."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from benchmarks.processes import Server, serving
from harpcaller.testing.installation import (
    Daemon,
    free_port,
    our_command,
    write_agent_configuration,
)

#: Runs an agent in a folder, with this certificate and key.
Agent = Callable[[Path, Path, Path], AbstractContextManager[Server]]

PROCEDURES_FILE = "procedures.py"
PROCEDURES = """\
import time
from harpd.proc import procedure

@procedure
def ping():
    return {"ok": True}

@procedure
def hold():
    time.sleep(3600)
"""
CREDENTIALS = "bench", "secret"
LIMITS = "limits:\n  max_calls: 1024\n"


def stub(folder: Path, certificate: Path, key: Path) -> AbstractContextManager[Server]:
    """One that answers at once, and closes after each call."""
    return serving("benchmarks.stub", certificate, key)


def keeping_stub(folder: Path, certificate: Path, key: Path) -> AbstractContextManager[Server]:
    """One that answers at once, and keeps its connections."""
    return serving("benchmarks.stub", certificate, key, "keep")


def streamer(folder: Path, certificate: Path, key: Path) -> AbstractContextManager[Server]:
    """One whose calls stream, or last."""
    return serving("benchmarks.streamer", certificate, key)


@contextmanager
def harpd(folder: Path, certificate: Path, key: Path) -> Iterator[Server]:
    """The real agent, whose procedures are ``ping`` and ``hold``."""
    port = free_port()
    procedures = folder / PROCEDURES_FILE
    procedures.write_text(PROCEDURES)
    conf = folder / "harpd.conf"
    write_agent_configuration(conf, port, certificate, key, CREDENTIALS)
    with conf.open("a") as file:
        file.write(LIMITS)
    command = our_command("harpd", f"--config={conf}", f"--procedures={procedures}")
    log = folder / "harpd.log"
    with log.open("wb") as output:
        daemon = Daemon(subprocess.Popen(command, stdout=output, stderr=output), log)
    try:
        daemon.wait_for_log("agent.listening")
        yield Server(port, daemon.process.pid)
    finally:
        daemon.stop()
