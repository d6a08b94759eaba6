"""What the library raises, and the marks that stand for "not yet" and "cancelled".

Every network and protocol failure is a :class:`CommunicationError`: nobody who calls a
procedure has to know about sockets or JSON.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from harpcaller.errors import HarpcallerError


class HarpException(HarpcallerError):
    """Root of everything that this library raises on purpose."""


class CommunicationError(HarpException):
    """The other side can't be reached, went away, was silent too long, or talks nonsense."""


class CancelledException(HarpException):
    """The call was cancelled."""

    def __init__(self, message: str = "the call was cancelled") -> None:
        super().__init__(message)


class _Told(HarpException):
    """An error that came over the wire.

    Attributes:
        type: What sort of error: an exception's class name, or a type of the protocol.
        message: What went wrong, for people.
        data: Anything more that the other side told, or None.
    """

    def __init__(self, type: str, message: str, data: Any = None) -> None:
        # All three go to Exception, so that the error survives pickling.
        super().__init__(type, message, data)
        self.type = type
        self.message = message
        self.data = data

    def __str__(self) -> str:
        return f"{self.type}: {self.message}"


class RemoteException(_Told):
    """The procedure raised an exception; ``type`` is the name of its class."""


class RemoteError(_Told):
    """Something other than the procedure itself kept a result from being had."""


class Mark(Enum):
    """What stands where a result would, when there is none; compare with ``is``."""

    CALL_NOT_FINISHED = "not finished"
    CALL_CANCELLED = "cancelled"

    def __repr__(self) -> str:
        return f"harp.{self.name}"


#: The call still runs, or waits in its queue.
CALL_NOT_FINISHED = Mark.CALL_NOT_FINISHED
#: The call was cancelled.
CALL_CANCELLED = Mark.CALL_CANCELLED
