"""Becoming another user, for good: the worker does it before it runs users' code."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from harpcaller.agent.proc import Account


class NoAccount(Exception):
    """A user or a group can't be had; the message says which and why."""


@dataclass(frozen=True)
class Identity:
    """Who a process is; ``name`` and ``home`` are None for a user without an account."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str | None
    home: str | None


def find(uid: Account | None, gid: Account | list[Account] | None) -> Identity | None:
    """Look a user and groups up.

    Args:
        uid: The user; None is the one who asks.
        gid: The group, or all groups, the main one first; None is the user's own groups.

    Returns:
        Who to become; None if nothing was asked for.

    Raises:
        NoAccount: There is no such user or group, or no group to use.
    """
    if uid is None and gid is None:
        return None
    wanted = [] if gid is None else gid if isinstance(gid, list) else [gid]
    groups = tuple(_group(group) for group in wanted)
    user = os.geteuid() if uid is None else uid
    try:
        entry = pwd.getpwuid(user) if isinstance(user, int) else pwd.getpwnam(user)
    except (KeyError, OverflowError):
        if isinstance(user, str):
            raise NoAccount(f"there is no user {user!r}") from None
        if not groups:
            # Whoever has no account has no groups, and must not keep the agent's.
            raise NoAccount(f"user {user} has no account, so a gid is needed too") from None
        return Identity(user, groups[0], groups, None, None)
    if not groups:
        own = os.getgrouplist(entry.pw_name, entry.pw_gid)
        groups = (entry.pw_gid, *(group for group in own if group != entry.pw_gid))
    return Identity(entry.pw_uid, groups[0], groups, entry.pw_name, entry.pw_dir)


def _group(group: Account) -> int:
    if isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise NoAccount(f"there is no group {group!r}") from None


def become(identity: Identity) -> None:
    """Be this user from now on, without a way back.

    Raises:
        NoAccount: The system doesn't allow it.
    """
    who = identity.name or identity.uid
    same_groups = set(identity.groups) == set(os.getgroups()) | {os.getegid()}
    try:
        if os.geteuid() == 0 or not same_groups:
            os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except (OSError, OverflowError) as error:
        raise NoAccount(f"can't become user {who}: {error}") from None
    # The system has numbers that mean "no change", and this is no place to trust it.
    if (
        os.getresuid() != (identity.uid,) * 3
        or os.getresgid() != (identity.gid,) * 3
        or set(os.getgroups()) - {identity.gid} != set(identity.groups) - {identity.gid}
    ):
        raise NoAccount(f"can't become user {who}: the system didn't do as told")
    for variable in ("USER", "LOGNAME", "HOME"):
        os.environ.pop(variable, None)
    if identity.name is not None and identity.home is not None:
        os.environ["USER"] = os.environ["LOGNAME"] = identity.name
        os.environ["HOME"] = identity.home
