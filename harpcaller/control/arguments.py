"""What may stand on ``harpcallerd``'s command line: read here, whole, before anything is done.

Options stand before or after the command, as ``--opt=V`` or ``--opt V``; a lone ``--``
ends them.  Every option has one meaning wherever it is taken.  Pure: no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harpcaller.errors import HarpcallerError
from harpcaller.wire.client import JobId, as_queue_name
from harpcaller.wire.control import (
    DEFAULT_SOCKET,
    CancelJob,
    CancelQueue,
    Command,
    DistStart,
    DistStop,
    JobInfo,
    ListHosts,
    ListJobs,
    ListQueue,
    ListQueues,
    PruneJobs,
    QueueName,
    RefreshHosts,
    ReloadConfig,
    ReopenLogs,
    Status,
    Stop,
)
from harpcaller.wire.fields import BadField
from harpcaller.wire.values import NotJSON, check

#: Where the configuration is unless it is said otherwise.
DEFAULT_CONFIG = "/etc/harpcaller/harpcaller.toml"
#: How old jobs must be to be pruned unless it is said otherwise, in days.
DEFAULT_AGE_DAYS = 30.0

DAY_SECONDS = 86400.0

_number = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?").fullmatch


class BadUsage(HarpcallerError):
    """The command line isn't one.

    Attributes:
        usage: How the command is used, in one line.
    """

    def __init__(self, message: str, usage: str) -> None:
        super().__init__(message)
        self.usage = usage


@dataclass(frozen=True)
class Shape:
    """What one command takes.

    Attributes:
        options: The names of its options, beside those that every command takes.
        operand: What it takes beside options, as its usage line shows it; in brackets if
            it may be left out.
    """

    options: tuple[str, ...]
    purpose: str
    operand: str = ""


#: Options with a value, and what the value is called.
VALUED: Mapping[str, str] = {
    "socket": "PATH",
    "config": "FILE",
    "pidfile": "FILE",
    "timeout": "SECONDS",
    "age": "DAYS",
    "directory": "DIRECTORY",
}
#: Options without.
FLAGS = frozenset(
    {
        "all", "debug", "detach", "help", "json", "print-pid", "queue", "repair", "table",
        "version", "wait",
    }
)  # fmt: skip
#: What every command takes.
COMMON = ("socket", "help", "version")

SHAPES: Mapping[str, Shape] = {
    "start": Shape(("debug", "config", "pidfile", "detach"), "become the daemon"),
    "status": Shape(("wait", "timeout"), "tell whether the daemon runs"),
    "stop": Shape(("timeout", "print-pid"), "stop the daemon and wait until it is gone"),
    "reload": Shape((), "read the configuration again"),
    "dist-erl-start": Shape((), "start Erlang networking"),
    "dist-erl-stop": Shape((), "stop Erlang networking"),
    "list": Shape(("all", "queue", "table"), "list jobs"),
    "info": Shape((), "show one job", "JOB-ID"),
    "cancel": Shape((), "cancel one job", "JOB-ID"),
    "queue-list": Shape(("table",), "list queues, or the jobs of one", "[QUEUE-NAME]"),
    "queue-cancel": Shape((), "cancel all jobs of a queue", "QUEUE-NAME"),
    "hosts-list": Shape(("table",), "list the registry of hosts"),
    "hosts-refresh": Shape((), "fill the registry of hosts anew"),
    "make-token": Shape((), "make a client's token, and its line in the tokens file", "NAME"),
    "prune-jobs": Shape(("age",), "forget old jobs"),
    "reopen-logs": Shape((), "let the log go on in a new file"),
    "store-check": Shape(
        ("config", "directory", "repair", "json"),
        "look for damage in the jobs' files while no daemon uses them",
    ),
}


@dataclass(frozen=True)
class Invocation:
    """A command line that was understood.

    Attributes:
        command: The command's name; empty when only help or the version is asked for.
        options: The options' values, by name without dashes; a flag's is empty.
        timeout_seconds: How long to wait, or None for ever.
        asked: What to send to the daemon; None for what doesn't need it.
        operand: What the command is about, as it was typed; empty if nothing was.
    """

    command: str
    options: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float | None = None
    asked: Command | None = None
    operand: str = ""

    @property
    def socket(self) -> str:
        """Say where the control socket is."""
        return self.options.get("socket", DEFAULT_SOCKET)


def usage(command: str = "") -> str:
    """Say in one line how a command is used."""
    if command not in SHAPES:
        return "usage: harpcallerd [--socket=PATH] COMMAND [...]; harpcallerd --help lists them"
    shape = SHAPES[command]
    words = [f"usage: harpcallerd [--socket=PATH] {command}"]
    for name in shape.options:
        words.append(f"[--{name}={VALUED[name]}]" if name in VALUED else f"[--{name}]")
    if shape.operand:
        words.append(shape.operand)
    return " ".join(words)


def summary() -> str:
    """Say how every command is used, and what for."""
    lines = ["usage: harpcallerd [--socket=PATH] COMMAND [...]", ""]
    for command, shape in SHAPES.items():
        lines.append(usage(command).removeprefix("usage: harpcallerd [--socket=PATH] "))
        lines.append(f"    {shape.purpose}")
    lines += ["", f"The socket is {DEFAULT_SOCKET} unless --socket says otherwise."]
    return "\n".join(lines)


def parse(argv: Sequence[str]) -> Invocation:
    """Understand a command line, the program's name not in it.

    Raises:
        BadUsage: It can't be understood.
    """
    options, words = _split(argv)
    command = words[0] if words else ""
    if command and command not in SHAPES:
        raise BadUsage(f"unknown command: {_shown(command)}", usage())
    if "help" in options or "version" in options:
        return Invocation(command, options)
    if not command:
        raise BadUsage("no command given", usage())
    try:
        for name in options:
            if name not in COMMON and name not in SHAPES[command].options:
                raise BadField(f"--{name}: not an option of {command}")
        for name in ("socket", "config", "pidfile", "directory"):
            if options.get(name) == "":
                raise BadField(f"--{name}: expected a path, got nothing")
        operand = _operand(command, words[1:])
        timeout = options.get("timeout")
        return Invocation(
            command,
            options,
            None if timeout is None else _amount(timeout, "--timeout", "seconds"),
            _asked(command, options, operand),
            operand or "",
        )
    except BadField as error:
        raise BadUsage(str(error), usage(command)) from None


def _split(argv: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Part options from words."""
    options: dict[str, str] = {}
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if word == "-h":
            word = "--help"
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        about = usage(next((word for word in (*words, *rest) if word in SHAPES), ""))
        if not word.startswith("--") or (name not in VALUED and name not in FLAGS):
            raise BadUsage(f"unknown option: {_shown(word)}", about)
        if name in FLAGS and equals:
            raise BadUsage(f"--{name}: takes no value", about)
        if name in VALUED and not equals:
            if not rest or rest[0].startswith("--"):
                raise BadUsage(f"--{name}: expected {VALUED[name]} after it", about)
            value = rest.pop(0)
        options[name] = value
    return options, words


def _operand(command: str, words: list[str]) -> str | None:
    operand = SHAPES[command].operand
    if len(words) > bool(operand):
        raise BadField(f"unexpected argument: {_shown(words[-1])}")
    if not words and operand and not operand.startswith("["):
        raise BadField(f"expected {operand} after {command}")
    return words[0] if words else None


def _asked(command: str, options: Mapping[str, str], operand: str | None) -> Command | None:
    if command == "list":
        return ListJobs(all="all" in options, queue="queue" in options)
    if command == "status":
        return Status(wait="wait" in options)
    if command == "prune-jobs":
        age = options.get("age")
        days = DEFAULT_AGE_DAYS if age is None else _amount(age, "--age", "days")
        return PruneJobs(days * DAY_SECONDS)
    if command == "queue-list":
        return ListQueues() if operand is None else ListQueue(_queue_name(operand))
    if command == "queue-cancel":
        return CancelQueue(_queue_name(operand or ""))
    if command == "info":
        return JobInfo(JobId(operand or ""))
    if command == "cancel":
        return CancelJob(JobId(operand or ""))
    return _PLAIN.get(command)


_PLAIN: Mapping[str, Command] = {
    "stop": Stop(),
    "reload": ReloadConfig(),
    "dist-erl-start": DistStart(),
    "dist-erl-stop": DistStop(),
    "hosts-list": ListHosts(),
    "hosts-refresh": RefreshHosts(),
    "reopen-logs": ReopenLogs(),
}


def _amount(text: str, name: str, unit: str) -> float:
    if not _number(text):
        raise BadField(f"{name}: expected a number of {unit}, got {_shown(text)}")
    return float(text)


def _queue_name(text: str) -> QueueName:
    try:
        raw = check(text.encode("utf-8", "surrogateescape"))
        return QueueName(as_queue_name(raw, "QUEUE-NAME"))
    except NotJSON as error:
        raise BadField(
            f"QUEUE-NAME: expected a JSON object (in single quotes, for the shell): {error}"
        ) from None


def _shown(text: str) -> str:
    """Quote what a user typed, so that it can't play tricks on a terminal."""
    return ascii(text if len(text) <= 80 else text[:80] + "...")
