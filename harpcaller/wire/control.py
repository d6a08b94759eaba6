"""Operator to dispatcher: the control socket's commands (``doc/control``).

A command is a frozen dataclass; its fields, by their types, say what may stand in its
line, so a command added here is known to the JSON lines, to AMP and to the command line
tool at once.  What it is answered is in :mod:`~harpcaller.wire.control_answers`.
"""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from typing import Any, Callable, ClassVar, NewType, Sequence, Union, cast, get_type_hints

from harpcaller.errors import InvalidRequest, WireError
from harpcaller.wire.client import DEFAULT_MAX_REQUEST_SIZE, JobId, as_queue_name
from harpcaller.wire.fields import BadField, as_boolean, as_string, as_time, kind_of
from harpcaller.wire.values import FALSE, TRUE, NotJSON, Raw, build, encode, members

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
