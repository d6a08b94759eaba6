"""A daemon and an agent stub, each a process of its own, in a folder that goes away."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from benchmarks import weigh
from benchmarks.agents import Agent, stub
from benchmarks.processes import ROOT, Server, end
from harpcaller.testing.certificates import make_authority
from harpcaller.testing.installation import free_port

_CONFIG = """\
listen = ["127.0.0.1:{port}"]
ca_file = "{ca}"
stream_directory = "{folder}/stream"
host_db = "{folder}/hosts.db"
host_db_script = "{script}"
default_timeout = 36000
max_exec_time = 36000
shutdown_grace = 0
{more}
"""


@attrs.frozen
class Usage:
    """What a process has used so far."""

    processor_seconds: float
    resident_bytes: int


@attrs.define
class World:
    """Where everything is."""

    folder: Path
    port: int
    agent: Server
    ca: Path
    _config: Path
    _profile: Path | None
    _daemon: subprocess.Popen[bytes] | None = None

    @property
    def daemon_pid(self) -> int:
        """Give the daemon's process id."""
        assert self._daemon is not None
        return self._daemon.pid

    @property
    def agent_port(self) -> int:
        """Give the agent's port."""
        return self.agent.port

    @property
    def store(self) -> Path:
        """Give the store's directory."""
        return self.folder / "stream"

    def start(self) -> float:
        """Start the daemon; give the seconds until it listens for clients."""
        started = time.perf_counter()
        self._daemon = _start_daemon(self.folder, self._config, self._profile)
        _wait_for(self.port, self._daemon, self.folder)
        return time.perf_counter() - started

    def stop(self) -> float:
        """Stop the daemon; give the seconds until it is gone."""
        started = time.perf_counter()
        if self._daemon is not None:
            end(self._daemon)
            self._daemon = None
        return time.perf_counter() - started

    def peak_bytes(self) -> int:
        """Ask the kernel how much memory the daemon has had at most since it was started."""
        return weigh.peak_bytes(self.daemon_pid)

    def ask(self, *command: str) -> float:
        """Run a command of ``harpcallerd``; give the seconds that it took."""
        started = time.perf_counter()
        subprocess.run(self.tool(*command), cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        return time.perf_counter() - started

    def tool(self, *command: str) -> list[str]:
        """Give the command line that has ``harpcallerd`` do something."""
        socket = f"--socket={self.folder / 'control'}"
        return [sys.executable, "-m", "harpcaller.control.cli", socket, *command]

    def processor_seconds(self) -> float:
        """Give the processor time that the daemon has taken."""
        return weigh.family_seconds(self.daemon_pid)

    def usage(self) -> Usage:
        """Ask the kernel what the daemon has used."""
        pid = self.daemon_pid
        return Usage(weigh.family_seconds(pid), weigh.resident_bytes(pid))


@contextmanager
def world(
    *,
    agent: Agent = stub,
    more: str = "",
    profile: Path | None = None,
    prepare: Callable[[Path], object] | None = None,
) -> Iterator[World]:
    """Start the daemon and an agent; stop both at the end.

    Args:
        agent: Runs the agent.
        more: Further lines of the daemon's configuration.
        profile: If given, the daemon is run under cProfile, which writes this file.
        prepare: If given, it makes the store in the directory that it is told.
    """
    folder = Path(tempfile.mkdtemp(prefix="harpcaller-bench-"))
    try:
        authority = make_authority()
        files = authority.issue().write(folder, "agent")
        ca = folder / "ca.pem"
        ca.write_bytes(authority.certificate_pem)
        with agent(folder, files.certificate, files.key) as its:
            port = free_port()
            config = _configure(folder, ca=ca, port=port, agent_port=its.port, more=more)
            here = World(folder, port, its, ca, config, profile)
            if prepare is not None:
                prepare(here.store)
            try:
                here.start()
                yield here
            finally:
                here.stop()
    finally:
        shutil.rmtree(folder)


def _configure(folder: Path, *, ca: Path, port: int, agent_port: int, more: str) -> Path:
    entry = {
        "hostname": "agent",
        "address": "127.0.0.1",
        "port": agent_port,
        "credentials": {"user": "bench", "password": "secret"},
    }
    script = folder / "hosts"
    script.write_text(f"#!/bin/sh\necho '{json.dumps(entry)}'\n")
    script.chmod(0o700)
    config = folder / "harpcaller.toml"
    config.write_text(_CONFIG.format(port=port, ca=ca, folder=folder, script=script, more=more))
    return config


def _start_daemon(folder: Path, config: Path, profile: Path | None) -> subprocess.Popen[bytes]:
    command = [sys.executable]
    if profile is not None:
        command += ["-m", "cProfile", "-o", str(profile)]
    command += [str(Path(sys.executable).with_name("twistd"))]
    command += ["-n", "--pidfile=", "harpcaller", f"--config={config}"]
    command += [f"--socket={folder / 'control'}"]
    with open(folder / "log", "wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT)


def _wait_for(port: int, daemon: subprocess.Popen[bytes], folder: Path) -> None:
    for _ in range(30_000):
        if daemon.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise SystemExit(f"the daemon doesn't start:\n{(folder / 'log').read_text()}")
