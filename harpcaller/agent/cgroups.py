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
        folder: Where the kernel shows it; not a ``Path``, which costs each call more.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def enter(self) -> None:
        """Put this process, and all that it will start, into the group."""
        with open(f"{self.folder}/cgroup.procs", "wb", buffering=0) as stream:
            stream.write(b"0")

    def members(self) -> list[int]:
        """Tell the numbers of the processes in it."""
        try:
            with open(f"{self.folder}/cgroup.procs") as stream:
                return [int(pid) for pid in stream.read().split()]
        except OSError:
            return []

    def set(self, file: str, value: bytes) -> None:
        """Limit something, if that can be."""
        with suppress(OSError):
            # Not made if it is missing: where the folder is no group, in tests.
            with open(f"{self.folder}/{file}", "rb+", buffering=0) as stream:
                stream.write(value)

    def is_empty(self) -> bool:
        """Tell whether nobody lives in it; zombies don't count."""
        try:
            with open(f"{self.folder}/cgroup.events") as stream:
                return "populated 0" in stream.read()
        except OSError:
            return True

    def kill(self) -> None:
        """Kill all that are in it; none of them can fork away from that."""
        with suppress(OSError), open(f"{self.folder}/cgroup.kill", "wb", buffering=0) as stream:
            stream.write(b"1")

    def remove(self) -> bool:
        """Remove the group if it is empty; tells whether it is no more."""
        try:
            os.rmdir(self.folder)
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
        controllers: What the kernel counts and limits in calls' groups.
    """

    def __init__(
        self,
        folder: Path,
        limits: Limits = NO_LIMITS,
        controllers: frozenset[str] = frozenset(),
    ) -> None:
        self.folder = folder
        self.controllers = controllers
        self._settings = settings(limits, controllers)
        self._left: list[Cgroup] = []

    def of_call(self, number: int) -> Cgroup:
        """Name the group of a call."""
        return Cgroup(f"{self.folder}/call-{number}")

    def new(self, number: int) -> Cgroup | None:
        """Make a group for a call; None if there can't be one more."""
        group = self.of_call(number)
        try:
            os.mkdir(group.folder)
        except OSError:
            return None
        for file, value in self._settings:
            group.set(file, value)
        return group

    def let_go(self, group: Cgroup) -> None:
        """Forget a group; if something lives in it, it is removed some time later."""
        self._left.append(group)
        self._left = [one for one in self._left if not one.remove()]

    def close(self) -> None:
        """Remove what is empty; the rest is for a later template to :func:`tidy`."""
        self._left = [one for one in self._left if not one.remove()]
        _ = Cgroup(str(self.folder)).remove()


def settings(limits: Limits, controllers: frozenset[str]) -> list[tuple[str, bytes]]:
    """Tell what is to be written to which files of a call's group."""
    found = []
    if "pids" in controllers and limits.processes is not None:
        found.append(("pids.max", b"%d" % limits.processes))
    if "memory" in controllers:
        if limits.memory is not None:
            found += [("memory.max", b"%d" % limits.memory), ("memory.swap.max", b"0")]
        # A call that lost one of its processes isn't what it was: it goes as a whole.
        found.append(("memory.oom.group", b"1"))
    return found


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
    here = Cgroup(str(own))
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


def _controllers_below(folder: Path) -> frozenset[str]:
    try:
        return frozenset(folder.joinpath("cgroup.subtree_control").read_text().split())
    except OSError:
        return frozenset()


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
        _ = Cgroup(str(folder)).remove()
        return None
    _turn_on_controllers(folder)
    return CallCgroups(folder, limits, _controllers_below(folder))


def tidy(parent: Path, is_alive: Callable[[int], bool]) -> None:
    """Remove what templates left that are no more, as far as nobody lives in it."""
    with suppress(OSError):
        for folder in parent.glob(f"{_PREFIX}*"):
            number = folder.name.removeprefix(_PREFIX)
            if number.isdecimal() and not is_alive(int(number)):
                for call in folder.glob("call-*"):
                    _ = Cgroup(str(call)).remove()
                _ = Cgroup(str(folder)).remove()
