"""How the dispatcher gets on with systemd, logrotate and an operator's kill."""

from __future__ import annotations

import os
import re
import signal
import socket
from pathlib import Path

from harpcaller.testing.installation import PATIENCE
from tests.system.test_whole_call import NO_JOB, InstallationCase, wait_until


class ServiceManagerTests(InstallationCase):
    def test_descriptors(self) -> None:
        """The daemon may have as many descriptors as the system lets it have."""
        world = self.make()
        dispatcher = world.start_dispatcher()
        limits = (Path("/proc") / str(dispatcher.process.pid) / "limits").read_text()
        found = re.search(r"Max open files\s+(\S+)\s+(\S+)", limits)
        assert found is not None
        self.assertEqual(found[2], found[1])

    def test_systemd_is_told(self) -> None:
        """Type=notify works: ready, reloading, ready again, stopping."""
        world = self.make()
        address = str(world.folder / "notify")
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(manager.close)
        manager.settimeout(PATIENCE)
        manager.bind(address)
        world.environ["NOTIFY_SOCKET"] = address
        dispatcher = world.start_dispatcher()
        self.assertEqual(b"READY=1", manager.recv(1000))
        dispatcher.process.send_signal(signal.SIGHUP)
        reloading = manager.recv(1000)
        self.assertTrue(reloading.startswith(b"RELOADING=1\nMONOTONIC_USEC="), reloading)
        self.assertEqual(b"READY=1", manager.recv(1000))
        dispatcher.process.terminate()
        self.assertEqual(b"STOPPING=1", manager.recv(1000))
        self.assertEqual(0, dispatcher.process.wait(PATIENCE))

    def test_log_goes_on_in_a_new_file(self) -> None:
        """After SIGUSR1, or reopen-logs, a renamed log is left alone; no line is lost."""
        world = self.make('log_handlers = []\n[erlang]\nlog_file = "event.log"')
        dispatcher = world.start("harpcaller", world.dispatcher_command)
        log = world.folder / "event.log"
        wait_until(lambda: log.exists() and "daemon.ready" in log.read_text(), "it is ready")
        self.assertEqual("", dispatcher.log.read_text())
        for number, reopen in enumerate(
            (
                lambda: dispatcher.process.send_signal(signal.SIGUSR1),
                lambda: self.assertEqual(0, world.harpcallerd("reopen-logs").returncode),
            )
        ):
            old = world.folder / f"event.log.{number}"
            os.rename(log, old)
            for _ in range(20):
                world.ask({"get_status": 7})
            reopen()
            wait_until(lambda: log.exists() and "logs.reopened" in log.read_text(), "reopened")
        for _ in range(20):
            world.ask({"get_status": 7})
        logs = [world.folder / name for name in ("event.log.0", "event.log.1", "event.log")]
        counts = [log.read_text().count("client.refused") for log in logs]
        self.assertEqual([20, 20, 20], counts)

    def test_hangup_with_a_bad_file(self) -> None:
        """SIGHUP with mistakes in the file logs each of them, and nothing changes."""
        world = self.make()
        dispatcher = world.start_dispatcher()
        world.configure("max_exec_time = -1\ndefault_timeout = true")
        dispatcher.process.send_signal(signal.SIGHUP)
        dispatcher.wait_for_log("daemon.reload_failed")
        text = dispatcher.log.read_text()
        self.assertIn("max_exec_time: expected a positive number of seconds, got -1", text)
        self.assertIn("default_timeout: expected a positive number of seconds, got true", text)
        answer = world.ask({"get_result": NO_JOB})
        self.assertEqual("invalid_jobid", answer["error"]["type"])
