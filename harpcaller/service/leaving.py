"""Ending the process with an exit code, which ``twistd`` has no way to be told."""

from __future__ import annotations

import atexit
import os
import sys


def leave_with(code: int) -> None:
    """Let the process end with this code once everything else is done.

    ``twistd`` removes its pid file after the reactor has stopped and then always exits with
    0; what is registered last with :mod:`atexit` runs first.
    """

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(leave)
