"""What a procedures file imports; see :mod:`harpcaller.agent.proc`."""

from harpcaller.agent.proc import (
    Procedure,
    Result,
    StreamingProcedure,
    procedure,
    streaming_procedure,
)

__all__ = ["Procedure", "Result", "StreamingProcedure", "procedure", "streaming_procedure"]
