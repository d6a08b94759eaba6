"""What a procedures file imports; see :mod:`harpcaller.agent.proc`."""

from harpcaller.agent.proc import (
    CallInfo,
    Procedure,
    Result,
    StreamingProcedure,
    procedure,
    streaming_procedure,
)

__all__ = [
    "CallInfo",
    "Procedure",
    "Result",
    "StreamingProcedure",
    "procedure",
    "streaming_procedure",
]
