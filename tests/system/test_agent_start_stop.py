"""An agent is started, told to load its files anew, stopped and killed."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

from harpcaller.testing.certificates import make_authority
from tests.system.agent_procedures import PROCEDURES
from tests.system.agent_processes import is_running
from tests.system.agents import CONFIG, SECONDS, USER, Client, LifeCase


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
