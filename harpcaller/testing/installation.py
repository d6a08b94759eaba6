"""A whole installation on this machine, with real processes: for the demo, tests and benchmarks.

One folder holds everything: a throw-away CA, an agent's certificate, the configuration of
an agent (``web01.example.net``) and of a dispatcher, and what they write.  They listen on
127.0.0.1 only.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from harpcaller.testing.certificates import make_authority
from harpcaller.wire.values import decode, encode

#: How long anything may take before it has gone wrong, in seconds.
PATIENCE = 60.0
#: The name that the agent has in the registry.
HOST = "web01.example.net"

_USER, _PASSWORD = "dispatcher", "not a secret"

_HARPD_CONF = """\
network:
  address: 127.0.0.1
  port: {port}
  certfile: {certificate}
  keyfile: {key}
authentication:
  module: harpd.auth.inconfig
  users:
    {user}: "plain:{password}"
"""

_HARPCALLER_TOML = """\
listen = ["127.0.0.1:{port}"]
ca_file = "ca.pem"
verify_hostname = true
stream_directory = "stream"
host_db = "hosts.db"
host_db_script = "update-hosts"
{more}
"""


class NotInTime(AssertionError):
    """Something didn't happen within :data:`PATIENCE`."""


def free_port() -> int:
    """Find a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def write_agent_configuration(
    path: Path, port: int, certificate: Path, key: Path, credentials: tuple[str, str]
) -> None:
    """Write an agent's configuration with one user; others may not read it."""
    user, password = credentials
    path.touch(0o600)
    path.write_text(
        _HARPD_CONF.format(
            port=port, certificate=certificate, key=key, user=user, password=password
        )
    )


@attrs.define
class Daemon:
    """A process that was started here, and where it logs."""

    process: subprocess.Popen[bytes]
    log: Path

    def wait_for_log(self, words: str) -> None:
        """Wait until its log has these words.

        Raises:
            NotInTime: It hasn't, or the process has ended.
        """
        deadline = time.monotonic() + PATIENCE
        while words.encode() not in self.log.read_bytes():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise NotInTime(f"no {words!r} in the log:\n{self.log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> int:
        """Ask it to end, make it end if it doesn't; give its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def kill(self) -> None:
        """End it as by ``kill -9``."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


class Installation:
    """The files and daemons.

    Args:
        folder: An empty one.
        procedures: The agent's procedures file.
        more: Further lines for the main section of the dispatcher's configuration.
    """

    def __init__(self, folder: Path, procedures: Path, more: str = "") -> None:
        self.folder = folder
        self.port = free_port()
        self.agent_port = free_port()
        self.socket = folder / "control"
        self.environ = {**os.environ, "HARPCALLER": f"127.0.0.1:{self.port}"}
        self._procedures = procedures
        self._daemons: list[Daemon] = []
        self._write_certificates()
        self._write_registry()
        self.configure(more)

    # --- Files ---------------------------------------------------------------------------

    def _write_certificates(self) -> None:
        authority = make_authority()
        (self.folder / "ca.pem").write_bytes(authority.certificate_pem)
        files = authority.issue(HOST, names=[HOST]).write(self.folder, "agent")
        write_agent_configuration(
            self.folder / "harpd.conf",
            self.agent_port,
            files.certificate,
            files.key,
            (_USER, _PASSWORD),
        )

    def _write_registry(self) -> None:
        entry = {
            "hostname": HOST,
            "address": "127.0.0.1",
            "port": self.agent_port,
            "credentials": {"user": _USER, "password": _PASSWORD},
        }
        hosts = self.folder / "hosts.json"
        hosts.write_bytes(encode(entry) + b"\n")
        script = self.folder / "update-hosts"
        script.write_text(f"#!/bin/sh\nexec cat {shlex.quote(str(hosts))}\n")
        script.chmod(0o700)

    def configure(self, more: str) -> None:
        """Write the dispatcher's configuration anew, with these lines in it."""
        content = _HARPCALLER_TOML.format(port=self.port, more=more)
        (self.folder / "harpcaller.toml").write_text(content)

    # --- Daemons -------------------------------------------------------------------------

    @property
    def agent_command(self) -> tuple[str, ...]:
        """How the agent is started, in the folder."""
        return "harpd", "-c", "harpd.conf", "-r", str(self._procedures)

    @property
    def dispatcher_command(self) -> tuple[str, ...]:
        """How the dispatcher is started, in the folder."""
        files = "--config=harpcaller.toml", f"--socket={self.socket}"
        return "twistd", "-n", "--pidfile=", "harpcaller", *files

    def start(self, name: str, command: Sequence[str]) -> Daemon:
        """Start a daemon of ours, its output in NAME.log."""
        return self.start_as(name, our_command(*command))

    def start_as(self, name: str, command: Sequence[str]) -> Daemon:
        """Start a daemon by another program, its output in NAME.log."""
        log = self.folder / f"{name}.log"
        with open(log, "ab") as output:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=self.environ,
                cwd=self.folder,
            )
        daemon = Daemon(process, log)
        self._daemons.append(daemon)
        return daemon

    def start_agent(self) -> Daemon:
        """Start the agent and wait until it listens."""
        # The log of an earlier one would tell that it does.
        (self.folder / "harpd.log").unlink(missing_ok=True)
        agent = self.start("harpd", self.agent_command)
        agent.wait_for_log("agent.listening")
        return agent

    def start_dispatcher(self) -> Daemon:
        """Start the dispatcher and wait until start-up is complete."""
        # The log of an earlier one would tell that it is ready.
        (self.folder / "harpcaller.log").unlink(missing_ok=True)
        dispatcher = self.start("harpcaller", self.dispatcher_command)
        dispatcher.wait_for_log("daemon.ready")
        return dispatcher

    def stop(self) -> None:
        """End every daemon that still runs, the last started first."""
        while self._daemons:
            self._daemons.pop().stop()

    # --- Talking -------------------------------------------------------------------------

    def connect(self) -> socket.socket:
        """Open a connection as a client does."""
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE)

    def ask(self, request: Mapping[str, object]) -> dict[str, Any]:
        """Send a request on a connection of its own; give the first line of the answer."""
        with self.connect() as connection:
            connection.sendall(encode({"harpcaller": 1, **request}) + b"\n")
            with connection.makefile("rb") as answers:
                answer = decode(answers.readline())
        assert isinstance(answer, dict)
        return answer

    def submit(self, procedure: str, *arguments: object, **options: object) -> str:
        """Submit a call; give the job's id."""
        call = {"host": HOST, "procedure": procedure, "arguments": list(arguments)}
        return str(self.ask({**call, **options})["job_id"])

    def result(self, job_id: str) -> dict[str, Any]:
        """Wait for a job's end."""
        return self.ask({"get_result": job_id})

    def harpcallerd(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the operator's command."""
        return subprocess.run(
            our_command("harpcallerd", f"--socket={self.socket}", *arguments),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=self.environ,
            cwd=self.folder,
            text=True,
            timeout=PATIENCE,
            check=False,
        )


def our_command(name: str, *arguments: str) -> list[str]:
    """Give the command line of a command that is installed beside this Python."""
    return [str(Path(sys.executable).parent / name), *arguments]
