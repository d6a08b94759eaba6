"""``fghack PROGRAM...``: wait for a program that puts itself into the background.

It gets the write end of a pipe on many descriptors.  A daemon closes a few as a matter of form,
hardly all: once the pipe is at its end, nothing of the program is left.
"""

import os

from harpcaller.supervise.chain.execution import become
from harpcaller.supervise.messages import Ended, fatal, say, usage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

#: How many descriptors the program gets: more than the twenty that old systems had.
DESCRIPTORS = 31


def main(argv: list[str]) -> int:
    """Run the program and wait for all that it leaves behind; gives the program's exit code."""
    if not argv:
        raise usage("fghack", "fghack child")
    try:
        reading, writing = os.pipe()
    except OSError as error:
        raise fatal("fghack", "unable to create pipe", error) from None
    try:
        # posix_spawn would leave the C library's own two signals ignored in the program.
        process = os.fork()
    except OSError as error:
        raise fatal("fghack", "unable to fork", error) from None
    if process == 0:
        _become(argv, writing)
    os.close(writing)
    while os.read(reading, 4096):
        pass  # what the program writes there by mistake
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code < 0:
        raise fatal("fghack", "child crashed")
    return code


def copy(descriptor: int, count: int) -> list[int]:
    """Copy a descriptor for a program that comes next; fewer times where there may be no more."""
    copies = []
    try:
        for _ in range(count):
            copies.append(os.dup(descriptor))
            os.set_inheritable(copies[-1], True)
    except OSError:
        pass  # it gets what there is, as by the original
    return copies


def _become(command: list[str], writing: int) -> "NoReturn":
    """Be the program, in the new process."""
    try:
        os.set_inheritable(writing, True)
        copy(writing, DESCRIPTORS - 1)
        become("fghack", command)
    except Ended as end:
        say(end.line)
        os._exit(end.exit_code)
