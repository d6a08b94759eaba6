"""``svscanboot [DIR]``: begin to keep services up when a system starts.

It ends what an earlier run may have left, then becomes ``svscan`` with its complaints led
into ``readproctitle``, where ``ps`` shows them.  The original stays, as a shell that waits.
"""

from __future__ import annotations

import os
import sys
from glob import glob
from typing import NoReturn

from harpcaller.supervise.messages import fatal, reason
from harpcaller.supervise.spawn.door import Door, Program
from harpcaller.supervise.tools import svc

#: Where services are if nobody says.
SERVICES = "/etc/service"
#: Where programs are looked for.
PATH = "/command:/usr/local/bin:/usr/local/sbin:/bin:/sbin:/usr/bin:/usr/sbin:/usr/X11R6/bin"
_WORDS = ["service", "errors:", "." * 400]


def main(argv: list[str]) -> int:
    """Begin; never returns if all is well."""
    services = argv[0] if argv else SERVICES
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    _ = svc.main(["-dx", *sorted(glob(f"{services}/*") + glob(f"{services}/*/log"))])
    folder = os.path.dirname(os.path.abspath(sys.argv[0]))
    os.environ.clear()
    # Run scripts are to find what they would find beside this program.
    os.environ["PATH"] = f"{folder}:{PATH}"
    reading, writing = os.pipe()
    try:
        Door(reason).start(
            Program([*map(os.fsencode, _own("readproctitle", folder) + _WORDS)], None, {0: reading})
        )
        for descriptor in (1, 2):
            os.dup2(writing, descriptor)
        for descriptor in (nothing, reading, writing):
            os.close(descriptor)
        _become([*_own("svscan", folder), services])
    except OSError as error:
        raise fatal("svscanboot", "unable to start", error) from None


def _own(tool: str, folder: str) -> list[str]:
    """Give the beginning of a command line that starts one of our tools.

    Args:
        tool: Which.
        folder: Where the program is that is running.
    """
    name = os.path.basename(sys.argv[0])
    if name == "svscanboot":
        return [os.path.join(folder, tool)]
    return [os.path.join(folder, name), tool]


def _become(command: list[str]) -> NoReturn:
    os.execv(command[0], command)  # noqa: S606 - no shell is what it's about
