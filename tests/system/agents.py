"""Agents with real TLS and real processes, and callers of them."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.testing.certificates import Authority, make_authority
from tests.system.agent_procedures import PROCEDURES
from tests.system.agent_processes import children_of, helper_of
from tests.system.untraced import untraced

USER, PASSWORD = "dispatcher", "opensesame"
#: How long anything may take.
SECONDS = 60.0
#: How long the shared agent waits before it kills: longer than who is told to end needs.
KILL_GRACE_SECONDS = 3.0

CONFIG = """
network:
  address: 127.0.0.1
  port: 0
  certfile: agent.pem
  keyfile: agent.key
authentication:
  module: harpd.auth.inconfig
  users:
    {user}: "plain:{password}"
limits:
  max_calls: 8
  request_timeout: 1
  kill_grace: 1
  stop_grace: 1
"""

LIMITED = """
@procedure(timeout=0.3)
def limited():
    time.sleep(1000)

@procedure
def secret(a="hunter2"):
    return 1
"""


class Agent:
    """A ``harpd`` of our own."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        environ: dict[str, str] | None = None,
        under: tuple[str, ...] = (),
    ) -> None:
        self.folder = folder
        self.log_file = folder / "log"
        command = [*under, sys.executable, "-P", "-m", "harpcaller.service.harpd"]
        command += ["-c", str(folder / "harpd.conf"), "-r", str(folder / "harpd.py"), *options]
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env={**os.environ, **(environ or {})}
            )
        self.port = 0

    def log(self) -> str:
        return self.log_file.read_text()

    def wait_for(self, what: str, times: int = 1) -> str:
        """Wait until a line is in the log; gives it."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            found = [line for line in self.log().split("\n") if what in line]
            if len(found) >= times:
                return found[times - 1]
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"no {what} in:\n{self.log()}")

    def listening(self) -> Agent:
        line = self.wait_for("agent.listening")
        self.port = json.loads(line[line.index("{") :])["port"]
        return self

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(SECONDS)

    def helper(self, module: str) -> int:
        """Find the process of its own that runs this module."""
        return helper_of(self.process.pid, module)

    def children(self) -> list[int]:
        return children_of(self.process.pid)


def prepare(folder: Path, authority: Authority, procedures: str = PROCEDURES + LIMITED) -> None:
    """Write all that an agent needs."""
    authority.write(folder, "ca")
    authority.issue().write(folder, "agent")
    folder.joinpath("harpd.conf").write_text(CONFIG.format(user=USER, password=PASSWORD))
    folder.joinpath("harpd.py").write_text(procedures)


class Client:
    """A caller's side, blocking."""

    def __init__(
        self, agent: Agent, context: ssl.SSLContext, session: ssl.SSLSession | None = None
    ) -> None:
        plain = socket.create_connection(("127.0.0.1", agent.port), SECONDS)
        self.tls = context.wrap_socket(plain, server_hostname="localhost", session=session)
        self._stream = self.tls.makefile("rb")

    def send(
        self,
        procedure: str,
        arguments: object = (),
        password: str = PASSWORD,
        job: str | None = None,
    ) -> Client:
        self.tls.sendall(request(procedure, arguments, password, job))
        return self

    def whole_call(self, procedure: str, job: str) -> list[Any]:
        """Call without waiting for the agent to close; confirm the end."""
        self.send(procedure, job=job)
        said = [self.line(), self.line()]
        user = {"user": USER, "password": PASSWORD}
        confirmation = {"harp": 1, "cancel": job, "auth": user}
        self.tls.sendall(json.dumps(confirmation).encode() + b"\n")
        return said

    def line(self) -> Any:
        line = self._stream.readline()
        return json.loads(line) if line else None

    def answer(self) -> list[Any]:
        """All lines until the agent closes."""
        return [json.loads(line) for line in self._stream]

    def close(self) -> None:
        # Both, or the descriptor stays open.
        self._stream.close()
        self.tls.close()


def request(
    procedure: str, arguments: object = (), password: str = PASSWORD, job: str | None = None
) -> bytes:
    message: dict[str, Any] = {} if job is None else {"job": job}
    message |= {
        "harp": 1,
        "procedure": procedure,
        "arguments": arguments,
        "auth": {"user": USER, "password": password},
    }
    return json.dumps(message).encode() + b"\n"


@functools.cache
def shared_agent() -> tuple[Agent, Path]:
    """Start the agent that most tests share; it ends with the tests' process."""
    folder = Path(tempfile.mkdtemp(prefix="harpd-test-"))
    atexit.register(shutil.rmtree, folder)
    prepare(folder, make_authority())
    grace = f"kill_grace: {KILL_GRACE_SECONDS:g}"
    config = folder / "harpd.conf"
    config.write_text(config.read_text().replace("kill_grace: 1", grace))
    agent = Agent(folder)
    atexit.register(agent.stop)
    return agent.listening(), folder


class AgentCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.agent, self.folder = shared_agent()

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

    def client(self, context: ssl.SSLContext | None = None) -> Client:
        client = Client(self.agent, context or self.context())
        self.addCleanup(client.close)
        return client

    def call(self, procedure: str, arguments: object = (), password: str = PASSWORD) -> list[Any]:
        return self.client().send(procedure, arguments, password).answer()

    def error(self, *arguments: Any) -> dict[str, str]:
        (only,) = self.call(*arguments)
        self.assertEqual(1, only["harp"])
        error: dict[str, str] = only["error"]
        return error

    def until(self, true: Any, seconds: float = SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            self.assertLess(time.monotonic(), deadline, "it never came true")
            time.sleep(0.02)


class LifeCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.authority = make_authority()
        prepare(self.folder, self.authority)

    def start(self, *options: str, environ: dict[str, str] | None = None) -> Agent:
        agent = Agent(self.folder, *options, environ=environ)
        self.addCleanup(agent.stop)
        return agent

    def client(self, agent: Agent) -> Client:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        client = Client(agent, context)
        self.addCleanup(client.close)
        return client

    def call(self, agent: Agent, procedure: str, password: str = PASSWORD) -> Any:
        return self.client(agent).send(procedure, (), password).answer()[-1]

    def run_command(
        self, *options: str, is_measured: bool = True
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "harpcaller.service.harpd", *options],
            cwd=self.folder,
            env=None if is_measured else untraced(os.environ),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
