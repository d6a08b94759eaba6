"""What went wrong in the system that this one follows, and doesn't here: the daemon as a whole.

The rest of the list is tested where it belongs, in ``tests/dispatcher`` and
``tests/listener`` under the same name.
"""

from __future__ import annotations

import resource
import socket
from pathlib import Path

from harpcaller.testing.installation import HOST, Daemon
from harpcaller.wire.values import decode
from tests.system.test_whole_call import InstallationCase, wait_until


def descriptors(daemon: Daemon) -> int:
    """Count what a process has open."""
    return len(list(Path(f"/proc/{daemon.process.pid}/fd").iterdir()))


class UnlikeTheOriginalTests(InstallationCase):
    def test_crash_leaves_everything_readable(self) -> None:
        """After kill -9 the records that a running job had streamed are there, ended jobs
        are there, and the list of all jobs is."""
        world = self.make()
        world.start_agent()
        dispatcher = world.start_dispatcher()
        done = world.submit("echo", 1)
        self.assertEqual({"result": 1}, world.result(done))
        running = world.submit("count", 1000, 0.05)
        client = self.client(world)
        client.send({"harpcaller": 1, "follow_stream": running, "since": 0})
        seen = [client.receive()["packet"] for _ in range(5)]
        dispatcher.kill()
        world.start_dispatcher()

        again = self.client(world)
        again.send({"harpcaller": 1, "read_stream": running, "since": 0})
        self.assertEqual(seen, [again.receive()["packet"] for _ in seen])
        self.assertEqual({"result": 1}, world.result(done))
        listed = world.harpcallerd("list", "--all")
        self.assertEqual(0, listed.returncode)
        jobs = [decode(line.encode())["job"] for line in listed.stdout.splitlines()]
        self.assertEqual([done, running], jobs)

    def test_bytes_that_are_no_text(self) -> None:
        """Arguments that aren't UTF-8 are refused, and the list of all jobs lives on."""
        world = self.make()
        world.start_dispatcher()
        job = world.submit("echo", 1)
        client = self.client(world)
        call = b'{"harpcaller":1,"host":"%s","procedure":"echo","arguments":["\xff"]}\n'
        client.socket.sendall(call % HOST.encode())
        answer = client.receive()
        self.assertEqual("invalid_request", answer["error"]["type"])
        self.assertIn("UTF-8", answer["error"]["message"])
        self.assertIn(job, world.harpcallerd("list", "--all").stdout)

    def test_waiting_jobs_hold_no_descriptors(self) -> None:
        """Hundreds of jobs that wait in a queue leave the daemon's descriptors alone."""
        world = self.make()
        world.start_agent()
        dispatcher = world.start_dispatcher()
        queue = {"name": {"long": True}}
        head = world.submit("family", queue=queue)
        client = self.client(world)
        client.send({"harpcaller": 1, "follow_stream": head, "since": 0})
        client.receive()
        before = descriptors(dispatcher)
        call = {"host": HOST, "procedure": "echo", "arguments": [], "queue": queue}
        other = self.client(world)
        other.send(*[{"harpcaller": 1, **call} for _ in range(500)])
        for _ in range(500):
            self.assertIn("job_id", other.receive())
        self.assertLessEqual(descriptors(dispatcher), before + 2)
        self.assertEqual(0, world.harpcallerd("queue-cancel", '{"long":true}').returncode)
        self.assertEqual("", world.harpcallerd("list").stdout)

    def test_out_of_descriptors(self) -> None:
        """More clients than descriptors: the daemon goes on, and serves when some leave."""
        world = self.make()
        dispatcher = world.start_dispatcher()
        job = world.submit("echo", 1)
        few = descriptors(dispatcher) + 20
        resource.prlimit(dispatcher.process.pid, resource.RLIMIT_NOFILE, (few, few))
        crowd = [socket.create_connection(("127.0.0.1", world.port)) for _ in range(60)]
        wait_until(lambda: descriptors(dispatcher) >= few - 2, "the descriptors are used up")
        for one in crowd:
            one.close()

        def served() -> bool:
            # Who came when there was no descriptor was hung up on.
            try:
                return "error" in world.result(job)
            except (ConnectionError, ValueError):
                return False

        wait_until(served, "a client is served again")
        self.assertEqual("running\n", world.harpcallerd("status").stdout)
        self.assertIsNone(dispatcher.process.poll())
