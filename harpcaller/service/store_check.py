"""``harpcallerd store-check``: check a store of jobs, and repair it, without a daemon.

``harpcallerd`` becomes this program.  It prints a line for each finding, and a last one that counts
them.  Exit codes: 0 the store is clean (now), 1 it isn't, 2 that couldn't be found out.  Twisted is
imported only to repair.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import BinaryIO, TextIO

from harpcaller.config.dispatcher import load
from harpcaller.config.problems import ConfigurationError
from harpcaller.errors import StorageError
from harpcaller.store.check import Check
from harpcaller.store.disk import RealDisk
from harpcaller.store.findings import Finding, as_json, as_text, summary_as_json
from harpcaller.store.guard import Guard

CLEAN = 0
FINDINGS = 1
FAILED = 2
INTERRUPTED = 130


def main(
    argv: Sequence[str] | None = None,
    stdout: BinaryIO | None = None,
    stderr: TextIO | None = None,
) -> int:
    """Do what a command line says, which ``harpcallerd`` has checked.

    Args:
        argv: The arguments, or None for the process's own.
        stdout: Where findings go.
        stderr: Where it is said why there are none.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(prog="harpcallerd store-check", description=__doc__)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--directory", type=os.path.abspath)
    parser.add_argument("--repair", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(argv)
    err = stderr or sys.stderr
    paper = Paper(stdout or sys.stdout.buffer, json=options.json, carries_on=options.repair)
    try:
        directory = options.directory or str(load(options.config).settings.stream_directory)
        code = _repair(directory, paper) if options.repair else _check(directory, paper)
        paper.flush()
    except (ConfigurationError, StorageError, OSError) as error:
        paper.flush()
        for line in _reason(error).splitlines():
            print(f"harpcallerd: {line}", file=err)
        return FAILED
    except _ReaderGone:
        return CLEAN
    except KeyboardInterrupt:
        if options.repair:
            print("harpcallerd: interrupted; repair it again", file=err)
        return INTERRUPTED
    return code


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror or error}"
    return str(error)


def _check(directory: str, paper: Paper) -> int:
    found = 0
    with closing(Guard(directory)):
        check = Check(RealDisk(), directory)
        for finding in check.run():
            found += 1
            paper.finding(finding)
    paper.summary(check.jobs, found)
    return FINDINGS if found else CLEAN


def _repair(directory: str, paper: Paper) -> int:
    # Here and not above: a check should start at once.
    from harpcaller.store.repair import repair

    done = repair(RealDisk(), directory, paper.finding)
    for finding, reason in done.remaining:
        paper.remains(finding, reason)
    paper.summary(done.jobs, done.found, len(done.remaining))
    return FINDINGS if done.remaining else CLEAN


class _ReaderGone(Exception):
    """Nobody reads our standard output any more."""


class Paper:
    """Where findings are written down.

    Args:
        out: Where to.
        json: Whether in JSON.
        carries_on: Whether work goes on when nobody reads.
    """

    def __init__(self, out: BinaryIO, *, json: bool, carries_on: bool) -> None:
        self._out = out
        self._json = json
        self._carries_on = carries_on
        self._is_read = True

    def finding(self, finding: Finding) -> None:
        """Write down a finding."""
        self._line(as_json(finding) if self._json else as_text(finding).encode())

    def remains(self, finding: Finding, reason: str) -> None:
        """Write down that a finding couldn't be helped."""
        if self._json:
            self._line(as_json(finding, repaired=False, reason=reason))
        else:
            why = f" ({reason})" if reason else ""
            self._line(f"not repaired{why}: {as_text(finding)}".encode())

    def summary(self, jobs: int, found: int, remaining: int | None = None) -> None:
        """Write down how much was found."""
        if self._json:
            self._line(summary_as_json(jobs, found, remaining))
            return
        text = f"{_count(jobs, 'job')}, {_count(found, 'finding') if found else 'nothing amiss'}"
        if found and remaining is not None:
            text += f", {remaining} not repaired" if remaining else ", all repaired"
        self._line(text.encode())

    def flush(self) -> None:
        """Have everything printed."""
        self._do(self._out.flush)

    def _line(self, line: bytes) -> None:
        self._do(lambda: self._out.write(line + b"\n"))
        if self._out.isatty():
            self.flush()

    def _do(self, write: Callable[[], object]) -> None:
        if not self._is_read:
            return
        try:
            write()
        except BrokenPipeError:
            self._is_read = False
            # Or the interpreter would try once more when it ends, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            if not self._carries_on:
                raise _ReaderGone from None


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" + ("" if number == 1 else "s")


if __name__ == "__main__":
    sys.exit(main())
