"""All programs one after the other, in their short form, and a table of what came of it.

``python -m benchmarks`` takes some five minutes; ``--full`` an hour.  Names of programs may
follow, to run these only.  ``--markdown`` prints the tables for a page, ``--into FILE`` puts them
there, between ``<!-- benchmarks -->`` and ``<!-- end of benchmarks -->``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from benchmarks import original
from benchmarks.processes import ROOT
from benchmarks.report import Cell, Finding, markdown_table, number, text_table

PROGRAMS = (
    "kept_path",
    "calls",
    "connections",
    "records",
    "polls",
    "submissions",
    "agent",
    "rivals",
    "commands",
    "scale",
    "million",
    "stream",
    "waiting",
    "supervise",
    "multilog",
)
BEGIN, END = "<!-- benchmarks -->\n", "<!-- end of benchmarks -->\n"


@attrs.frozen
class Ran:
    """What a program printed."""

    program: str
    seconds: float
    summary: str
    findings: list[Finding]
    conditions: dict[str, str]


def main() -> int:
    """Run them and show the tables; gives 1 if one of them couldn't be run."""
    parser = arguments()
    options = parser.parse_args()
    for program in options.programs:
        if program not in PROGRAMS:
            parser.error(f"{program}: there is no such program; expected {', '.join(PROGRAMS)}")
    size = [word for word in ("--quick", "--tiny") if word == options.size]
    ran: list[Ran] = []
    failed: list[str] = []
    for program in options.programs or PROGRAMS:
        found = run(program, size)
        if found is None:
            failed.append(program)
            continue
        ran.append(found)
        print(f"{program} ({found.seconds:.0f} s): {found.summary}", file=sys.stderr, flush=True)
    if not ran:
        return 1
    if options.json:
        print(json.dumps([attrs.asdict(one) for one in ran]))
    page = text(ran, failed, markdown=options.markdown or options.into is not None)
    if options.into is not None:
        put(options.into, page)
    elif not options.json:
        print(page)
    return 1 if failed else 0


def arguments() -> argparse.ArgumentParser:
    """Give the options."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0]
    )
    parser.set_defaults(size="--quick")
    sizes = parser.add_mutually_exclusive_group()
    sizes.add_argument(
        "--full", dest="size", action="store_const", const="", help="full sizes; an hour"
    )
    sizes.add_argument(
        "--tiny",
        dest="size",
        action="store_const",
        const="--tiny",
        help="only try whether they work",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--markdown", action="store_true", help="print tables for a page")
    parser.add_argument("--into", type=Path, metavar="FILE", help="put the tables into a page")
    parser.add_argument("programs", nargs="*", metavar="PROGRAM", help=", ".join(PROGRAMS))
    return parser


def run(program: str, size: Sequence[str]) -> Ran | None:
    """Run a program; None if it failed, and has said why."""
    started = time.perf_counter()
    command = [sys.executable, "-m", f"benchmarks.{program}", "--json", *size]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if done.returncode:
        print(f"{program}: not measured", file=sys.stderr, flush=True)
        return None
    printed: dict[str, Any] = json.loads(done.stdout)
    names = [field.name for field in attrs.fields(Finding)]
    findings = [Finding(**{name: one[name] for name in names}) for one in printed["findings"]]
    seconds = time.perf_counter() - started
    return Ran(program, seconds, printed["summary"], findings, printed["conditions"])


def text(ran: Sequence[Ran], failed: Sequence[str], *, markdown: bool) -> str:
    """Write all tables."""
    table: Callable[[Sequence[dict[str, Cell]]], str] = markdown_table if markdown else text_table
    both = [(one.program, finding) for one in ran for finding in one.findings]
    parts = [conditions(ran)]
    for title, rows in (
        ("Beside a reference that was measured in the same run", ratios(both)),
        ("Goals without a reference", absolutes(both)),
        ("Beside the original, as it was reported from another machine", originals(both)),
    ):
        if rows:
            parts.append(f"**{title}**" if markdown else title)
            parts.append(table(rows))
    if failed:
        parts.append(f"Not measured: {', '.join(failed)}.")
    return "\n\n".join(parts) + "\n"


def conditions(ran: Sequence[Ran]) -> str:
    """Say under which conditions this was measured."""
    found = ran[0].conditions
    loads = [float(word) for one in ran for word in one.conditions["load"].split(" to ")]
    return (
        f"{found['date']} UTC; {found['processors']} processors ({found['machine']}),"
        f" {found['system']}, Python {found['python']}, Twisted {found['twisted']}, OpenSSL"
        f" {found['openssl']}; load average {min(loads):.1f} to {max(loads):.1f} (these programs"
        f" alone make it 2 to 3); {sum(one.seconds for one in ran):.0f} s."
    )


def ratios(findings: Sequence[tuple[str, Finding]]) -> list[dict[str, Cell]]:
    """Give a row for each reference: the rate's ratio, and that for the same processor time."""
    pairs: dict[tuple[str, str, str], dict[str, Finding]] = {}
    for program, one in findings:
        if one.reference is not None and one.than != original.THAN:
            by_unit = pairs.setdefault((program, one.what, one.than), {})
            by_unit["processor" if "processor s" in one.unit else "rate"] = one
    return [_ratio_row(*names, by_unit) for names, by_unit in pairs.items()]


def _ratio_row(program: str, what: str, than: str, by_unit: dict[str, Finding]) -> dict[str, Cell]:
    rate, processor = by_unit.get("rate"), by_unit.get("processor")
    shown = rate or processor
    assert shown is not None
    assert shown.reference is not None
    verdicts = {one.verdict for one in by_unit.values()}
    if len(verdicts) == 1:
        (verdict,) = verdicts
    else:
        verdict = f"met by {'rate' if shown.is_met else 'processor time'} only"
    return {
        "program": program,
        "what": what,
        "here": f"{number(shown.value)} {shown.unit}".strip(),
        "reference": f"{number(shown.reference)}, {than}",
        "ratio": rate.ratio if rate else None,
        "for the same processor time": processor.ratio if processor else None,
        "goal": shown.goal,
        "so": verdict,
    }


def absolutes(findings: Sequence[tuple[str, Finding]]) -> list[dict[str, Cell]]:
    """Give a row for each figure that has a goal but no reference."""
    return [
        {
            "program": program,
            "what": one.what,
            "here": f"{number(one.value)} {one.unit}".strip(),
            "goal": one.goal,
            "so": one.verdict,
        }
        for program, one in findings
        if one.reference is None
    ]


def originals(findings: Sequence[tuple[str, Finding]]) -> list[dict[str, Cell]]:
    """Give a row for each figure of the original."""
    return [
        {
            "program": program,
            "what": one.what,
            "they (their machine)": f"{number(one.reference)} {one.unit}",
            "we (here)": f"{number(one.value)} {one.unit}",
            "ratio": one.ratio,
            "goal": one.goal,
            "so": one.verdict,
        }
        for program, one in findings
        if one.reference is not None and one.than == original.THAN
    ]


def put(page: Path, tables: str) -> None:
    """Put the tables where the page has them."""
    before, begin, rest = page.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page}: no place for tables; expected {BEGIN.strip()}, {END.strip()}")
    page.write_text(f"{before}{begin}\n{tables}\n{end}{after}")


if __name__ == "__main__":
    sys.exit(main())
