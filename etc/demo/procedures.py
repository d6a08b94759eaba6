"""The procedures that the demo calls; a procedures file is ordinary Python."""

import os
import time

from harpd.proc import Result, procedure, streaming_procedure


@procedure
def sum_and_difference(a, b):
    """Return a value made of the arguments."""
    return {"sum": a + b, "difference": a - b}


@streaming_procedure
def countdown(start):
    """Tell something several times, then return."""
    for number in range(start, 0, -1):
        yield {"number": number}
        time.sleep(0.3)
    yield Result("lift-off")


@procedure
def restart(service):
    """Take a while, as restarting something does."""
    time.sleep(0.2)
    return f"{service} restarted"


@procedure
def read_limit(limits, name):
    """Fail with an ordinary exception when the name isn't there."""
    return limits[name]


@streaming_procedure
def sleep_for_ever():
    """Tell who we are, and then nothing any more."""
    yield {"pid": os.getpid()}
    time.sleep(3600)
