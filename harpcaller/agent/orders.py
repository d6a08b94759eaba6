"""What server and template process tell each other, one JSON object on a line.

::

    server -> template   {"load": {"file":..., "prepend":[...], "append":[...],
                                   "uid":..., "gid":..., "cgroups":true,
                                   "max_processes":..., "max_memory":...}}
                                                    once, first
                         {"start": <call>}          with two descriptors: socket, output
                         {"end": <call>, "signal": 15, "grace": 5.0}
    template -> server   {"loaded": [<description>...], "threads": N,
                          "cgroups": "<folder>"|null}  or
                         {"failed": "<message>"}    then it exits
                         {"exited": <call>, "code": N|null, "signal": N|null,
                          "why": "<message>"|null}
                         {"unable": <call>, "message": "..."}

A call's number is the server's.  ``exited`` or ``unable`` is the last word on a call;
after ``end`` it comes when everything that the call started is gone.  The descriptors are
those of the call's socket and of the pipe for what it prints.  From the socket the worker
reads one line, when it is to run,
``{"procedure":..., "arguments":..., "call":{"user":..., "peer":..., "id":N}}``, and to it
it writes the messages for the caller.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from harpcaller.agent.proc import Account
from harpcaller.wire.values import NotJSON, decode, encode

#: The longest line on the control socket; only ``loaded`` is ever long.
MAX_LINE = 16 * 1024 * 1024


@dataclass(frozen=True)
class Load:
    """Load a procedures file.

    Args:
        file: Its path.
        prepend: Folders to look for modules in before all others.
        append: Folders to look for modules in after all others.
        uid: The user of procedures that ask for none; None is the agent's own.
        gid: Their group, likewise.
        cgroups: Whether calls may have control groups, where those can be had.
        max_processes: How many processes a call may have; None is any number.
        max_memory: How many bytes of memory a call may have; None is all there is.
    """

    file: str
    prepend: list[str] = field(default_factory=list)
    append: list[str] = field(default_factory=list)
    uid: Account | None = None
    gid: Account | None = None
    cgroups: bool = True
    max_processes: int | None = None
    max_memory: int | None = None


@dataclass(frozen=True)
class Start:
    """Fork a worker; its two descriptors come along."""

    call: int


@dataclass(frozen=True)
class End:
    """End all that a call started: a signal now, SIGKILL after a grace."""

    call: int
    signal: int
    grace_seconds: float


@dataclass(frozen=True)
class Loaded:
    """The file is loaded.

    Args:
        descriptions: Its procedures.
        threads: How many threads its code started.
        cgroups: The folder of the calls' control groups; None if they have none.
    """

    descriptions: list[dict[str, Any]]
    threads: int = 0
    cgroups: str | None = None


@dataclass(frozen=True)
class NotLoaded:
    """The file can't be loaded; the message, for the operator, says where and why."""

    message: str


@dataclass(frozen=True)
class Exited:
    """The worker ended, with an exit code or by a signal.

    Args:
        call: Which.
        code: Its exit code.
        signal: The signal's number.
        why: Why the template has killed it; None if that wasn't its own decision.
    """

    call: int
    code: int | None
    signal: int | None
    why: str | None = None


@dataclass(frozen=True)
class Unable:
    """There was no worker."""

    call: int
    message: str


Order = Load | Start | End
Report = Loaded | NotLoaded | Exited | Unable


class NotAnOrder(Exception):
    """The other side said something that isn't in the table; a bug, or not our child."""


def encode_line(said: Order | Report) -> bytes:
    """Write an order or a report, its newline included."""
    if isinstance(said, Start):
        return b'{"start":%d}\n' % said.call
    if isinstance(said, Exited) and said.signal is None and said.why is None:
        # As nearly all do.  An encoder's objects are each in a page that a fork makes two of.
        return b'{"exited":%d,"code":%d,"signal":null,"why":null}\n' % (said.call, said.code or 0)
    return encode(_fields(said)) + b"\n"


def _fields(said: Order | Report) -> dict[str, object]:
    if isinstance(said, Load):
        return {"load": asdict(said)}
    if isinstance(said, Start):
        return {"start": said.call}
    if isinstance(said, End):
        return {"end": said.call, "signal": said.signal, "grace": said.grace_seconds}
    if isinstance(said, Loaded):
        return {"loaded": said.descriptions, "threads": said.threads, "cgroups": said.cgroups}
    if isinstance(said, NotLoaded):
        return {"failed": said.message}
    if isinstance(said, Exited):
        return {
            "exited": said.call,
            "code": said.code,
            "signal": said.signal,
            "why": said.why,
        }
    return {"unable": said.call, "message": said.message}


def decode_order(line: bytes) -> Order:
    """Read what the server says.

    Raises:
        NotAnOrder: It is none of the orders.
    """
    found = _object(line)
    try:
        if "load" in found:
            return Load(**found["load"])
        if "start" in found:
            return Start(found["start"])
        return End(found["end"], found["signal"], found["grace"])
    except (KeyError, TypeError) as error:
        raise NotAnOrder(f"not an order: {error}") from None


def decode_report(line: bytes) -> Report:
    """Read what the template says.

    Raises:
        NotAnOrder: It is none of the reports.
    """
    found = _object(line)
    try:
        if "loaded" in found:
            return Loaded(found["loaded"], found["threads"], found["cgroups"])
        if "failed" in found:
            return NotLoaded(found["failed"])
        if "exited" in found:
            return Exited(found["exited"], found["code"], found["signal"], found["why"])
        return Unable(found["unable"], found["message"])
    except KeyError as error:
        raise NotAnOrder(f"not a report: {error}") from None


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = decode(line)
    except NotJSON as error:
        raise NotAnOrder(str(error)) from None
    if not isinstance(found, dict):
        raise NotAnOrder("not an object")
    return found
