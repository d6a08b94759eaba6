"""The error tree, and the table of errors that have a type on the wire.

Two families.  A *bug* of ours is any exception not named here: it is logged
with its traceback and never shown to a peer.  A :class:`WireError` is an answer:
it has a wire type (``doc/protocol`` §1 and §2) and a message that is safe to send.
"""

from __future__ import annotations

from typing import ClassVar


class HarpcallerError(Exception):
    """Root of everything that this package raises on purpose."""


class LeftRunning(HarpcallerError):
    """We let go of a call that its agent keeps; the next dispatcher goes on with it."""


class WireError(HarpcallerError):
    """An error that a peer is told, as ``{"type": ..., "message": ...}``.

    Args:
        message: What was found, where, and what was expected; shown to the peer.
        data: A JSON value as bytes, or None.  Only passed on, never looked into.
    """

    wire_type: ClassVar[str]

    def __init__(self, message: str, data: bytes | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class InvalidRequest(WireError):
    """The request isn't one (``doc/protocol`` §4)."""

    wire_type = "invalid_request"


class RequestTooLarge(WireError):
    """A line is longer than ``max_request_size``."""

    wire_type = "request_too_large"


class NotAllowed(WireError):
    """The client may not do this, or isn't who it says it is."""

    wire_type = "not_allowed"


class InvalidJobId(WireError):
    """No job has this id."""

    wire_type = "invalid_jobid"


class UnknownHost(WireError):
    """The host isn't in the registry."""

    wire_type = "unknown_host"


class NetworkError(WireError):
    """The agent could not be reached, or closed before the end result."""

    wire_type = "network_error"


class TLSError(WireError):
    """The handshake failed, or the certificate isn't acceptable."""

    wire_type = "tls_error"


class CallTimeout(WireError):
    """Connecting, silence or the whole run took too long; the message tells which."""

    wire_type = "timeout"


class ProtocolError(WireError):
    """The other side sent something that isn't the protocol."""

    wire_type = "protocol_error"


class NotSupported(WireError):
    """The agent is older than what was asked of it."""

    wire_type = "not_supported"


class SystemFailure(WireError):
    """The dispatcher's own system failed the call (out of descriptors, say)."""

    wire_type = "os_error"


class StorageError(WireError):
    """The job's record couldn't be written or read."""

    wire_type = "storage_error"


class MissingResult(WireError):
    """The dispatcher was stopped or died while the job ran."""

    wire_type = "missing_result"


class ParseError(WireError):
    """Agent: the request isn't JSON."""

    wire_type = "parse_error"


class InvalidProtocol(WireError):
    """Agent: ``harp`` is missing or not 1."""

    wire_type = "invalid_protocol"


class AuthError(WireError):
    """Agent: the user isn't known, or the password is wrong."""

    wire_type = "auth_error"


class NoSuchProcedure(WireError):
    """Agent: the procedures file defines no such procedure."""

    wire_type = "no_such_procedure"


class ProcedureLoadingError(WireError):
    """Agent: no procedures are in force, because their file didn't load."""

    wire_type = "procedure_loading_error"


class InvalidArgumentList(WireError):
    """Agent: the arguments don't fit the procedure's signature."""

    wire_type = "invalid_argument_list"


class SystemUnable(WireError):
    """Agent: the process, its user or its group can't be had, or it died without a word."""

    wire_type = "system_error"


class InvalidMessage(WireError):
    """Agent: the result can't be written as JSON."""

    wire_type = "invalid_message"


class NoSuchJob(WireError):
    """Agent: it knows no call of this user's with this job id, or not its records that far back."""

    wire_type = "no_such_job"


class Shutdown(WireError):
    """The daemon is stopping and takes no new calls."""

    wire_type = "shutdown"


def _table(base: type[WireError]) -> dict[str, type[WireError]]:
    return {error.wire_type: error for error in base.__subclasses__()}


#: Wire type to error class, for every error above.
BY_WIRE_TYPE: dict[str, type[WireError]] = _table(WireError)
