"""``supervise DIR``: keep the service in a directory up.

Told to end by SIGTERM it takes the service down first, unlike the original, which leaves it
behind as nobody's child.
"""

from __future__ import annotations

import os
import signal

from harpcaller.supervise.messages import fatal, usage
from harpcaller.supervise.servicedir.folder import Folder, Unusable
from harpcaller.supervise.tools.supervised import Supervised
from harpcaller.supervise.tools.surroundings import (
    STOP_GRACE,
    fill_standard_descriptors,
    make_surroundings,
    on_stop,
)


def main(argv: list[str]) -> int:
    """Supervise one service until ``svc -x`` or a signal; gives 0 then."""
    if len(argv) != 1:
        raise usage("supervise", "supervise dir")
    [path] = argv
    fill_standard_descriptors()
    around = make_surroundings("supervise")
    try:
        service = Supervised(Folder(path, path), around, _siblings(path), around.loop.stop)

        def stop() -> None:
            service.stop(STOP_GRACE)

        on_stop(around, stop, service.kill)
        around.loop.on_signal(signal.SIGHUP, stop)
        service.begin()
    except Unusable as error:
        raise fatal("supervise", str(error)) from None
    around.loop.run()
    return 0


def _siblings(path: str) -> int | None:
    """Open the folder with the services beside this one."""
    folder, name = os.path.split(path.rstrip("/") or path)
    if name in (os.curdir, os.pardir):
        folder = os.path.join(path, os.pardir)
    try:
        return os.open(folder or os.curdir, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
