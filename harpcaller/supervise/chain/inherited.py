"""What Python changes in its process when it starts, put back for the program that comes next.

A program that is exec'ed gets the signals that are ignored, and the environment.  Python ignores
SIGPIPE and SIGXFSZ, and under the C locale sets ``LC_CTYPE``.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    # What ``signal`` is made of.  ``signal`` itself makes enumerations of all names, which takes
    # longer than the rest of a tool.
    import _signal

#: What Python makes of the C locale.
_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")


def put_back() -> None:
    """Make the process what it was before Python started, as far as another program can tell.

    Whether SIGPIPE and SIGXFSZ were ignored before can't be known any more; they get their
    default, which is what every other program expects.
    """
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
    if _signal.getsignal(_signal.SIGINT) is _signal.default_int_handler:
        # Or a tool that waits would end in a traceback.
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    if os.environb.get(b"LC_CTYPE") in _COERCED:
        _put_back_locale()


def _put_back_locale() -> None:
    """Undo it if it was Python that chose the locale."""
    try:
        descriptor = os.open("/proc/self/environ", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return  # it can't be known
    given = b"\0"
    try:
        while piece := os.read(descriptor, 65536):
            given += piece
    finally:
        os.close(descriptor)
    _, found, rest = given.partition(b"\0LC_CTYPE=")
    if found:
        os.putenv(b"LC_CTYPE", rest.partition(b"\0")[0])
    else:
        os.unsetenv(b"LC_CTYPE")
