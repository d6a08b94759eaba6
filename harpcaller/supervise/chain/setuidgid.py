"""``setuidgid ACCOUNT PROGRAM...``: run a program as another user, in that user's group only."""

import os

from harpcaller.supervise.chain import accounts
from harpcaller.supervise.chain.execution import become
from harpcaller.supervise.messages import fatal, usage


def main(argv: list[str]) -> int:
    """Become the user, then the program."""
    if len(argv) < 2:
        raise usage("setuidgid", "setuidgid account child")
    user, group = accounts.find("setuidgid", argv[0])
    switch("setuidgid", user, group, [group])
    become("setuidgid", argv[1:])


def switch(tool: str, user: int, group: int, groups: list[int]) -> None:
    """Give up what this process may, for good.

    Args:
        tool: Whose messages they are.
        user: The user to become.
        group: The group to become.
        groups: All groups to be in.

    Raises:
        Ended: It isn't root, mostly.
    """
    try:
        os.setgroups(groups)
        os.setgid(group)
    except OSError as error:
        raise fatal(tool, "unable to setgid", error) from None
    try:
        os.setuid(user)
    except OSError as error:
        raise fatal(tool, "unable to setuid", error) from None
