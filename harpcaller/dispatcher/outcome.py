"""How a job ended, as its log event tells it: never with what the procedure said."""

from __future__ import annotations

from typing import assert_never

from harpcaller.errors import (
    CallTimeout,
    MissingResult,
    NetworkError,
    ProtocolError,
    StorageError,
    SystemFailure,
    TLSError,
    UnknownHost,
)
from harpcaller.wire.ending import Cancelled, Ending, Failed, Raised, Returned

#: What the dispatcher itself says; an agent's message may quote arguments.
_OUR_OWN = {
    error.wire_type
    for error in (
        UnknownHost,
        NetworkError,
        TLSError,
        CallTimeout,
        ProtocolError,
        SystemFailure,
        StorageError,
        MissingResult,
    )
}


def outcome(ending: Ending) -> dict[str, str]:
    """Give the context of the event that tells of this ending."""
    match ending:
        case Returned():
            return {"outcome": "returned"}
        case Raised():
            return {"outcome": "exception", "type": ending.type}
        case Failed():
            reason = {"reason": ending.message} if ending.type in _OUR_OWN else {}
            return {"outcome": "error", "type": ending.type, **reason}
        case Cancelled():
            return {"outcome": "cancelled"}
        case _:
            assert_never(ending)
