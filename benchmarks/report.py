"""What all programs here share: their options, their sizes, and how their figures are shown.

A program prints tables, holds some of its figures against a reference that was measured in the
same run or against a goal, and ends with one line that sums it up.  With ``--json`` it prints
one object instead: ``program``, ``summary``, ``tables``, ``notes``, ``findings``, ``conditions``.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import ssl
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import attrs

import twisted

Cell = float | str | None
_T = TypeVar("_T")


@attrs.frozen
class Finding:
    """A figure that something is expected of, or that is held against another.

    Attributes:
        what: What was measured.
        value: What came of it.
        unit: What that is.
        than: What it is held against, if anything.
        reference: What came of that.
        least: What the ratio to the reference, or else the value, should be at least.
        most: The same, at most.
    """

    what: str
    value: float
    unit: str = ""
    than: str = ""
    reference: float | None = None
    least: float | None = None
    most: float | None = None

    @property
    def ratio(self) -> float | None:
        """Give how many times the reference it is."""
        return self.value / self.reference if self.reference else None

    @property
    def is_met(self) -> bool | None:
        """Tell whether it is as it should be; None if nothing is expected."""
        value = self.value if self.ratio is None else self.ratio
        if self.least is not None:
            return value >= self.least
        return None if self.most is None else value <= self.most

    @property
    def goal(self) -> str:
        """Say what is expected."""
        if self.least is not None:
            return f"≥ {number(self.least)}"
        return "" if self.most is None else f"≤ {number(self.most)}"

    @property
    def verdict(self) -> str:
        """Say whether it is met."""
        return {None: "", True: "met", False: "missed"}[self.is_met]

    def as_row(self) -> dict[str, Cell]:
        """Give it as a row of a table."""
        return {
            "": self.what,
            "here": f"{number(self.value)} {self.unit}".strip(),
            "reference": "" if self.reference is None else number(self.reference),
            "which is": self.than,
            "ratio": self.ratio,
            "goal": self.goal,
            "so": self.verdict,
        }


@attrs.define
class Report:
    """What a program has found.

    Attributes:
        program: Its name.
        options: What it was told.
    """

    program: str
    options: argparse.Namespace
    findings: list[Finding] = attrs.Factory(list)
    _tables: list[dict[str, object]] = attrs.Factory(list)
    _notes: list[str] = attrs.Factory(list)
    _summary: str = ""

    def pick(self, full: _T, quick: _T, tiny: _T) -> _T:
        """Give what belongs to the size that was asked for."""
        if self.options.tiny:
            return tiny
        return quick if self.options.quick else full

    def table(
        self, title: str, rows: Sequence[Mapping[str, Cell]], *, turned: bool = False
    ) -> None:
        """Show a table.

        Args:
            title: What is in it.
            rows: Its rows, all with the same columns.
            turned: Whether to show each row as a column.
        """
        self._tables.append({"title": title, "rows": list(rows)})
        if not self.options.json:
            print(f"{title}\n\n{text_table(rows, turned=turned)}\n", flush=True)

    def note(self, words: str) -> None:
        """Say what makes figures other than they should be."""
        self._notes.append(words)
        if not self.options.json:
            print(f"{words}\n", flush=True)

    def find(self, finding: Finding) -> None:
        """Keep a figure for the list at the end."""
        self.findings.append(finding)

    def sum_up(self, summary: str) -> None:
        """Say it in a line."""
        self._summary = summary

    def finish(self, began: Mapping[str, Cell]) -> None:
        """Print the rest."""
        now = conditions()
        load = f"{began['load']} to {now['load']}"
        if self.options.json:
            found = {
                "program": self.program,
                "summary": self._summary,
                "tables": self._tables,
                "notes": self._notes,
                "findings": [as_json(one) for one in self.findings],
                "conditions": {**began, "load": load},
            }
            print(json.dumps(found), flush=True)
            return
        if self.findings:
            print(text_table([one.as_row() for one in self.findings]) + "\n")
        print(f"load average {load}")
        print(f"{self.program}: {self._summary}", flush=True)


def as_json(finding: Finding) -> dict[str, object]:
    """Give a finding as it is printed for programs."""
    return {**attrs.asdict(finding), "ratio": finding.ratio, "met": finding.is_met}


def parser(doc: str | None) -> argparse.ArgumentParser:
    """Give a program's options: those that all have; it may add its own.

    Args:
        doc: The program's docstring; its first line says what it does.
    """
    made = argparse.ArgumentParser(description=(doc or "").strip().partition("\n")[0])
    made.add_argument("--quick", action="store_true", help="smaller sizes, rough figures")
    made.add_argument("--tiny", action="store_true", help="only try whether it works")
    made.add_argument("--json", action="store_true", help="print one JSON object instead")
    return made


@contextmanager
def reporting(program: str, options: argparse.ArgumentParser) -> Iterator[Report]:
    """Read the command line, have something measured, and show the end."""
    report = Report(program, options.parse_args())
    began = conditions()
    yield report
    report.finish(began)


def conditions() -> dict[str, Cell]:
    """Give what figures depend on."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "processors": len(os.sched_getaffinity(0)),
        "machine": f"{platform.machine()}, {processor()}",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "twisted": twisted.__version__,
        "openssl": ssl.OPENSSL_VERSION.removeprefix("OpenSSL "),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def processor() -> str:
    """Give the processor's name."""
    with open("/proc/cpuinfo") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return "processor unknown"


def number(value: float) -> str:
    """Write a number as people read it: three digits that mean something."""
    if value == 0 or math.isnan(value) or math.isinf(value):
        return f"{value:g}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"


def text_table(rows: Sequence[Mapping[str, Cell]], *, turned: bool = False) -> str:
    """Write a table for a terminal."""
    lines = cells(rows, turned=turned)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def markdown_table(rows: Sequence[Mapping[str, Cell]], *, turned: bool = False) -> str:
    """Write a table for a page."""
    head, *body = cells(rows, turned=turned)
    rule = ["---", *("--:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *body))


def cells(rows: Sequence[Mapping[str, Cell]], *, turned: bool) -> list[list[str]]:
    """Give a table's cells as text, its head first."""
    lines = [list(rows[0]), *([_shown(row[name]) for name in rows[0]] for row in rows)]
    return [list(line) for line in zip(*lines, strict=True)] if turned else lines


def _shown(cell: Cell) -> str:
    if cell is None:
        return ""
    return cell if isinstance(cell, str) else number(cell)


def fail(words: str) -> SystemExit:
    """Give what ends a program that can't measure anything here."""
    return SystemExit(f"{sys.argv[0]}: {words}")
