"""Client to dispatcher and back: requests and answers (``doc/protocol`` §1).

Both directions of both sides are here, so that the daemon and the client library
cannot disagree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable, NewType, Union

from harpcaller.errors import InvalidRequest, ProtocolError
from harpcaller.wire.ending import Ending, Failed, from_members, members_of
from harpcaller.wire.procedures import ProcedureList, as_procedures
from harpcaller.wire.registry import (
    HostList,
    ListHosts,
    ListProceduresOf,
    RegistryRequest,
    as_hosts,
    decode_list_hosts,
    decode_list_procedures,
    registry_members,
)
from harpcaller.wire.values import (
    FALSE,
    NULL,
    TRUE,
    BadField,
    NotJSON,
    Raw,
    as_boolean,
    as_integer,
    as_object,
    as_seconds,
    as_string,
    as_time,
    build,
    canonical,
    encode,
    kind_of,
    members,
    shown_key,
)

#: The longest request line a dispatcher reads unless it is configured otherwise, in bytes.
DEFAULT_MAX_REQUEST_SIZE = 1024 * 1024
#: The TCP port that a dispatcher listens on.
DEFAULT_PORT = 3502

#: A job's name: a lower-case UUID of version 4.
JobId = NewType("JobId", str)

_ONE = Raw(b"1")


@dataclass(frozen=True)
class QueueSpec:
    """The queue that a call asks for.

    Attributes:
        name: A JSON object of any content, as it came.
        concurrency: How many of its jobs may run at once, if this call creates it.
    """

    name: Raw
    concurrency: int = 1

    def key(self) -> bytes:
        """Give the text by which equal names are the same queue."""
        return canonical(self.name)


@dataclass(frozen=True)
class Call:
    """The request "procedure P with these arguments on host H".

    Attributes:
        arguments: A JSON list (positional) or object (by name).
        timeout: The longest silence allowed, in seconds, or None for the configured one.
        max_exec_time: The whole run's limit in seconds, or None for the configured one.
        queue: Where to wait, or None to run at once.
        info: Whatever the client wants to be given back with the job's status.
    """

    host: str
    procedure: str
    arguments: Raw
    timeout: float | None = None
    max_exec_time: float | None = None
    queue: QueueSpec | None = None
    info: Raw = NULL


@dataclass(frozen=True)
class GetResult:
    """Ask how a job ended, waiting for it or not."""

    job_id: JobId
    wait: bool = True


@dataclass(frozen=True)
class GetStatus:
    """Ask what a job is and how far it came."""

    job_id: JobId


@dataclass(frozen=True)
class Cancel:
    """Ask that a job be ended."""

    job_id: JobId


@dataclass(frozen=True)
class FollowStream:
    """Ask for a job's records until its end; with neither number, from now on."""

    job_id: JobId
    since: int | None = None
    recent: int | None = None


@dataclass(frozen=True)
class ReadStream:
    """Ask for the records that there are; with neither number, for all."""

    job_id: JobId
    since: int | None = None
    recent: int | None = None


Request = Union[Call, GetResult, GetStatus, Cancel, FollowStream, ReadStream, RegistryRequest]


# --- Requests ----------------------------------------------------------------------------


def decode_request(line: bytes) -> Request:
    """Read one request line.

    Raises:
        InvalidRequest: It isn't a request; the message says what is wrong and names the field.
    """
    try:
        found = members(line)
        if "harpcaller" not in found:
            raise BadField("harpcaller: missing; a request says its version, 1")
        if found.pop("harpcaller") != _ONE:
            raise BadField("harpcaller: expected 1, the only version there is")
        operations = [key for key in _DECODERS if key in found]
        if not operations:
            raise BadField(f"no operation; expected one of {', '.join(_DECODERS)}")
        if len(operations) > 1:
            raise BadField(f"two operations in one request: {operations[0]}, {operations[1]}")
        allowed, decode = _DECODERS[operations[0]]
        for key in found:
            if key not in allowed:
                raise BadField(f"{shown_key(key)}: unknown field")
        return decode(found)
    except (NotJSON, BadField) as error:
        raise InvalidRequest(str(error)) from None


def _decode_call(found: dict[str, Raw]) -> Call:
    for needed in ("host", "procedure", "arguments"):
        if needed not in found:
            raise BadField(f"{needed}: missing")
    timeout = found.get("timeout")
    total = found.get("max_exec_time")
    return Call(
        host=as_string(found["host"], "host"),
        procedure=as_string(found["procedure"], "procedure"),
        arguments=as_arguments(found["arguments"]),
        timeout=None if timeout is None else as_seconds(timeout, "timeout"),
        max_exec_time=None if total is None else as_seconds(total, "max_exec_time"),
        queue=_decode_queue(found["queue"]) if "queue" in found else None,
        info=found.get("info", NULL),
    )


def as_arguments(raw: Raw) -> Raw:
    """Check that arguments are a list or an object, without quoting them if not.

    Raises:
        BadField: They are something else.
    """
    if raw[:1] not in (b"[", b"{"):
        raise BadField(f"arguments: expected a list or an object, got {kind_of(raw)}")
    return raw


def _decode_queue(raw: Raw) -> QueueSpec:
    inside = as_object(raw, "queue")
    for key in inside:
        if key not in ("name", "concurrency"):
            raise BadField(f"queue.{shown_key(key)}: unknown field")
    if "name" not in inside:
        raise BadField("queue.name: missing")
    return QueueSpec(
        as_queue_name(inside["name"], "queue.name"),
        as_integer(inside.get("concurrency", _ONE), "queue.concurrency", least=1),
    )


def as_queue_name(raw: Raw, field: str) -> Raw:
    """Check that a queue's name is an object that can be compared with others.

    Raises:
        BadField: It isn't.
    """
    if raw[:1] != b"{":
        raise BadField(f"{field}: expected an object, got {kind_of(raw)}")
    try:
        canonical(raw)
    except NotJSON as error:
        raise BadField(f"{field}: {error}") from None
    return raw


def _decode_get_result(found: dict[str, Raw]) -> GetResult:
    return GetResult(_job_id(found, "get_result"), as_boolean(found.get("wait", TRUE), "wait"))


def _decode_get_status(found: dict[str, Raw]) -> GetStatus:
    return GetStatus(_job_id(found, "get_status"))


def _decode_cancel(found: dict[str, Raw]) -> Cancel:
    return Cancel(_job_id(found, "cancel"))


def _decode_follow_stream(found: dict[str, Raw]) -> FollowStream:
    return FollowStream(_job_id(found, "follow_stream"), **_position(found))


def _decode_read_stream(found: dict[str, Raw]) -> ReadStream:
    return ReadStream(_job_id(found, "read_stream"), **_position(found))


def _job_id(found: dict[str, Raw], key: str) -> JobId:
    return JobId(as_string(found[key], key))


def _position(found: dict[str, Raw]) -> dict[str, int]:
    if "since" in found and "recent" in found:
        raise BadField("since and recent in one request")
    return {key: as_integer(found[key], key) for key in ("since", "recent") if key in found}


_DECODERS: dict[str, tuple[frozenset[str], Callable[[dict[str, Raw]], Request]]] = {
    "procedure": (
        frozenset(["host", "procedure", "arguments", "timeout", "max_exec_time", "queue", "info"]),
        _decode_call,
    ),
    "get_result": (frozenset(["get_result", "wait"]), _decode_get_result),
    "get_status": (frozenset(["get_status"]), _decode_get_status),
    "cancel": (frozenset(["cancel"]), _decode_cancel),
    "follow_stream": (frozenset(["follow_stream", "since", "recent"]), _decode_follow_stream),
    "read_stream": (frozenset(["read_stream", "since", "recent"]), _decode_read_stream),
    "list_hosts": (frozenset(["list_hosts"]), decode_list_hosts),
    "list_procedures": (frozenset(["list_procedures"]), decode_list_procedures),
}


def encode_request(request: Request) -> bytes:
    """Write one request, its newline included."""
    fields: dict[str, Raw] = {"harpcaller": _ONE}
    if isinstance(request, Call):
        fields.update(call_members(request))
        if request.queue is not None:
            fields["queue"] = queue_member(request.queue)
        fields["info"] = request.info
    elif isinstance(request, GetResult):
        fields["get_result"] = encode(request.job_id)
        fields["wait"] = TRUE if request.wait else FALSE
    elif isinstance(request, GetStatus):
        fields["get_status"] = encode(request.job_id)
    elif isinstance(request, Cancel):
        fields["cancel"] = encode(request.job_id)
    elif isinstance(request, (ListHosts, ListProceduresOf)):
        fields.update(registry_members(request))
    else:
        key = "follow_stream" if isinstance(request, FollowStream) else "read_stream"
        fields[key] = encode(request.job_id)
        for name, number in (("since", request.since), ("recent", request.recent)):
            if number is not None:
                fields[name] = encode(number)
    return build(fields) + b"\n"


def call_members(call: Call) -> dict[str, Raw]:
    """Give the members that say what to call and for how long, the absent left out."""
    fields = {
        "host": encode(call.host),
        "procedure": encode(call.procedure),
        "arguments": call.arguments,
    }
    if call.timeout is not None:
        fields["timeout"] = encode(call.timeout)
    if call.max_exec_time is not None:
        fields["max_exec_time"] = encode(call.max_exec_time)
    return fields


def queue_member(queue: QueueSpec) -> Raw:
    """Write ``{"name":..., "concurrency":...}``."""
    return build({"name": queue.name, "concurrency": encode(queue.concurrency)})


# --- Answers -----------------------------------------------------------------------------


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
    """What a job is and how far it came; times are Unix seconds."""

    host: str
    procedure: str
    arguments: Raw
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    info: Raw
    queue_name: Raw | None = None

    @property
    def state(self) -> str:
        """Say it in a word: queued, running or ended."""
        if self.ended_at is not None:
            return "ended"
        return "queued" if self.started_at is None else "running"


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
    # Rounded first to what a float of our days still holds: 1455282411.001 * 1000 is a
    # little less than 1455282411001.
    return build(
        {key: NULL if time is None else encode(int(round(time * scale, 3))) for key, time in times}
    )


def encode_status(status: JobStatus) -> bytes:
    """Answer a get_status."""
    return (
        build(
            {
                "call": call_summary(status),
                "time": time_summary(status),
                "info": status.info,
                "queue": NULL if status.queue_name is None else status.queue_name,
                "state": encode(status.state),
                "time_ms": time_summary(status, 1000),
            }
        )
        + b"\n"
    )


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
        return Submitted(_job_id(found, "job_id")) if "job_id" in found else None
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
