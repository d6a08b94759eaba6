"""Calls that outlive their connection: real daemons, killed, stopped and cut off."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

from harpcaller.testing.installation import HOST, PATIENCE, Daemon, Installation
from harpcaller.wire.values import encode
from tests.system.test_whole_call import Client, InstallationCase, end_all, gone, wait_until


class Relay:
    """A network between dispatcher and agent that can be cut and mended.

    Attributes:
        count: How many connections there were so far.
    """

    def __init__(self, to_port: int) -> None:
        self._to = ("127.0.0.1", to_port)
        self.count = 0
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._forgotten: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self.port = 0
        self._listener: socket.socket | None = None
        self.mend()

    def mend(self) -> None:
        """Let connections through."""
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept, self._listener)

    def cut(self) -> None:
        """Break every connection, and let nobody through."""
        listener, self._listener = self._listener, None
        if listener is not None:
            # Wakes who waits in accept, which closing doesn't.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            for end in pair:
                _shut(end)

    def forget(self) -> None:
        """Let nothing through on connections that are there, without telling anybody."""
        with self._lock:
            self._forgotten.update(end for pair in self._pairs for end in pair)

    def open(self) -> int:
        """Count the connections that nobody has closed."""
        with self._lock:
            return len(self._pairs)

    def close(self) -> None:
        """End everything."""
        self.cut()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _start(self, run: Any, *arguments: object) -> None:
        thread = threading.Thread(target=run, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._to, PATIENCE)
                far.settimeout(None)
            except OSError:
                near.close()
                continue
            with self._lock:
                self.count += 1
                self._pairs.append((near, far))
                cut_meanwhile = self._listener is not listener
            if cut_meanwhile:
                _shut(near)
                _shut(far)
            self._start(self._pass_on, near, far, (near, far))
            self._start(self._pass_on, far, near, (near, far))

    def _pass_on(
        self,
        source: socket.socket,
        target: socket.socket,
        pair: tuple[socket.socket, socket.socket],
    ) -> None:
        try:
            while data := source.recv(65536):
                if source not in self._forgotten:
                    target.sendall(data)
        except OSError:
            pass
        if source in self._forgotten:
            return
        with self._lock:
            if pair in self._pairs:
                self._pairs.remove(pair)
        _shut(source)
        _shut(target)


def _shut(end: socket.socket) -> None:
    try:
        end.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


class ResumingCase(InstallationCase):
    """A dispatcher and an agent that keeps calls."""

    def start(
        self, more: str = "", agent: str = "", *, relayed: bool = False
    ) -> tuple[Installation, Daemon]:
        self.world = world = self.make(more)
        with (world.folder / "harpd.conf").open("a") as conf:
            conf.write(f"resume:\n  spool_folder: {world.folder}\n{agent}")
        self.gate = world.folder / "gate"
        self.agent = world.start_agent()
        if relayed:
            self.relay = Relay(world.agent_port)
            self.addCleanup(self.relay.close)
            self._register(self.relay.port)
        return world, world.start_dispatcher()

    def _register(self, port: int) -> None:
        entry = {
            "hostname": HOST,
            "address": "127.0.0.1",
            "port": port,
            "credentials": {"user": "dispatcher", "password": "not a secret"},
        }
        (self.world.folder / "hosts.json").write_bytes(encode(entry) + b"\n")

    def submit(self, *arguments: object, **options: object) -> str:
        return self.world.submit("gated", str(self.gate), *arguments, **options)

    def follow(self, job: str) -> Client:
        client = self.client(self.world)
        client.send({"harpcaller": 1, "follow_stream": job, "since": 0})
        return client

    def first_records(self, client: Client, number: int) -> int:
        """Read the process's number and so many records."""
        first = client.receive()
        self.assertEqual(0, first["packet"])
        for expected in range(number):
            answer = client.receive()
            self.assertEqual((expected + 1, expected), (answer["packet"], answer["data"][0]))
        return int(first["data"])

    def assertWhole(self, job: str, number: int) -> None:
        """The whole stream can be followed, without a gap, to its result."""
        client = self.follow(job)
        self.first_records(client, number)
        self.assertEqual({"result": "through"}, client.receive())

    def open_gate(self) -> None:
        Path(self.gate).touch()


class DispatcherDiesTests(ResumingCase):
    def test_killed_in_the_middle(self) -> None:
        """After kill -9 the procedure runs on, and the next dispatcher has all that it said."""
        world, dispatcher = self.start()
        job = self.submit(5, 50)
        self.first_records(self.follow(job), 5)
        dispatcher.kill()
        self.agent.wait_for_log("agent.call_orphaned")
        self.open_gate()
        world.start_dispatcher()
        self.assertWhole(job, 55)
        world.harpcallerd("stop")
        self.assertEqual({"result": "through"}, self._after_restart(job))

    def _after_restart(self, job: str) -> object:
        self.world.start_dispatcher()
        return self.world.result(job)

    def test_large_stream(self) -> None:
        """What doesn't fit into memory waits in a file that nobody sees."""
        world, dispatcher = self.start()
        job = self.submit(2, 60, 100_000)
        client = self.follow(job)
        pid = self.first_records(client, 2)
        dispatcher.kill()
        self.agent.wait_for_log("agent.call_orphaned")
        self.open_gate()
        wait_until(lambda: gone(pid), "the procedure's end")
        self.assertEqual([], list(world.folder.glob("tmp*")))
        world.start_dispatcher()
        self.assertWhole(job, 62)

    def test_end_waits(self) -> None:
        """A call that ends while there is no dispatcher has its result all the same."""
        world, dispatcher = self.start()
        queue = {"name": {"q": 1}}
        job = self.submit(1, 1, queue=queue)
        behind = world.submit("echo", 7, queue=queue)
        pid = self.first_records(self.follow(job), 1)
        dispatcher.kill()
        self.open_gate()
        wait_until(lambda: gone(pid), "the procedure's end")
        world.start_dispatcher()
        self.assertEqual({"result": "through"}, world.result(job))
        self.assertEqual({"result": 7}, world.result(behind))

    def test_nobody_comes(self) -> None:
        """After orphan_timeout the agent ends the procedure; how it ended isn't known then."""
        world, dispatcher = self.start(agent="  orphan_timeout: 0.5\n")
        job = self.submit(1, 1)
        pid = self.first_records(self.follow(job), 1)
        dispatcher.kill()
        wait_until(lambda: gone(pid), "the procedure's end")
        self.agent.wait_for_log("agent.kept_call_dropped")
        world.start_dispatcher()
        self.assertEqual("missing_result", world.result(job)["error"]["type"])

    def test_agent_dies_meanwhile(self) -> None:
        """What the agent forgot is a missing result; its records are there."""
        world, dispatcher = self.start()
        job = self.submit(3, 1)
        pid = self.first_records(self.follow(job), 3)
        dispatcher.kill()
        self.agent.kill()
        wait_until(lambda: gone(pid), "the procedure's end")
        world.start_agent()
        world.start_dispatcher()
        client = self.follow(job)
        self.first_records(client, 3)
        self.assertEqual("missing_result", client.receive()["error"]["type"])


class DispatcherStopsTests(ResumingCase):
    def test_upgrade(self) -> None:
        """A stop doesn't wait for calls that are kept, and the next start goes on with them."""
        world, dispatcher = self.start("shutdown_grace = 600")
        job = self.submit(3, 3)
        client = self.follow(job)
        self.first_records(client, 3)
        dispatcher.process.terminate()
        self.assertIsNone(client.receive())
        self.assertEqual(0, dispatcher.process.wait(PATIENCE))
        self.assertIn("job.left_running", dispatcher.log.read_text())
        world.start_dispatcher()
        self.open_gate()
        self.assertWhole(job, 6)

    def test_cancelled_after_the_restart(self) -> None:
        """Which ends the procedure."""
        world, dispatcher = self.start()
        job = self.submit(1, 1)
        pid = self.first_records(self.follow(job), 1)
        self.addCleanup(end_all, [pid])
        dispatcher.process.terminate()
        self.assertEqual(0, dispatcher.process.wait(PATIENCE))
        dispatcher = world.start_dispatcher()
        dispatcher.wait_for_log("job.resumed")
        self.assertEqual({"cancelled": True}, world.ask({"cancel": job}))
        wait_until(lambda: gone(pid), "the procedure's end")
        self.assertEqual({"cancelled": True}, world.result(job))


class NetworkBreaksTests(ResumingCase):
    def test_cut_and_mended(self) -> None:
        """Who follows sees nothing of it but a pause."""
        _, dispatcher = self.start(relayed=True)
        job = self.submit(5, 50)
        client = self.follow(job)
        self.first_records(client, 5)
        self.relay.cut()
        self.open_gate()
        dispatcher.wait_for_log("call.broken")
        self.relay.mend()
        for expected in range(5, 55):
            answer = client.receive()
            self.assertEqual((expected + 1, expected), (answer["packet"], answer["data"][0]))
        self.assertEqual({"result": "through"}, client.receive())

    def test_cancelled_while_cut(self) -> None:
        """The job is cancelled at once, and the procedure ends when the agent can be told."""
        world, dispatcher = self.start(relayed=True)
        job = self.submit(1, 1)
        pid = self.first_records(self.follow(job), 1)
        self.addCleanup(end_all, [pid])
        self.relay.cut()
        dispatcher.wait_for_log("call.broken")
        self.assertEqual({"cancelled": True}, world.ask({"cancel": job}))
        self.assertEqual({"cancelled": True}, world.result(job))
        self.assertFalse(gone(pid))
        self.relay.mend()
        wait_until(lambda: gone(pid), "the procedure's end")

    def test_agent_is_restarted(self) -> None:
        """A call of an agent that died is over when the agent is there again."""
        world, dispatcher = self.start()
        job = self.submit(1, 1)
        self.first_records(self.follow(job), 1)
        self.agent.kill()
        dispatcher.wait_for_log("call.broken")
        self.assertEqual({"no_result": True}, world.ask({"get_result": job, "wait": False}))
        world.start_agent()
        self.assertEqual("missing_result", world.result(job)["error"]["type"])
