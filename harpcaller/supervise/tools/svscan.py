"""``svscan [DIR]``: keep all services of a directory up, in one process.

The original starts a ``supervise`` for each.  Here they all live in this process, each with
its own ``supervise`` directory as ever, since a Python for each would be forty times the
memory.
"""

from __future__ import annotations

import os
import signal

from harpcaller.supervise.messages import fatal, say
from harpcaller.supervise.tools.surroundings import (
    STOP_GRACE,
    fill_standard_descriptors,
    make_surroundings,
    on_stop,
)
from harpcaller.supervise.tools.tree import Tree

#: How often the directory is looked at, in seconds.
BETWEEN_SCANS = 5.0


def main(argv: list[str]) -> int:
    """Keep the directory's services up until a signal asks for the end; gives 0 then."""
    fill_standard_descriptors()
    if argv:
        try:
            os.chdir(argv[0])
        except OSError as error:
            raise fatal("svscan", f"unable to chdir to {argv[0]}", error) from None
    try:
        root = os.open(os.curdir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise fatal("svscan", "unable to read directory", error) from None
    around = make_surroundings("svscan")
    loop = around.loop
    tree = Tree(root, around, lambda line: say(f"supervise: fatal: {line}"))

    def scan_now() -> None:
        tree.scan()

    def scan_always() -> None:
        loop.at(loop.clock() + BETWEEN_SCANS, scan_always)
        tree.scan()

    on_stop(around, lambda: tree.stop(STOP_GRACE), tree.kill)
    for number in (signal.SIGHUP, signal.SIGALRM):
        loop.on_signal(number, scan_now)
    scan_always()
    loop.run()
    return 0
