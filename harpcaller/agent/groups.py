"""Process groups: signalling them, and seeing whether anybody is left in them."""

from __future__ import annotations

import os
from contextlib import suppress


def signal_group(group: int, number: int) -> bool:
    """Signal a process group; tells whether there is such a group."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # whoever is left in it is another user's
    return True


def living_groups() -> set[int]:
    """Find the groups that have a member which isn't a zombie.

    A group whose last members are zombies still takes signals. Their parent is then init,
    and there are containers whose init collects nobody.
    """
    found = set()
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with suppress(FileNotFoundError, ProcessLookupError):
                with open(f"/proc/{name}/stat", "rb") as stream:
                    # The command's name stands in brackets and may contain some.
                    state, _, group = stream.read().rpartition(b")")[2].split()[:3]
                if state not in (b"Z", b"X"):
                    found.add(int(group))
    return found
