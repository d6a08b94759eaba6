"""What the agent runs in the system tests."""

import os
import subprocess
import time

from harpd.proc import Result, procedure, streaming_procedure


@procedure
def echo(value):
    return value


@procedure
def note(path, line):
    """Leave a line behind, so that a test can count how often this ran."""
    with open(path, "a") as notes:
        notes.write(f"{line}\n")
    return line


@procedure
def fail(message):
    raise ValueError(message)


@procedure
def sleep(seconds):
    time.sleep(seconds)
    return seconds


@procedure
def die():
    os._exit(3)


@streaming_procedure
def count(number, pause=0.0):
    for i in range(number):
        yield {"i": i}
        time.sleep(pause)
    yield Result(number)


@streaming_procedure
def family():
    """Have a child, tell who we are, and stay."""
    child = subprocess.Popen(["sleep", "600"])  # whichever there is
    yield [os.getpid(), child.pid]
    time.sleep(600)
