"""``fghack PROGRAM...``: wait for a program that puts itself into the background.

It gets the write end of a pipe on many descriptors.  A daemon closes a few as a matter of form,
hardly all: once the pipe is at its end, nothing of the program is left.
"""

import os

from harpcaller.supervise.chain.execution import STARTED_WITH, attempt, not_run
from harpcaller.supervise.messages import fatal, usage

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
    process = _start(argv, [writing] + [os.dup(writing) for _ in range(DESCRIPTORS - 1)])
    while os.read(reading, 4096):
        pass  # what the program writes there by mistake
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if code < 0:
        raise fatal("fghack", "child crashed")
    return code


def _start(command: list[str], writing: list[int]) -> int:
    """Start the program with the pipe's write ends, and close ours."""
    arguments = [os.fsencode(argument) for argument in command]
    started = []

    def start(file: bytes) -> None:
        process = os.posix_spawn(file, arguments, os.environb)
        started.append(process)

    try:
        for descriptor in writing:
            os.set_inheritable(descriptor, True)
        attempt(arguments[0], STARTED_WITH, start)
    except OSError as error:
        raise not_run("fghack", command[0], error) from None
    finally:
        for descriptor in writing:
            os.close(descriptor)
    return started[0]
