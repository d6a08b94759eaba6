"""Finding a program the way daemontools does, and becoming it.

The way matters where PATH has several programs of a name: a file that may not be run is passed
over, but its error is the one that's told when nothing else is found.
"""

import errno
import os

from harpcaller.supervise.messages import Ended, fatal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

#: Where programs are when nobody says.
DEFAULT_PATH = b"/bin:/usr/bin"

#: PATH as it was when this process started.
STARTED_WITH = os.environb.get(b"PATH")

#: Go on with the next directory, and these are remembered but for the first.
_PASSED_OVER = (errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR)


def candidates(program: bytes, path: bytes | None) -> list[bytes]:
    """List the files that a program's name can mean, in the order of trying.

    Args:
        program: What was asked for; with a slash in it, it is the file.
        path: PATH's value, or None when it isn't set.  An empty part is the current directory.
    """
    if b"/" in program:
        return [program]
    parts = (DEFAULT_PATH if path is None else path).split(b":")
    return [(part or b".") + b"/" + program for part in parts]


def attempt(program: bytes, path: bytes | None, start: "Callable[[bytes], object]") -> None:
    """Try to start a program from each place until one doesn't fail.

    Args:
        program: As for :func:`candidates`.
        path: As for :func:`candidates`.
        start: Starts a file, or raises ``OSError``.

    Raises:
        OSError: None could be started; of several reasons, the last that isn't "does not exist".
    """
    remembered = OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    for candidate in candidates(program, path):
        try:
            start(candidate)
        except OSError as error:
            if error.errno not in _PASSED_OVER:
                raise
            if error.errno != errno.ENOENT:
                remembered = error
        else:
            return
    raise remembered


def become(tool: str, command: list[str], path: bytes | None = STARTED_WITH) -> "NoReturn":
    """Exec a command in the place of this process.

    The environment is that of the process as :func:`os.putenv` and :func:`os.unsetenv` have left
    it, so that what Python couldn't represent goes through unchanged.

    Args:
        tool: Whose message it is, if the program can't be run.
        command: Program and arguments.
        path: As for :func:`candidates`; mostly the one that the tool was started with, not one
            that it has set.

    Raises:
        Ended: It can't be run.
    """
    arguments = [os.fsencode(argument) for argument in command]

    def start(file: bytes) -> None:
        # Python refuses an empty first argument; no file has an empty name, so that it can
        # only be a directory's.
        if not arguments[0]:
            raise OSError(errno.EACCES, file)
        os.execv(file, arguments)  # noqa: S606  # no shell is what it's about

    try:
        attempt(arguments[0], path, start)
    except OSError as error:
        raise not_run(tool, command[0], error) from None
    raise AssertionError("exec has returned")


def not_run(tool: str, program: str, error: OSError) -> Ended:
    """Make the end of a tool whose program couldn't be started."""
    return fatal(tool, f"unable to run {program}", error)
