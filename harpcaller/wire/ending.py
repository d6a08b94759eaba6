"""How a call ends: exactly one of four ways, the same on every wire and on disk.

``Returned | Raised | Failed | Cancelled`` is a closed union.  It lives here and not with the
job's machine because the agent's messages, the clients' answers and the store's end
lines are all made of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Union

from harpcaller.errors import WireError
from harpcaller.wire.fields import BadField, as_object, as_text
from harpcaller.wire.values import TRUE, Raw, build, encode


@dataclass(frozen=True)
class Returned:
    """The procedure returned; ``value`` is its result as bytes."""

    value: Raw


@dataclass(frozen=True)
class Raised:
    """The procedure raised an exception."""

    type: str
    message: str
    data: Raw | None = None


@dataclass(frozen=True)
class Failed:
    """Anything else that kept a result from being had; ``type`` is the wire type."""

    type: str
    message: str
    data: Raw | None = None

    @classmethod
    def because(cls, error: WireError) -> Failed:
        """Make the ending that tells of this error."""
        return cls(error.wire_type, error.message, None if error.data is None else Raw(error.data))


@dataclass(frozen=True)
class Cancelled:
    """Somebody asked for it to be ended."""


Ending = Union[Returned, Raised, Failed, Cancelled]

#: The keys that an ending's object can have; exactly one of them stands in it.
KEYS = ("result", "exception", "error", "cancelled")


def members_of(ending: Ending) -> dict[str, Raw]:
    """Give the one member that tells the ending, for the message that carries it."""
    if isinstance(ending, Returned):
        return {"result": ending.value}
    if isinstance(ending, Raised):
        return {"exception": complaint(ending.type, ending.message, ending.data)}
    if isinstance(ending, Failed):
        return {"error": complaint(ending.type, ending.message, ending.data)}
    return {"cancelled": TRUE}


def from_members(found: dict[str, Raw]) -> Ending | None:
    """Read the ending that an object tells, other members ignored.

    Returns:
        The ending, or None when none of :data:`KEYS` stands in it.

    Raises:
        BadField: More than one does, or its content isn't what it should be.
        NotJSON: A key stands twice inside.
    """
    keys = [key for key in KEYS if key in found]
    if not keys:
        return None
    if len(keys) > 1:
        raise BadField(f"{keys[0]} and {keys[1]} in one message")
    key = keys[0]
    raw = found[key]
    if key == "result":
        return Returned(raw)
    if key == "cancelled":
        if raw != TRUE:
            raise BadField("cancelled: expected true")
        return Cancelled()
    inside = as_object(raw, key)
    for needed in ("type", "message"):
        if needed not in inside:
            raise BadField(f"{key}.{needed}: missing")
    make = Raised if key == "exception" else Failed
    return make(
        # Lenient: a message may name a file whose name isn't UTF-8.
        as_text(inside["type"], f"{key}.type"),
        as_text(inside["message"], f"{key}.message"),
        inside.get("data"),
    )


def complaint(type_: str, message: str, data: Raw | None = None) -> Raw:
    """Write ``{"type":..., "message":..., "data":...}``, without ``data`` if it is None."""
    fields = {"type": encode(type_), "message": encode(message)}
    if data is not None:
        fields["data"] = data
    return build(fields)
