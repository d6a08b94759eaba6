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
