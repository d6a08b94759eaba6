"""``pgrphack PROGRAM...``: run a program in a process group and session of its own."""

import os

from harpcaller.supervise.chain.execution import become
from harpcaller.supervise.messages import usage


def main(argv: list[str]) -> int:
    """Start the session, and become the program."""
    if not argv:
        raise usage("pgrphack", "pgrphack child")
    try:
        os.setsid()
    except PermissionError:
        pass  # it leads a group already
    become("pgrphack", argv)
