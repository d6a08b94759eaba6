"""``harpd`` as its callers see it: the real command, real TLS, real processes."""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import shutil
import signal
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
from tests.system.agent_processes import children_of, helper_of, is_running
from tests.system.test_agent_processes import PROCEDURES

USER, PASSWORD = "dispatcher", "opensesame"
SECONDS = 60.0

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


class CallTests(AgentCase):
    def test_result(self) -> None:
        """A call is acknowledged, and its result comes."""
        self.assertEqual(
            [{"harp": 1, "stream_result": False}, {"result": 3}], self.call("add", [1])
        )

    def test_stream(self) -> None:
        """Records come in order, then the result."""
        found = self.call("ticks", {"n": 3})
        self.assertEqual({"harp": 1, "stream_result": True}, found[0])
        self.assertEqual([{"stream": {"i": i}} for i in range(3)], found[1:4])
        self.assertEqual([{"result": "done"}], found[4:])

    def test_exception(self) -> None:
        """An exception tells its class."""
        data = {"class": "LookupError", "module": "builtins"}
        self.assertEqual(
            {"exception": {"type": "LookupError", "message": "nothing here", "data": data}},
            self.call("raises")[1],
        )

    def test_prints(self) -> None:
        """What is printed is in the log, not in the answer."""
        self.assertEqual({"result": "printed"}, self.call("prints")[1])
        self.assertIn('"procedure":"prints"', self.agent.wait_for("from a shell"))

    def test_dies_without_a_word(self) -> None:
        """A process that just ends is an error."""
        self.assertEqual("system_error", self.call("leaves", [3])[1]["error"]["type"])
        self.assertIn("exit code 3", self.call("leaves", [3])[1]["error"]["message"])
        self.assertIn("signal 9", self.call("dies")[1]["error"]["message"])

    def test_limit(self) -> None:
        """A procedure's own limit ends it."""
        error = self.call("limited")[1]["error"]
        self.assertEqual("timeout", error["type"])
        self.assertIn("0.3 seconds", error["message"])

    def test_refusals(self) -> None:
        """What can't run gets an error and no acknowledgement."""
        self.assertEqual("no_such_procedure", self.error("nix")["type"])
        self.assertEqual("invalid_argument_list", self.error("add", [1, 2, 3])["type"])
        error = self.error("add", {"c": 1})
        self.assertEqual("invalid_argument_list", error["type"])
        self.assertIn("'a'", error["message"])
        self.assertNotIn("hunter2", str(self.error("secret", {"b": 1})))

    def test_two_at_once(self) -> None:
        """Two calls run beside each other."""
        started = time.monotonic()
        clients = [self.client().send("nap", [0.7]) for _ in range(2)]
        for client in clients:
            self.assertEqual({"result": 0.7}, client.answer()[1])
        self.assertLess(time.monotonic() - started, 1.35)


class ClosingTests(AgentCase):
    def begin(self, **options: bool) -> tuple[Client, list[int]]:
        client = self.client().send("with_child", options)
        self.assertEqual({"harp": 1, "stream_result": True}, client.line())
        pids = client.line()["stream"]
        self.assertTrue(all(map(is_running, pids)))
        return client, pids

    def test_group_ends_with_the_connection(self) -> None:
        """A caller that goes takes the procedure and its programs with it, at once."""
        client, pids = self.begin()
        client.close()
        self.until(lambda: not any(map(is_running, pids)), 0.9)

    def test_reset_ends_it_too(self) -> None:
        """Nor does it matter how the connection ends."""
        client, pids = self.begin()
        client.tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        self.until(lambda: not any(map(is_running, pids)), 0.9)

    def test_ignores_sigterm(self) -> None:
        """Who doesn't want to end is killed after the grace."""
        client, pids = self.begin(ignoring=True, ignoring_child=True)
        client.close()
        time.sleep(0.5)
        self.assertTrue(all(map(is_running, pids)))
        self.until(lambda: not any(map(is_running, pids)), 3)

    def test_slow_reader(self) -> None:
        """A caller that doesn't read holds the procedure back; memory stays bounded."""
        before = self.memory()
        client = self.client().send("endless")
        client.line()
        client.line()
        (worker,) = self.workers()
        self.until(lambda: self.is_waiting(worker))
        self.assertLess(self.memory() - before, 8 * 1024, "kilobytes more")
        for i in range(1, 5000):
            self.assertEqual(i, client.line()["stream"]["i"])

    def memory(self) -> int:
        status = Path(f"/proc/{self.agent.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0])

    def workers(self) -> list[int]:
        template = self.agent.helper("harpcaller.agent.template")
        path = Path(f"/proc/{template}/task/{template}/children")
        return [int(pid) for pid in path.read_text().split()]

    def is_waiting(self, pid: int) -> bool:
        """Tell whether a process does nothing for a while."""
        used = self.processor_time(pid)
        time.sleep(0.5)
        return self.processor_time(pid) == used

    def processor_time(self, pid: int) -> list[str]:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]


class UnknownTests(AgentCase):
    def test_wrong_password(self) -> None:
        """A wrong password gets an error; neither it nor the right one is in the log."""
        error = self.error("add", [1], "hunter2")
        self.assertEqual({"type": "auth_error", "message": "unknown user or wrong password"}, error)
        self.agent.wait_for("agent.user_refused")
        self.assertNotIn("hunter2", self.agent.log())
        self.assertNotIn(PASSWORD, self.agent.log())

    def test_silent(self) -> None:
        """A connection that says nothing is closed, before and after its handshake."""
        plain = socket.create_connection(("127.0.0.1", self.agent.port), SECONDS)
        self.addCleanup(plain.close)
        client = self.client()
        started = time.monotonic()
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(b"", plain.recv(1))
        with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
            self.assertEqual(b"", client.tls.recv(1))
        self.assertLess(time.monotonic() - started, 5)

    def test_silent_ones_do_not_keep_others(self) -> None:
        """While somebody is stuck in a handshake, others are served."""
        for _ in range(20):
            plain = socket.create_connection(("127.0.0.1", self.agent.port), SECONDS)
            self.addCleanup(plain.close)
        started = time.monotonic()
        self.assertEqual({"result": 3}, self.call("add", [1])[1])
        self.assertLess(time.monotonic() - started, 0.9)

    def test_nonsense(self) -> None:
        """What isn't a request gets an error."""
        client = self.client()
        client.tls.sendall(b"GET / HTTP/1.1\r\n")
        self.assertEqual("parse_error", client.answer()[0]["error"]["type"])

    def test_line_too_long(self) -> None:
        """A line that gets too long gets an error, and isn't kept."""
        client = self.client()
        client.tls.sendall(b"x" * (1024 * 1024 + 1))
        self.assertEqual("invalid_request", client.answer()[0]["error"]["type"])


class TLSTests(AgentCase):
    def versions(self, version: ssl.TLSVersion) -> str | None:
        context = self.context()
        context.minimum_version = context.maximum_version = version
        client = self.client(context).send("add", [1])
        self.assertEqual({"result": 3}, client.answer()[1])
        return client.tls.version()

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3 are spoken."""
        self.assertEqual("TLSv1.2", self.versions(ssl.TLSVersion.TLSv1_2))
        self.assertEqual("TLSv1.3", self.versions(ssl.TLSVersion.TLSv1_3))

    def test_old_version(self) -> None:
        """TLS 1.1 is refused."""
        context = self.context()
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        context.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises((ssl.SSLError, ConnectionResetError)):
            self.client(context)

    def test_resumption(self) -> None:
        """A caller that comes back resumes its session, in both versions."""
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = self.context()
            context.minimum_version = context.maximum_version = version
            with self.subTest(version=version):
                first = self.client(context).send("add", [1])
                first.answer()
                again = Client(self.agent, context, first.tls.session)
                self.addCleanup(again.close)
                self.assertEqual({"result": 3}, again.send("add", [1]).answer()[1])
                self.assertFalse(first.tls.session_reused)
                self.assertTrue(again.tls.session_reused)


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
        unmeasured = {key: value for key, value in os.environ.items() if "COVERAGE" not in key}
        return subprocess.run(
            [sys.executable, "-P", "-m", "harpcaller.service.harpd", *options],
            cwd=self.folder,
            env=None if is_measured else unmeasured,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )


class LifeTests(LifeCase):
    def test_stop(self) -> None:
        """On SIGTERM short calls end, long ones are ended and told so, nothing is left."""
        agent = self.start().listening()
        short = self.client(agent).send("nap", [0.4])
        long = self.client(agent).send("with_child", {"ignoring": True})
        short.line()
        long.line()
        pids = long.line()["stream"]
        template = agent.children()
        agent.process.terminate()
        self.assertEqual({"result": 0.4}, short.line())
        error = long.line()["error"]
        self.assertEqual(("shutdown", "the agent was stopped"), (error["type"], error["message"]))
        self.assertEqual(0, agent.process.wait(SECONDS))
        self.assertFalse(any(map(is_running, pids + template)))
        self.assertNotIn("Traceback", agent.log())

    def test_killed(self) -> None:
        """If the agent itself is killed, its procedures end all the same."""
        agent = self.start().listening()
        client = self.client(agent).send("with_child")
        client.line()
        pids = client.line()["stream"] + agent.children()
        agent.process.kill()
        agent.process.wait(SECONDS)
        deadline = time.monotonic() + SECONDS
        while any(map(is_running, pids)):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_reload(self) -> None:
        """SIGHUP puts procedures, users and the certificate in force; running calls go on."""
        agent = self.start().listening()
        running = self.client(agent).send("nap", [1])
        running.line()
        text = "from harpd.proc import procedure\n@procedure\ndef fresh(): return 'new'\n"
        (self.folder / "harpd.py").write_text(text)
        (self.folder / "harpd.conf").write_text(CONFIG.format(user=USER, password="changed"))
        other = make_authority()
        other.write(self.folder, "ca")
        other.issue().write(self.folder, "agent")
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for("agent.reloaded")
        self.assertEqual({"result": "new"}, self.call(agent, "fresh", "changed"))
        self.assertEqual("no_such_procedure", self.call(agent, "add", "changed")["error"]["type"])
        self.assertEqual("auth_error", self.call(agent, "fresh")["error"]["type"])
        self.assertEqual({"result": 1}, running.line())

    def test_reload_of_broken_files(self) -> None:
        """What doesn't load leaves the old in force, and is an error in the log."""
        agent = self.start().listening()
        (self.folder / "harpd.py").write_text("1 / 0\n")
        (self.folder / "harpd.conf").write_text("network: [")
        agent.process.send_signal(signal.SIGHUP)
        self.assertIn("harpd.py:1: ZeroDivisionError", agent.wait_for("procedures_not_loaded"))
        self.assertIn("not YAML", agent.wait_for("agent.reload_failed"))
        self.assertEqual({"result": "printed"}, self.call(agent, "prints"))

    def test_no_procedures(self) -> None:
        """An agent whose procedures don't load starts, says so, and gets well by a reload."""
        (self.folder / "harpd.py").write_text("import no_such_module\n")
        agent = self.start().listening()
        self.assertIn("harpd.py:1: ModuleNotFoundError", agent.wait_for("procedures_not_loaded"))
        self.assertEqual("procedure_loading_error", self.call(agent, "prints")["error"]["type"])
        (self.folder / "harpd.py").write_text(PROCEDURES)
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for("agent.procedures_loaded")
        self.assertEqual({"result": "printed"}, self.call(agent, "prints"))

    def test_dead_template(self) -> None:
        """If the template process is killed, another takes its place."""
        agent = self.start().listening()
        template = agent.helper("harpcaller.agent.template")
        os.kill(template, signal.SIGKILL)
        agent.wait_for("agent.procedures_loaded", times=2)
        self.assertEqual({"result": "printed"}, self.call(agent, "prints"))

    def test_ready(self) -> None:
        """systemd is told when the agent listens, and procedures know nothing of that."""
        path = f"/tmp/harpd-notify-{os.getpid()}"
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(receiver.close)
        receiver.bind(path)
        self.addCleanup(os.unlink, path)
        receiver.settimeout(SECONDS)
        text = (
            "from harpd.proc import procedure\nimport os\n"
            "@procedure\ndef told(): return 'NOTIFY_SOCKET' in os.environ\n"
        )
        (self.folder / "harpd.py").write_text(text)
        agent = self.start(environ={"NOTIFY_SOCKET": path}).listening()
        self.assertEqual(b"READY=1\nSTATUS=procedures: 1", receiver.recv(100))
        self.assertEqual({"result": False}, self.call(agent, "told"))
        agent.process.terminate()
        self.assertIn(b"STOPPING=1\nSTATUS=stopping", receiver.recv(100))

    def test_client_certificates(self) -> None:
        """With client_ca_file, only callers with a certificate get in."""
        config = self.folder / "harpd.conf"
        clients = make_authority("Clients")
        clients.write(self.folder, "clients")
        mine = clients.issue("caller", client=True).write(self.folder, "caller")
        text = config.read_text().replace("network:", "network:\n  client_ca_file: clients.pem")
        config.write_text(text)
        agent = self.start().listening()
        with self.assertRaises((ssl.SSLError, OSError)):
            self.client(agent).send("prints").tls.recv(1)
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        context.load_cert_chain(mine.certificate, mine.key)
        client = Client(agent, context)
        self.addCleanup(client.close)
        self.assertEqual({"result": "printed"}, client.send("prints").answer()[1])

    def test_too_many(self) -> None:
        """More calls than allowed are refused at once, until there is a place again."""
        config = self.folder / "harpd.conf"
        config.write_text(config.read_text().replace("max_calls: 8", "max_calls: 2"))
        agent = self.start().listening()
        clients = [self.client(agent).send("nap", [1000]) for _ in range(2)]
        for client in clients:
            self.assertEqual({"harp": 1, "stream_result": False}, client.line())
        self.assertIn("max_calls", self.call(agent, "prints")["error"]["message"])
        clients[0].close()
        deadline = time.monotonic() + SECONDS
        while self.call(agent, "prints") != {"result": "printed"}:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)

    def test_twistd(self) -> None:
        """The agent runs under twistd as well."""
        command = [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile=", "harpd"]
        command += ["-c", "harpd.conf", "-r", "harpd.py"]
        twistd = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.addCleanup(twistd.wait)
        self.addCleanup(twistd.kill)
        assert twistd.stdout is not None
        self.addCleanup(twistd.stdout.close)
        for line in twistd.stdout:
            if b"agent.listening" in line:
                break
        else:
            self.fail("it never listened")
        twistd.terminate()
        twistd.stdout.read()
        self.assertEqual(0, twistd.wait(SECONDS))


class CommandTests(LifeCase):
    def test_good_files(self) -> None:
        """--test of good files says so."""
        done = self.run_command("--test", "-c", "harpd.conf", "-r", "harpd.py")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertRegex(done.stdout, r"the configuration is fine; \d+ procedures")
        self.assertIn("procedure as_nobody_at_all: there is no user 'no-such-user'", done.stderr)

    def test_every_mistake(self) -> None:
        """--test names everything that is wrong in all files."""
        (self.folder / "harpd.py").write_text("x = = 1\n")
        text = CONFIG.format(user=USER, password=PASSWORD)
        text = text.replace("agent.key", "nowhere.key").replace("plain:", "plan:")
        (self.folder / "harpd.conf").write_text(text)
        done = self.run_command("-t", "-c", "harpd.conf", "-r", "harpd.py")
        self.assertEqual(1, done.returncode)
        lines = done.stderr.splitlines()
        self.assertEqual(3, len(lines), done.stderr)
        self.assertIn("harpd.conf: line 10: authentication.users.dispatcher: expected", lines[0])
        self.assertIn("nowhere.key: No such file", lines[1])
        self.assertIn("harpd.py:1: invalid syntax", lines[2])
        self.assertNotIn(PASSWORD, done.stderr)

    def test_does_not_start(self) -> None:
        """With files that can't be used, or a port that is taken, it ends with 1."""
        agent = self.start().listening()
        config = self.folder / "harpd.conf"
        config.write_text(config.read_text().replace("port: 0", f"port: {agent.port}"))
        # The network process can't write down what was covered, and says so.
        done = self.run_command("-c", "harpd.conf", "-r", "harpd.py", is_measured=False)
        self.assertEqual(1, done.returncode)
        self.assertIn(f"cannot listen on 127.0.0.1 port {agent.port}", done.stdout)
        self.assertNotIn("Traceback", done.stdout + done.stderr)
        done = self.run_command("-c", "nowhere.conf")
        self.assertEqual(1, done.returncode)
        self.assertIn("nowhere.conf: No such file", done.stderr)
        done = self.run_command("-c", "harpd.conf", "-u", "no-such-user")
        self.assertEqual(1, done.returncode)
        self.assertIn("no-such-user", done.stderr)
        done = self.run_command("-c", "harpd.conf", "-p", "/nonexistent/pid")
        self.assertEqual((1, True), (done.returncode, "/nonexistent/pid" in done.stderr))

    def test_wrong_command_line(self) -> None:
        """A wrong command line ends with 2."""
        for options in (["--nonsense"], ["argument"], ["-l"]):
            with self.subTest(options=options):
                done = self.run_command(*options)
                self.assertEqual(2, done.returncode)
                self.assertEqual(1, len(done.stderr.splitlines()), done.stderr)

    def test_pid_file(self) -> None:
        """The pid file is there while it runs."""
        path = self.folder / "pid"
        agent = self.start("-p", str(path)).listening()
        self.assertEqual(f"{agent.process.pid}\n", path.read_text())
        self.assertEqual(0, agent.stop())
        self.assertFalse(path.exists())
