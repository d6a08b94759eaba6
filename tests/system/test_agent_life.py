"""The life of ``harpd``: as a daemon, by systemd's sockets, with its logs and its reloads."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from harpcaller import __version__
from tests.system.agent_processes import helper_of
from tests.system.agents import SECONDS, Agent, LifeCase

SIMPLE = "from harpd.proc import procedure\n@procedure\ndef version(): return {!r}\n"


def wait_for(true: object, seconds: float = SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not true():  # type: ignore[operator]  # a function of any result
        if time.monotonic() > deadline:
            raise AssertionError("it never came true")
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class DaemonCase(LifeCase):
    def setUp(self) -> None:
        super().setUp()
        self.pid_file = self.folder / "harpd.pid"
        self.log = self.folder / "harpd.log"
        (self.folder / "logging.yaml").write_text(
            "handlers: [{to: file, path: harpd.log, format: json}]\n"
        )
        (self.folder / "harpd.py").write_text(SIMPLE.format(1))
        self.addCleanup(self.end)

    def daemonize(self, *options: str) -> subprocess.CompletedProcess[str]:
        return self.run_command(
            *("-d", "-c", "harpd.conf", "-r", "harpd.py", "-p", "harpd.pid", "-l", "logging.yaml"),
            *options,
        )

    def pid(self) -> int:
        return int(self.pid_file.read_text())

    def end(self) -> None:
        if self.pid_file.exists():
            pid = self.pid()
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            wait_for(lambda: not is_running(pid))

    def events(self, kind: str) -> list[dict[str, object]]:
        lines = self.log.read_text().splitlines()
        return [found["context"] for found in map(json.loads, lines) if found["kind"] == kind]

    def agent(self) -> Agent:
        """What the other tests call an agent, by its port."""
        agent = Agent.__new__(Agent)
        agent.port = int(str(self.events("agent.listening")[-1]["port"]))
        return agent


class BackgroundTests(DaemonCase):
    def test_life(self) -> None:
        """When the command has ended the agent works; it stops at SIGTERM, leaving nothing."""
        done = self.daemonize()
        self.assertEqual((0, "", ""), (done.returncode, done.stdout, done.stderr))
        pid = self.pid()
        self.assertEqual({"result": 1}, self.call(self.agent(), "version"))
        self.assertNotEqual(pid, os.getsid(pid), "it could get a terminal")
        self.assertNotEqual(os.getsid(0), os.getsid(pid))
        self.assertEqual("/", os.readlink(f"/proc/{pid}/cwd"))
        for descriptor in range(3):
            self.assertEqual("/dev/null", os.readlink(f"/proc/{pid}/fd/{descriptor}"))
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not is_running(pid))
        self.assertFalse(self.pid_file.exists())
        self.assertEqual(1, len(self.events("agent.stopped")))

    def test_reload(self) -> None:
        """SIGHUP finds the files again, though the working folder is another one by now."""
        _ = self.daemonize()
        (self.folder / "harpd.py").write_text(SIMPLE.format(2))
        os.kill(self.pid(), signal.SIGHUP)
        wait_for(lambda: self.events("agent.reloaded"))
        self.assertEqual({"result": 2}, self.call(self.agent(), "version"))

    def test_does_not_start(self) -> None:
        """What keeps it from starting is shown, and the exit code is 1."""
        _ = self.daemonize()
        port = self.agent().port
        config = self.folder / "harpd.conf"
        good = config.read_text()
        config.write_text(good.replace("port: 0", f"port: {port}"))
        done = self.daemonize("-p", "other.pid")
        said = f"harpd: cannot listen on 127.0.0.1 port {port}: Address already in use\n"
        self.assertEqual((1, said), (done.returncode, done.stderr))
        self.assertFalse((self.folder / "other.pid").exists())
        config.write_text(good.replace("agent.key", "no.key").replace("port: 0", "port: x"))
        done = self.daemonize("-p", "other.pid")
        self.assertEqual(1, done.returncode)
        self.assertIn('line 4: network.port: expected a port from 0 to 65535, got "x"', done.stderr)
        config.write_text(good)
        done = self.daemonize()
        self.assertEqual(1, done.returncode)
        self.assertIn(f"the daemon runs already, as process {self.pid()}", done.stderr)
        self.assertTrue(is_running(self.pid()))

    def test_broken_procedures(self) -> None:
        """It starts, and who started it is told what is wrong with the procedures, and where."""
        (self.folder / "harpd.py").write_text("x = 1\nx = = 1\n")
        done = self.daemonize()
        self.assertEqual(0, done.returncode)
        self.assertRegex(done.stderr, "harpd: warning: no procedures: .*harpd.py:2: invalid syntax")
        error = self.call(self.agent(), "version")["error"]
        self.assertEqual("procedure_loading_error", error["type"])
        self.assertNotIn("syntax", error["message"])

    def test_impatience(self) -> None:
        """Who interrupts the command while it waits gets his prompt back; the daemon goes on."""
        (self.folder / "harpd.py").write_text("import time\ntime.sleep(2)\n" + SIMPLE.format(1))
        command = [sys.executable, "-P", "-m", "harpcaller.service.harpd", "-d", "-c", "harpd.conf"]
        command += ["-r", "harpd.py", "-p", "harpd.pid", "-l", "logging.yaml"]
        waiting = subprocess.Popen(command, cwd=self.folder)
        self.addCleanup(waiting.wait)
        self.addCleanup(waiting.kill)
        wait_for(lambda: self.pid_file.exists() and self.pid_file.read_text())
        waiting.send_signal(signal.SIGINT)
        self.assertEqual(130, waiting.wait(SECONDS))
        wait_for(lambda: self.log.exists() and self.events("agent.listening"))
        self.assertEqual({"result": 1}, self.call(self.agent(), "version"))

    def test_impatience_at_once(self) -> None:
        """However soon the interruption comes after the fork."""
        program = (
            "import os, signal\n"
            "from harpcaller.service.background import go_to_background\n"
            "me, close = os.getpid(), os.close\n"
            "def interrupted(descriptor):\n"
            "    if os.getpid() == me:\n"
            "        os.kill(me, signal.SIGINT)\n"
            "    close(descriptor)\n"
            "os.close = interrupted\n"
            "go_to_background()\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, timeout=SECONDS
        )
        self.assertEqual((130, ""), (done.returncode, done.stderr))

    def test_killed(self) -> None:
        """The pid file of an agent that was killed doesn't keep another from starting."""
        _ = self.daemonize()
        first = self.pid()
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: not is_running(first))
        self.assertEqual(0, self.daemonize().returncode)
        self.assertNotEqual(first, self.pid())

    def test_no_reactor_before_the_fork(self) -> None:
        """Nothing that a fork would spoil is there before it."""
        program = (
            "import sys, threading, harpcaller.service.harpd\n"
            "print('twisted.internet.reactor' in sys.modules, threading.active_count())"
        )
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        )
        self.assertEqual("False 1\n", done.stdout)


class StopTests(LifeCase):
    def test_in_a_hurry(self) -> None:
        """A second SIGTERM gives calls no more time; their callers are told."""
        config = self.folder / "harpd.conf"
        config.write_text(config.read_text().replace("stop_grace: 1", "stop_grace: 1000"))
        agent = self.start().listening()
        client = self.client(agent).send("nap", [1000])
        client.line()
        agent.process.terminate()
        agent.wait_for("agent.stopping")
        with self.assertRaises(ConnectionRefusedError):
            _ = self.client(agent)
        agent.process.terminate()
        self.assertEqual("shutdown", client.line()["error"]["type"])
        self.assertEqual(0, agent.process.wait(SECONDS))
        self.assertNotIn("Traceback", agent.log())


class AutomaticReloadTests(LifeCase):
    def setUp(self) -> None:
        super().setUp()
        config = self.folder / "harpd.conf"
        config.write_text(config.read_text() + "reload: auto\n")
        self.procedures = self.folder / "harpd.py"
        self.procedures.write_text(SIMPLE.format(1))

    def test_changes(self) -> None:
        """A file that was written, or renamed to the name, is loaded by itself."""
        agent = self.start().listening()
        self.procedures.write_text(SIMPLE.format("two"))
        agent.wait_for("agent.procedures_loaded", 2)
        self.assertEqual({"result": "two"}, self.call(agent, "version"))
        fresh = self.folder / ".harpd.py.swp"
        fresh.write_text(SIMPLE.format("three"))
        self.procedures.rename(self.folder / "harpd.py~")
        fresh.rename(self.procedures)
        agent.wait_for("agent.procedures_loaded", 3)
        self.assertEqual({"result": "three"}, self.call(agent, "version"))

    def test_typing_mistake(self) -> None:
        """A file that doesn't load leaves the old one in force, and the log says where."""
        agent = self.start().listening()
        self.procedures.write_text("def x(:\n")
        line = agent.wait_for("agent.procedures_not_loaded")
        self.assertIn("harpd.py:1: invalid syntax", line)
        self.assertEqual({"result": 1}, self.call(agent, "version"))
        self.procedures.write_text(SIMPLE.format("mended"))
        agent.wait_for("agent.procedures_loaded", 2)
        self.assertEqual({"result": "mended"}, self.call(agent, "version"))

    def test_no_more(self) -> None:
        """What the configuration says at a reload counts."""
        agent = self.start().listening()
        config = self.folder / "harpd.conf"
        config.write_text(config.read_text().replace("auto", "signal"))
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for("agent.reloaded")
        self.procedures.write_text(SIMPLE.format("unheard"))
        time.sleep(1)
        self.assertEqual({"result": 1}, self.call(agent, "version"))


class LoggingTests(LifeCase):
    def test_places(self) -> None:
        """A logging file says where to log; a reload changes that."""
        logging = self.folder / "logging.yaml"
        logging.write_text(
            "handlers:\n  - {to: stdout, level: warn}\n  - {to: file, path: one, format: json}\n"
        )
        agent = self.start("-l", str(logging))
        one = self.folder / "one"
        wait_for(lambda: one.exists() and "agent.listening" in one.read_text())
        self.assertEqual("", agent.log())
        logging.write_text("handlers: [{to: stdout}, {to: file, path: no/such}]\n")
        agent.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "logs.not_reopened" in one.read_text())
        logging.write_text("handlers: [{to: stdout}]\n")
        agent.process.send_signal(signal.SIGHUP)
        agent.wait_for("agent.reloaded")

    def test_rotation(self) -> None:
        """SIGUSR1 opens log files anew."""
        logging = self.folder / "logging.yaml"
        logging.write_text("handlers: [{to: file, path: log1}, {to: stdout}]\n")
        agent = self.start("--logging", str(logging)).listening()
        (self.folder / "log1").rename(self.folder / "log1.old")
        agent.process.send_signal(signal.SIGUSR1)
        agent.wait_for("logs.reopened")
        wait_for(lambda: "logs.reopened" in (self.folder / "log1").read_text())

    def test_mistake(self) -> None:
        """A mistake in it keeps the agent from starting; --test tells it, too."""
        (self.folder / "logging.yaml").write_text("handlers: [{to: stdot}]\n")
        files = ["-c", "harpd.conf", "-r", "harpd.py", "-l", "logging.yaml"]
        for options in (files, [*files, "--test"]):
            done = self.run_command(*options)
            self.assertEqual(1, done.returncode)
            self.assertIn('logging.yaml: line 1: handlers.0.to: expected "stdout"', done.stderr)
        (self.folder / "logging.yaml").write_text("handlers: [{to: file, path: no/such}]\n")
        done = self.run_command(*files)
        self.assertEqual(1, done.returncode)
        self.assertIn("no/such: No such file or directory", done.stderr)


class ActivationTests(LifeCase):
    #: Passes a listening socket as systemd does.
    PROGRAM = """
import os, socket, sys
given = socket.create_server(("127.0.0.1", 0))
print(given.getsockname()[1], flush=True)
os.dup2(given.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.executable, [sys.executable, "-P", "-m", "harpcaller.service.harpd", *sys.argv[1:]])
"""

    def test_socket(self) -> None:
        """The agent uses the socket; neither it nor its announcement reaches procedures."""
        (self.folder / "harpd.py").write_text(
            "import os\nfrom harpd.proc import procedure\n@procedure\ndef version():\n"
            "  links = [os.readlink(e.path) for e in os.scandir('/proc/self/fd')\n"
            "           if os.path.islink(e.path) and os.path.exists(e.path)]\n"
            "  return [k for k in os.environ if k.startswith('LISTEN')]\n"
        )
        command = [sys.executable, "-c", self.PROGRAM, "-c", "harpd.conf", "-r", "harpd.py"]
        log = (self.folder / "log").open("wb")
        self.addCleanup(log.close)
        process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=log)
        agent = Agent.__new__(Agent)
        agent.process = process
        self.addCleanup(agent.stop)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        agent.port = int(process.stdout.readline())
        # Nobody is refused before it has even started.
        self.assertEqual({"result": []}, self.call(agent, "version"))
        line = process.stdout.readline()
        while b"agent.listening" not in line:
            line = process.stdout.readline()
        self.assertIn(b'"port":%d,"inherited":true' % agent.port, line)

    def test_of_no_use(self) -> None:
        """What isn't a listening socket is told."""
        program = self.PROGRAM.replace('socket.create_server(("127.0.0.1", 0))', "socket.socket()")
        program = program.replace("print(given.getsockname()[1], flush=True)", "")
        done = subprocess.run(
            [sys.executable, "-c", program, "-c", "harpd.conf", "-r", "harpd.py"],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        self.assertEqual(1, done.returncode)
        self.assertIn("descriptor 3 of LISTEN_FDS=1 isn't a listening TCP socket", done.stderr)


class TwistdTests(LifeCase):
    def twistd(self, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(Path(sys.executable).parent / "twistd"), *options],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    def test_test(self) -> None:
        """--test works there as well."""
        done = self.twistd("-n", "harpd", "-t", "-c", "harpd.conf", "-r", "harpd.py")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn("the configuration is fine", done.stdout)

    def test_does_not_start(self) -> None:
        """What keeps it from starting is told, and the exit code is 1."""
        agent = self.start().listening()
        config = self.folder / "harpd.conf"
        good = config.read_text()
        options = ("-n", "--pidfile=", "harpd", "-c", "harpd.conf", "-r", "harpd.py")
        config.write_text(good.replace("port: 0", f"port: {agent.port}"))
        done = self.twistd(*options)
        self.assertEqual(1, done.returncode)
        self.assertIn("harpd: cannot listen on 127.0.0.1 port", done.stderr)
        config.write_text(good.replace("port: 0", "port: x"))
        done = self.twistd(*options)
        self.assertEqual(1, done.returncode)
        self.assertIn("harpd.conf: line 4: network.port: expected a port", done.stderr)

    def test_network_process_dies(self) -> None:
        """With the process that callers talk to the agent ends, and twistd with 1."""
        command = [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile=", "harpd"]
        with (self.folder / "log").open("wb") as log:
            twistd = subprocess.Popen(
                [*command, "-c", "harpd.conf", "-r", "harpd.py"],
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        self.addCleanup(twistd.wait)
        self.addCleanup(twistd.kill)
        wait_for(lambda: "agent.listening" in (self.folder / "log").read_text())
        os.kill(helper_of(twistd.pid, "harpcaller.service.agent_network"), signal.SIGKILL)
        self.assertEqual(1, twistd.wait(SECONDS))
        told = (self.folder / "log").read_text()
        self.assertIn("harpd: the network process ended: ", told)

    def test_version(self) -> None:
        """The version is that of the agent, not of twistd."""
        self.assertIn(f"harpd {__version__}", self.twistd("harpd", "--version").stdout)

    def test_daemon_with_our_log(self) -> None:
        """As twistd's daemon it logs where the logging file says."""
        (self.folder / "logging.yaml").write_text("handlers: [{to: file, path: here}]\n")
        pid_file, log = self.folder / "twistd.pid", self.folder / "here"
        done = self.twistd(
            f"--pidfile={pid_file}",
            *("harpd", "-c", "harpd.conf", "-r", "harpd.py", "-l", "logging.yaml"),
        )
        self.assertEqual(0, done.returncode, done.stderr)
        wait_for(lambda: log.exists() and "agent.listening" in log.read_text())
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not is_running(pid))
        self.assertIn("agent.stopped", log.read_text())


class SilentTests(LifeCase):
    def test_very_many_silent_connections(self) -> None:
        """However many connections hang in their handshake, a caller gets in."""
        config = self.folder / "harpd.conf"
        config.write_text(config.read_text().replace("request_timeout: 1", "request_timeout: 1000"))
        agent = self.start().listening()
        for number in range(600):
            silent = socket.create_connection(("127.0.0.1", agent.port), SECONDS)
            self.addCleanup(silent.close)
            if number % 2:
                silent.sendall(b"\x16\x03\x01\x02\x00\x01")  # a handshake's beginning
        self.assertEqual({"result": 0.01}, self.client(agent).send("nap", [0.01]).answer()[-1])
