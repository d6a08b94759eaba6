"""The library for asyncio; see :mod:`harpcaller.client.aio`, where all of this lives."""

from harpcaller.client.aio import (
    CALL_CANCELLED,
    CALL_NOT_FINISHED,
    CancelledException,
    CommunicationError,
    HarpCaller,
    HarpException,
    HarpProcedure,
    HarpServer,
    HarpStreamIterator,
    RecordIterator,
    RemoteCall,
    RemoteError,
    RemoteException,
    RemoteProcedure,
    RemoteServer,
    Result,
)

__all__ = [
    "CALL_CANCELLED",
    "CALL_NOT_FINISHED",
    "CancelledException",
    "CommunicationError",
    "HarpCaller",
    "HarpException",
    "HarpProcedure",
    "HarpServer",
    "HarpStreamIterator",
    "RecordIterator",
    "RemoteCall",
    "RemoteError",
    "RemoteException",
    "RemoteProcedure",
    "RemoteServer",
    "Result",
]
