"""Control groups (version 2) for calls: what a call starts can't leave its group unseen.

::

    <the agent's own, as systemd gave it>/
        agent/                          the agent and its templates, see settle()
        harpd-<template's pid>/         while the template lives
            call-<number>/              while the call, or something it left behind, lives

They are used where the kernel has ``cgroup.kill`` (Linux 5.14) and where the system lets
us: as root in a container or on a host without systemd, or under systemd with
``Delegate=yes``.  Controllers, so that a call has no more processes and memory than it may
and no larger share of the processor than others, are turned on as far as there are any;
the kernel has them only for groups beside which nobody lives, which is why the agent moves
into one of its own if it is alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "harpd-"
#: Where the agent itself lives, so that there may be limits beside it.
_AGENT = "agent"
#: What the kernel shares out between groups, as far as it can.
_CONTROLLERS = ("cpu", "pids", "memory")
#: systemd marks with these, on a cgroup, that what is below is not its own.
_DELEGATED = ("user.delegate", "trusted.delegate")
SYSTEMD = Path("/run/systemd/system")


@dataclass(frozen=True)
class Limits:
    """What one call may have.

    Args:
        processes: How many processes and threads at a time; None is any number.
        memory: How many bytes; None is all there is.
    """

    processes: int | None = None
    memory: int | None = None


NO_LIMITS = Limits()


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

    def limit(self, limits: Limits) -> None:
        """Let it have no more than this, as far as there are controllers for it."""
        if limits.processes is not None:
            self._set("pids.max", limits.processes)
        if limits.memory is not None:
            self._set("memory.max", limits.memory)
            self._set("memory.swap.max", 0)
        # A call that lost one of its processes isn't what it was: it goes as a whole.
        self._set("memory.oom.group", 1)

    def _set(self, file: str, value: int) -> None:
        with suppress(OSError):
            # Not made if it is missing: where the folder is no group, in tests.
            with open(self.folder / file, "r+") as stream:
                stream.write(str(value))

    def limits(self, controller: str) -> bool:
        """Tell whether the kernel keeps its limits of this kind."""
        return self.folder.joinpath(f"{controller}.max").exists()

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
        limits: What each call may have.
    """

    def __init__(self, folder: Path, limits: Limits = NO_LIMITS) -> None:
        self.folder = folder
        self._limits = limits
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
        group.limit(self._limits)
        return group

    def let_go(self, group: Cgroup) -> None:
        """Forget a group; if something lives in it, it is removed some time later."""
        self._left.append(group)
        self._left = [one for one in self._left if not one.remove()]

    def close(self) -> None:
        """Remove what is empty; the rest is for a later template to :func:`tidy`."""
        self._left = [one for one in self._left if not one.remove()]
        _ = Cgroup(self.folder).remove()


def own_group() -> Path | None:
    """Find this process's cgroup; None if it can't be seen from here."""
    here = Path("/proc/self")
    try:
        return own_folder(
            here.joinpath("cgroup").read_text(), here.joinpath("mountinfo").read_text()
        )
    except OSError:
        return None


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


def settle(own: Path | None, pid: int) -> bool:
    """Move the agent into a group of its own, if that makes way for limits on calls.

    Args:
        own: The agent's control group; None if it can't be seen.
        pid: Its process number.

    Returns:
        Whether it moved.  It stays where there's nothing to gain: where it isn't alone, or
        has been put into such a group already.
    """
    if own is None or own.name == _AGENT or not is_ours(own):
        return False
    here = Cgroup(own)
    folder = own / _AGENT
    try:
        there = own.joinpath("cgroup.controllers").read_text().split()
        if not set(_CONTROLLERS).intersection(there) or here.members() != [pid]:
            return False
        folder.mkdir(exist_ok=True)
        folder.joinpath("cgroup.procs").write_text(str(pid))
    except OSError:
        return False
    return True


def _turn_on_controllers(folder: Path) -> None:
    """Let what is below this group have limits, of each kind that is to be had."""
    if not folder.joinpath("cgroup.type").exists():
        return  # the root of all groups, which isn't only ours
    for name in _CONTROLLERS:
        with suppress(OSError):
            with open(folder / "cgroup.subtree_control", "r+") as stream:
                stream.write(f"+{name}")


def open_cgroups(
    own: Path | None, pid: int, is_alive: Callable[[int], bool], limits: Limits = NO_LIMITS
) -> CallCgroups | None:
    """Make a place for calls' groups.

    Args:
        own: The group that the template is in; None if it can't be seen.
        pid: This process's number.
        limits: What each call may have.
        is_alive: Tells whether there is a process of this number, for clearing away what
            templates left that are no more.

    Returns:
        None if there can't be one.
    """
    if own is None:
        return None
    parent = own.parent if own.name == _AGENT else own
    if not is_ours(parent):
        return None
    tidy(parent, is_alive)
    _turn_on_controllers(parent)
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
    _turn_on_controllers(folder)
    return CallCgroups(folder, limits)


def tidy(parent: Path, is_alive: Callable[[int], bool]) -> None:
    """Remove what templates left that are no more, as far as nobody lives in it."""
    with suppress(OSError):
        for folder in parent.glob(f"{_PREFIX}*"):
            number = folder.name.removeprefix(_PREFIX)
            if number.isdecimal() and not is_alive(int(number)):
                for call in folder.glob("call-*"):
                    _ = Cgroup(call).remove()
                _ = Cgroup(folder).remove()
