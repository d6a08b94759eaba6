"""``softlimit OPTIONS PROGRAM...``: run a program with lower limits on what it can use.

Only soft limits change, so that the program can raise them again up to the hard ones.
"""

import resource

from harpcaller.supervise.chain.execution import become
from harpcaller.supervise.chain.options import Options
from harpcaller.supervise.messages import Ended, fatal, usage

SYNOPSIS = (
    "softlimit [-a allbytes] [-c corebytes] [-d databytes] [-f filebytes] [-l lockbytes]"
    " [-m membytes] [-o openfiles] [-p processes] [-r residentbytes] [-s stackbytes]"
    " [-t cpusecs] child"
)

#: The limits that each option changes.
LIMITS = {
    "a": (resource.RLIMIT_AS,),
    "c": (resource.RLIMIT_CORE,),
    "d": (resource.RLIMIT_DATA,),
    "f": (resource.RLIMIT_FSIZE,),
    "l": (resource.RLIMIT_MEMLOCK,),
    "m": (
        resource.RLIMIT_DATA,
        resource.RLIMIT_STACK,
        resource.RLIMIT_MEMLOCK,
        resource.RLIMIT_AS,
    ),
    "o": (resource.RLIMIT_NOFILE,),
    "p": (resource.RLIMIT_NPROC,),
    "r": (resource.RLIMIT_RSS,),
    "s": (resource.RLIMIT_STACK,),
    "t": (resource.RLIMIT_CPU,),
}

#: From here on a number isn't a limit any more; Python's interface takes no more, either.
_UNLIMITED = 1 << 63


def main(argv: list[str]) -> int:
    """Set the limits, and become the program."""
    wrong = usage("softlimit", SYNOPSIS)
    options = Options("softlimit", "", "".join(LIMITS), wrong.line, argv)
    for letter, value in options:
        impose("softlimit", letter, value, wrong)
    if not options.rest:
        raise wrong
    become("softlimit", options.rest)


def soft(value: str, hard: int) -> int | None:
    """Tell the soft limit that an option's value means, or None if it means none.

    Args:
        value: Decimal digits; none are 0; ``=`` is the hard limit.
        hard: The hard limit, ``resource.RLIM_INFINITY`` if there is none.
    """
    if value == "=":
        return hard
    if value.strip("0123456789"):
        return None
    # Beyond 20 digits Python would want to know that they are meant.
    number = _UNLIMITED if len(value.lstrip("0")) > 20 else int(value or "0")
    if hard == resource.RLIM_INFINITY:
        return number if number < _UNLIMITED else resource.RLIM_INFINITY
    return min(number, hard)


def impose(tool: str, letter: str, value: str, wrong: Ended) -> None:
    """Set the limits that an option stands for.

    Args:
        tool: Whose messages they are.
        letter: The option, a key of :data:`LIMITS`.
        value: As for :func:`soft`.
        wrong: What to raise if the value isn't one.

    Raises:
        Ended: The value isn't one, or the system refuses.
    """
    for limit in LIMITS[letter]:
        try:
            hard = resource.getrlimit(limit)[1]
        except (OSError, ValueError) as error:
            raise fatal(tool, "getrlimit failed", _system(error)) from None
        number = soft(value, hard)
        if number is None:
            raise wrong
        try:
            resource.setrlimit(limit, (number, hard))
        except (OSError, ValueError) as error:
            raise fatal(tool, "setrlimit failed", _system(error)) from None


def _system(error: OSError | ValueError) -> OSError | None:
    """Python tells some refusals as its own."""
    return error if isinstance(error, OSError) else None
