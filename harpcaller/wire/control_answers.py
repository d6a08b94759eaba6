"""Dispatcher to operator: what a command on the control socket is answered (``doc/control``).

An answer is one closing line, ``{"result":"ok",...}`` or ``{"result":"error",...}``, which a
list's items go before, a line each.  No item has a member ``result``, and that is how
they are told apart.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Union

from harpcaller.errors import ProtocolError, WireError
from harpcaller.wire.client import JobId
from harpcaller.wire.client_answers import JobStatus, call_summary, time_summary
from harpcaller.wire.control import ConfigRejected
from harpcaller.wire.ending import complaint
from harpcaller.wire.fields import BadField, as_string
from harpcaller.wire.values import NULL, NotJSON, Raw, build, decode, encode, members

# --- Answers that are no lists -------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """It is done, and there is nothing more to say."""


@dataclass(frozen=True)
class DaemonStatus:
    """How far the daemon's start-up came: ``starting`` or ``running``."""

    status: str
    pid: int


@dataclass(frozen=True)
class Stopping:
    """The daemon stops; when its process is gone, it has."""

    pid: int


@dataclass(frozen=True)
class PruneOutcome:
    """How many jobs were forgotten, and how many couldn't be."""

    removed: int
    failed: int


@dataclass(frozen=True)
class JobCancelled:
    """Whether the job is cancelled now; if not, it had ended already."""

    cancelled: bool


@dataclass(frozen=True)
class QueueCancelled:
    """How many jobs were cancelled."""

    cancelled: int


Answer = Union[Done, DaemonStatus, Stopping, PruneOutcome, JobCancelled, QueueCancelled]


def encode_answer(answer: Answer) -> bytes:
    """Write the closing line of something that was done."""
    line = {"result": encode("ok")}
    line.update({field.name: encode(getattr(answer, field.name)) for field in fields(answer)})
    return build(line) + b"\n"


def encode_refusal(error: WireError) -> bytes:
    """Write the closing line of something that wasn't done."""
    line = {
        "result": encode("error"),
        "type": encode(error.wire_type),
        "message": encode(error.message),
    }
    if isinstance(error, ConfigRejected):
        line["problems"] = encode(list(error.problems))
    return build(line) + b"\n"


# --- Items of lists ------------------------------------------------------------------------


@dataclass(frozen=True)
class ListedJob:
    """A job; its queue is shown only if ``with_queue``."""

    job_id: JobId
    status: JobStatus
    with_queue: bool = False


@dataclass(frozen=True)
class UnreadableJob:
    """A job that belongs to the list but whose record can't be read."""

    job_id: JobId
    type: str
    message: str


@dataclass(frozen=True)
class ListedQueue:
    """A queue's name."""

    name: Raw


@dataclass(frozen=True)
class ListedHost:
    """A host; its credentials are nobody's business."""

    hostname: str
    address: str
    port: int


Item = Union[ListedJob, UnreadableJob, ListedQueue, ListedHost]

#: A field longer than this, in bytes, is left out of an item that has to be short.
LONGEST_SHORT_FIELD = 4096


def encode_item(item: Item) -> Raw:
    """Write a list's item, without a newline."""
    return build(_item_members(item))


def encode_short_item(item: Item) -> Raw:
    """Write a list's item so that it surely is shorter than 64 KiB.

    Fields longer than :data:`LONGEST_SHORT_FIELD` become null, and the item's additional
    member ``cut`` lists their names.
    """
    whole = _item_members(item)
    cut: list[str] = []
    if isinstance(item, ListedJob):
        whole["call"] = build(_shortened(members(whole["call"]), cut))
    return build({**_shortened(whole, cut), "cut": encode(cut)})


def _shortened(found: dict[str, Raw], cut: list[str]) -> dict[str, Raw]:
    # A job's call is made of three fields that are short themselves by now.
    limits = {"call": 4 * LONGEST_SHORT_FIELD}
    long = [key for key in found if len(found[key]) > limits.get(key, LONGEST_SHORT_FIELD)]
    cut += long
    return {key: NULL if key in long else raw for key, raw in found.items()}


def _item_members(item: Item) -> dict[str, Raw]:
    if isinstance(item, ListedJob):
        status = item.status
        found = {
            "job": encode(item.job_id),
            "call": call_summary(status),
            "time": time_summary(status),
        }
        if item.with_queue:
            found["queue"] = NULL if status.queue_name is None else status.queue_name
        return found
    if isinstance(item, UnreadableJob):
        return {"job": encode(item.job_id), "error": complaint(item.type, item.message)}
    if isinstance(item, ListedQueue):
        return {"queue": item.name}
    return {field.name: encode(getattr(item, field.name)) for field in fields(item)}


# --- The asking side -----------------------------------------------------------------------


@dataclass(frozen=True)
class Closing:
    """The answer's last line: it is done."""

    found: dict[str, Raw]


@dataclass(frozen=True)
class Refusal:
    """The answer's last line: it wasn't done; ``type`` is empty from one that doesn't tell."""

    type: str
    message: str
    problems: tuple[str, ...] = ()


def decode_line(line: bytes) -> Closing | Refusal | None:
    """Read one line of an answer.

    Returns:
        The closing line, or None for a list's item, which isn't looked into.

    Raises:
        ProtocolError: It is neither.
    """
    if line[:1] == b"{" and b'"result"' not in line:
        return None
    try:
        found = members(line)
        if "result" not in found:
            return None
        result = as_string(found.pop("result"), "result")
        if result == "ok":
            return Closing(found)
        if result != "error":
            raise BadField(f"result: expected ok or error, got {encode(result[:60]).decode()}")
        return Refusal(
            as_string(found.get("type", encode("")), "type"),
            as_string(found.get("message", encode("")), "message"),
            tuple(map(str, decode(found.get("problems", Raw(b"[]"))))),
        )
    except (NotJSON, BadField, TypeError) as error:
        raise ProtocolError(f"the daemon's answer: {error}") from None
