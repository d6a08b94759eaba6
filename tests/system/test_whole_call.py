"""A call all the way: client, dispatcher, TLS, agent, procedure, and back."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.testing.installation import HOST, PATIENCE, Daemon, Installation
from harpcaller.wire.values import decode, encode

PROCEDURES = Path(__file__).parent / "procedures.py"
NO_JOB = "00000000-0000-4000-8000-000000000000"


def wait_until(true: Callable[[], bool], what: str) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > deadline:
            raise AssertionError(f"not in {PATIENCE:g} s: {what}")
        time.sleep(0.02)


def gone(pid: int) -> bool:
    """Tell whether a process has ended (a zombie has)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        # It may go while its file is being read, too.
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


def end_all(pids: Iterable[int]) -> None:
    """End what a test has started and lost hold of."""
    for pid in pids:
        if not gone(pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


class Client:
    """A client's connection, in a few lines of socket."""

    def __init__(self, installation: Installation) -> None:
        self.socket = installation.connect()
        self._answers = self.socket.makefile("rb")

    def send(self, *requests: object) -> None:
        self.socket.sendall(b"".join(encode(request) + b"\n" for request in requests))

    def receive(self) -> Any:
        line = self._answers.readline()
        return decode(line) if line else None

    def close(self) -> None:
        self._answers.close()
        self.socket.close()


@cache
def _shared() -> Installation:
    """Start what the tests of one class share, once for the whole run.

    Trial knows no setUpClass.
    """
    folder = tempfile.TemporaryDirectory(prefix="harpcaller-test-")
    atexit.register(folder.cleanup)
    world = Installation(Path(folder.name), PROCEDURES)
    atexit.register(world.stop)
    world.start_agent()
    world.start_dispatcher()
    return world


class InstallationCase(SynchronousTestCase):
    """Tests with an installation of their own, in a temporary folder."""

    def make(self, more: str = "") -> Installation:
        """Write an installation's files; its daemons end with the test."""
        folder = tempfile.TemporaryDirectory(prefix="harpcaller-test-")
        self.addCleanup(folder.cleanup)
        installation = Installation(Path(folder.name), PROCEDURES, more)
        self.addCleanup(installation.stop)
        return installation

    def client(self, installation: Installation) -> Client:
        client = Client(installation)
        self.addCleanup(client.close)
        return client


class WholeCallTests(InstallationCase):
    """One agent and one dispatcher, and everything that clients and operators ask of them."""

    def setUp(self) -> None:
        self.world = _shared()

    def test_result_is_kept(self) -> None:
        """A result can be had at once, and later, as often as one likes."""
        job = self.world.submit("echo", {"a": [1, None, "ß🎉"]})
        for _ in range(2):
            self.assertEqual({"result": {"a": [1, None, "ß🎉"]}}, self.world.result(job))

    def test_carried_values_come_back_exactly(self) -> None:
        """Arguments and info come back as the bytes that were sent."""
        client = self.client(self.world)
        call = (
            b'{"harpcaller":1,"host":"%s","procedure":"echo","arguments":[1e5],'
            b'"info":[1.50,123456789012345678901234567890,"\\ud83c\\udf89",{"a":1,"a":2}]}\n'
        )
        client.socket.sendall(call % HOST.encode())
        job = client.receive()["job_id"]
        client.send({"harpcaller": 1, "get_status": job})
        line = client._answers.readline()
        self.assertIn(b'"arguments":[1e5]', line)
        self.assertIn(
            b'"info":[1.50,123456789012345678901234567890,"\\ud83c\\udf89",{"a":1,"a":2}]', line
        )

    def test_status(self) -> None:
        """The status tells the call, its times, and what the client attached to it."""
        job = self.world.submit("echo", 1, info={"order": 7}, queue={"name": {"status": 1}})
        self.world.result(job)
        status = self.world.ask({"get_status": job})
        self.assertEqual({"host": HOST, "procedure": "echo", "arguments": [1]}, status["call"])
        self.assertEqual({"order": 7}, status["info"])
        self.assertEqual({"status": 1}, status["queue"])
        self.assertEqual("ended", status["state"])
        times = status["time_ms"]
        self.assertTrue(times["submit"] <= times["start"] <= times["end"])

    def test_stream_is_followed_live(self) -> None:
        """Records come while the procedure runs, then its result."""
        job = self.world.submit("count", 3, 0.2)
        client = self.client(self.world)
        client.send({"harpcaller": 1, "follow_stream": job, "since": 0})
        self.assertEqual((0, {"i": 0}), _record(client.receive()))
        self.assertEqual({"no_result": True}, self.world.ask({"get_result": job, "wait": False}))
        self.assertEqual((1, {"i": 1}), _record(client.receive()))
        self.assertEqual((2, {"i": 2}), _record(client.receive()))
        self.assertEqual({"result": 3}, client.receive())

    def test_stream_is_read_later(self) -> None:
        """Records are read back from the start, from a number, or the last few."""
        job = self.world.submit("count", 5)
        self.world.result(job)
        for where, numbers in (({}, range(5)), ({"since": 3}, (3, 4)), ({"recent": 1}, (4,))):
            client = self.client(self.world)
            client.send({"harpcaller": 1, "read_stream": job, **where})
            for number in numbers:
                self.assertEqual((number, {"i": number}), _record(client.receive()))
            self.assertEqual({"result": 5}, client.receive())

    def test_many_join_a_running_stream_and_miss_nothing(self) -> None:
        """Whoever joins at whatever moment gets every record once and in order."""
        job = self.world.submit("count", 60, 0.01)
        clients = []
        for _ in range(20):
            client = self.client(self.world)
            client.send({"harpcaller": 1, "follow_stream": job, "since": 0})
            clients.append(client)
            time.sleep(0.02)
        for client in clients:
            numbers = []
            while "packet" in (answer := client.receive()):
                numbers.append(answer["packet"])
            self.assertEqual(list(range(60)), numbers)
            self.assertEqual({"result": 60}, answer)

    def test_result_is_right_whenever_it_is_asked_for(self) -> None:
        """Asking just as the result comes gives the result, not an error."""
        jobs = [self.world.submit("sleep", 0.3) for _ in range(5)]
        time.sleep(0.28)
        for job in jobs:
            self.assertEqual({"result": 0.3}, self.world.result(job))

    def test_exception(self) -> None:
        """What a procedure raises is told with its type, message and class."""
        answer = self.world.result(self.world.submit("fail", "no disk"))
        self.assertEqual("ValueError", answer["exception"]["type"])
        self.assertEqual("no disk", answer["exception"]["message"])
        expected = {"class": "ValueError", "module": "builtins"}
        self.assertEqual(expected, answer["exception"]["data"])

    def test_errors(self) -> None:
        """Everything else that keeps a result from being had has a type of its own."""
        for procedure, arguments, options, type_ in (
            ("echo", [1], {"host": "web99"}, "unknown_host"),
            ("nothing", [], {}, "no_such_procedure"),
            ("echo", [1, 2], {}, "invalid_argument_list"),
            ("die", [], {}, "system_error"),
            ("sleep", [30], {"timeout": 0.2}, "timeout"),
            ("count", [100, 0.05], {"max_exec_time": 0.4, "timeout": 10}, "timeout"),
        ):
            answer = self.world.result(self.world.submit(procedure, *arguments, **options))
            self.assertEqual(type_, answer.get("error", {}).get("type"), (procedure, answer))

    def test_unknown_jobs(self) -> None:
        """A job that isn't there is told as such by every request about one."""
        for job in (NO_JOB, "no id", "../../etc/passwd"):
            for operation in ("get_result", "get_status", "follow_stream", "read_stream"):
                answer = self.world.ask({operation: job})
                self.assertEqual("invalid_jobid", answer["error"]["type"])
            self.assertEqual({"cancelled": False}, self.world.ask({"cancel": job}))

    def test_bad_requests(self) -> None:
        """A bad request gets one line that names what is wrong, and harms nobody else."""
        for line, words in (
            (b"hello", "not JSON"),
            (b"[]", "expected a JSON object"),
            (b"{}", "harpcaller: missing"),
            (b'{"harpcaller":1,"get_result":7}', "get_result: expected a string"),
            (b'{"harpcaller":1,"get_result":"x","colour":1}', "colour: unknown field"),
            (b'{"harpcaller":1,"procedure":"x","host":7,"arguments":[]}', "host: expected a str"),
            (b"[" * 100_000, "nested deeper"),
        ):
            client = self.client(self.world)
            client.socket.sendall(line + b"\n")
            answer = client.receive()
            self.assertEqual("invalid_request", answer["error"]["type"])
            self.assertIn(words, answer["error"]["message"])
            self.assertIsNone(client.receive())
        self.assertEqual({"result": 1}, self.world.result(self.world.submit("echo", 1)))

    def test_too_large_a_request(self) -> None:
        """A line over the limit is refused without being read to its end."""
        client = self.client(self.world)
        client.socket.sendall(b"x" * (1024 * 1024 + 1))
        self.assertEqual("request_too_large", client.receive()["error"]["type"])

    def test_requests_in_one_go(self) -> None:
        """Requests that are sent together are answered in their order, also to one who has
        closed his side."""
        slow, quick = self.world.submit("sleep", 0.3), self.world.submit("echo", 1)
        client = self.client(self.world)
        client.send({"harpcaller": 1, "get_result": slow}, {"harpcaller": 1, "get_result": quick})
        client.socket.shutdown(socket.SHUT_WR)
        self.assertEqual({"result": 0.3}, client.receive())
        self.assertEqual({"result": 1}, client.receive())
        self.assertIsNone(client.receive())

    def test_cancel_ends_the_whole_family(self) -> None:
        """Cancelling a job ends its process and the processes which that has started."""
        job = self.world.submit("family")
        client = self.client(self.world)
        client.send({"harpcaller": 1, "follow_stream": job, "since": 0})
        pids = client.receive()["data"]
        self.assertEqual({"cancelled": True}, self.world.ask({"cancel": job}))
        self.assertEqual({"cancelled": True}, client.receive())
        self.assertEqual({"cancelled": True}, self.world.result(job))
        self.assertEqual({"cancelled": False}, self.world.ask({"cancel": job}))
        wait_until(lambda: all(map(gone, pids)), "the processes are gone")

    def test_queue_runs_one_at_a_time(self) -> None:
        """Jobs of a queue run in order and no more at once than it allows."""
        queue = {"name": {"one": [1.0]}, "concurrency": 1}
        same = {"name": {"one": [1]}, "concurrency": 5}
        jobs = [self.world.submit("sleep", 0.1, queue=queue)]
        jobs += [self.world.submit("sleep", 0.1, queue=same) for _ in range(3)]
        for job in jobs:
            self.world.result(job)
        times = [self.world.ask({"get_status": job})["time_ms"] for job in jobs]
        for earlier, later in pairwise(times):
            self.assertLessEqual(earlier["end"], later["start"])

    def test_operator(self) -> None:
        """Each of the operator's commands does what the manual says."""
        run = self.world.harpcallerd
        name = '{"operator":true}'
        head = self.world.submit("sleep", 600, queue={"name": {"operator": True}})
        waiting = self.world.submit("sleep", 600, queue={"name": {"operator": True}})
        self.assertEqual("running\n", run("status").stdout)
        listed = [decode(line.encode()) for line in run("list", "--queue").stdout.splitlines()]
        self.assertIn((head, {"operator": True}), [(one["job"], one["queue"]) for one in listed])
        info = decode(run("info", waiting).stdout.encode())
        self.assertEqual(waiting, info["job"])
        self.assertIsNone(info["time"]["start"])
        self.assertEqual(1, run("info", NO_JOB).returncode)
        self.assertIn(name, run("queue-list").stdout.splitlines())
        members = run("queue-list", name).stdout.splitlines()
        self.assertEqual([head, waiting], [decode(one.encode())["job"] for one in members])
        self.assertEqual(0, run("cancel", waiting).returncode)
        self.assertEqual(1, run("cancel", waiting).returncode)
        self.assertEqual(0, run("queue-cancel", name).returncode)
        self.assertEqual({"cancelled": True}, self.world.result(head))
        self.assertNotIn(name, run("queue-list").stdout.splitlines())
        everything = run("list", "--all").stdout
        self.assertTrue(head in everything and waiting in everything)
        host = {"hostname": HOST, "address": "127.0.0.1", "port": self.world.agent_port}
        self.assertEqual(host, decode(run("hosts-list").stdout.encode()))
        self.assertNotIn("secret", run("hosts-list").stdout)
        for command in ("hosts-refresh", "reload", "reopen-logs", "prune-jobs"):
            self.assertEqual(0, run(command).returncode, command)
        for command in ("dist-erl-start", "dist-erl-stop"):
            refused = run(command)
            self.assertEqual(2, refused.returncode)
            self.assertIn("Erlang", refused.stderr)


class StoppingTests(InstallationCase):
    """A dispatcher that stops, in good order or not, and an agent that keeps no calls."""

    def make(self, more: str = "") -> Installation:
        world = super().make(more)
        with (world.folder / "harpd.conf").open("a") as conf:
            conf.write("resume:\n  orphan_timeout: 0\n")
        return world

    def start(self, more: str = "") -> tuple[Installation, Daemon]:
        world = self.make(more)
        world.start_agent()
        return world, world.start_dispatcher()

    def test_running_job_may_end(self) -> None:
        """SIGTERM lets a running job end, and who waits for it gets its result."""
        world, dispatcher = self.start()
        # On one connection, which is accepted before the port is closed.
        client = self.client(world)
        client.send({"harpcaller": 1, "host": HOST, "procedure": "sleep", "arguments": [0.7]})
        job = client.receive()["job_id"]
        client.send({"harpcaller": 1, "get_result": job})
        dispatcher.process.terminate()
        self.assertEqual({"result": 0.7}, client.receive())
        self.assertIsNone(client.receive())
        self.assertEqual(0, dispatcher.process.wait(PATIENCE))
        self.assertEqual({"result": 0.7}, self.restart(world).result(job))

    def test_grace_ends(self) -> None:
        """A job that doesn't end within the grace is cancelled, and recorded so; one that
        waits in a queue runs after the next start."""
        world, dispatcher = self.start("shutdown_grace = 0.3")
        queue = {"name": {"q": 1}}
        endless = world.submit("family", queue=queue)
        waiting = world.submit("echo", 5, queue=queue)
        dispatcher.process.terminate()
        self.assertEqual(0, dispatcher.process.wait(PATIENCE))
        self.restart(world)
        self.assertEqual({"cancelled": True}, world.result(endless))
        self.assertEqual({"result": 5}, world.result(waiting))

    def test_second_signal_hurries(self) -> None:
        """A second SIGTERM doesn't wait for the grace, and nobody sees a traceback."""
        world, dispatcher = self.start("shutdown_grace = 600")
        job = world.submit("family")
        dispatcher.process.terminate()
        dispatcher.wait_for_log("dispatcher.waits_for_jobs")
        dispatcher.process.send_signal(signal.SIGINT)
        self.assertEqual(0, dispatcher.process.wait(PATIENCE))
        self.assertNotIn("Traceback", dispatcher.log.read_text())
        self.restart(world)
        self.assertEqual({"cancelled": True}, world.result(job))

    def restart(self, world: Installation) -> Installation:
        world.start_dispatcher()
        return world

    def test_killed_under_load(self) -> None:
        """After kill -9 every acknowledged job is known and ends, and none runs twice."""
        world, dispatcher = self.start()
        notes = world.folder / "notes"
        jobs: dict[str, str] = {}
        client = self.client(world)
        for number in range(60):
            client.send(
                {
                    "harpcaller": 1,
                    "host": HOST,
                    "procedure": "note",
                    "arguments": [str(notes), str(number)],
                    "queue": {"name": {"load": number % 3}, "concurrency": 2},
                }
            )
            jobs[client.receive()["job_id"]] = str(number)
        dispatcher.kill()
        self.restart(world)
        for job, expected in jobs.items():
            answer = world.result(job)
            if "error" in answer:
                self.assertEqual("missing_result", answer["error"]["type"], answer)
            else:
                self.assertEqual({"result": expected}, answer)
        ran = notes.read_text().split()
        self.assertEqual(len(set(ran)), len(ran), "a job ran twice")
        self.assertTrue({n for j, n in jobs.items() if "result" in world.result(j)} <= set(ran))

    def test_agent_vanishes(self) -> None:
        """A job whose agent dies ends with network_error, and the next call fails clearly."""
        world = self.make()
        agent = world.start_agent()
        world.start_dispatcher()
        job = world.submit("family")
        client = self.client(world)
        client.send({"harpcaller": 1, "follow_stream": job, "since": 0})
        pids = client.receive()["data"]
        self.addCleanup(end_all, pids)
        agent.kill()
        self.assertEqual("network_error", client.receive()["error"]["type"])
        answer = world.result(world.submit("echo", 1))
        self.assertEqual("network_error", answer["error"]["type"])
        self.assertIn("refused", answer["error"]["message"])


class ReloadTests(InstallationCase):
    """Another configuration, without a restart."""

    def test_trust_changes(self) -> None:
        """After a reload the new trust decides; a bad file changes nothing."""
        world = self.make()
        world.start_agent()
        world.start_dispatcher()
        self.assertEqual({"result": 1}, world.result(world.submit("echo", 1)))
        toml = world.folder / "harpcaller.toml"
        good = toml.read_text()

        toml.write_text(good.replace('ca_file = "ca.pem"', 'known_certs_file = "known.pem"'))
        self.assertEqual(0, world.harpcallerd("reload").returncode)
        answer = world.result(world.submit("echo", 1))
        self.assertEqual("tls_error", answer["error"]["type"])

        (world.folder / "known.pem").write_bytes((world.folder / "agent.pem").read_bytes())
        self.assertEqual(0, world.harpcallerd("reload").returncode)
        self.assertEqual({"result": 1}, world.result(world.submit("echo", 1)))

        (world.folder / "known.pem").write_text("-----BEGIN CERTIFICATE-----\nnothing\n")
        refused = world.harpcallerd("reload")
        self.assertEqual(1, refused.returncode)
        self.assertIn("known.pem: line 1:", refused.stderr)
        self.assertEqual({"result": 1}, world.result(world.submit("echo", 1)))

    def test_listen_changes(self) -> None:
        """A new port is opened and an old one closed; who is connected stays connected."""
        world = self.make()
        world.start_dispatcher()
        client = self.client(world)
        toml = world.folder / "harpcaller.toml"
        old = world.port
        busy = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(busy.close)
        good = toml.read_text()

        toml.write_text(good.replace(str(old), str(busy.getsockname()[1])))
        refused = world.harpcallerd("reload")
        self.assertEqual(1, refused.returncode)
        self.assertIn("Address already in use", refused.stderr)

        busy.close()
        self.assertEqual(0, world.harpcallerd("reload").returncode)
        client.send({"harpcaller": 1, "get_result": NO_JOB})
        self.assertEqual("invalid_jobid", client.receive()["error"]["type"])
        self.assertRaises(ConnectionRefusedError, socket.create_connection, ("127.0.0.1", old))


class StartingTests(InstallationCase):
    """What keeps a dispatcher from starting is told in a line, with exit code 1."""

    def refused(self, world: Installation) -> str:
        daemon = world.start("refused", world.dispatcher_command)
        self.assertEqual(1, daemon.process.wait(PATIENCE))
        output = daemon.log.read_text()
        self.assertNotIn("Traceback", output)
        return output

    def test_bad_configuration(self) -> None:
        """Every mistake is named at once, with its line."""
        world = self.make('max_exec_time = "ten"\nlistn = 1\ndefault_timeout = 0')
        output = self.refused(world)
        self.assertIn("max_exec_time: expected a positive number of seconds", output)
        self.assertIn("default_timeout: expected a positive number of seconds", output)

    def test_second_daemon(self) -> None:
        """A second one on the same socket, store or port refuses to start."""
        world = self.make()
        world.start_dispatcher()
        self.assertIn("control", self.refused(world))
        world.socket = world.folder / "other"
        self.assertIn("in use by another daemon", self.refused(world))
        toml = world.folder / "harpcaller.toml"
        toml.write_text(toml.read_text().replace('"stream"', '"stream2"'))
        self.assertIn("Address already in use", self.refused(world))


def _record(answer: dict[str, Any]) -> tuple[int, Any]:
    return answer["packet"], answer["data"]
