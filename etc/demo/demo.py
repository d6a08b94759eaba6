"""Show what harpcaller does, for real: ``make demo``.

Everything happens in a temporary directory and on 127.0.0.1: a throw-away CA, an agent
(harpd), a dispatcher (twistd harpcaller), and the commands that you would type.  It exits
with 0 only if every answer was the right one.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from harpcaller.testing.installation import HOST, PATIENCE, Daemon, Installation, our_command

HERE = Path(__file__).parent


class WrongAnswer(Exception):
    """Something didn't come out as it should."""


def say(text: str) -> None:
    """Explain what comes next."""
    print(
        f"\n# {textwrap.fill(text, 92, subsequent_indent='# ', break_on_hyphens=False)}", flush=True
    )


def check(found: object, expected: object) -> None:
    """Insist on an answer."""
    if found != expected:
        raise WrongAnswer(f"expected {expected!r}, got {found!r}")


class Demo(Installation):
    """An installation whose commands are shown as one would type them."""

    def start(self, name: str, command: Sequence[str]) -> Daemon:
        """Start a daemon, and show how."""
        self.show(command, background=True)
        return super().start(name, command)

    # --- Commands ------------------------------------------------------------------------

    def show(self, command: Sequence[str], *, background: bool = False) -> None:
        """Print a command as one would type it."""
        print(f"$ {shlex.join(command)}{' &' if background else ''}", flush=True)

    def run(self, *command: str, code: int = 0) -> list[str]:
        """Run a command, show its output as it comes, insist on its exit code."""
        self.show(command)
        lines = []
        with subprocess.Popen(
            our_command(*command),
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

    def harpcallerd_shown(
        self, command: str, *options: str, expect: list[str] | None = None
    ) -> list[str]:
        """Run the operator's command."""
        lines = self.run("harpcallerd", f"--socket={self.socket}", command, *options)
        if expect is not None:
            check(lines, expect)
        return lines

    def submit_shown(self, *arguments: str) -> str:
        """Submit a call with the client's command, don't wait; give the job's id."""
        return self.harp("call", HOST, *arguments, "--no-wait")[-1]


# --- The scenes --------------------------------------------------------------------------


def plain_call(demo: Demo) -> str:
    """Call, wait, get the result."""
    say("A call: harp gives it to the dispatcher, which gets it done by the agent on the host.")
    lines = demo.harp("call", HOST, "sum_and_difference", "7", "3", "--json")
    answer = json.loads(lines[-1])
    check(answer["result"], {"sum": 10, "difference": 4})
    job = str(answer["job"])
    say("Every result is kept, and can be asked for later, by anybody who knows the job's id.")
    check(json.loads(demo.harp("result", job, "--json")[-1])["result"], answer["result"])
    return job


def by_hand(demo: Demo) -> None:
    """Use nothing but a socket."""
    say("The protocol is a line of JSON each way; no library is needed.")
    arguments = {"b": 1, "a": 2}
    call = {"host": HOST, "procedure": "sum_and_difference", "arguments": arguments}
    print(f"  -> {json.dumps({'harpcaller': 1, **call})}")
    submitted = demo.ask(call)
    print(f"  <- {json.dumps(submitted)}")
    answer = demo.ask({"get_result": submitted["job_id"]})
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
    say(
        "Calls that name a queue wait for their turn in it; here one runs at a time, and the"
        " first doesn't end by itself."
    )
    name = '{"service":"nginx"}'
    first = demo.submit_shown("sleep_for_ever", "--queue", name)
    jobs = [demo.submit_shown("restart", "nginx", "--queue", name) for _ in range(2)]
    check(len(demo.harpcallerd_shown("list", "--queue")), 3)
    check(demo.harpcallerd_shown("queue-list"), [name])
    demo.harp("cancel", first)
    for job in jobs:
        check(json.loads(demo.harp("result", "--wait", job)[-1]), "nginx restarted")
    times = [demo.ask({"get_status": job})["time_ms"] for job in (first, *jobs)]
    for earlier, later in pairwise(times):
        if later["start"] < earlier["end"]:
            raise WrongAnswer("two jobs of the queue ran at once")
    check(demo.harpcallerd_shown("queue-list"), [])


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
    job = demo.submit_shown("sleep_for_ever")
    record = demo.ask({"follow_stream": job, "since": 0})
    pid = record["data"]["pid"]
    assert isinstance(pid, int)
    demo.harp("cancel", job)
    demo.harp("result", job, code=1)
    check(demo.ask({"get_result": job}), {"cancelled": True})
    deadline = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > deadline:
            raise WrongAnswer(f"process {pid} is still there")
        time.sleep(0.05)
    print(f"  (process {pid} is gone)")


def crash(demo: Demo, old_job: str) -> None:
    """Kill the dispatcher and start it again."""
    say("Now the dispatcher dies by kill -9 while one job runs and two wait in a queue.")
    dispatcher = demo.start_dispatcher()
    name = '{"resource":"tape drive"}'
    running = demo.submit_shown("sleep_for_ever", "--queue", name)
    demo.ask({"follow_stream": running, "since": 0})
    waiting = [demo.submit_shown("restart", service, "--queue", name) for service in ("a", "b")]
    demo.show(["kill", "-9", str(dispatcher.process.pid)])
    dispatcher.kill()
    say(
        "Started again, it knows every job that it ever acknowledged. The one that ran has never"
        " noticed: its agent has kept it, and the dispatcher goes on with it. It is cancelled"
        " now, so that those that wait can run."
    )
    demo.start_dispatcher()
    check(demo.ask({"get_result": running, "wait": False}), {"no_result": True})
    demo.harp("cancel", running)
    for job, service in zip(waiting, ("a", "b"), strict=True):
        check(json.loads(demo.harp("result", "--wait", job)[-1]), f"{service} restarted")
    check(demo.ask({"get_result": running}), {"cancelled": True})
    check(json.loads(demo.harp("result", old_job)[-1]), {"sum": 10, "difference": 4})
    say("All jobs, as an operator sees them.")
    check(len(demo.harpcallerd_shown("list", "--all")), 13)
    demo.harpcallerd_shown("stop", expect=[])


def play(demo: Demo) -> None:
    """Play all scenes."""
    say(f"An agent on the host, and the dispatcher. (Their files are in {demo.folder}.)")
    demo.start_agent()
    demo.start_dispatcher()
    demo.harpcallerd_shown("status", "--wait", "--timeout=30", expect=["running"])
    demo.harpcallerd_shown("hosts-list")
    old_job = plain_call(demo)
    by_hand(demo)
    stream(demo)
    queue(demo)
    failures(demo)
    cancelling(demo)
    say("The dispatcher stops when it is told to, and keeps everything.")
    demo.harpcallerd_shown("stop", expect=[])
    crash(demo, old_job)


def main() -> int:
    """Run the demo; give its exit code."""
    with tempfile.TemporaryDirectory(prefix="harpcaller-demo-") as name:
        folder = Path(name)
        demo = Demo(folder, HERE / "procedures.py")
        try:
            play(demo)
        except (WrongAnswer, OSError, KeyError, ValueError) as error:
            print(f"\nThe demo went wrong: {error!r}", file=sys.stderr)
            for log in sorted(folder.glob("*.log")):
                print(f"\n--- {log.name} ---\n{log.read_text()[-4000:]}", file=sys.stderr)
            return 1
        finally:
            demo.stop()
    print("\nEverything came out as it should.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
