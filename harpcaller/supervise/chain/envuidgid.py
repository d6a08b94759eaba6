"""``envuidgid ACCOUNT PROGRAM...``: run a program with an account's numbers as UID and GID.

For programs that need root when they start, and become somebody else by themselves.
"""

import os

from harpcaller.supervise.chain import accounts
from harpcaller.supervise.chain.execution import become
from harpcaller.supervise.messages import usage


def main(argv: list[str]) -> int:
    """Set both variables, and become the program."""
    if len(argv) < 2:
        raise usage("envuidgid", "envuidgid account child")
    user, group = accounts.find("envuidgid", argv[0])
    os.putenv("GID", str(group))
    os.putenv("UID", str(user))
    become("envuidgid", argv[1:])
