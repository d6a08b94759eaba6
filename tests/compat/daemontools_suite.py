"""Runs the test suite that comes with daemontools' source, with the original's programs and ours.

``python -m tests.compat.daemontools_suite .../daemontools-0.76/src/rts.tests`` tells whether both
have said the same, and if not, where.  The suite has no list of what is right; Debian's package
``daemontools`` has to be installed, and the source is in ``apt-get source daemontools``.

Six of its cases are of a program that isn't installed and shows how patterns match.  Ours stands
in for it on both sides, so that these compare nothing; the tests of multilog do, with the original.
"""

from __future__ import annotations

import difflib
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from harpcaller.supervise import harpsv, links
from harpcaller.supervise.multilog.script import Deselect, Select
from harpcaller.supervise.multilog.selector import Selection

ORIGINAL = Path("/usr/bin")
#: How long one run may take, in seconds.
PATIENCE = 600


def main() -> int:
    """Run both, and print how they differ; gives 0 if they don't."""
    match sys.argv[1:]:
        case ["--match", *words]:
            return _match(*map(os.fsencode, words))
        case [suite]:
            return _compare(Path(suite))
    print(__doc__, file=sys.stderr)
    return 100


def _compare(suite: Path) -> int:
    tools = harpsv.LINKED
    said: list[list[str]] = []
    with tempfile.TemporaryDirectory(prefix="daemontools-suite-") as name:
        for side in ("theirs", "ours"):
            folder = Path(name) / side
            folder.mkdir()
            if side == "ours":
                links.make_links(str(folder), tools)
            else:
                for tool in tools:
                    (folder / tool).symlink_to(ORIGINAL / tool)
            again = shlex.join([sys.executable, "-m", "tests.compat.daemontools_suite", "--match"])
            (folder / "matchtest").write_text(
                f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(Path.cwd()))} exec {again} "$@"\n'
            )
            (folder / "matchtest").chmod(0o755)
            done = subprocess.run(
                ["/bin/sh", str(suite.absolute())],
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=PATIENCE,
                check=False,
            )
            said.append(done.stdout.decode(errors="replace").splitlines())
    cases = sum(line.startswith("---") for line in said[0])
    differences = list(difflib.unified_diff(said[0], said[1], "theirs", "ours", lineterm=""))
    print("\n".join(differences) or f"no difference in {cases} cases")
    return 1 if differences else 0


def _match(pattern: bytes = b"", line: bytes = b"") -> int:
    """Say whether a line matches a pattern, as the suite's own program does."""
    chosen = Selection([Deselect(b"*"), Select(pattern)]).selects(line)
    sys.stdout.buffer.write(b"%b%b (%b)\n" % (b"+" if chosen else b"-", pattern, line))
    return 0


if __name__ == "__main__":
    sys.exit(main())
