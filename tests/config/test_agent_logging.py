"""The agent's logging file."""

from __future__ import annotations

from pathlib import Path

from harpcaller.config.agent_logging import LogHandler, load_logging, parse_logging
from harpcaller.config.problems import ConfigurationError
from tests.house import HouseCase

FOLDER = Path("/etc/harpd")


class GoodTests(HouseCase):
    def test_all_keys(self) -> None:
        """Each handler has its own level and format, or the file's level."""
        loaded = parse_logging(
            """
level: warn
handlers:
  - to: stdout
    format: json
  - {to: syslog, level: critical}
  - {to: journal, level: debug}
  - to: file
    path: log/harpd.log
""",
            "logging.yaml",
            FOLDER,
        )
        self.assertEqual((), loaded.warnings)
        self.assertEqual(
            (
                LogHandler(to="stdout", level="warn", format="json"),
                LogHandler(to="syslog", level="critical"),
                LogHandler(to="journal", level="debug"),
                LogHandler(to="file", path=FOLDER / "log/harpd.log", level="warn"),
            ),
            loaded.handlers,
        )

    def test_unknown_keys(self) -> None:
        """They are warnings, with what was probably meant."""
        loaded = parse_logging("levle: warn\nhandlers: [{to: stderr, formt: json}]\n", "f", FOLDER)
        self.assertEqual((LogHandler(to="stderr"),), loaded.handlers)
        self.assertEqual(
            [
                "f: line 1: levle: unknown key; did you mean level?",
                "f: line 2: handlers.0.formt: unknown key; did you mean format?",
            ],
            list(map(str, loaded.warnings)),
        )

    def test_file(self) -> None:
        """It is read from a file; relative paths start at its folder."""
        folder = Path(self.mktemp())
        folder.mkdir()
        path = folder / "logging.yaml"
        path.write_text("handlers: [{to: file, path: x.log}]\n")
        self.assertEqual(folder / "x.log", load_logging(path).handlers[0].path)


class MistakeTests(HouseCase):
    def problems(self, text: str) -> list[str]:
        with self.assertRaises(ConfigurationError) as caught:
            _ = parse_logging(text, "f", FOLDER)
        return [str(problem) for problem in caught.exception.problems]

    def test_all_are_told_with_their_lines(self) -> None:
        """One look at the messages is enough to mend the file."""
        found = self.problems(
            """level: loud
handlers:
  - to: stdout
    format: xml
  - path: x
  - to: file
  - to: syslog
    format: json
    path: /dev/log
  - to: nowhere
  - stdout
"""
        )
        levels = '"debug", "info", "warn", "error" or "critical"'
        targets = '"stdout", "stderr", "syslog", "journal" or "file"'
        self.assertEqual(
            [
                f'f: line 1: level: expected {levels}, got "loud"',
                'f: line 4: handlers.0.format: expected "text" or "json", got "xml"',
                "f: line 5: handlers.1.to: missing",
                "f: line 6: handlers.2.path: missing, as the handler is a file",
                "f: line 9: handlers.3.path: syslog has no path; file has",
                "f: line 8: handlers.3.format: syslog has a form of its own",
                f'f: line 10: handlers.4.to: expected {targets}, got "nowhere"',
                "f: line 11: handlers.5: expected a handler, as key: value lines",
                "f: line 11: handlers.5.to: missing",
            ],
            found,
        )

    def test_no_handlers(self) -> None:
        """A file that says nothing would lose the log."""
        for text, line in (
            ("", ""),
            ("handlers: []", "line 1: "),
            ("handlers: stdout", "line 1: "),
        ):
            self.assertEqual(
                [f"f: {line}handlers: expected a list of at least one handler"],
                self.problems(text),
            )

    def test_form_of_pythons_logging(self) -> None:
        """Whoever brings a file of another program is told that it isn't for this one."""
        (problem,) = self.problems("version: 1\nhandlers: {console: {class: StreamHandler}}\n")
        self.assertIn("f: line 1: version: this is not the form of Python's", problem)

    def test_not_yaml(self) -> None:
        """What isn't YAML at all is told, too."""
        (problem,) = self.problems("handlers: [")
        self.assertIn("not YAML", problem)
