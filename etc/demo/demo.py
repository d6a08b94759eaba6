"""Show what harpcaller does, for real: ``make demo``.

Everything happens in a temporary directory and on 127.0.0.1: a throw-away CA, an agent
(harpd), a dispatcher (twistd harpcaller), and the commands that you would type.  It exits
with 0 only if every answer was the right one.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from pathlib import Path

from harpcaller.testing.certificates import make_authority

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
PATIENCE = 30.0


class WrongAnswer(Exception):
    """Something didn't come out as it should."""


def say(text: str) -> None:
    """Explain what comes next."""
    print(f"\n# {textwrap.fill(text, 92, subsequent_indent='# ')}", flush=True)


def check(found: object, expected: object) -> None:
    """Insist on an answer."""
    if found != expected:
        raise WrongAnswer(f"expected {expected!r}, got {found!r}")


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Demo:
    """One run: where its files are, and the daemons that it started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "control"
        self.port = free_port()
        self.agent_port = free_port()
        self.environ = {**os.environ, "HARPCALLER": f"127.0.0.1:{self.port}"}

    # --- Files ---------------------------------------------------------------------------

    def write_files(self) -> None:
        """Make what an operator makes once: certificates and two configurations."""
        authority = make_authority("The demo's CA")
        (self.folder / "ca.pem").write_bytes(authority.certificate_pem)
        files = authority.issue("web01.example.net", names=["web01.example.net"]).write(
            self.folder, "agent"
        )
        (self.folder / "harpd.conf").write_text(
            textwrap.dedent(f"""\
            network:
              address: 127.0.0.1
              port: {self.agent_port}
              certfile: {files.certificate}
              keyfile: {files.key}
            authentication:
              module: harpd.auth.inconfig
              users:
                demo: "plain:not a secret"
            """)
        )
        (self.folder / "harpd.conf").chmod(0o600)
        entry = {
            "hostname": "web01.example.net",
            "address": "127.0.0.1",
            "port": self.agent_port,
            "credentials": {"user": "demo", "password": "not a secret"},
        }
        (self.folder / "hosts.json").write_text(json.dumps(entry) + "\n")
        script = self.folder / "update-hosts"
        script.write_text(f"#!/bin/sh\nexec cat {shlex.quote(str(self.folder))}/hosts.json\n")
        script.chmod(0o700)
        (self.folder / "harpcaller.toml").write_text(
            textwrap.dedent(f"""\
            listen = ["127.0.0.1:{self.port}"]
            ca_file = "ca.pem"
            verify_hostname = true
            stream_directory = "stream"
            host_db = "hosts.db"
            host_db_script = "update-hosts"
            """)
        )

    # --- Daemons -------------------------------------------------------------------------

    @contextmanager
    def daemon(self, name: str, *command: str) -> Iterator[subprocess.Popen[bytes]]:
        """Keep a daemon running, its output in NAME.log."""
        self.show(command, background=True)
        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(
                [str(BIN / command[0]), *command[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environ,
                cwd=self.folder,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(PATIENCE)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def agent(self) -> tuple[str, ...]:
        """The agent's command line."""
        return "harpd", "-c", "harpd.conf", "-r", str(HERE / "procedures.py")

    def dispatcher(self) -> tuple[str, ...]:
        """The dispatcher's command line."""
        config, control = "--config=harpcaller.toml", f"--socket={self.socket}"
        return "twistd", "-n", "--pidfile=", "harpcaller", config, control

    def wait_until_ready(self) -> None:
        """Wait for both daemons as an operator would."""
        self.harpcallerd("status", "--wait", "--timeout=30", expect=["running"])
        deadline = time.monotonic() + PATIENCE
        while b"agent.listening" not in (self.folder / "harpd.log").read_bytes():
            if time.monotonic() > deadline:
                raise WrongAnswer("the agent isn't ready after 30 s")
            time.sleep(0.05)

    # --- Commands ------------------------------------------------------------------------

    def show(self, command: tuple[str, ...], *, background: bool = False) -> None:
        """Print a command as one would type it."""
        print(f"$ {shlex.join(command)}{' &' if background else ''}", flush=True)

    def run(self, *command: str, code: int = 0) -> list[str]:
        """Run a command, show its output as it comes, insist on its exit code."""
        self.show(command)
        lines = []
        with subprocess.Popen(
            [str(BIN / command[0]), *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environ,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                print(f"  {line}", end="", flush=True)
                lines.append(line.rstrip("\n"))
        if process.returncode != code:
            raise WrongAnswer(f"expected exit code {code}, got {process.returncode}")
        return lines

    def harp(self, *arguments: str, code: int = 0) -> list[str]:
        """Run the client's command."""
        return self.run("harp", *arguments, code=code)

    def harpcallerd(
        self, command: str, *options: str, expect: list[str] | None = None
    ) -> list[str]:
        """Run the operator's command."""
        lines = self.run("harpcallerd", f"--socket={self.socket}", command, *options)
        if expect is not None:
            check(lines, expect)
        return lines

    def submit(self, *arguments: str) -> str:
        """Submit a call without waiting for it; give the job's id."""
        return self.harp("call", "web01.example.net", *arguments, "--no-wait")[-1]

    def ask(self, request: Mapping[str, object]) -> dict[str, object]:
        """Speak the protocol by hand: a line of JSON out, a line of JSON in."""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile() as answers:
                answer = json.loads(answers.readline())
        assert isinstance(answer, dict)
        return answer


# --- The scenes --------------------------------------------------------------------------

HOST = "web01.example.net"


def plain_call(demo: Demo) -> str:
    """Call, wait, get the result."""
    say("A call: harp gives it to the dispatcher, which gets it done by the agent on the host.")
    lines = demo.harp("call", HOST, "sum_and_difference", "7", "3", "--json")
    answer = json.loads(lines[-1])
    check(answer["result"], {"sum": 10, "difference": 4})
    job = str(answer["job_id"])
    say("Every result is kept, and can be asked for later, by anybody who knows the job's id.")
    check(json.loads(demo.harp("result", job, "--json")[-1])["result"], answer["result"])
    return job


def by_hand(demo: Demo) -> None:
    """Use nothing but a socket."""
    say("The protocol is a line of JSON each way; no library is needed.")
    arguments = {"b": 1, "a": 2}
    call = {"host": HOST, "procedure": "sum_and_difference", "arguments": arguments}
    request = {"harpcaller": 1, **call}
    print(f"  -> {json.dumps(request)}")
    submitted = demo.ask(request)
    print(f"  <- {json.dumps(submitted)}")
    answer = demo.ask({"harpcaller": 1, "get_result": submitted["job_id"]})
    print(f"  <- {json.dumps(answer)}")
    check(answer, {"result": {"sum": 3, "difference": 1}})


def stream(demo: Demo) -> None:
    """Follow records while they are made."""
    say("A procedure may stream; its records are followed live, and kept as well.")
    started = time.monotonic()
    lines = demo.harp("call", HOST, "countdown", "3", "--follow", "--json")
    if time.monotonic() - started < 0.6:
        raise WrongAnswer("the stream was not live")
    said = [json.loads(line) for line in lines if line.startswith("{")]
    check([one["data"] for one in said if "data" in one], [{"number": n} for n in (3, 2, 1)])
    check(said[-1]["result"], "lift-off")


def queue(demo: Demo) -> None:
    """Let calls wait for each other."""
    say("Calls that name a queue wait for their turn in it; here one runs at a time.")
    name = '{"service":"nginx"}'
    jobs = [demo.submit("restart", "nginx", "--queue", name) for _ in range(3)]
    check(len(demo.harpcallerd("list", "--queue")), 3)
    check(demo.harpcallerd("queue-list"), [name])
    for job in jobs:
        check(json.loads(demo.harp("result", "--wait", job)[-1]), "nginx restarted")
    times = [demo.ask({"harpcaller": 1, "get_status": job})["time_ms"] for job in jobs]
    for earlier, later in pairwise(times):
        if later["start"] < earlier["end"]:  # type: ignore[index]  # JSON
            raise WrongAnswer("two jobs of the queue ran at once")
    check(demo.harpcallerd("queue-list"), [])


def failures(demo: Demo) -> None:
    """Show what failing looks like."""
    say("What a procedure raises is its caller's to see...")
    demo.harp("call", HOST, "read_limit", "limits={}", "name=cpu", code=1)
    say("...and so is everything else that keeps a result from being had.")
    demo.harp("call", "web99.example.net", "restart", "nginx", code=1)
    demo.harp("call", HOST, "restart", code=1)


def cancelling(demo: Demo) -> None:
    """End a call that would never end."""
    say("A job that takes too long is cancelled: its process on the host is gone with it.")
    job = demo.submit("sleep_for_ever")
    record = demo.ask({"harpcaller": 1, "follow_stream": job, "since": 0})
    pid = record["data"]["pid"]  # type: ignore[index]  # JSON
    assert isinstance(pid, int)
    demo.harp("cancel", job)
    demo.harp("result", job, code=1)
    check(demo.ask({"harpcaller": 1, "get_result": job}), {"cancelled": True})
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            raise WrongAnswer(f"process {pid} is still there")
        time.sleep(0.05)
    print(f"  (process {pid} is gone)")


def crash(demo: Demo, old_job: str) -> None:
    """Kill the dispatcher and start it again."""
    say("Now the dispatcher dies by kill -9 while one job runs and two wait in a queue.")
    with demo.daemon("harpcaller", *demo.dispatcher()) as process:
        demo.wait_until_ready()
        name = '{"resource":"tape drive"}'
        running = demo.submit("sleep_for_ever", "--queue", name)
        demo.ask({"harpcaller": 1, "follow_stream": running, "since": 0})
        waiting = [demo.submit("restart", service, "--queue", name) for service in ("a", "b")]
        demo.show(("kill", "-9", str(process.pid)))
        process.send_signal(signal.SIGKILL)
        process.wait()
    say("Started again, it knows every job that it ever acknowledged: what waited runs, what ran")
    with demo.daemon("harpcaller", *demo.dispatcher()):
        demo.wait_until_ready()
        for job, service in zip(waiting, ("a", "b"), strict=True):
            check(json.loads(demo.harp("result", "--wait", job)[-1]), f"{service} restarted")
        answer = demo.ask({"harpcaller": 1, "get_result": running})
        check(answer["error"]["type"], "missing_result")  # type: ignore[index]  # JSON
        demo.harp("result", running, code=1)
        check(json.loads(demo.harp("result", old_job)[-1]), {"sum": 10, "difference": 4})
        say("All jobs, as an operator sees them.")
        check(len(demo.harpcallerd("list", "--all")), 11)
        demo.harpcallerd("stop", expect=[])


def play(folder: Path) -> None:
    """Play all scenes."""
    demo = Demo(folder)
    demo.write_files()
    with ExitStack() as daemons:
        say(f"An agent on the host, and the dispatcher. (Their files are in {folder}.)")
        daemons.enter_context(demo.daemon("harpd", *demo.agent()))
        with demo.daemon("harpcaller", *demo.dispatcher()):
            demo.wait_until_ready()
            demo.harpcallerd("hosts-list")
            old_job = plain_call(demo)
            by_hand(demo)
            stream(demo)
            queue(demo)
            failures(demo)
            cancelling(demo)
            say("The dispatcher stops when it is told to, and keeps everything.")
            demo.harpcallerd("stop", expect=[])
        crash(demo, old_job)


def main() -> int:
    """Run the demo; give its exit code."""
    with tempfile.TemporaryDirectory(prefix="harpcaller-demo-") as name:
        folder = Path(name)
        try:
            play(folder)
        except (WrongAnswer, OSError, KeyError, ValueError) as error:
            print(f"\nThe demo went wrong: {error!r}", file=sys.stderr)
            for log in sorted(folder.glob("*.log")):
                print(f"\n--- {log.name} ---\n{log.read_text()[-4000:]}", file=sys.stderr)
            return 1
    print("\nEverything came out as it should.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
