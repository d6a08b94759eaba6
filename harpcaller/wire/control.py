"""Operator to dispatcher and back: the control socket's commands and answers (``doc/control``).

A command is a frozen dataclass; its fields, by their types, say what may stand in its
line, so a command added here is known to the JSON lines, to AMP and to the command line
tool at once.  An answer is one closing line, ``{"result":"ok",...}`` or
``{"result":"error",...}``, which a list's items go before, a line each.  No item has a member
``result``, and that is how they are told apart.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, Callable, ClassVar, NewType, Sequence, Union, cast, get_type_hints

from harpcaller.errors import InvalidRequest, ProtocolError, WireError
from harpcaller.wire.client import (
    DEFAULT_MAX_REQUEST_SIZE,
    JobId,
    JobStatus,
    as_queue_name,
    call_summary,
    time_summary,
)
from harpcaller.wire.ending import complaint
from harpcaller.wire.values import (
    FALSE,
    NULL,
    TRUE,
    BadField,
    NotJSON,
    Raw,
    as_boolean,
    as_string,
    as_time,
    build,
    decode,
    encode,
    kind_of,
    members,
)

#: Where the control socket is unless it is said otherwise.
DEFAULT_SOCKET = "/var/run/harpcaller/control"
#: The longest command line that is read, in bytes: any queue's name fits that a client could give.
MAX_COMMAND_SIZE = DEFAULT_MAX_REQUEST_SIZE

#: A queue's name: a JSON object that can be compared with others.
QueueName = NewType("QueueName", Raw)


# --- What can go wrong, beside harpcaller.errors -------------------------------------------


class CommandFailed(WireError):
    """The daemon tried what was asked, and it didn't work."""

    wire_type = "command_failed"


class ConfigRejected(WireError):
    """The configuration has mistakes, and nothing was changed.

    Args:
        message: All the mistakes in one line.
        problems: The mistakes, one by one.
    """

    wire_type = "config_rejected"

    def __init__(self, message: str, problems: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.problems = tuple(problems)


class NotAvailable(WireError):
    """The command is known, but what it needs isn't part of this dispatcher."""

    wire_type = "not_available"


class InternalError(WireError):
    """A bug in the dispatcher; its log has more."""

    wire_type = "internal_error"


# --- Commands ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Status:
    """Ask whether the daemon is up; with ``wait``, be answered once it is."""

    command: ClassVar[str] = "status"
    wait: bool = False


@dataclass(frozen=True)
class Stop:
    """Begin a graceful stop."""

    command: ClassVar[str] = "stop"


@dataclass(frozen=True)
class ReloadConfig:
    """Read the configuration again."""

    command: ClassVar[str] = "reload_config"


@dataclass(frozen=True)
class PruneJobs:
    """Forget jobs that ended more than ``max_age`` seconds ago."""

    command: ClassVar[str] = "prune_jobs"
    max_age: float


@dataclass(frozen=True)
class ReopenLogs:
    """Close the log file and open it anew."""

    command: ClassVar[str] = "reopen_logs"


@dataclass(frozen=True)
class ListJobs:
    """List the jobs that wait or run, or ``all`` that are recorded; ``queue`` shows each one's."""

    command: ClassVar[str] = "list_jobs"
    all: bool = False
    queue: bool = False


@dataclass(frozen=True)
class JobInfo:
    """List one job."""

    command: ClassVar[str] = "job_info"
    job: JobId


@dataclass(frozen=True)
class CancelJob:
    """End one job."""

    command: ClassVar[str] = "cancel_job"
    job: JobId


@dataclass(frozen=True)
class ListQueues:
    """List the queues that have any job."""

    command: ClassVar[str] = "list_queues"


@dataclass(frozen=True)
class ListQueue:
    """List the jobs of one queue, the running ones first."""

    command: ClassVar[str] = "list_queue"
    queue: QueueName


@dataclass(frozen=True)
class CancelQueue:
    """End all jobs that are in a queue now."""

    command: ClassVar[str] = "cancel_queue"
    queue: QueueName


@dataclass(frozen=True)
class ListHosts:
    """List the registry of hosts."""

    command: ClassVar[str] = "list_hosts"


@dataclass(frozen=True)
class RefreshHosts:
    """Run the registry's filler script now."""

    command: ClassVar[str] = "refresh_hosts"


@dataclass(frozen=True)
class DistStart:
    """Start Erlang networking."""

    command: ClassVar[str] = "dist_start"


@dataclass(frozen=True)
class DistStop:
    """Stop Erlang networking."""

    command: ClassVar[str] = "dist_stop"


Command = Union[
    Status,
    Stop,
    ReloadConfig,
    PruneJobs,
    ReopenLogs,
    ListJobs,
    JobInfo,
    CancelJob,
    ListQueues,
    ListQueue,
    CancelQueue,
    ListHosts,
    RefreshHosts,
    DistStart,
    DistStop,
]

#: Every command by the name that it has on the wire.
COMMANDS: dict[str, type[Command]] = {
    command.command: command
    for command in Command.__args__  # type: ignore[attr-defined]  # a Union
}


@dataclass(frozen=True)
class CommandField:
    """What may stand in a command's line.

    Attributes:
        kind: Its type: bool, float, JobId or QueueName.
    """

    name: str
    kind: object
    required: bool


def fields_of(command: type[Command]) -> tuple[CommandField, ...]:
    """Tell what a command can be told, beside its name."""
    kinds = get_type_hints(command)
    return tuple(
        CommandField(field.name, kinds[field.name], field.default is MISSING)
        for field in fields(command)
    )


def _as_age(raw: Raw, name: str) -> float:
    try:
        seconds = as_time(raw, name)
    except BadField:
        seconds = -1.0
    if seconds < 0:
        got = raw.decode() if len(raw) <= 40 else kind_of(raw)
        raise BadField(f"{name}: expected a number of seconds, not negative, got {got}")
    return seconds


_READERS: dict[object, Callable[[Raw, str], Any]] = {
    bool: as_boolean,
    float: _as_age,
    JobId: as_string,
    QueueName: as_queue_name,
}
_WRITERS: dict[object, Callable[[Any], Raw]] = {
    bool: lambda value: TRUE if value else FALSE,
    float: encode,
    JobId: encode,
    QueueName: lambda value: cast(Raw, value),
}


def decode_command(line: bytes) -> Command:
    """Read one command line.

    Raises:
        InvalidRequest: It isn't a command; the message says what is wrong and names the field.
    """
    try:
        found = members(line)
        if "command" not in found:
            raise BadField(f"command: missing; expected one of {', '.join(COMMANDS)}")
        name = as_string(found.pop("command"), "command")
    except (NotJSON, BadField) as error:
        raise InvalidRequest(str(error)) from None
    if name not in COMMANDS:
        raise InvalidRequest(
            f"command: {encode(name[:60]).decode()} isn't known; "
            f"expected one of {', '.join(COMMANDS)}"
        )
    return from_members(COMMANDS[name], found)


def from_members(command: type[Command], found: dict[str, Raw]) -> Command:
    """Make a command of its fields, the name not among them.

    Raises:
        InvalidRequest: A field is missing, unknown or ill-typed; the message names it.
    """
    expected = {field.name: field for field in fields_of(command)}
    try:
        for key in found:
            if key not in expected:
                raise BadField(f"{key[:60]}: unknown field of {command.command}")
        for field in expected.values():
            if field.required and field.name not in found:
                raise BadField(f"{field.name}: missing from {command.command}")
        values = {key: _READERS[expected[key].kind](raw, key) for key, raw in found.items()}
    except (NotJSON, BadField) as error:
        raise InvalidRequest(str(error)) from None
    return command(**values)


def encode_command(command: Command) -> bytes:
    """Write one command, its newline included; fields that have their default are left out."""
    line = {"command": encode(command.command)}
    for field, plain in zip(fields_of(type(command)), fields(command)):
        value = getattr(command, field.name)
        if field.required or value != plain.default:
            line[field.name] = _WRITERS[field.kind](value)
    return build(line) + b"\n"


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
