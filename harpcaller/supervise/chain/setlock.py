"""``setlock [-nNxX] FILE PROGRAM...``: run a program while holding a lock on a file.

The descriptor stays open in the program: the lock lives as long as anything has it.
"""

import fcntl
import os

from harpcaller.supervise.chain.execution import become
from harpcaller.supervise.chain.options import Options
from harpcaller.supervise.messages import Ended, fatal, usage


def main(argv: list[str]) -> int:
    """Take the lock, and become the program."""
    wrong = usage("setlock", "setlock [ -nNxX ] file program [ arg ... ]")
    options = Options("setlock", "nNxX", "", wrong.line, argv)
    letters = [letter for letter, _ in options]
    if len(options.rest) < 2:
        raise wrong
    file, *command = options.rest
    silent = _last(letters, "xX") == "x"
    try:
        take("setlock", file, wait=_last(letters, "nN") != "n")
    except Ended:
        if silent:
            return 0
        raise
    become("setlock", command)


def _last(letters: list[str], pair: str) -> str:
    """Tell which of two options that undo each other came last, if any."""
    return "".join(letter for letter in letters if letter in pair)[-1:]


def take(tool: str, file: str, *, wait: bool) -> int:
    """Lock a file for this process and what it becomes.

    Args:
        tool: Whose messages they are.
        file: Made if it isn't there, and never changed.
        wait: Until whoever has the lock lets go, or give up at once.

    Returns:
        The descriptor, which has to stay open.

    Raises:
        Ended: The file can't be opened or locked.
    """
    try:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND | os.O_CREAT
        descriptor = os.open(file, flags, 0o600)
        os.set_inheritable(descriptor, True)
    except OSError as error:
        raise fatal(tool, f"unable to open {file}", error) from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        raise fatal(tool, f"unable to lock {file}", error) from None
    return descriptor
