"""Telling systemd how far a daemon is, without any library of its: ``sd_notify(3)``."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress


def notify(state: str, environ: Mapping[str, str]) -> None:
    """Send a state such as ``READY=1`` to whoever started us; nobody may be there.

    Args:
        state: Assignments, one on a line.
        environ: Where ``NOTIFY_SOCKET`` is looked up: a path, or a name that begins with
            ``@`` in Linux's abstract namespace.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if address.startswith("@"):
        address = "\0" + address[1:]
    elif not address.startswith("/"):
        return
    # A state that doesn't arrive is no reason to stop: systemd has its own timeouts.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.sendto(state.encode(), address)
