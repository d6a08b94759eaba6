"""Control groups (version 2) for calls: what a call starts can't leave its group unseen.

::

    <the template's own cgroup>/
        harpd-<template's pid>/     while the template lives
            call-<number>/          while the call, or something it left behind, lives

No controllers are turned on; the groups only keep processes together.  They are used
where the kernel has ``cgroup.kill`` (Linux 5.14) and where the system lets us: as root in
a container or on a host without systemd, or under systemd with ``Delegate=yes``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_PREFIX = "harpd-"
#: systemd marks with these, on a cgroup, that what is below is not its own.
_DELEGATED = ("user.delegate", "trusted.delegate")
SYSTEMD = Path("/run/systemd/system")


class Cgroup:
    """The control group of one call.

    Args:
        folder: Where the kernel shows it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def enter(self) -> None:
        """Put this process, and all that it will start, into the group."""
        self.folder.joinpath("cgroup.procs").write_text("0")

    def members(self) -> list[int]:
        """Tell the numbers of the processes in it."""
        try:
            return [int(pid) for pid in self.folder.joinpath("cgroup.procs").read_text().split()]
        except OSError:
            return []

    def is_empty(self) -> bool:
        """Tell whether nobody lives in it; zombies don't count."""
        try:
            return "populated 0" in self.folder.joinpath("cgroup.events").read_text()
        except OSError:
            return True

    def kill(self) -> None:
        """Kill all that are in it; none of them can fork away from that."""
        with suppress(OSError):
            self.folder.joinpath("cgroup.kill").write_text("1")

    def remove(self) -> bool:
        """Remove the group if it is empty; tells whether it is no more."""
        try:
            self.folder.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True


class CallCgroups:
    """Makes control groups for calls, and clears them away.

    Args:
        folder: The template's own; those of calls are below.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._left: list[Cgroup] = []

    def of_call(self, number: int) -> Cgroup:
        """Name the group of a call."""
        return Cgroup(self.folder / f"call-{number}")

    def new(self, number: int) -> Cgroup | None:
        """Make a group for a call; None if there can't be one more."""
        group = self.of_call(number)
        try:
            group.folder.mkdir()
        except OSError:
            return None
        return group

    def let_go(self, group: Cgroup) -> None:
        """Forget a group; if something lives in it, it is removed some time later."""
        self._left.append(group)
        self._left = [one for one in self._left if not one.remove()]

    def close(self) -> None:
        """Remove what is empty; the rest is for a later template to :func:`tidy`."""
        self._left = [one for one in self._left if not one.remove()]
        _ = Cgroup(self.folder).remove()


def own_folder(cgroup: str, mounts: str) -> Path | None:
    """Find where this process's cgroup is.

    Args:
        cgroup: What ``/proc/self/cgroup`` says.
        mounts: What ``/proc/self/mountinfo`` says.

    Returns:
        Its folder; None if it can't be seen from here.
    """
    path = next((line[3:] for line in cgroup.splitlines() if line.startswith("0::")), None)
    if path is None or ".." in path.split("/"):
        return None
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            root, place = before.split()[3:5]
            below = os.path.relpath(path, root)
            if not below.startswith(".."):
                return Path(place.replace("\\040", " ")) / below
    return None


def is_ours(folder: Path, systemd: Path = SYSTEMD) -> bool:
    """Tell whether we may make groups here: where systemd rules, it must say so."""
    if not os.access(folder, os.W_OK) or not os.access(folder / "cgroup.procs", os.W_OK):
        return False
    if not systemd.is_dir():
        return True
    for name in _DELEGATED:
        with suppress(OSError):
            if os.getxattr(folder, name) == b"1":
                return True
    return False


def open_cgroups(
    parent: Path | None, pid: int, is_alive: Callable[[int], bool]
) -> CallCgroups | None:
    """Make a place for calls' groups.

    Args:
        parent: Where; None is nowhere.
        pid: This process's number.
        is_alive: Tells whether there is a process of this number, for clearing away what
            templates left that are no more.

    Returns:
        None if there can't be one.
    """
    if parent is None or not is_ours(parent):
        return None
    tidy(parent, is_alive)
    folder = parent / f"{_PREFIX}{pid}"
    try:
        folder.mkdir(exist_ok=True)
    except OSError:
        return None
    usable = folder.joinpath("cgroup.kill").exists()
    with suppress(OSError):
        usable = usable and folder.joinpath("cgroup.type").read_text().strip() == "domain"
    if not usable:
        _ = Cgroup(folder).remove()
        return None
    return CallCgroups(folder)


def tidy(parent: Path, is_alive: Callable[[int], bool]) -> None:
    """Remove what templates left that are no more, as far as nobody lives in it."""
    with suppress(OSError):
        for folder in parent.glob(f"{_PREFIX}*"):
            number = folder.name.removeprefix(_PREFIX)
            if number.isdecimal() and not is_alive(int(number)):
                for call in folder.glob("call-*"):
                    _ = Cgroup(call).remove()
                _ = Cgroup(folder).remove()
