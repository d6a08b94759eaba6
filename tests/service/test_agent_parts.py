"""What an agent's files say, and what --test makes of them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import attrs

from harpcaller.agent.auth.hashes import Users
from harpcaller.agent.orders import Load
from harpcaller.agent.procedures import MODULE
from harpcaller.config.agent import DEFAULT_PROCEDURES
from harpcaller.config.problems import ConfigurationError
from harpcaller.logs.observers import LogTo
from harpcaller.service.agent_daemon import environment_for_procedures
from harpcaller.service.agent_parts import CommandLine, examine, read_parts
from harpcaller.service.agent_service import Options
from harpcaller.testing.certificates import make_authority
from tests.house import HouseCase

EXAMPLES = Path(__file__).parents[2] / "etc" / "harpd"
USERS = "me:$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5\n"


class PartsCase(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp()).absolute()
        shutil.copytree(EXAMPLES, self.folder)
        make_authority().issue().write(self.folder, "agent")
        (self.folder / "agent.pem").rename(self.folder / "harpd.cert.pem")
        (self.folder / "agent.key").rename(self.folder / "harpd.key.pem")
        (self.folder / "users").write_text(USERS)
        self.config = self.folder / "harpd.conf"
        self.command = CommandLine(self.config)
        self.addCleanup(sys.modules.pop, MODULE, None)
        path = sys.path[:]
        self.addCleanup(lambda: sys.path.__setitem__(slice(None), path))

    def authentication(self, *lines: str) -> None:
        """Put something else into the configuration's section of that name."""
        text = self.config.read_text()
        before, _, rest = text.partition("  module: harpd.auth.passfile\n")
        text = before + "".join(f"  {line}\n" for line in lines) + rest
        self.config.write_text(text.replace("  file: users\n", ""))

    def own_module(self, text: str) -> None:
        name = f"house_users_{id(self)}"
        (self.folder / f"{name}.py").write_text(text)
        self.addCleanup(sys.modules.pop, name, None)
        self.authentication(f"module: {name}")
        with self.config.open("a") as config:
            config.write("\npython: {path: .}\n")

    def problems(self) -> list[str]:
        with self.assertRaises(ConfigurationError) as caught:
            read_parts(self.command)
        return [
            str(problem).replace(f"{self.folder}/", "") for problem in caught.exception.problems
        ]


class ExampleTests(PartsCase):
    def test_examples(self) -> None:
        """The example files are good, and a user of theirs is known."""
        parts = read_parts(self.command)
        self.assertEqual((), parts.warnings)
        self.assertTrue(parts.backend.authenticate("me", "Hello world!"))
        self.assertEqual(Load(str(self.folder / "harpd.py"), max_processes=512), parts.order)
        verdict = examine(self.command)
        self.assertEqual(((), (), 7), (verdict.problems, verdict.warnings, verdict.procedures))


class CommandLineTests(PartsCase):
    def test_goes_before_the_file(self) -> None:
        """What is said on the command line counts, whatever the file says."""
        options = Options()
        options.parseOptions(
            ["-c", str(self.config), "-r", "/other.py", "-u", "root", "--default-group=0"]
        )
        command = options.command_line()
        self.assertEqual(CommandLine(self.config, Path("/other.py"), "root", 0), command)
        order = read_parts(command).order
        self.assertEqual(Load("/other.py", [], [], "root", 0, max_processes=512), order)

    def test_defaults(self) -> None:
        """Without options, the files are where the manual page says."""
        options = Options()
        options.parseOptions([])
        self.assertEqual(CommandLine(), options.command_line())
        self.assertEqual(str(DEFAULT_PROCEDURES), CommandLine().order(None).file)

    def test_no_such_user(self) -> None:
        """A default user who doesn't exist is a mistake."""
        self.command = CommandLine(self.config, None, "no-such-user")
        self.assertEqual(["the command line: there is no user 'no-such-user'"], self.problems())


class AuthenticationTests(PartsCase):
    def test_own_module(self) -> None:
        """A module of one's own is found on the configured path."""
        self.own_module(
            "class All:\n  def authenticate(self, user, password): return True\n"
            "def create(config): return All()\n"
        )
        self.assertTrue(read_parts(self.command).backend.authenticate("you", "x"))

    def test_mistakes_of_modules(self) -> None:
        """What a module can't do is told, with the line that names it."""
        for text, said in (
            ("1 / 0", "ZeroDivisionError: division by zero"),
            ("", "has no function create"),
            ("def create(config): raise KeyError('hunter2')", "create raised KeyError"),
            ("def create(config): raise ValueError('no good')", "authentication: no good"),
        ):
            with self.subTest(text=text):
                shutil.copy(EXAMPLES / "harpd.conf", self.config)
                self.own_module(text)
                (problem,) = self.problems()
                self.assertIn(said, problem)
                self.assertIn("harpd.conf: line ", problem)
                self.assertNotIn("hunter2", problem)
                self.forget_own_module()

    def forget_own_module(self) -> None:
        sys.modules.pop(f"house_users_{id(self)}", None)
        shutil.rmtree(self.folder / "__pycache__", ignore_errors=True)

    def test_no_such_module(self) -> None:
        """A module that doesn't exist is told."""
        self.authentication("module: no_such_module")
        self.assertIn("can't import no_such_module", self.problems()[0])

    def test_mistakes_in_users(self) -> None:
        """Mistakes in the users' file, and in users in the configuration, have their lines."""
        (self.folder / "users").write_text("me\n")
        self.assertEqual(["users: line 1: expected user:crypt-hash"], self.problems())
        self.authentication("module: harpd.auth.inconfig", "users:", "  me: plan:hunter2")
        (problem,) = self.problems()
        line = self.config.read_text().split("\n").index("    me: plan:hunter2") + 1
        self.assertEqual(
            f"harpd.conf: line {line}: authentication.users.me:"
            " expected plain:PASSWORD or crypt:HASH",
            problem,
        )

    def test_users_are_users(self) -> None:
        """The backend is what the module made."""
        self.assertIsInstance(read_parts(self.command).backend, Users)


class OtherTests(PartsCase):
    def test_all_at_once(self) -> None:
        """All that is wrong with different files is told together."""
        (self.folder / "users").unlink()
        (self.folder / "harpd.key.pem").unlink()
        (self.folder / "harpd.py").write_text("1 / 0\n")
        verdict = examine(self.command)
        self.assertEqual(
            [
                "users: No such file or directory",
                "harpd.conf: line 5: network: harpd.key.pem: No such file or directory",
                "harpd.py:1: ZeroDivisionError: division by zero",
            ],
            [problem.replace(f"{self.folder}/", "") for problem in verdict.problems],
        )

    def test_network_user(self) -> None:
        """Nobody can be who isn't there."""
        text = self.config.read_text()
        self.config.write_text(text.replace("  #user: harpd", "  user: no-such-user"))
        (problem,) = self.problems()
        self.assertRegex(problem, r"^harpd.conf: line \d+: network.user: .*'no-such-user'")

    def test_reload(self) -> None:
        """Changes of the procedures file can be noticed."""
        text = self.config.read_text().replace("#reload: signal", "reload: auto")
        self.config.write_text(text)
        self.assertEqual("auto", read_parts(self.command).settings.reload)

    def test_users_of_procedures(self) -> None:
        """--test warns of procedures whose users don't exist."""
        (self.folder / "harpd.py").write_text(
            "from harpd.proc import procedure\n@procedure(uid='no-such-user')\ndef x(): pass\n"
        )
        (warning,) = examine(self.command).warnings
        self.assertIn("procedure x: there is no user 'no-such-user'", warning)


class LoggingTests(PartsCase):
    def setUp(self) -> None:
        super().setUp()
        self.logging = self.folder / "logging.yaml"
        self.command = CommandLine(self.config, self.folder / "harpd.py", logging=self.logging)

    def test_places(self) -> None:
        """The file says where to log to, whatever else was said."""
        self.logging.write_text("levle: x\nhandlers: [{to: file, path: x, format: json}]\n")
        parts = read_parts(attrs.evolve(self.command, syslog=True, elsewhere="stdout"))
        self.assertEqual((LogTo("file", self.folder / "x", "json"),), parts.log_places)
        self.assertIn("levle: unknown key", str(parts.warnings[0]))

    def test_example(self) -> None:
        """The example file is good."""
        command = attrs.evolve(self.command, logging=EXAMPLES / "logging.yaml")
        found = command.log_places()
        self.assertEqual(((), 2), (found.warnings, len(found.places or ())))

    def test_without_a_file(self) -> None:
        """Otherwise it's syslog or wherever is usual."""
        for syslog, elsewhere, places in (
            (True, "stdout", (LogTo("syslog"),)),
            (False, "stdout", (LogTo("stdout"),)),
            (False, None, None),
        ):
            command = CommandLine(self.config, syslog=syslog, elsewhere=elsewhere)
            self.assertEqual(places, read_parts(command).log_places)

    def tested(self) -> list[str]:
        problems = examine(self.command).problems
        return [problem.replace(f"{self.folder}/", "") for problem in problems]

    def test_mistakes(self) -> None:
        """They are told with those of other files, even if there's no configuration."""
        self.logging.write_text("handlers: []\n")
        said = "logging.yaml: line 1: handlers: expected a list of at least one handler"
        self.assertEqual([said], self.tested())
        self.config.unlink()
        self.assertEqual(["harpd.conf: No such file or directory", said], self.tested())
        self.logging.write_text("handlers: [{to: stdout}]\n")
        self.assertEqual(["harpd.conf: No such file or directory"], self.tested())

    def test_files_that_can_not_be_had(self) -> None:
        """--test finds them without making them."""
        self.logging.write_text(
            "handlers:\n  - {to: file, path: no/x}\n  - {to: file, path: .}\n"
            "  - {to: file, path: log}\n  - {to: file, path: /proc/version}\n"
        )
        found = self.tested()
        self.assertEqual("no/x: its folder doesn't exist", found[0])
        self.assertIn("a folder, and no file", found[1])
        self.assertFalse((self.folder / "log").exists())


class EnvironmentTests(HouseCase):
    def test_for_procedures(self) -> None:
        """Procedures get our environment without what is only for us."""
        ours = {"PATH": "/bin", "NOTIFY_SOCKET": "x", "LISTEN_FDS": "1", "LC_CTYPE": "C.UTF-8"}
        self.assertEqual({"PATH": "/bin"}, environment_for_procedures(ours, b"PATH=/bin\0"))
        self.assertEqual(
            {"PATH": "/bin", "LC_CTYPE": "C.UTF-8"},
            environment_for_procedures(ours, b"PATH=/bin\0LC_CTYPE=C.UTF-8\0"),
        )
