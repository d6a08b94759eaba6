"""Values that a file can have and that no setting is: each is told as a mistake, none is a bug."""

from __future__ import annotations

from pathlib import Path

from harpcaller.config import agent, dispatcher
from harpcaller.config.agent_logging import parse_logging
from harpcaller.config.problems import ConfigurationError
from harpcaller.config.yaml_document import MOST_VALUES, YAMLDocument
from tests.house import HouseCase

HUGE = "0x" + 5000 * "f"


class OddValueTests(HouseCase):
    def problems(self, text: str) -> list[str]:
        with self.assertRaises(ConfigurationError) as caught:
            parse_logging(text, "f", Path("/"))
        return str(caught.exception).splitlines()

    def test_numbers_with_thousands_of_digits(self) -> None:
        """They are told as such, and not written out."""
        with self.assertRaises(ConfigurationError) as caught:
            agent.parse(f"network: {{port: {HUGE}}}", "f", Path("/"))
        self.assertIn("network.port: expected a port", str(caught.exception))
        self.assertIn("got a number of 20000 bits", str(caught.exception))
        with self.assertRaises(ConfigurationError) as caught:
            dispatcher.parse(f"max_request_size = {HUGE}".encode(), Path("/f"))
        self.assertIn("max_request_size: expected", str(caught.exception))

    def test_values_that_are_not_of_their_tag(self) -> None:
        """A tag that doesn't fit is a mistake with its line."""
        for value in (
            "!!int",
            "!!int x",
            "!!bool x",
            "!!float x",
            "!!float " + 300 * "1:" + "0",
            "!!timestamp x",
            "!!timestamp 2001-99-99",
        ):
            problems = self.problems(f"\nlevel: {value}")
            self.assertEqual(["f: line 2: not YAML: no value of its kind"], problems, value)

    def test_aliases_that_multiply(self) -> None:
        """A few lines that stand for a million values are refused before those are made."""
        lines = ["- &a0 [x, x, x, x, x, x, x, x, x, x]"]
        lines += [f"- &a{n} [{', '.join(10 * [f'*a{n - 1}'])}]" for n in range(1, 7)]
        expected = f"f: more than {MOST_VALUES} values, with what aliases stand for"
        self.assertEqual([expected], self.problems("\n".join(lines)))
        merged = "{k: v}"
        for n in range(30):
            merged = f"{{<<: [&a{n} {merged}, *a{n}, *a{n}]}}"
        self.assertEqual([expected], self.problems(merged))

    def test_alias_of_what_it_is_in(self) -> None:
        """A value that is a part of itself is refused."""
        for text in ("&a [*a]", "&a {k: *a}", "&a {<<: *a}"):
            self.assertEqual(["f: nested too deeply"], self.problems(text), text)

    def test_aliases_and_merges(self) -> None:
        """Those that are of use are read."""
        document = YAMLDocument("f")
        text = "- &a {x: 1}\n- *a\n- {<<: *a, y: 2}\n"
        self.assertEqual([{"x": 1}, {"x": 1}, {"x": 1, "y": 2}], document.read(text))
        self.assertEqual([], document.problems)
