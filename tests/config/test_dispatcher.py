"""The dispatcher's file becomes settings, or a list of everything that is wrong with it."""

from __future__ import annotations

from pathlib import Path

from harpcaller.config.addresses import ListenAddress
from harpcaller.config.dispatcher import Loaded, Settings, cannot_change, load, parse
from harpcaller.config.problems import ConfigurationError
from tests.house import HouseCase

NEEDED = """\
stream_directory = "/var/lib/harpcaller/stream/"
host_db = "/var/lib/harpcaller/hosts.db"
host_db_script = "/etc/harpcaller/update-hosts"
"""

#: The manual's example, as printed there.
MANUAL = """\
# network
listen = ["*:3502"]
#ca_file = "/etc/harpcaller/ca_certs.pem"
known_certs_file = "/etc/harpcaller/known_certs.pem"

# jobs
stream_directory = "/var/lib/harpcaller/stream/"
default_timeout = 600
max_exec_time = 600

# hosts registry
host_db_script = "/etc/harpcaller/update-hosts"
host_db = "/var/lib/harpcaller/hosts.db"
host_db_refresh = 900

# logging
log_handlers = ["harpcaller_syslog_h"]

[erlang]
node_name = "harpcaller"
name_type = "longnames"
#cookie_file = "/etc/harpcaller/cookie.txt"
distributed_immediate = false
#log_file = "/var/log/harpcaller/erlang.log"
"""


class ConfigCase(HouseCase):
    def read(self, text: str) -> Loaded:
        return parse(text.encode(), Path("/etc/harpcaller/harpcaller.toml"))

    def settings(self, text: str) -> Settings:
        loaded = self.read(NEEDED + text)
        self.assertEqual((), loaded.warnings)
        return loaded.settings

    def problems(self, text: str) -> list[str]:
        """What is wrong, without the path, which is always the same."""
        error = self.assertRaises(ConfigurationError, self.read, text)
        prefix = "/etc/harpcaller/harpcaller.toml: "
        for line in str(error).splitlines():
            self.assertTrue(line.startswith(prefix), line)
        return [line.removeprefix(prefix) for line in str(error).splitlines()]

    def problem(self, text: str) -> str:
        """The one thing that is wrong, on line 4."""
        found = self.problems(NEEDED + text)
        self.assertEqual(1, len(found), found)
        self.assertTrue(found[0].startswith("line 4: "), found)
        return found[0].removeprefix("line 4: ")

    def warnings(self, text: str) -> list[str]:
        found = map(str, self.read(NEEDED + text).warnings)
        return [line.removeprefix("/etc/harpcaller/harpcaller.toml: ") for line in found]


class SettingsTests(ConfigCase):
    def test_example_of_the_manual_loads(self) -> None:
        """What people copy from the manual works."""
        loaded = self.read(MANUAL)
        self.assertEqual((), loaded.warnings)
        settings = loaded.settings
        self.assertEqual((ListenAddress(None, 3502),), settings.listen)
        self.assertEqual(Path("/etc/harpcaller/known_certs.pem"), settings.known_certs_file)
        self.assertIsNone(settings.ca_file)
        self.assertEqual(("syslog",), settings.log_handlers)
        self.assertEqual("longnames", settings.erlang.name_type)

    def test_defaults(self) -> None:
        """Three settings are enough; the rest is as the manual says."""
        settings = self.settings("")
        self.assertEqual((ListenAddress(None, 3502),), settings.listen)
        self.assertEqual(600, settings.default_timeout_seconds)
        self.assertEqual(600, settings.max_exec_time_seconds)
        self.assertEqual(900, settings.host_db_refresh_seconds)
        self.assertEqual(3600, settings.host_db_script_timeout_seconds)
        self.assertIsNone(settings.max_age_seconds)
        self.assertEqual(("stdout",), settings.log_handlers)
        self.assertEqual("full", settings.durability)
        self.assertEqual(10, settings.connect_timeout_seconds)
        self.assertEqual(60, settings.agent_idle_timeout_seconds)
        self.assertEqual(3600, settings.agent_connection_age_seconds)
        self.assertEqual(64, settings.idle_connections_per_agent)
        self.assertEqual(1024, settings.idle_connections)
        self.assertEqual(10, settings.shutdown_grace_seconds)
        self.assertEqual(300, settings.client_idle_timeout_seconds)
        self.assertEqual(1048576, settings.max_request_size)
        self.assertFalse(settings.verify_hostname)
        self.assertIsNone(settings.erlang.log_file)

    def test_every_setting_is_read(self) -> None:
        """Each key ends where it belongs, in seconds where it is a time."""
        settings = self.settings(
            'listen = ["*:1"]\nca_file = "ca"\nknown_certs_file = "known"\n'
            "verify_hostname = true\ndefault_timeout = 1.5\nmax_exec_time = 2\nmax_age = 3\n"
            'host_db_refresh = 4\nhost_db_script_timeout = 5\nlog_handlers = ["journal"]\n'
            'log_format = "json"\ndurability = "end"\nconnect_timeout = 6\nshutdown_grace = 0\n'
            "client_idle_timeout = 7\nmax_request_size = 2048\nagent_idle_timeout = 0\n"
            "agent_connection_age = 8\nidle_connections_per_agent = 9\nidle_connections = 10\n"
            "[erlang]\n"
            'node_name = "n"\nname_type = "shortnames"\ncookie_file = "cookie"\n'
            'distributed_immediate = true\nlog_file = "/var/log/x.log"\n'
        )
        self.assertEqual(Path("/etc/harpcaller/ca"), settings.ca_file)
        self.assertEqual(Path("/etc/harpcaller/known"), settings.known_certs_file)
        self.assertTrue(settings.verify_hostname)
        self.assertEqual(1.5, settings.default_timeout_seconds)
        self.assertEqual(2, settings.max_exec_time_seconds)
        self.assertEqual(3 * 3600, settings.max_age_seconds)
        self.assertEqual(4, settings.host_db_refresh_seconds)
        self.assertEqual(5, settings.host_db_script_timeout_seconds)
        self.assertEqual(("journal",), settings.log_handlers)
        self.assertEqual("json", settings.log_format)
        self.assertEqual("end", settings.durability)
        self.assertEqual(6, settings.connect_timeout_seconds)
        self.assertEqual(0, settings.shutdown_grace_seconds)
        self.assertEqual(7, settings.client_idle_timeout_seconds)
        self.assertEqual(0, settings.agent_idle_timeout_seconds)
        self.assertEqual(8, settings.agent_connection_age_seconds)
        self.assertEqual(9, settings.idle_connections_per_agent)
        self.assertEqual(10, settings.idle_connections)
        self.assertEqual(2048, settings.max_request_size)
        erlang = settings.erlang
        self.assertEqual(("n", "shortnames"), (erlang.node_name, erlang.name_type))
        self.assertEqual(Path("/etc/harpcaller/cookie"), erlang.cookie_file)
        self.assertTrue(erlang.distributed_immediate)
        self.assertEqual(Path("/var/log/x.log"), erlang.log_file)

    def test_relative_path_starts_at_the_file(self) -> None:
        """The folder that the daemon was started in doesn't matter."""
        settings = self.read(
            'stream_directory = "stream"\nhost_db = "../db"\nhost_db_script = "s"'
        ).settings
        self.assertEqual(Path("/etc/harpcaller/stream"), settings.stream_directory)
        self.assertEqual(Path("/etc/harpcaller/../db"), settings.host_db)

    def test_handler_named_twice_counts_once(self) -> None:
        """The manual's name and the plain one are the same handler."""
        settings = self.settings('log_handlers = ["stdout", "harpcaller_stdout_h", "syslog"]')
        self.assertEqual(("stdout", "syslog"), settings.log_handlers)

    def test_no_log_handler_is_allowed(self) -> None:
        """Somebody may want only the log file."""
        self.assertEqual((), self.settings("log_handlers = []").log_handlers)

    def test_same_settings_are_equal_wherever_they_stand(self) -> None:
        """A comment added to the file is no change."""
        self.assertEqual(
            self.settings("max_age = 1").source.lines[("max_age",)] + 1,
            self.settings("# more\nmax_age = 1").source.lines[("max_age",)],
        )
        self.assertEqual(self.settings("max_age = 1"), self.settings("# more\nmax_age = 1"))


class ListenTests(ConfigCase):
    def listen(self, entry: str) -> ListenAddress:
        (address,) = self.settings(f'listen = ["{entry}"]').listen
        self.assertEqual(entry, str(address))
        return address

    def test_names_and_addresses(self) -> None:
        """All the forms of the manual."""
        self.assertEqual(ListenAddress(None, 3502), self.listen("*:3502"))
        self.assertEqual(ListenAddress("127.0.0.1", 0), self.listen("127.0.0.1:0"))
        self.assertEqual(ListenAddress("::1", 65535), self.listen("[::1]:65535"))
        self.assertEqual(ListenAddress("a.example", 1), self.listen("a.example:1"))
        self.assertEqual(ListenAddress("fe80::1%eth0", 1), self.listen("[fe80::1%eth0]:1"))
        self.assertEqual(ListenAddress("a.example.", 1), self.listen("a.example.:1"))

    def test_what_is_no_address(self) -> None:
        """Each message tells what part is wrong."""
        for entry, said in {
            '"3502"': 'expected "<bind-address>:<port>", got "3502"',
            '":3502"': 'expected "<bind-address>:<port>", got ":3502"',
            "3502": 'expected "<bind-address>:<port>", got 3502',
            '"*:65536"': 'expected a port from 0 to 65535 after the last colon, got "*:65536"',
            '"*:-1"': 'expected a port from 0 to 65535 after the last colon, got "*:-1"',
            '"*:http"': 'expected a port from 0 to 65535 after the last colon, got "*:http"',
            '"::1:3502"': 'an IPv6 address is written in brackets, as [::1]:3502; got "::1:3502"',
            '"[::x]:1"': 'expected an IPv6 address in the brackets, got "[::x]:1"',
            '"1.2.3:1"': 'expected an IPv4 address before the colon, got "1.2.3:1"',
            '"a b:1"': 'expected a host name, an address or * before the colon, got "a b:1"',
            '"-a:1"': 'expected a host name, an address or * before the colon, got "-a:1"',
            '"a..b:1"': 'expected a host name, an address or * before the colon, got "a..b:1"',
        }.items():
            self.assertEqual(f"listen: {said}", self.problem(f"listen = [{entry}]"))

    def test_each_bad_entry_is_told_with_its_own_line(self) -> None:
        """A list over many lines is no haystack."""
        found = self.problems(NEEDED + 'listen = [\n "a",\n "*:1",\n "b",\n]')
        self.assertEqual(
            [
                'line 5: listen: expected "<bind-address>:<port>", got "a"',
                'line 7: listen: expected "<bind-address>:<port>", got "b"',
            ],
            found,
        )

    def test_not_a_list_or_an_empty_one(self) -> None:
        """A dispatcher that listens nowhere is of no use."""
        self.assertEqual(
            'listen: expected a list of addresses, each "<bind-address>:<port>", got "*:1"',
            self.problem('listen = "*:1"'),
        )
        self.assertEqual(
            "listen: expected at least one address, got an empty list", self.problem("listen = []")
        )

    def test_same_address_twice(self) -> None:
        """The second would find the port taken, with a message less clear."""
        self.assertEqual('listen: "*:1" stands twice', self.problem('listen = ["*:1", "*:1"]'))
        self.assertEqual(2, len(self.settings('listen = ["*:0", "*:0"]').listen))


class MistakeTests(ConfigCase):
    def test_every_mistake_is_told_at_once_in_order(self) -> None:
        """One run of the checker, one round of editing."""
        self.assertEqual(
            [
                "host_db: missing",
                "host_db_script: missing",
                'line 2: max_exec_time: expected a positive number of seconds, got "ten"',
                "line 3: stream_directory: expected a path, got 7",
                'line 5: erlang.name_type: expected "longnames" or "shortnames", got "long"',
            ],
            self.problems(
                'default_timeout = 1\nmax_exec_time = "ten"\nstream_directory = 7\n'
                '[erlang]\nname_type = "long"\n'
            ),
        )

    def test_values_that_are_no_time(self) -> None:
        """Numbers that would make a timer fail or never end are refused here."""
        for value in ('"ten"', "true", "0", "-1", "nan", "-inf", "[1]", "{}", "2026-11-21"):
            said = self.problem(f"max_exec_time = {value}")
            self.assertIn("expected a positive number of seconds, got ", said)
        for value in ("inf", "1e300", "1_000_000_001"):
            said = self.problem(f"max_exec_time = {value}")
            self.assertIn("a positive number of seconds up to 1000000000, got", said)

    def test_what_was_found_is_quoted_as_in_the_file(self) -> None:
        """The operator finds by eye what the message shows."""
        for value, shown in {
            "true": "true",
            '"a\\nb"': '"a\\nb"',
            "[1]": "a list",
            "{}": "a table",
            "-1.5": "-1.5",
            "2026-11-21": "2026-11-21",
            f'"{"x" * 100}"': '"' + "x" * 55 + "...",
        }.items():
            said = self.problem(f"max_age = {value}")
            self.assertEqual(f"max_age: expected a positive number of hours, got {shown}", said)

    def test_other_kinds(self) -> None:
        """Each kind of setting tells what it takes."""
        for line, said in {
            'verify_hostname = "yes"': 'verify_hostname: expected true or false, got "yes"',
            'durability = "all"': 'durability: expected "full", "end" or "none", got "all"',
            'log_format = "xml"': 'log_format: expected "text" or "json", got "xml"',
            "shutdown_grace = -1": "shutdown_grace: expected a number of seconds, got -1",
            'ca_file = ""': 'ca_file: expected a path, got ""',
            'ca_file = "a\\u0000b"': "ca_file: expected a path, got one with a NUL character in it",
            "idle_connections = 0": "idle_connections: expected a number of connections "
            "from 1 to 100000, got 0",
            "max_request_size = true": "max_request_size: expected a whole number of bytes "
            "from 1024 to 1073741824, got true",
            "max_request_size = 1.5": "max_request_size: expected a whole number of bytes "
            "from 1024 to 1073741824, got 1.5",
            "max_request_size = 1": "max_request_size: expected a whole number of bytes "
            "from 1024 to 1073741824, got 1",
            'log_handlers = ["file"]': "log_handlers: expected "
            '"harpcaller_stdout_h", "harpcaller_syslog_h", "stdout", "syslog" or "journal", '
            'got "file"',
            'log_handlers = "syslog"': "log_handlers: "
            'expected a list of log handlers, got "syslog"',
            "erlang = 1": "erlang: expected a section, got 1",
            "erlang = {node_name = 1}": "erlang.node_name: "
            "expected a string that isn't empty, got 1",
        }.items():
            self.assertEqual(said, self.problem(line))

    def test_broken_form_is_told_with_its_line(self) -> None:
        """TOML's own mistakes look like all others."""
        self.assertEqual("not TOML: Invalid value, at column 11", self.problem("max_age = \n"))
        self.assertEqual(
            ["not TOML: Expected '=' after a key in a key/value pair (at end of document)"],
            self.problems(NEEDED + "max_age"),
        )
        self.assertEqual(
            "not TOML: Cannot overwrite a value, at column 15",
            self.problem('host_db = "/x"\n'),
        )

    def test_what_is_not_text(self) -> None:
        """A binary given by mistake gets a line, not a traceback."""
        error = self.assertRaises(ConfigurationError, parse, b"a = 1\n\xff", Path("/x"))
        self.assertEqual("/x: line 2: not UTF-8", str(error))
        self.assertEqual(["nested too deeply"], self.problems("a = " + "[" * 100_000))
        (said,) = self.problems("a = " + "9" * 5000)
        self.assertTrue(said.startswith("not TOML: Exceeds the limit"), said)

    def test_file_that_cannot_be_read(self) -> None:
        """The path and the system's reason are told."""
        path = Path(self.mktemp())
        error = self.assertRaises(ConfigurationError, load, path)
        self.assertEqual(f"{path}: can't be read: No such file or directory", str(error))

    def test_file_is_loaded(self) -> None:
        """A file with Windows line ends too; lines are counted right."""
        path = Path(self.mktemp())
        path.write_bytes((NEEDED + "max_age = 1\n").replace("\n", "\r\n").encode())
        settings = load(path).settings
        self.assertEqual(3600, settings.max_age_seconds)
        self.assertEqual(4, settings.source.lines[("max_age",)])
        self.assertEqual(str(path), settings.source.file)


class UnknownKeyTests(ConfigCase):
    def test_slip_is_a_warning_with_the_nearest_key(self) -> None:
        """The daemon starts, and says what it passed over."""
        self.assertEqual(
            ["line 4: max_agee: unknown setting; did you mean max_age?"],
            self.warnings("max_agee = 1"),
        )

    def test_strange_key_is_a_warning(self) -> None:
        """No guess is better than a wild one."""
        self.assertEqual(
            ['line 4: "zz\\nzz": unknown setting, passed over'], self.warnings('"zz\\nzz" = 1')
        )

    def test_key_in_the_wrong_section(self) -> None:
        """What is added at the end of the file lands in the last section: TOML's classic."""
        self.assertEqual(
            [
                "line 4: log_file: unknown setting; it belongs in the section [erlang]",
                "line 6: erlang.max_age: unknown setting; it belongs before the first section",
                "line 7: other: unknown setting, passed over",
            ],
            self.warnings('log_file = "/x"\n[erlang]\nmax_age = 1\n[other]\nx = 1\n'),
        )


class ChangeTests(ConfigCase):
    def test_nothing_changed(self) -> None:
        """A reload of the same file is always fine."""
        self.assertEqual([], cannot_change(self.settings(""), self.settings("# again")))

    def test_what_can_change(self) -> None:
        """Nearly all settings can change while the daemon runs."""
        new = self.settings('listen = ["*:1"]\nmax_age = 1\nca_file = "x"\nlog_handlers = []')
        self.assertEqual([], cannot_change(self.settings(""), new))

    def test_what_cannot_change_is_named_with_its_line(self) -> None:
        """The operator learns that it takes a restart."""
        new = self.read(NEEDED.replace("stream/", "other") + 'durability = "none"').settings
        found = cannot_change(self.settings(""), new)
        self.assertEqual(
            [
                "/etc/harpcaller/harpcaller.toml: line 1: stream_directory: can't change while "
                "the daemon runs, since the jobs under way are there; it is "
                "/var/lib/harpcaller/stream",
                "/etc/harpcaller/harpcaller.toml: line 4: durability: can't change while "
                "the daemon runs, since the store was opened with it; it is full",
            ],
            [str(problem) for problem in found],
        )

    def test_setting_taken_out_of_the_file(self) -> None:
        """A change back to the default is a change, though it has no line."""
        (problem,) = cannot_change(self.settings('durability = "none"'), self.settings(""))
        self.assertIsNone(problem.line)
