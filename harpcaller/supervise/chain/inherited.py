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

_LOCALE = b"LC_CTYPE"
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
    now = os.environb.get(_LOCALE)
    if now in _COERCED and (given := _locale_given(now)) != now:
        if given is None:
            os.unsetenv(_LOCALE)
        else:
            os.putenv(_LOCALE, given)


def environment() -> dict[bytes, bytes]:
    """Give the environment that this process was started with, for another program."""
    found = dict(os.environb)
    now = found.pop(_LOCALE, None)
    given = _locale_given(now) if now in _COERCED else now
    return found if given is None else {**found, _LOCALE: given}


def _locale_given(now: bytes) -> bytes | None:
    """Give the locale that the process was started with, or None if there was none."""
    try:
        descriptor = os.open("/proc/self/environ", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return now  # it can't be known
    whole = b""
    try:
        while piece := os.read(descriptor, 65536):
            whole += piece
    finally:
        os.close(descriptor)
    return first_value(whole, _LOCALE)


def first_value(environment: bytes, name: bytes) -> bytes | None:
    """Find a variable in an environment as the kernel shows it, each entry ended by a NUL."""
    _, found, rest = (b"\0" + environment).partition(b"\0" + name + b"=")
    return rest.partition(b"\0")[0] if found else None
