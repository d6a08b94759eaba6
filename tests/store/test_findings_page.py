"""The page on the store tells what a check can find."""

from __future__ import annotations

from pathlib import Path

from harpcaller.store.findings import KINDS
from tests.house import HouseCase

PAGE = Path(__file__).parents[2] / "doc" / "store.rst"


class PageTests(HouseCase):
    def test_every_kind_is_described(self) -> None:
        """With what a repair does, in the words that the tool uses."""
        page = PAGE.read_text("utf-8")
        for kind, repair in KINDS.items():
            self.assertIn(f"``{kind}``\n", page)
            self.assertIn(repair, page)
