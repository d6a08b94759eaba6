"""``harpsv status [--json] [DIR ...]``: how all services are, in a table or for programs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from harpcaller.supervise.messages import fatal, show, usage
from harpcaller.supervise.tools.status_table import render, row
from harpcaller.supervise.tools.svstat import look_at

#: Where services are if nobody says.
SERVICES = "/etc/service"


def main(argv: list[str]) -> int:
    """Print it; gives 0."""
    as_json = argv[:1] == ["--json"]
    directories = argv[1:] if as_json or argv[:1] == ["--"] else argv
    if directories and directories[0].startswith("-"):
        raise usage("status", "harpsv status [ --json ] [ dir ... ]")
    found = [one for directory in directories or [SERVICES] for one in services(directory)]
    show("status", _lines(found) if as_json else _table(found))
    return 0


def services(directory: str) -> Iterator[tuple[str, str]]:
    """List services with their logs: what to call each, and where it is.

    Args:
        directory: One that has services in it, or is one itself.

    Raises:
        Ended: It can't be read.
    """
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise fatal("status", f"unable to read directory {directory}", error) from None
    if "run" in names or "supervise" in names:
        yield from _with_log(directory, directory)
        return
    for name in names:
        path = os.path.join(directory, name)
        if not name.startswith(".") and os.path.isdir(path):
            yield from _with_log(name, path)


def _with_log(name: str, path: str) -> Iterator[tuple[str, str]]:
    yield name, path
    if os.path.isdir(os.path.join(path, "log")):
        yield os.path.join(name, "log"), os.path.join(path, "log")


def _table(found: list[tuple[str, str]]) -> str:
    now, since_boot = time.time_ns() / 10**9, time.clock_gettime(time.CLOCK_BOOTTIME)
    return render([row(name, look_at(path), now, since_boot) for name, path in found])


def _lines(found: list[tuple[str, str]]) -> str:
    # Nobody else needs it, and it takes as long to import as all the rest.
    from harpcaller.supervise.tools.seen_json import encode_seen

    since_boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    every = [encode_seen(path, look_at(path), since_boot, time.time_ns()) for _, path in found]
    return "".join(f"{line}\n" for line in every)
