"""Dispatcher to client: answers (``doc/protocol`` §1).

Writing and reading are both here, so that the daemon and the client library cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Union

from harpcaller.errors import ProtocolError
from harpcaller.wire.client import (
    Call,
    Cancel,
    FollowStream,
    GetStatus,
    JobId,
    ReadStream,
    Request,
    job_id_of,
)
from harpcaller.wire.ending import Ending, Failed, Returned, from_members, members_of
from harpcaller.wire.fields import BadField, as_boolean, as_integer, as_object, as_string, as_time
from harpcaller.wire.procedures import ProcedureList, as_procedures
from harpcaller.wire.registry import (
    HostList,
    ListHosts,
    ListProceduresOf,
    as_hosts,
)
from harpcaller.wire.values import FALSE, NULL, TRUE, NotJSON, Raw, build, encode, members


@dataclass(frozen=True)
class Submitted:
    """The call has become a job, and the job is on disk."""

    job_id: JobId


@dataclass(frozen=True)
class NotEnded:
    """``no_result``: the job still runs or waits."""


@dataclass(frozen=True)
class CancelOutcome:
    """Whether the job is cancelled now because somebody asked."""

    cancelled: bool


@dataclass(frozen=True)
class Record:
    """One thing that a streaming procedure said.

    Attributes:
        number: Its place in the stream, from 0.
        data: What was said, as bytes.
        time: When the dispatcher heard it, in Unix seconds; None from one that doesn't tell.
    """

    number: int
    data: Raw
    time: float | None = None


@dataclass(frozen=True)
class ToBeContinued:
    """``continue``: these were all the records that there are now."""


@dataclass(frozen=True)
class JobStatus:
    """What a job is and how far it came; times are Unix seconds.

    ``client`` is who submitted it, where that is known; it is told to nobody.
    """

    host: str
    procedure: str
    arguments: Raw
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    info: Raw
    queue_name: Raw | None = None
    client: str | None = field(default=None, compare=False)

    @property
    def state(self) -> str:
        """Say it in a word: queued, running or ended."""
        if self.ended_at is not None:
            return "ended"
        return "queued" if self.started_at is None else "running"

    @cached_property
    def answer(self) -> bytes:
        """The line that answers a get_status; kept, since an ended job's is asked for often."""
        fields = {
            "call": call_summary(self),
            "time": time_summary(self),
            "info": self.info,
            "queue": NULL if self.queue_name is None else self.queue_name,
            "state": encode(self.state),
            "time_ms": time_summary(self, 1000),
        }
        return build(fields) + b"\n"

    @property
    def carried(self) -> int:
        """How many bytes it carries, the answer that it keeps among them."""
        values = len(self.arguments) + len(self.info) + len(self.queue_name or b"")
        return values + len(self.answer)


NO_RESULT = b'{"no_result":true}\n'
CONTINUE = b'{"continue":true}\n'


def encode_submitted(job_id: JobId) -> bytes:
    """Answer a call."""
    return b'{"harpcaller":1,"job_id":"%s"}\n' % job_id.encode("ascii")


def encode_cancelled(cancelled: bool) -> bytes:
    """Answer a cancel."""
    return b'{"cancelled":%s}\n' % (TRUE if cancelled else FALSE)


def encode_ending(ending: Ending) -> bytes:
    """Answer with the end result."""
    if isinstance(ending, Returned):
        return b'{"result":%s}\n' % ending.value
    return build(members_of(ending)) + b"\n"


def encode_error(type_: str, message: str) -> bytes:
    """Answer with an error that isn't a job's ending."""
    return encode_ending(Failed(type_, message))


def encode_record(record: Record) -> bytes:
    """Write one line of a stream."""
    if record.time is None:
        return b'{"packet":%d,"data":%s}\n' % (record.number, record.data)
    return b'{"packet":%d,"data":%s,"time":%s}\n' % (
        record.number,
        record.data,
        encode(record.time),
    )


def call_summary(status: JobStatus) -> Raw:
    """Write ``{"host":..., "procedure":..., "arguments":...}``, as status and lists show it."""
    return build(
        {
            "host": encode(status.host),
            "procedure": encode(status.procedure),
            "arguments": status.arguments,
        }
    )


def time_summary(status: JobStatus, scale: int = 1) -> Raw:
    """Write the three times as whole numbers: of seconds, or of milliseconds with scale 1000."""
    times = (
        ("submit", status.submitted_at),
        ("start", status.started_at),
        ("end", status.ended_at),
    )
    return build({key: NULL if time is None else _whole(time, scale) for key, time in times})


def _whole(time: float, scale: int) -> Raw:
    # Rounded first to what a float of our days still holds: 1455282411.001 * 1000 is a
    # little less than 1455282411001.  By way of milliseconds, so that both scales tell the
    # same second.
    return encode(int(round(time * 1000, 3)) * scale // 1000)


Answer = Union[
    Submitted,
    NotEnded,
    CancelOutcome,
    Record,
    ToBeContinued,
    JobStatus,
    HostList,
    ProcedureList,
    Ending,
]


def decode_answer(line: bytes, request: Request) -> Answer:
    """Read one answer line to the given request; fields that aren't known are passed over.

    Raises:
        ProtocolError: It isn't an answer to such a request.
    """
    try:
        found = members(line)
        answer = _answer(found, request)
    except (NotJSON, BadField) as error:
        raise ProtocolError(f"the dispatcher's answer: {error}") from None
    if answer is None:
        raise ProtocolError("the dispatcher's answer is of no known kind")
    return answer


def _answer(found: dict[str, Raw], request: Request) -> Answer | None:
    if "error" in found:
        return from_members({"error": found["error"]})
    if isinstance(request, Call):
        return Submitted(job_id_of(found, "job_id")) if "job_id" in found else None
    if isinstance(request, Cancel):
        if "cancelled" not in found:
            return None
        return CancelOutcome(as_boolean(found["cancelled"], "cancelled"))
    if isinstance(request, GetStatus):
        return _decode_status(found) if "call" in found else None
    if isinstance(request, ListHosts):
        return as_hosts(found["hosts"]) if "hosts" in found else None
    if isinstance(request, ListProceduresOf):
        return as_procedures(found["procedures"]) if "procedures" in found else None
    if isinstance(request, (FollowStream, ReadStream)):
        if "packet" in found and "data" in found:
            time = found.get("time")
            return Record(
                as_integer(found["packet"], "packet"),
                found["data"],
                None if time is None else as_time(time, "time"),
            )
        if found.get("continue") == TRUE:
            return ToBeContinued()
    elif found.get("no_result") == TRUE:
        return NotEnded()
    return from_members(found)


def _decode_status(found: dict[str, Raw]) -> JobStatus:
    call = as_object(found["call"], "call")
    times = as_object(found.get("time_ms", found.get("time", NULL)), "time")
    scale = 1000 if "time_ms" in found else 1
    for needed in ("host", "procedure", "arguments"):
        if needed not in call:
            raise BadField(f"call.{needed}: missing")

    def time(key: str) -> float | None:
        raw = times.get(key, NULL)
        return None if raw == NULL else as_time(raw, f"time.{key}") / scale

    queue_name = found.get("queue", NULL)
    return JobStatus(
        host=as_string(call["host"], "call.host"),
        procedure=as_string(call["procedure"], "call.procedure"),
        arguments=call["arguments"],
        submitted_at=time("submit") or 0.0,
        started_at=time("start"),
        ended_at=time("end"),
        info=found.get("info", NULL),
        queue_name=None if queue_name == NULL else queue_name,
    )
