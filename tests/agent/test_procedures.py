"""Loading a procedures file."""

from __future__ import annotations

import sys
from pathlib import Path

from harpcaller.agent.procedures import MODULE, NotLoadable, load
from tests.house import HouseCase


class LoadTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.mktemp())
        self.folder.mkdir()
        self.path = self.folder / "harpd.py"
        self.addCleanup(sys.modules.pop, MODULE, None)

    def trouble(self, text: str) -> str:
        self.path.write_text(text)
        with self.assertRaises(NotLoadable) as caught:
            load(str(self.path)).descriptions()
        message = str(caught.exception)
        self.assertNotIn("\n", message)
        return message.replace(str(self.path), "FILE")

    def test_procedures_are_global_variables(self) -> None:
        """A procedure has the name of its variable; everything else is passed over."""
        self.path.write_text(
            "from harpd.proc import procedure, Procedure\n"
            "@procedure\n"
            "def one(a): return __name__, __file__\n"
            "two = Procedure(lambda: 2)\n"
            "def not_one(): pass\n"
            "THREE = 3\n"
        )
        procedures = load(str(self.path))
        self.assertEqual(["one", "two"], list(procedures.by_name))
        self.assertEqual((MODULE, str(self.path)), procedures.by_name["one"](1))
        self.assertEqual(["one", "two"], [d["name"] for d in procedures.descriptions()])
        self.assertEqual([self.path], list(self.folder.iterdir()), "nothing is left beside it")

    def test_missing_file(self) -> None:
        """A file that isn't there is named."""
        with self.assertRaisesRegex(NotLoadable, "nowhere.py: No such file"):
            load(str(self.folder / "nowhere.py"))

    def test_syntax(self) -> None:
        """A syntax error is told with its line."""
        self.assertIn("FILE:2: ", self.trouble("x = 1\nx = = 2\n"))
        self.assertIn("FILE", self.trouble("x = '\0'\n"))

    def test_exceptions(self) -> None:
        """Whatever the file raises is told with the file's line, sys.exit too."""
        self.assertEqual("FILE:2: ZeroDivisionError: division by zero", self.trouble("\n1 / 0\n"))
        self.assertEqual("FILE:1: SystemExit: 3", self.trouble("raise SystemExit(3)"))
        self.assertIn("FILE:1: ModuleNotFoundError", self.trouble("import no_such_module"))
        text = "import json\ndef inside():\n  json.loads('{')\ninside()"
        self.assertIn("FILE:3: JSONDecodeError", self.trouble(text))

    def test_bad_option(self) -> None:
        """A decorator's bad option is told with its line."""
        text = "from harpd.proc import procedure\n@procedure(timeout=-1)\ndef x(): pass\n"
        self.assertIn("FILE:2: ValueError: timeout: expected a positive", self.trouble(text))

    def test_syntax_error_in_imported_module(self) -> None:
        """If an imported module is broken, its file is told."""
        self.folder.joinpath("broken_mate.py").write_text("\n\nx = = 1\n")
        sys.path.insert(0, str(self.folder))
        self.addCleanup(sys.path.remove, str(self.folder))
        message = self.trouble("import broken_mate\n")
        self.assertIn("FILE:1: ", message)
        self.assertIn("broken_mate.py:3: ", message)

    def test_no_signature(self) -> None:
        """A procedure whose signature can't be known is refused by name."""
        text = "from harpd.proc import Procedure\nbad = Procedure(dict)\n"
        self.assertIn("procedure bad: ", self.trouble(text))
