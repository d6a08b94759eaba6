"""How benchmark programs show figures."""

from __future__ import annotations

from benchmarks.report import Cell, Finding, markdown_table, number, text_table
from tests.house import HouseCase


class NumberTests(HouseCase):
    """Numbers as people read them."""

    def test_three_digits(self) -> None:
        """Three digits mean something; of large numbers all before the point are told."""
        for value, shown in (
            (0, "0"),
            (0.01234, "0.0123"),
            (0.5, "0.5"),
            (1.0, "1"),
            (9.876, "9.88"),
            (20.04, "20"),
            (99.96, "100"),
            (123.4, "123"),
            (1_234_567.8, "1,234,568"),
            (-2.5, "-2.5"),
            (float("nan"), "nan"),
        ):
            self.assertEqual(shown, number(value))


class FindingTests(HouseCase):
    """Figures that something is expected of."""

    def test_ratio_is_judged(self) -> None:
        """Where there is a reference, the ratio to it is what a goal is about."""
        finding = Finding("calls", 40.0, "/s", "bare", 100.0, least=0.35)
        self.assertEqual(0.4, finding.ratio)
        self.assertEqual(("≥ 0.35", "met"), (finding.goal, finding.verdict))

    def test_value_is_judged(self) -> None:
        """Where there is none, the value is."""
        finding = Finding("a job", 5000.0, "bytes", most=4096)
        self.assertIsNone(finding.ratio)
        self.assertEqual(("≤ 4,096", "missed"), (finding.goal, finding.verdict))

    def test_nothing_expected(self) -> None:
        """Without a goal there is no verdict."""
        finding = Finding("a job", 5000.0, "bytes")
        self.assertEqual(("", ""), (finding.goal, finding.verdict))


class TableTests(HouseCase):
    """Tables, for terminals and for pages."""

    rows: tuple[dict[str, Cell], ...] = (
        {"": "ours", "a second": 1234.5},
        {"": "theirs", "a second": None},
    )

    def test_text(self) -> None:
        """Names are on the left, figures on the right."""
        self.assertEqual("        a second\nours       1,234\ntheirs", text_table(self.rows))

    def test_turned(self) -> None:
        """A row may be shown as a column."""
        self.assertEqual(
            "           ours  theirs\na second  1,234", text_table(self.rows, turned=True)
        )

    def test_markdown(self) -> None:
        """A page's table has bars."""
        self.assertEqual(
            "|  | a second |\n| --- | --: |\n| ours | 1,234 |\n| theirs |  |",
            markdown_table(self.rows),
        )
