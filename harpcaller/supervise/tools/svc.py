"""``svc [-udopchaitkxq12] [-w u|U|d] [-T MS] DIR ...``: tell supervisors what to do.

The commands are sent in their order, each once, in one piece to each service; then, if asked,
it is waited until all have got there.
"""

import errno
import os
import time

from harpcaller.supervise.chain.options import Options
from harpcaller.supervise.messages import Ended, reason, say

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    # Importing ``signal`` itself takes longer than all the rest.
    import _signal

#: What the original takes, and signals QUIT, USR1 and USR2.
_LETTERS = "udopchaitkxq12"
#: Those after which a service that comes up again has another process.
_ENDING = frozenset("dtk")
_SYNOPSIS = (
    "svc options: u up, d down, o once, x exit, p pause, c continue, h hup, a alarm, i interrupt,"
    " t term, k kill"
)
_FURTHER = (
    "further options: q quit, 1 usr1, 2 usr2, wu wait until up, wU until ready, wd until down,"
    " T milliseconds to wait at most"
)
#: Exit code when a service that is waited for can't be told what to do.
NOT_SENT = 1


def main(argv: list[str]) -> int:
    """Send the commands; gives 0, or how waiting ended."""
    _signal.signal(_signal.SIGPIPE, _signal.SIG_IGN)
    options = Options("svc", _LETTERS, "wT", _SYNOPSIS, argv)
    letters = wait_for = ""
    patience: float | None = None
    for letter, value in options:
        if letter == "w":
            if value not in ("u", "U", "d"):
                raise _wrong("-w takes u, U or d")
            wait_for = value
        elif letter == "T":
            if not (value.isascii() and value.isdigit() and len(value) < 12):
                raise _wrong("-T takes milliseconds")
            patience = int(value) / 1000
        elif letter not in letters:
            letters += letter
    if not wait_for:
        for path in options.rest:
            _ = _send(letters, path)
        return 0
    # Only who waits pays for what that takes.
    from harpcaller.supervise.tools.waiting import processes, wait

    deadline = None if patience is None else time.monotonic() + patience
    anew = wait_for != "d" and not _ENDING.isdisjoint(letters)
    before = processes(options.rest) if anew else {}
    # Who only waits has nothing to say.  The original looks for the supervisor all the same.
    reached = [path for path in options.rest if not letters or _send(letters, path)]
    code = wait(wait_for, reached, letters, deadline, before)
    return code or (NOT_SENT if len(reached) < len(options.rest) else 0)


def _wrong(what: str) -> Ended:
    return Ended(f"svc: {what}\n{_SYNOPSIS}\n{_FURTHER}", 100)


def _send(letters: str, path: str) -> bool:
    """Write commands to a service's supervisor; tells whether they were taken."""
    what = f"unable to chdir to {path}"
    flags = os.O_CLOEXEC | os.O_NONBLOCK
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | flags)
        try:
            what = f"unable to control {path}"
            control = os.open("supervise/control", os.O_WRONLY | flags, dir_fd=folder)
            try:
                what = f"error writing commands to {path}"
                _ = os.write(control, letters.encode())
            finally:
                os.close(control)
        finally:
            os.close(folder)
    except OSError as error:
        why = reason(error)
        if error.errno == errno.ENXIO and what.startswith("unable to control"):
            why = "supervise not running"
        say(f"svc: warning: {what}: {why}")
        return False
    return True
