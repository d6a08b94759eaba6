"""``supervise/ok``: the FIFO that tells whether somebody supervises a service.

By itself, since ``svok`` is run in loops and needs nothing else.
"""

import errno
import os


def is_supervised(start: int | None) -> bool:
    """Tell whether somebody supervises the service in a folder.

    Args:
        start: A descriptor of the folder; None: the current one.

    Raises:
        OSError: That can't be told.
    """
    try:
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
        os.close(os.open("supervise/ok", flags, dir_fd=start))
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    return True
