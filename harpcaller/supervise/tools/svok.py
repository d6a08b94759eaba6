"""``svok DIR``: is somebody supervising this service?  Says it by exit code: 0 yes, 100 no."""

import os

from harpcaller.supervise.messages import USED_WRONGLY, fatal, usage
from harpcaller.supervise.servicedir.ok import is_supervised


def main(argv: list[str]) -> int:
    """Look; gives the exit code."""
    if not argv:
        raise usage("svok", "svok dir")
    path = argv[0]
    try:
        os.chdir(path)
    except OSError as error:
        raise fatal("svok", f"unable to chdir to {path}", error) from None
    try:
        return 0 if is_supervised(None) else USED_WRONGLY
    except FileNotFoundError:
        return USED_WRONGLY
    except OSError as error:
        raise fatal("svok", f"unable to open {path}/supervise/ok", error) from None
