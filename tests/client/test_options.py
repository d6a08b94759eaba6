"""The command line's options."""

from __future__ import annotations

import io
from argparse import Namespace
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from harpcaller.client.options import parse


class ParseTests(SynchronousTestCase):
    """Words to options."""

    def parse(self, *words: str, **environ: str) -> Namespace:
        """Parse what must be right."""
        return parse(words, environ)

    def refused(self, *words: str, **environ: str) -> str:
        """Parse what must be wrong; return what is said about it."""
        said = io.StringIO()
        with redirect_stderr(said):
            end = self.assertRaises(SystemExit, parse, words, environ)
        self.assertEqual(2, end.code)
        return said.getvalue()

    def test_options_may_stand_anywhere(self) -> None:
        """Before, between and after the arguments."""
        for words in (
            "call --follow h p 1 2",
            "call h --follow p 1 2",
            "call h p --follow 1 2",
            "call h p 1 --follow 2",
            "call h p 1 2 --follow",
            "call h p --follow -- 1 2",
        ):
            options = self.parse(*words.split())
            self.assertEqual(
                ("call", "h", "p", ["1", "2"], True),
                (options.command, options.host, options.procedure, options.args, options.follow),
            )

    def test_arguments_that_look_like_options(self) -> None:
        """A negative number is an argument; the rest goes after two dashes."""
        self.assertEqual(["-5"], self.parse("call", "h", "p", "-5").args)
        self.assertEqual(
            ["1", "-x", "--json", "--"],
            self.parse("call", "h", "p", "1", "--", "-x", "--json", "--").args,
        )

    def test_words_too_many(self) -> None:
        """They are named."""
        self.assertIn("unrecognized arguments: b", self.refused("status", "a", "b"))
        self.assertIn("unrecognized arguments: b", self.refused("status", "a", "--", "b"))

    def test_options_are_not_abbreviated(self) -> None:
        """A script that says --no doesn't change its meaning with a later version."""
        self.assertIn("unrecognized arguments: --no", self.refused("call", "h", "p", "--no"))

    def test_dispatchers_address(self) -> None:
        """Names and addresses with or without a port."""
        addresses: dict[str, Any] = {
            "box": ("box", 3502),
            "box:99": ("box", 99),
            "10.0.0.1:99": ("10.0.0.1", 99),
            "::1": ("::1", 3502),
            "[::1]": ("::1", 3502),
            "[::1]:99": ("::1", 99),
        }
        for text, expected in addresses.items():
            self.assertEqual(expected, self.parse("status", "j", HARPCALLER=text).dispatcher)
            self.assertEqual(expected, self.parse("status", "j", "--dispatcher", text).dispatcher)

    def test_no_address(self) -> None:
        """Without one it is this machine, also if the variable is empty."""
        self.assertEqual(("localhost", 3502), self.parse("status", "j").dispatcher)
        self.assertEqual(("localhost", 3502), self.parse("status", "j", HARPCALLER="").dispatcher)

    def test_address_that_is_none(self) -> None:
        """The message shows it."""
        for text in ("box:", ":99", "box:http", "[::1", "[]:1"):
            self.assertIn(
                "expected HOST or HOST:PORT", self.refused("status", "j", HARPCALLER=text)
            )

    def test_json_options(self) -> None:
        """They are checked before anything is sent, and kept as they were written."""
        options = self.parse("call", "h", "p", "--queue", '{"a": 1.0}', "--info", " [1e5] ")
        self.assertEqual((b'{"a": 1.0}', b"[1e5]"), (options.queue, options.info))
        self.assertIn("--queue: not JSON", self.refused("call", "h", "p", "--queue", "{"))
        self.assertIn("not UTF-8", self.refused("call", "h", "p", "--queue", '"\udcff"'))

    def test_what_excludes_each_other(self) -> None:
        """Following needs waiting; a stream begins at one place."""
        self.refused("call", "h", "p", "--follow", "--no-wait")
        self.refused("follow", "j", "--since", "1", "--recent", "1")

    def test_no_command(self) -> None:
        """It is said what is missing, and which there are."""
        self.assertIn("COMMAND", self.refused())
        self.assertIn("'call', 'result'", self.refused("submit"))

    def test_help(self) -> None:
        """The list of commands, and each command's own help, end well."""
        for words in (["--help"], ["call", "--help"], ["status", "-h"]):
            said = io.StringIO()
            with redirect_stdout(said):
                end = self.assertRaises(SystemExit, parse, words, {})
            self.assertEqual(0, end.code)
            self.assertIn("usage: harp", said.getvalue())
