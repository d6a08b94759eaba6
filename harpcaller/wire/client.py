"""Client to dispatcher: requests (``doc/protocol`` §1); :mod:`.client_answers` is the way back.

Writing and reading are both here, so that the daemon and the client library cannot disagree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Callable, NewType, Union

from harpcaller.errors import InvalidRequest
from harpcaller.wire.fields import (
    BadField,
    as_boolean,
    as_integer,
    as_object,
    as_seconds,
    as_string,
    kind_of,
)
from harpcaller.wire.registry import (
    ListHosts,
    ListProceduresOf,
    RegistryRequest,
    decode_list_hosts,
    decode_list_procedures,
    registry_members,
)
from harpcaller.wire.values import (
    FALSE,
    NULL,
    TRUE,
    NotJSON,
    Raw,
    build,
    canonical,
    encode,
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

# Most requests by far ask for one job, again and again, and are written like this: what they say
# is known at a look.  Whatever differs is read as all other requests are.
_plain_question = re.compile(
    rb'\{"harpcaller":1,"get_(?:result":"([0-9a-f-]+)"(?:,"wait":true)?|status":"([0-9a-f-]+)")\}'
).fullmatch


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


def decode_request(line: bytes) -> Request:
    """Read one request line; who asks doesn't matter.

    Raises:
        InvalidRequest: It isn't a request; the message says what is wrong and names the field.
    """
    return decode_signed(line)[0]


def decode_signed(line: bytes) -> tuple[Request, str | None]:
    """Read one request line, and the token that tells who asks, if there is one.

    Raises:
        InvalidRequest: It isn't a request; the message says what is wrong and names the field.
    """
    question = _plain_question(line)
    if question is not None:
        result_of, status_of = question.groups()
        if result_of is not None:
            return GetResult(JobId(result_of.decode("ascii"))), None
        return GetStatus(JobId(status_of.decode("ascii"))), None
    try:
        found = members(line)
        if "harpcaller" not in found:
            raise BadField("harpcaller: missing; a request says its version, 1")
        if found.pop("harpcaller") != _ONE:
            raise BadField("harpcaller: expected 1, the only version there is")
        token = _decode_auth(found.pop("auth")) if "auth" in found else None
        operations = [key for key in found if key in _DECODERS]
        if not operations:
            raise BadField(f"no operation; expected one of {', '.join(_DECODERS)}")
        if len(operations) > 1:
            raise BadField(f"two operations in one request: {operations[0]}, {operations[1]}")
        allowed, decode = _DECODERS[operations[0]]
        for key in found:
            if key not in allowed:
                raise BadField(f"{shown_key(key)}: unknown field")
        return decode(found), token
    except (NotJSON, BadField) as error:
        raise InvalidRequest(str(error)) from None


def _decode_auth(raw: Raw) -> str:
    # Nothing of it is quoted: it may be a secret also where that doesn't belong.
    if raw[:1] != b"{":
        raise BadField(f"auth: expected an object, got {kind_of(raw)}")
    inside = as_object(raw, "auth")
    if inside.keys() != {"token"}:
        raise BadField("auth: expected a token, and nothing else")
    if inside["token"][:1] != b'"':
        raise BadField(f"auth.token: expected a string, got {kind_of(inside['token'])}")
    return as_string(inside["token"], "auth.token")


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
    return GetResult(job_id_of(found, "get_result"), as_boolean(found.get("wait", TRUE), "wait"))


def _decode_get_status(found: dict[str, Raw]) -> GetStatus:
    return GetStatus(job_id_of(found, "get_status"))


def _decode_cancel(found: dict[str, Raw]) -> Cancel:
    return Cancel(job_id_of(found, "cancel"))


def _decode_follow_stream(found: dict[str, Raw]) -> FollowStream:
    return FollowStream(job_id_of(found, "follow_stream"), **_position(found))


def _decode_read_stream(found: dict[str, Raw]) -> ReadStream:
    return ReadStream(job_id_of(found, "read_stream"), **_position(found))


def job_id_of(found: dict[str, Raw], key: str) -> JobId:
    """Read a job's id, which may be any string: whether there is such a job is told later."""
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


#: What each request is called where people name it; that of a call has no field of its own.
_OPERATION_NAMES: dict[type[Request], str] = {
    Call: "call",
    GetResult: "get_result",
    GetStatus: "get_status",
    Cancel: "cancel",
    FollowStream: "follow_stream",
    ReadStream: "read_stream",
    ListHosts: "list_hosts",
    ListProceduresOf: "list_procedures",
}

#: The names of all operations.
OPERATIONS = tuple(_OPERATION_NAMES.values())


def operation_of(request: Request) -> str:
    """Give the name of what a request asks for."""
    return _OPERATION_NAMES[type(request)]


def encode_request(request: Request, token: str | None = None) -> bytes:
    """Write one request, its newline included.

    Args:
        token: Tells who asks; None tells nothing.
    """
    fields: dict[str, Raw] = {"harpcaller": _ONE}
    if token is not None:
        fields["auth"] = build({"token": encode(token)})
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
