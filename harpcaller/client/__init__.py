"""harp: call procedures through a dispatcher, or straight on an agent.

Standard library only, Python 3.9 and newer, nothing of the daemons.  The core is
:mod:`~harpcaller.client.exchange` (bytes and answers, no input or output) and
:mod:`~harpcaller.client.translation` (Python's values); :mod:`~harpcaller.client.blocking` and
:mod:`~harpcaller.client.direct` are the faces on it, :mod:`~harpcaller.client.command` is the
command line.
"""

from harpcaller.client.blocking import (
    HarpCaller,
    RecordIterator,
    RemoteCall,
    RemoteProcedure,
    RemoteServer,
)
from harpcaller.client.direct import HarpProcedure, HarpServer, HarpStreamIterator
from harpcaller.client.exceptions import (
    CALL_CANCELLED,
    CALL_NOT_FINISHED,
    CancelledException,
    CommunicationError,
    HarpException,
    RemoteError,
    RemoteException,
)
from harpcaller.client.streams import Result

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
