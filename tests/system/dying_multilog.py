"""Kills multilog after each of the steps by which it changes a log directory, and starts another.

``python -m tests.system.dying_multilog INPUT SCRIPT...`` runs in a folder in which it makes
the folders ``1``, ``2``, ...: in the first one multilog dies before its first step, in
the last one at none.  Steps are what Python tells its audit hooks of: opening, renaming,
linking, removing, changing a mode, listing.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from harpcaller.supervise.multilog.command import main as multilog

STEPS = ("open", "os.rename", "os.link", "os.remove", "os.chmod", "os.listdir", "os.posix_spawn")
KILLED = 99


def run(folder: Path, source: str, script: list[str], steps: int | None) -> int:
    """Run multilog in a process of its own that dies before some step; gives its exit code."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.dup2(os.open(source, os.O_RDONLY), 0)
            os.chdir(folder)
            if steps is not None:
                die_after(steps)
            code = multilog(script)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die_after(steps: int) -> None:
    """Have this process die before a step, without any cleaning up."""
    left = steps

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in STEPS:
            left -= 1
            if left < 0:
                os._exit(KILLED)

    sys.addaudithook(hook)


def main(source: str, script: list[str]) -> int:
    """Do it; gives an exit code."""
    # Whatever is imported late would count as steps.
    warm = Path("warm")
    warm.mkdir()
    code = run(warm, source, script, None)
    steps = 0
    while code in (0, KILLED):
        folder = Path(str(steps))
        folder.mkdir()
        code = run(folder, source, script, steps)
        if code == 0:
            return 0
        if run(folder, os.devnull, script, None) != 0:
            break
        steps += 1
    print(f"step {steps}: exit code {code}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
