"""What went wrong on the way to an agent, as an error with a wire type."""

from __future__ import annotations

import errno
import os

from OpenSSL import SSL
from twisted.internet import error
from twisted.python.failure import Failure

from harpcaller.errors import (
    CallTimeout,
    NetworkError,
    SystemFailure,
    TLSError,
    WireError,
)
from harpcaller.interfaces import Host

#: The system's own shortages, which aren't the network's fault.
_SHORTAGES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}


def fault_of(failure: Failure, host: Host, *, handshake: bool) -> WireError | None:
    """Name what went wrong.

    Args:
        failure: Of connecting, or the reason that a connection was lost.
        host: Where to.
        handshake: Whether the connection stood already, but not yet its TLS.

    Returns:
        The error, or None if this isn't the network's or the agent's doing.
    """
    reason = failure.value
    place = f"{host.address} port {host.port}"
    if isinstance(reason, SSL.Error):
        return TLSError(f"the TLS handshake with {place} failed: {_openssl_words(reason)}")
    # What can't be a name at all is a ValueError.
    if isinstance(reason, error.DNSLookupError) or (
        isinstance(reason, ValueError) and not handshake
    ):
        return NetworkError(f"the address {host.address} of {host.hostname} is not resolved")
    if isinstance(reason, error.ConnectionRefusedError):
        return NetworkError(f"connection to {place} refused")
    if isinstance(reason, error.TCPTimedOutError):
        return CallTimeout(f"connecting to {place} took too long")
    if isinstance(reason, (error.ConnectionDone, error.ConnectionLost)) and handshake:
        return NetworkError(f"{place} closed the connection during the TLS handshake")
    number = getattr(reason, "osError", None) or getattr(reason, "errno", None)
    if isinstance(number, int):
        words = os.strerror(number)
        if number in _SHORTAGES:
            return SystemFailure(f"cannot connect to {place}: {words}")
        return NetworkError(f"cannot connect to {place}: {words}")
    if isinstance(reason, (error.ConnectError, error.ConnectionClosed)):
        return NetworkError(f"cannot connect to {place}: {reason}")
    return None


def _openssl_words(reason: SSL.Error) -> str:
    """Give OpenSSL's own words: a list of (library, function, reason), or the system's."""
    match reason.args:
        case ([*queue],) if queue:
            return "; ".join(str(entry[-1]) for entry in queue)
        case (int(), str(words)):
            return words
    return "the connection was closed"
