"""Accounts as the exec-chain tools need them: a user and its group, by name."""

import pwd

from harpcaller.supervise.messages import fatal


def find(tool: str, account: str) -> tuple[int, int]:
    """Give an account's user and group.

    Args:
        tool: Whose message it is.
        account: A name; a number is looked up as a name, too.

    Raises:
        Ended: There is no such account.
    """
    try:
        entry = pwd.getpwnam(account)
    except KeyError:
        raise fatal(tool, f"unknown account {account}") from None
    return entry.pw_uid, entry.pw_gid
