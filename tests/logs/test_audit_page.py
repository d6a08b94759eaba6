"""What ``doc/logs`` says of the audit log is what goes into it."""

from __future__ import annotations

import re
from pathlib import Path

from harpcaller.logs.observers import AUDITED
from harpcaller.wire.values import decode
from tests.house import HouseCase

PAGE = Path(__file__).parent.parent.parent / "doc" / "logs.rst"


class AuditPageTests(HouseCase):
    def setUp(self) -> None:
        super().setUp()
        text = PAGE.read_text("utf-8")
        start = text.index("The audit log\n")
        self.section = text[start : text.index("When a handler fails\n", start)]

    def test_kinds(self) -> None:
        """Each kind of line is explained, and that lines are missing."""
        found = re.findall(r"^``([a-z.]+)``$", self.section, re.MULTILINE)
        self.assertEqual(sorted([*AUDITED, "log.lost"]), sorted(found))

    def test_examples(self) -> None:
        """The lines that are shown are such lines, and what is in them is explained."""
        examples = re.findall(r'^    (\{"time".*)$', self.section, re.MULTILINE)
        self.assertEqual(2, len(examples))
        for line in examples:
            entry = decode(line.encode())
            assert isinstance(entry, dict)
            self.assertEqual(["time", "level", "kind", "context"], list(entry))
            told = self.section[self.section.index(f"``{entry['kind']}``\n") :]
            for key in entry["context"]:
                self.assertIn(f"``{key}``", told)
