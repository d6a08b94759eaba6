"""What Python changes in its process when it starts, put back for the program that comes next.

A program that is exec'ed gets the signals that are ignored, and the environment.  Python ignores
SIGPIPE and SIGXFSZ, and under the C locale adds ``LC_CTYPE``.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
else:
    # What ``signal`` is made of.  ``signal`` itself makes enumerations of all names, which takes
    # longer than the rest of a tool.
    import _signal

#: What Python gives LC_CTYPE when nobody has asked for a locale.
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
    if os.environb.get(b"LC_CTYPE") in _COERCED and not _was_given(b"LC_CTYPE"):
        os.unsetenv(b"LC_CTYPE")


def _was_given(name: bytes) -> bool:
    """Was a variable in the environment that the process started with?"""
    try:
        descriptor = os.open("/proc/self/environ", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return True  # it can't be known, so it stays
    try:
        found = b"\0"
        while piece := os.read(descriptor, 65536):
            found += piece
    finally:
        os.close(descriptor)
    return b"\0" + name + b"=" in found
