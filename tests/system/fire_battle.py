"""A real installation under fire: clients in threads, strikes, and the last questions.

What is random hangs on a seed, but when what happens is up to the machine; so a seed makes a
fault likely again, not certain.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from threading import Event, Thread

from harpcaller.testing.installation import HOST, PATIENCE, Daemon, Installation
from tests.fire.history import Answer, History, Listing, Question, Run, queue_key
from tests.fire.people import question_about
from tests.system.untraced import untraced

PROCEDURES = Path(__file__).parent / "fire_procedures.py"
_CLIENTS = 6
_SETTINGS = """\
default_timeout = 4
max_exec_time = 8
shutdown_grace = 2
connect_timeout = 5
"""


class Battle:
    """One installation and those who use and harm it.

    Args:
        folder: An empty one.
        seed: Of what is done.

    Attributes:
        history: All that was asked and answered.
        complaints: What was seen besides that should not have been.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.world = Installation(folder, PROCEDURES, _SETTINGS)
        self.world.environ = untraced(self.world.environ)
        self.history = History(slack_seconds=10.0, unsure_hosts={HOST, "nowhere"})
        self.complaints: list[str] = []
        self._notes = folder / "notes"
        self._hosts = folder / "hosts.json"
        self._entry = self._hosts.read_bytes()
        self._seed = seed
        self._random = Random(f"{seed} strikes")
        self._over = Event()
        self._markers = iter(range(10**9))
        self.agent: Daemon
        self.dispatcher: Daemon
        self.history.jumps = [(0.0, time.time() - time.monotonic())]

    def fight(self, seconds: float) -> None:
        """Go through all of it."""
        self.agent = self.world.start_agent()
        self.dispatcher = self.world.start_dispatcher()
        descriptors = self._descriptors()
        clients = [Thread(target=self._client, args=(number,)) for number in range(_CLIENTS)]
        for client in clients:
            client.start()
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(self._random.uniform(0.1, 1.0))
                self._strike()
        finally:
            self._over.set()
            for client in clients:
                client.join(2 * PATIENCE)
        self._settle()
        self._look_for_leaks(descriptors)
        self._ask_for_everything()
        self._stop()
        self.dispatcher = self.world.start_dispatcher()
        self._ask_for_everything()
        self._stop()
        self._read_notes()

    # --- Clients -------------------------------------------------------------------------

    def _client(self, number: int) -> None:
        random = Random(f"{self._seed} client {number}")
        while not self._over.is_set():
            # What a strike does to a connection is for the history to tell, by what isn't there.
            with suppress(OSError):
                self._talk(random)
            time.sleep(random.uniform(0.0, 0.1))

    def _talk(self, random: Random) -> None:
        with self.world.connect() as connection, connection.makefile("rb") as answers:
            for _ in range(random.choice((1, 1, 3))):
                question = self._ask(connection, self._request(random))
                if random.random() < 0.1:
                    return
                while line := answers.readline():
                    if line.endswith(b"\n") and question.take(line, time.monotonic()):
                        break
                    if self._over.is_set() and question.kind != "call":
                        return
                else:
                    return

    def _ask(self, connection: socket.socket, request: Answer) -> Question:
        question = Question({"harpcaller": 1, **request}, time.monotonic())
        self.history.questions.append(question)
        connection.sendall(json.dumps(question.request).encode() + b"\n")
        return question

    def _request(self, random: Random) -> Answer:
        known = self._known()[-30:]
        if known and random.random() < 0.65:
            return question_about(random, random.choice(known))
        marker = next(self._markers)
        notes = str(self._notes)
        procedure, *more = random.choice(
            [
                ("works", random.choice((0.0, 0.0, 0.1, 0.5))),
                ("works", 0.0),
                ("tells", random.choice((1, 5, 300)), 0.0),
                ("tells", 5, 0.1),
                ("fails",),
                ("dies",),
                ("hangs",) if random.random() < 0.3 else ("fails",),
            ]
        )
        request: Answer = {
            "host": HOST if random.random() < 0.97 else "nowhere",
            "procedure": procedure,
            "arguments": [marker, notes, *more],
            "info": {"marker": marker},
        }
        if random.random() < 0.4:
            concurrency = random.choice((1, 2))
            request["queue"] = {"name": {"q": concurrency}, "concurrency": concurrency}
        return request

    def _known(self) -> list[str]:
        calls = [one for one in self.history.questions if one.kind == "call"]
        return [one.job_id for one in calls if one.job_id is not None]

    # --- Strikes -------------------------------------------------------------------------

    def _strike(self) -> None:
        strikes: list[tuple[int, Callable[[], None]]] = [
            (4, self._kill),
            (2, self._terminate),
            (2, lambda: self._suspend(self.dispatcher)),
            (2, lambda: self._suspend(self.agent)),
            (2, self._kill_agent),
            (2, self._lose_hosts),
            (3, self._fill_disk),
            (1, self._cancel_queue),
        ]
        weights = [weight for weight, _ in strikes]
        _, strike = self._random.choices(strikes, weights)[0]
        strike()

    def _pause(self) -> None:
        time.sleep(self._random.uniform(0.05, 1.0))

    def _kill(self) -> None:
        self.history.deaths.append(time.monotonic())
        self.dispatcher.kill()
        self._look_for_bugs()
        self.dispatcher = self.world.start_dispatcher()

    def _terminate(self) -> None:
        self._stop()
        self.dispatcher = self.world.start_dispatcher()

    def _stop(self) -> None:
        self.history.deaths.append(time.monotonic())
        code = self.dispatcher.stop()
        if code != 0:
            self.complaints.append(f"the dispatcher stopped with exit code {code}")
        self._look_for_bugs()

    def _look_for_bugs(self) -> None:
        log = self.dispatcher.log.read_text(errors="replace")
        if "Traceback" in log:
            self.complaints.append(f"a bug was logged:\n{log[log.index('Traceback') :][:3000]}")

    def _suspend(self, daemon: Daemon) -> None:
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            self._pause()
        finally:
            daemon.process.send_signal(signal.SIGCONT)

    def _kill_agent(self) -> None:
        self.agent.kill()
        self._pause()
        (self.world.folder / "harpd.log").unlink()
        self.agent = self.world.start_agent()

    def _lose_hosts(self) -> None:
        """Let the registry's script print nothing, nonsense, or fail, which changes nothing."""
        printed = self._random.choice((b"", b'{"hostname":1}\n}{\n', None))
        if printed is None:
            self._hosts.unlink()
        else:
            self._hosts.write_bytes(printed)
        self.world.harpcallerd("hosts-refresh")
        self._pause()
        if self._random.random() < 0.3:
            self._kill()
        self._hosts.write_bytes(self._entry)
        self.world.harpcallerd("hosts-refresh")

    def _fill_disk(self) -> None:
        """No file of the dispatcher's may grow; sometimes it is killed in that state."""
        if self.history.disk_fails is None:
            self.history.disk_fails = time.monotonic()
        pid = self.dispatcher.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        room = self._random.choice((0, 0, 2000, 20_000))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, hard))
        self._pause()
        if self._random.random() < 0.3:
            self._kill()
        else:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))

    def _cancel_queue(self) -> None:
        name = {"q": self._random.choice((1, 2))}
        self.history.queue_cancels.append((time.monotonic(), queue_key(name)))
        self.world.harpcallerd("queue-cancel", json.dumps(name))

    # --- The end -------------------------------------------------------------------------

    def _settle(self) -> None:
        """Wait until every job has ended; they may take a few seconds each."""
        deadline = time.monotonic() + 20 * PATIENCE
        while (living := self.world.harpcallerd("list")).returncode != 0 or living.stdout.strip():
            if time.monotonic() > deadline:
                self.complaints.append(f"some jobs never ended:\n{living}")
                break
            time.sleep(0.2)
        self.history.settled = time.monotonic()

    def _descriptors(self) -> int:
        return len(os.listdir(f"/proc/{self.dispatcher.process.pid}/fd"))

    def _look_for_leaks(self, usual: int) -> None:
        """Wait until the dispatcher has hardly more open than it had at first."""
        deadline = time.monotonic() + PATIENCE
        while (now := self._descriptors()) > usual + 10:
            if time.monotonic() > deadline:
                self.complaints.append(f"{now} descriptors are open, {usual} were at first")
                break
            time.sleep(0.2)

    def _ask_for_everything(self) -> None:
        listing = Listing(time.monotonic())
        listed = self.world.harpcallerd("list", "--all")
        for line in listed.stdout.splitlines():
            job = json.loads(line)
            listing.jobs.append((job["job"], job["call"]["arguments"][0]))
        self.history.listings.append(listing)
        ids = dict.fromkeys([*self._known(), *(job_id for job_id, _ in listing.jobs)])
        with self.world.connect() as connection, connection.makefile("rb") as answers:
            for job_id in ids:
                for kind in ("get_result", "get_status", "read_stream"):
                    more = {"wait": False} if kind == "get_result" else {}
                    question = self._ask(connection, {kind: job_id, **more})
                    while not question.take(answers.readline(), time.monotonic()):
                        pass

    def _read_notes(self) -> None:
        """Learn from the procedures' notes what ran when."""
        calls = {one.marker: one for one in self.history.questions if one.kind == "call"}
        returned = {
            one.job_id
            for one in self.history.questions
            if one.kind == "get_result" and one.last is not None and "result" in one.last
        }
        jobs = {marker: job_id for one in self.history.listings for job_id, marker in one.jobs}
        runs: dict[int, Run] = {}
        text = self._notes.read_text() if self._notes.exists() else ""
        for line in text.splitlines():
            marker, what, at = line.split()
            number = int(marker)
            if what == "begins":
                run = runs[number] = Run(number, float(at))
                self.history.runs.append(run)
                _says(run, calls[number].request)
            elif jobs.get(number) in returned:
                # Of others the dispatcher may have let go before they noticed.
                runs[number].over_at = float(at)

    def close(self) -> None:
        """End what still runs."""
        for daemon in (getattr(self, "agent", None), getattr(self, "dispatcher", None)):
            if daemon is not None and daemon.process.poll() is None:
                daemon.process.send_signal(signal.SIGCONT)
        self.world.stop()


def _says(run: Run, request: Answer) -> None:
    """Note what a procedure says if it is let."""
    marker, _, *more = request["arguments"]
    if request["procedure"] == "fails":
        data = {"class": "ValueError", "module": "builtins"}
        what = {"type": "ValueError", "message": f"call {marker}", "data": data}
        run.ending = {"exception": what}
    elif request["procedure"] == "dies":
        run.ending = {"error": {"type": "system_error"}}
    elif request["procedure"] != "hangs":
        run.ending = {"result": [marker, "done"]}
        if request["procedure"] == "tells":
            run.records = [[marker, number] for number in range(more[0])]
