"""Becoming the command: run as a script of its own, imported only for its path.

A Python parent spoils its children: some signals stay ignored, ``LC_CTYPE`` can appear in
their environment, and Twisted gives them no process group by which all of what they start
can be killed.  This stands in between, puts that right, and tells by descriptor 3 why a
command can't be started; on success the descriptor closes without a word.

Usage: ``python -I -S launch.py PROGRAM [ARGUMENT...]``
"""

from __future__ import annotations

import os
import signal
import sys

#: Where the number of the system's error is written.
STATUS_FD = 3


def become(argv: list[str]) -> None:
    """Replace this process by the command, or write down why that can't be."""
    os.set_inheritable(STATUS_FD, False)
    try:
        os.setsid()
        for number in signal.valid_signals():
            if signal.getsignal(number) is signal.SIG_IGN:
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # Python itself may have put it there, on its start or on the daemon's.
        os.environ.pop("LC_CTYPE", None)
        os.execv(argv[0], argv)  # noqa: S606  # no shell is what is wanted
    except OSError as error:
        os.write(STATUS_FD, str(error.errno).encode())
        os._exit(127)


if __name__ == "__main__":
    become(sys.argv[1:])
