"""``harpd`` as its callers see it: the real command, real TLS, real processes."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import time
from pathlib import Path

from tests.system.agent_processes import is_running
from tests.system.agents import KILL_GRACE_SECONDS, PASSWORD, SECONDS, AgentCase, Client


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
        one, other = (os.path.abspath(self.mktemp()) for _ in range(2))
        clients = [self.client().send("meets", each) for each in ([one, other], [other, one])]
        for client in clients:
            self.assertEqual({"result": "met"}, client.answer()[1])


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
        self.until(lambda: not any(map(is_running, pids)), KILL_GRACE_SECONDS - 0.1)

    def test_reset_ends_it_too(self) -> None:
        """Nor does it matter how the connection ends."""
        client, pids = self.begin()
        client.tls.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        self.until(lambda: not any(map(is_running, pids)), KILL_GRACE_SECONDS - 0.1)

    def test_ignores_sigterm(self) -> None:
        """Who doesn't want to end is killed after the grace."""
        client, pids = self.begin(ignoring=True, ignoring_child=True)
        client.close()
        time.sleep(0.5)
        self.assertTrue(all(map(is_running, pids)))
        self.until(lambda: not any(map(is_running, pids)))

    def test_slow_reader(self) -> None:
        """A caller that doesn't read holds the procedure back; memory stays bounded."""
        before = self.memory()
        client = self.client().send("endless")
        client.line()
        client.line()
        self.until(lambda: len(self.workers()) == 1)
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
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(b"", plain.recv(1))
        with contextlib.suppress(ConnectionResetError, ssl.SSLEOFError):
            self.assertEqual(b"", client.tls.recv(1))

    def test_silent_ones_do_not_keep_others(self) -> None:
        """While somebody is stuck in a handshake, others are served."""
        for _ in range(20):
            plain = socket.create_connection(("127.0.0.1", self.agent.port), SECONDS)
            self.addCleanup(plain.close)
        started = time.monotonic()
        self.assertEqual({"result": 3}, self.call("add", [1])[1])
        # One after the other they would be let go after a second each.
        self.assertLess(time.monotonic() - started, 15)

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
