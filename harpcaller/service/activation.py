"""Sockets that systemd has opened for us: ``sd_listen_fds(3)`` without its library."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from harpcaller.errors import HarpcallerError

#: The first descriptor that is passed.
FIRST = 3


class NotActivated(HarpcallerError):
    """What was passed is of no use; the message says why."""


def inherited_sockets(
    environ: Mapping[str, str], pid: int, first: int = FIRST
) -> list[socket.socket]:
    """Take the listening sockets that we were started with; programs that we start won't.

    Args:
        environ: Our environment, with ``LISTEN_PID`` and ``LISTEN_FDS`` if there are any.
        pid: Our process number; what is meant for another process isn't touched.
        first: The first descriptor.

    Returns:
        The sockets; none if there are none for us.

    Raises:
        NotActivated: They aren't listening TCP sockets.
    """
    if environ.get("LISTEN_PID") != str(pid):
        return []
    passed = environ.get("LISTEN_FDS", "")
    if not passed.isascii() or not passed.isdecimal():
        raise NotActivated(f"LISTEN_FDS: expected a number of sockets, got {passed[:20]!r}")
    found = []
    for descriptor in range(first, first + int(passed)):
        try:
            os.set_inheritable(descriptor, False)
            given = socket.socket(fileno=descriptor)
        except OSError as error:
            raise NotActivated(
                f"descriptor {descriptor} of LISTEN_FDS={passed}: {error.strerror}"
            ) from None
        found.append(given)
        if (
            given.family not in (socket.AF_INET, socket.AF_INET6)
            or given.type != socket.SOCK_STREAM
            or not given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        ):
            raise NotActivated(
                f"descriptor {descriptor} of LISTEN_FDS={passed} isn't a listening TCP socket;"
                " the socket unit needs ListenStream= and Accept=no"
            )
    return found
