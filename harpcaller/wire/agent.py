"""Caller to agent and back: requests and messages (``doc/protocol`` §2)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product, starmap
from typing import Union

from harpcaller.errors import InvalidProtocol, InvalidRequest, ParseError, ProtocolError
from harpcaller.wire.client import JobId, as_arguments
from harpcaller.wire.ending import (
    KEYS,
    Cancelled,
    Ending,
    Failed,
    Returned,
    from_members,
    members_of,
)
from harpcaller.wire.fields import BadField, as_boolean, as_integer, as_seconds, as_string
from harpcaller.wire.procedures import Procedure as Procedure
from harpcaller.wire.procedures import ProcedureList as ProcedureList
from harpcaller.wire.procedures import as_procedures, procedures_member
from harpcaller.wire.values import (
    FALSE,
    MAX_DEPTH,
    TRUE,
    NotJSON,
    Raw,
    build,
    check,
    encode,
    members,
    shown_key,
)

#: The longest request line an agent reads, in bytes.
MAX_REQUEST_SIZE = 1024 * 1024
#: The longest message a caller reads from an agent, in bytes.
MAX_MESSAGE_SIZE = 64 * 1024 * 1024
#: The longest list of procedures that a caller reads, in bytes.
MAX_LIST_SIZE = 4 * 1024 * 1024
#: The TCP port that an agent listens on.
DEFAULT_PORT = 4306

#: The longest job id that an agent takes, in characters.
MAX_JOB_LENGTH = 64

_ONE = Raw(b"1")
#: How a record begins and may end, as nearly all do.
_RECORD = b'{"stream":'
_number_at_end = re.compile(rb',"n":(0|[1-9][0-9]{0,17})\}\Z').match
#: The fields that tell what is asked for.
_KINDS = ("list", "attach", "cancel", "procedure")


@dataclass(frozen=True)
class Credentials:
    """Who calls; the password is kept out of ``repr``."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class ProcedureCall:
    """The request to run a procedure.

    ``job`` names the call, so that it can be resumed; None for one that ends with its connection.
    ``again`` says that the job may have been asked for before, and how many seconds ago that was
    at most; the agent then goes on with it, or begins it if that can't have been heard.
    """

    procedure: str
    arguments: Raw
    credentials: Credentials
    job: JobId | None = None
    again: float | None = None


@dataclass(frozen=True)
class ListProcedures:
    """The request to tell which procedures there are."""

    credentials: Credentials


@dataclass(frozen=True)
class Attach:
    """The request to go on with a call whose connection broke, from record ``since`` on."""

    job: JobId
    since: int
    credentials: Credentials


@dataclass(frozen=True)
class CancelJob:
    """The request to end a call, or to forget it if it has ended: nobody will ask for it again."""

    job: JobId
    credentials: Credentials


#: What an agent can be asked.
Request = Union[ProcedureCall, ListProcedures, Attach, CancelJob]


@dataclass(frozen=True)
class Acknowledged:
    """The agent has taken the call.

    ``streaming`` tells whether records may follow; ``resumable``, that the call goes on when its
    connection breaks; ``keeps``, that the connection stays for another call after this one.
    """

    streaming: bool
    resumable: bool = False
    keeps: bool = False


@dataclass(frozen=True)
class Said:
    """A record of a streaming procedure; it has its number where the call is resumable."""

    data: Raw
    number: int | None = None


#: What an agent says: an acknowledgement, records, and one ending.
Message = Union[Acknowledged, Said, Ending]


def encode_request(call: ProcedureCall) -> bytes:
    """Write a request, its newline included."""
    fields = {
        "harp": _ONE,
        "procedure": encode(call.procedure),
        "arguments": call.arguments,
    }
    if call.job is not None:
        fields["job"] = encode(call.job)
    if call.again is not None:
        fields["again"] = encode(call.again)
    fields["auth"] = _auth(call.credentials)
    return build(fields) + b"\n"


def encode_list_request(request: ListProcedures) -> bytes:
    """Write the request for the list of procedures, its newline included."""
    return build({"harp": _ONE, "list": TRUE, "auth": _auth(request.credentials)}) + b"\n"


def encode_attach(request: Attach) -> bytes:
    """Write the request to go on with a call, its newline included."""
    fields = {
        "harp": _ONE,
        "attach": encode(request.job),
        "since": Raw(b"%d" % request.since),
        "auth": _auth(request.credentials),
    }
    return build(fields) + b"\n"


def encode_cancel(request: CancelJob) -> bytes:
    """Write the request to end a call, its newline included."""
    fields = {"harp": _ONE, "cancel": encode(request.job), "auth": _auth(request.credentials)}
    return build(fields) + b"\n"


@lru_cache(maxsize=1024)
def _auth(user: Credentials) -> Raw:
    return build({"user": encode(user.user), "password": encode(user.password)})


def decode_request(line: bytes) -> Request:
    """Read a request.

    Raises:
        ParseError: It isn't JSON.
        InvalidProtocol: ``harp`` is missing or not 1.
        InvalidRequest: Anything else is amiss; the message names the field.
    """
    try:
        found = members(line)
    except NotJSON as error:
        raise ParseError(str(error)) from None
    if found.get("harp") != _ONE:
        raise InvalidProtocol("harp: expected 1, the only version there is")
    try:
        return _decode_request(found)
    except (NotJSON, BadField) as error:
        raise InvalidRequest(str(error)) from None


def _decode_request(found: dict[str, Raw]) -> Request:
    kinds = [key for key in _KINDS if key in found] or ["procedure"]
    if len(kinds) > 1:
        raise BadField(f"{kinds[0]} and {kinds[1]} in one request")
    kind = kinds[0]
    if kind == "list":
        _only(found, ("list", "auth"))
        if found["list"] != TRUE:
            raise BadField("list: expected true")
        return ListProcedures(_decode_auth(found["auth"]))
    if kind == "attach":
        _only(found, ("attach", "since", "auth"))
        job = _decode_job(found["attach"], "attach")
        since = as_integer(found["since"], "since", least=0)
        return Attach(job, since, _decode_auth(found["auth"]))
    if kind == "cancel":
        _only(found, ("cancel", "auth"))
        return CancelJob(_decode_job(found["cancel"], "cancel"), _decode_auth(found["auth"]))
    _only(found, ("procedure", "arguments", "auth"), ("job", "again"))
    if "again" in found and "job" not in found:
        raise BadField("again: there is no job")
    return ProcedureCall(
        as_string(found["procedure"], "procedure"),
        as_arguments(found["arguments"]),
        _decode_auth(found["auth"]),
        _decode_job(found["job"], "job") if "job" in found else None,
        as_seconds(found["again"], "again") if "again" in found else None,
    )


def _decode_job(raw: Raw, name: str) -> JobId:
    job = as_string(raw, name)
    if not 1 <= len(job) <= MAX_JOB_LENGTH:
        raise BadField(f"{name}: expected 1 to {MAX_JOB_LENGTH} characters, got {len(job)}")
    return JobId(job)


def _only(found: dict[str, Raw], fields: tuple[str, ...], optional: tuple[str, ...] = ()) -> None:
    for needed in fields:
        if needed not in found:
            raise BadField(f"{needed}: missing")
    for key in found:
        if key != "harp" and key not in fields and key not in optional:
            raise BadField(f"{shown_key(key)}: unknown field")


def _decode_auth(raw: Raw) -> Credentials:
    if raw[:1] != b"{":
        # Said without the value, here and below: it is a secret, if a mistyped one.
        raise BadField("auth: expected an object")
    auth = members(raw)
    for needed in ("user", "password"):
        if needed not in auth:
            raise BadField(f"auth.{needed}: missing")
        if auth[needed][:1] != b'"':
            raise BadField(f"auth.{needed}: expected a string")
    return Credentials(
        as_string(auth["user"], "auth.user"), as_string(auth["password"], "auth.password")
    )


def encode_message(message: Message) -> bytes:
    """Write what an agent says, its newline included."""
    if isinstance(message, Acknowledged):
        streaming = TRUE if message.streaming else FALSE
        resume = b',"resume":true' if message.resumable else b""
        keep = b',"keep":true' if message.keeps else b""
        return b'{"harp":1,"stream_result":%s%s%s}\n' % (streaming, resume, keep)
    if isinstance(message, Said):
        line = b'{"stream":%s}\n' % message.data
        return line if message.number is None else numbered(line, message.number)
    if isinstance(message, Returned):
        return b'{"result":%s}\n' % message.value
    fields = members_of(message)
    if "error" in fields:
        fields = {"harp": _ONE, **fields}
    return build(fields) + b"\n"


#: As agents of ours write them.
_ACKNOWLEDGEMENTS = {
    encode_message(acknowledged)[:-1]: acknowledged
    for acknowledged in starmap(Acknowledged, product((False, True), repeat=3))
}


def numbered(line: bytes, number: int) -> bytes:
    """Write its number into a record's line that has none, its newline included in both."""
    return b'%s,"n":%d}\n' % (line[:-2], number)


def decode_message(line: bytes) -> Message:
    """Read what an agent says; fields that aren't known are passed over.

    Raises:
        ProtocolError: It is none of the messages.
    """
    return _simple_record(line) or _decode_message(line)


def _simple_record(line: bytes) -> Said | None:
    """Read a record as agents write it, without taking the line apart member by member."""
    if not line.startswith(_RECORD) or not line.endswith(b"}"):
        return None
    numbered = _number_at_end(line, line.rfind(b","))
    end = len(line) - 1 if numbered is None else numbered.start()
    try:
        # Where this is one value by itself, it is the value of the line's first member.
        data = check(line[len(_RECORD) : end], max_depth=MAX_DEPTH - 1)
    except NotJSON:
        return None
    return Said(data, None if numbered is None else int(numbered[1]))


def _decode_message(line: bytes) -> Message:
    acknowledged = _ACKNOWLEDGEMENTS.get(line)
    if acknowledged is not None:
        return acknowledged
    try:
        found = members(line)
        if "harp" in found and found["harp"] != _ONE:
            raise BadField("harp: expected 1, the only version there is")
        kinds = [key for key in ("stream_result", "stream", *KEYS) if key in found]
        if len(kinds) > 1:
            raise BadField(f"{kinds[0]} and {kinds[1]} in one message")
        if "stream_result" in found:
            if "harp" not in found:
                raise BadField("harp: missing from the acknowledgement")
            return Acknowledged(
                as_boolean(found["stream_result"], "stream_result"),
                "resume" in found and as_boolean(found["resume"], "resume"),
                "keep" in found and as_boolean(found["keep"], "keep"),
            )
        if "stream" in found:
            number = as_integer(found["n"], "n", least=0) if "n" in found else None
            return Said(found["stream"], number)
        ending = from_members(found)
    except (NotJSON, BadField) as error:
        raise ProtocolError(f"the agent's message: {error}") from None
    if ending is None or isinstance(ending, Cancelled):
        raise ProtocolError("the agent's message is of no known kind")
    return ending


def encode_procedures(listed: ProcedureList) -> bytes:
    """Write the answer to :class:`ListProcedures`, its newline included."""
    return build({"harp": _ONE, "procedures": procedures_member(listed)}) + b"\n"


def decode_procedures(line: bytes) -> ProcedureList | Failed:
    """Read the answer to :class:`ListProcedures`; fields that aren't known are passed over.

    Raises:
        ProtocolError: It is neither a list of procedures nor an error.
    """
    try:
        found = members(line)
        if found.get("harp") != _ONE:
            raise BadField("harp: expected 1, the only version there is")
        if "procedures" in found:
            if "error" in found:
                raise BadField("procedures and error in one message")
            return as_procedures(found["procedures"])
        ending = from_members(found)
    except (NotJSON, BadField) as error:
        raise ProtocolError(f"the agent's message: {error}") from None
    if not isinstance(ending, Failed):
        raise ProtocolError("the agent's message is of no known kind")
    return ending


def encode_cancelled(ended: bool) -> bytes:
    """Write the answer to :class:`CancelJob`, its newline included; false: it had ended before."""
    return b'{"harp":1,"cancelled":%s}\n' % (TRUE if ended else FALSE)


def decode_cancelled(line: bytes) -> bool | Failed:
    """Read the answer to :class:`CancelJob`; fields that aren't known are passed over.

    Raises:
        ProtocolError: It is neither that nor an error.
    """
    try:
        found = members(line)
        if found.get("harp") != _ONE:
            raise BadField("harp: expected 1, the only version there is")
        if "cancelled" in found and "error" not in found:
            return as_boolean(found["cancelled"], "cancelled")
        ending = from_members(found)
    except (NotJSON, BadField) as error:
        raise ProtocolError(f"the agent's message: {error}") from None
    if not isinstance(ending, Failed):
        raise ProtocolError("the agent's message is of no known kind")
    return ending
