"""The pages on the control socket and its tool tell what there is."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.control.arguments import COMMON, FLAGS, SHAPES, VALUED
from harpcaller.errors import BY_WIRE_TYPE
from harpcaller.wire import control
from harpcaller.wire.control import COMMANDS, decode_command
from harpcaller.wire.control_answers import Closing, Refusal, decode_line
from harpcaller.wire.values import decode

DOC = Path(__file__).parents[2] / "doc"


class ProtocolPageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.page = (DOC / "control.rst").read_text("utf-8")

    def test_examples_are_true(self) -> None:
        """What is asked is understood, but for the mistakes; every answer is one, and ends."""
        closed = True
        for line in map(str.strip, self.page.splitlines()):
            mark, _, text = line.partition(" ")
            if mark == "->":
                self.assertTrue(closed, line)
                closed = False
                if "lgos" not in text:
                    decode_command(text.encode())
            elif mark == "<-":
                self.assertFalse(closed, line)
                found = decode_line(text.encode())
                closed = isinstance(found, (Closing, Refusal))
                if isinstance(found, Refusal):
                    types = {"config_rejected", "command_failed", *BY_WIRE_TYPE}
                    self.assertIn(found.type, types)
                if found is None:
                    self.assertIn(next(iter(decode(text.encode()))), ("job", "queue", "hostname"))
        self.assertTrue(closed)

    def test_every_command_is_described(self) -> None:
        """With each of its fields."""
        for name, command in COMMANDS.items():
            self.assertIn(f"``{name}``", self.page)
            for field in control.fields_of(command):
                self.assertIn(field.name, self.page)


class ManualPageTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.page = (DOC / "man" / "harpcallerd.8.rst").read_text("utf-8")

    def test_every_command_is_described(self) -> None:
        """In the synopsis and in its own place."""
        for command, shape in SHAPES.items():
            self.assertTrue(self.page.count(f"**{command}**") >= 2, command)
            (line,) = (
                line
                for line in self.page.splitlines()
                if line.startswith("| ") and f" **{command}**" in line
            )
            for option in shape.options:
                self.assertIn(f"**--{option}**", line)

    def test_every_option_is_described(self) -> None:
        """And no option is that the tool doesn't take."""
        described = {
            line.split()[0].removeprefix("--")
            for line in self.page.splitlines()
            if line.strip().startswith("--") and line.strip("- ")
        }
        self.assertEqual({*VALUED, *FLAGS}, described)
        self.assertTrue({*COMMON} <= described)
