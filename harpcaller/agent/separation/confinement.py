"""Losing every right that talking with strangers doesn't need, for good.

What needs a file is done before, since afterwards there are none: the folder that is the root then
has no name any more, so that nothing can be made in it either.
"""

from __future__ import annotations

import os
import resource
import struct
import tempfile

from harpcaller.agent import keeper
from harpcaller.agent.accounts import Identity, become

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
#: The version of capset(2)'s structures that has 64 bits, and who is meant: ourselves.
_CAPABILITIES_OF_OURS = struct.pack("=Ii", 0x20080522, 0)
#: Effective, permitted and inheritable ones, twice 32 of each: none.
_NO_CAPABILITIES = bytes(24)


def confine(identity: Identity | None, parent: int) -> str:
    """Lose all rights that can be lost.

    Args:
        identity: Who to become, in an empty folder; None to stay who and where we are.
        parent: The process with which we are to die.

    Returns:
        What is so now, in words.

    Raises:
        NoAccount: The system doesn't let us become another; there is nothing to go on with then.
        OSError: Likewise.
    """
    words = [f"user {os.geteuid()}"]
    if identity is not None:
        rooted = _lose_all_files()
        become(identity)
        words = [f"user {identity.uid}", "an empty root" if rooted else "no chroot"]
    # An agent that isn't root may have been given some; becoming another user has lost them.
    _lose_capabilities()
    keeper.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    # Procedures may run as the same user: they can't look into this process.
    keeper.prctl(_PR_SET_DUMPABLE, 0)
    for limit in (resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
        resource.setrlimit(limit, (0, 0))
    # Becoming another user would have undone this.
    keeper.die_with(parent)
    return ", ".join([*words, "no new processes"])


def _lose_capabilities() -> None:
    keeper.call_system("capset", _CAPABILITIES_OF_OURS, _NO_CAPABILITIES)


def _lose_all_files() -> bool:
    """Make an empty folder without a name the root; tells whether the system let us."""
    try:
        name = tempfile.mkdtemp(prefix="harpd-")
        folder = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fchmod(folder, 0o555)
            os.rmdir(name)
            os.fchdir(folder)
        finally:
            os.close(folder)
        os.chroot(".")
    except OSError:
        # Root without the capability, as in some containers, or with nowhere to make a folder.
        return False
    return True
