"""Connections of the real daemons that stay for the next call, and those that die meanwhile."""

from __future__ import annotations

import signal
from collections.abc import Callable

from harpcaller.testing.certificates import make_authority
from tests.system.test_resuming import ResumingCase
from tests.system.test_whole_call import wait_until


class KeptConnectionsTests(ResumingCase):
    def call(self) -> None:
        """Make a call, and see that it ran, once."""
        notes = self.world.folder / "notes"
        before = notes.read_text().count("\n") if notes.exists() else 0
        job = self.world.submit("note", str(notes), "here")
        self.assertEqual({"result": "here"}, self.world.result(job))
        self.assertEqual(before + 1, notes.read_text().count("\n"))

    def one_is_kept(self) -> None:
        """Make some calls on one connection, which stays."""
        before = self.relay.count
        for _ in range(3):
            self.call()
        self.assertEqual((before + 1, 1), (self.relay.count, self.relay.open()))

    def none_is_open(self) -> None:
        wait_until(lambda: self.relay.open() == 0, "the closing of the connection")

    def set_up_agent(self, keep: str) -> None:
        """Let the agent keep connections in another way, without a restart."""
        with (self.world.folder / "harpd.conf").open("a") as conf:
            conf.write(keep)
        self.reload_agent()

    def reload_agent(self) -> None:
        log = self.agent.log.read_text()
        self.agent.process.send_signal(signal.SIGHUP)
        wait_until(
            lambda: "agent.reloaded" in self.agent.log.read_text().removeprefix(log), "the reload"
        )

    def reload(self, more: str = "") -> None:
        """Let the dispatcher read another configuration."""
        self.world.configure(more)
        self.assertEqual(0, self.world.harpcallerd("reload").returncode)

    def test_one_side_comes_and_goes(self) -> None:
        """What is reloaded, restarted, killed or cut off between two calls costs none."""
        self.start(relayed=True)

        def restart() -> None:
            self.agent.stop()
            self.agent = self.world.start_agent()

        def kill() -> None:
            self.agent.kill()
            self.agent = self.world.start_agent()

        def break_network() -> None:
            self.relay.cut()
            self.relay.mend()

        steps: tuple[Callable[[], None], ...] = (self.reload_agent, restart, kill, break_network)
        for step in steps:
            self.one_is_kept()
            step()
            self.none_is_open()
        self.one_is_kept()
        # Neither side waits for a connection on which nothing goes on.
        self.assertEqual(0, self.world.harpcallerd("stop", "--timeout=5").returncode)
        self.none_is_open()

    def test_limits(self) -> None:
        """Either side closes what has waited too long, or after each call."""
        self.start(agent="  orphan_timeout: 0\n", relayed=True)
        # Connections stay as well where calls end with them.
        self.one_is_kept()
        self.reload("agent_idle_timeout = 0.3")
        self.none_is_open()
        self.call()
        self.none_is_open()
        self.reload("agent_idle_timeout = 0")
        self.none_is_kept()
        self.reload()
        self.one_is_kept()
        self.set_up_agent("keep:\n  idle_timeout: 0.3\n")
        self.none_is_open()
        self.call()
        self.none_is_open()
        conf = self.world.folder / "harpd.conf"
        conf.write_text(conf.read_text().replace("0.3", "0"))
        self.reload_agent()
        self.none_is_kept()

    def none_is_kept(self) -> None:
        for number in range(1, 3):
            before = self.relay.count
            self.call()
            self.assertEqual(before + 1, self.relay.count, number)
        self.none_is_open()

    def test_what_a_connection_is_good_for(self) -> None:
        """It is closed when its agent isn't believed any more, or its host is another."""
        world, dispatcher = self.start("connect_timeout = 1", relayed=True)
        self.one_is_kept()
        self.reload("connect_timeout = 1")
        self.assertEqual(0, world.harpcallerd("hosts-refresh").returncode)
        self.call()
        self.assertEqual(1, self.relay.count)
        # Where nothing comes through any more the call is asked for again, and runs once.
        self.relay.forget()
        self.call()
        dispatcher.wait_for_log("call.not_acknowledged")
        self.assertEqual(2, self.relay.count)
        self.call()
        self.assertEqual(2, self.relay.count)
        self.relay.cut()
        self.relay.mend()
        self.one_is_kept()
        self._register(world.agent_port)
        self.assertEqual(0, world.harpcallerd("hosts-refresh").returncode)
        self.none_is_open()
        self._register(self.relay.port)
        self.assertEqual(0, world.harpcallerd("hosts-refresh").returncode)
        self.one_is_kept()
        (world.folder / "ca.pem").write_bytes(make_authority().certificate_pem)
        self.reload("connect_timeout = 1")
        self.none_is_open()
        job = world.submit("echo", 1)
        self.assertEqual("tls_error", world.result(job)["error"]["type"])
