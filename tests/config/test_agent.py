"""The agent's configuration file."""

from __future__ import annotations

from pathlib import Path

from harpcaller.config.agent import AgentSettings, LoadedAgent, load, parse
from harpcaller.config.problems import ConfigurationError
from tests.house import HouseCase

FOLDER = Path("/etc/harpd")

SMALLEST = """\
network:
  certfile: agent.pem
  keyfile: agent.key
authentication:
  module: harpd.auth.passfile
"""

LARGEST = """\
network:
  address: 127.0.0.1
  port: 5000
  certfile: agent.pem
  keyfile: /keys/agent.key
  client_ca_file: clients.pem
  user: stranger
python:
  path:
    prepend: lib
    append: [more, /most]
authentication:
  module: house.users
  file: users
  nested: {deep: [1, yes, null]}
procedures: harpd.py
reload: auto
limits:
  max_calls: 5
  max_processes: 100
  max_memory: 500000000
  request_timeout: 2
  kill_grace: 0
  stop_grace: 1.5
resume:
  orphan_timeout: 0
  spool_folder: spool
  spool_size: 100000
keep:
  idle_timeout: 0
  max_idle: 7
"""


def read(text: str) -> LoadedAgent:
    return parse(text, "harpd.conf", FOLDER)


class GoodTests(HouseCase):
    def test_smallest(self) -> None:
        """Certificate, key and users are all that is needed."""
        loaded = read(SMALLEST)
        self.assertEqual((), loaded.warnings)
        self.assertEqual(
            AgentSettings(
                certfile=FOLDER / "agent.pem",
                keyfile=FOLDER / "agent.key",
                authentication_module="harpd.auth.passfile",
            ),
            loaded.settings,
        )
        self.assertEqual(
            ("*", 4306, 64),
            (loaded.settings.address, loaded.settings.port, loaded.settings.max_calls),
        )

    def test_largest(self) -> None:
        """Every key is read; relative paths start at the file's folder."""
        loaded = read(LARGEST)
        self.assertEqual((), loaded.warnings)
        self.assertEqual(
            AgentSettings(
                address="127.0.0.1",
                port=5000,
                certfile=FOLDER / "agent.pem",
                keyfile=Path("/keys/agent.key"),
                client_ca_file=FOLDER / "clients.pem",
                network_user="stranger",
                python_prepend=(FOLDER / "lib",),
                python_append=(FOLDER / "more", Path("/most")),
                authentication_module="house.users",
                authentication={
                    "file": "/etc/harpd/users",
                    "nested": {"deep": [1, True, None]},
                },
                procedures=FOLDER / "harpd.py",
                reload="auto",
                max_calls=5,
                max_processes=100,
                max_memory=500_000_000,
                request_seconds=2.0,
                kill_grace_seconds=0.0,
                stop_grace_seconds=1.5,
                orphan_seconds=0.0,
                spool_folder=FOLDER / "spool",
                spool_size=100_000,
                idle_seconds=0.0,
                max_idle=7,
            ),
            loaded.settings,
        )

    def test_path_alone(self) -> None:
        """python.path may be a path or a list."""
        one = read(SMALLEST + "python: {path: lib}").settings
        self.assertEqual((FOLDER / "lib",), one.python_prepend)
        two = read(SMALLEST + "python: {path: [a, b]}").settings
        self.assertEqual((FOLDER / "a", FOLDER / "b"), two.python_prepend)

    def test_passwords_are_not_shown(self) -> None:
        """What the authentication module gets isn't in repr."""
        self.assertNotIn("hunter2", repr(read(SMALLEST + "  users: {me: 'plain:hunter2'}\n")))

    def test_file(self) -> None:
        """A file is read, and its folder is where paths start."""
        path = Path(self.mktemp()).absolute()
        path.write_text(SMALLEST)
        self.assertEqual(path.parent / "agent.pem", load(path).settings.certfile)


class OddTests(HouseCase):
    def test_unknown_keys(self) -> None:
        """An unknown key is a warning with its line and the key that was meant."""
        text = SMALLEST + "limit: {}\nlimits:\n  maxcalls: 5\n  zebra: 1\npython: {paht: x}\n"
        self.assertEqual(
            [
                "harpd.conf: line 6: limit: unknown key; did you mean limits?",
                "harpd.conf: line 8: limits.maxcalls: unknown key; did you mean max_calls?",
                "harpd.conf: line 9: limits.zebra: unknown key",
                "harpd.conf: line 10: python.paht: unknown key; did you mean path?",
            ],
            [str(warning) for warning in read(text).warnings],
        )


class BadTests(HouseCase):
    def problems(self, text: str) -> list[str]:
        with self.assertRaises(ConfigurationError) as caught:
            read(text)
        return [str(problem) for problem in caught.exception.problems]

    def test_user(self) -> None:
        """A user is a name or a number, and of numbers those that mean somebody."""
        text = "network: {certfile: a, keyfile: b, user: %s}\nauthentication: {module: m}\n"
        self.assertEqual(70, read(text % "70").settings.network_user)
        for wrong in ('""', "-1", "4294967295", "true", "[x]", "1.5"):
            (problem,) = self.problems(text % wrong)
            self.assertIn("network.user: expected the name or number of a user, got", problem)

    def test_every_mistake_at_once(self) -> None:
        """All mistakes are told, each with its line."""
        text = """\
network:
  port: 70000
  certfile: 5
  address: ""
  address: x
python:
  path: {append: [a, 3]}
authentication: harpd.auth.passfile
procedures: [x]
reload: never
limits:
  max_calls: true
  max_processes: 0
  max_memory: 512M
  request_timeout: 0
resume:
  orphan_timeout: -1
  spool_size: 1000
keep:
  idle_timeout: long
  max_idle: 0
"""
        self.assertEqual(
            [
                "harpd.conf: line 5: network.address: stands twice",
                "harpd.conf: line 2: network.port: expected a port from 0 to 65535, got 70000",
                "harpd.conf: line 3: network.certfile: expected a path, got 5",
                "harpd.conf: line 1: network.keyfile: missing",
                "harpd.conf: line 12: limits.max_calls:"
                " expected a number of calls from 1 to 10000, got true",
                "harpd.conf: line 13: limits.max_processes:"
                " expected a number of processes from 1 to 4194304, got 0",
                "harpd.conf: line 14: limits.max_memory: expected a whole number of bytes from"
                ' 16777216 to 1125899906842624, got "512M"',
                "harpd.conf: line 15: limits.request_timeout:"
                " expected a positive number of seconds, got 0",
                "harpd.conf: line 17: resume.orphan_timeout: expected a number of seconds, got -1",
                "harpd.conf: line 18: resume.spool_size:"
                " expected a number of bytes from 65536 to 1099511627776, got 1000",
                'harpd.conf: line 20: keep.idle_timeout: expected a number of seconds, got "long"',
                "harpd.conf: line 21: keep.max_idle:"
                " expected a number of connections from 1 to 100000, got 0",
                "harpd.conf: line 9: procedures: expected a path, got a list",
                'harpd.conf: line 10: reload: expected "signal" or "auto", got "never"',
                "harpd.conf: line 7: python.path.append: expected a path, got 3",
                "harpd.conf: line 8: authentication: expected settings, as key: value lines",
                "harpd.conf: line 8: authentication.module: missing",
            ],
            self.problems(text),
        )

    def test_module(self) -> None:
        """The authentication module is a module's name."""
        text = SMALLEST.replace("harpd.auth.passfile", "/etc/x.py")
        self.assertIn('a Python module, got "/etc/x.py"', self.problems(text)[0])

    def test_empty(self) -> None:
        """An empty file lacks what is needed."""
        self.assertEqual(3, len(self.problems("")))
        self.assertEqual(4, len(self.problems("- just\n- a list\n")))

    def test_not_yaml(self) -> None:
        """What isn't YAML is told with its line, without a traceback."""
        self.assertIn("harpd.conf: line 3: not YAML: ", self.problems("a: b\nc: [\n")[0])
        self.assertIn(
            "harpd.conf: line 1: not YAML: ", self.problems("a: !!python/name:os.system x")[0]
        )
        self.assertIn("harpd.conf: not YAML: ", self.problems("a: \0")[0])
        self.assertEqual(
            ["harpd.conf: nested too deeply"], self.problems("a: " + "[" * 5000 + "]" * 5000)
        )
        self.assertEqual(["harpd.conf: nested too deeply"], self.problems("a: &x [*x]"))
        self.assertIn("not YAML", self.problems("a: 2001-99-99")[0])

    def test_strange_keys(self) -> None:
        """Keys that aren't words are only unknown."""
        self.assertEqual(3, len(self.problems("? [a, b]\n: c\n5: 6\n")))

    def test_unreadable(self) -> None:
        """A file that can't be read is told."""
        path = Path(self.mktemp())
        with self.assertRaisesRegex(ConfigurationError, "No such file"):
            load(path)
        path.write_bytes(b"caf\xe9: 1\n")
        with self.assertRaisesRegex(ConfigurationError, "not UTF-8 at byte 3"):
            load(path)
