"""The options of ``harp``, the command line."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harpcaller import __version__
from harpcaller.wire.client import DEFAULT_PORT
from harpcaller.wire.values import NULL, NotJSON, Raw, check

#: The shells that there is a completion for.
SHELLS = ("bash", "zsh", "fish")

_EPILOG = """\
exit codes: 0 done, or the call returned, on all hosts; 1 the call ended in an exception, an
error or a cancel; 2 bad usage, or the dispatcher can't be reached; 3 the job has not ended yet
"""
_CALL_EPILOG = """\
An ARG is JSON where it can be read as JSON and a string otherwise: 5 is a number, web a
string, '"5"' a string too. NAME=VALUE is a named argument; all are named or none is. A
string with "=" in it is written as JSON: '"a=b"'. ARGs that begin with "-" go after "--".

Several hosts are written as one HOST: web01,web02 or a pattern of names, 'web*'. Each has a
line of its own as it ends.
"""


def _address(text: str) -> tuple[str, int]:
    """Read HOST, HOST:PORT, [HOST] or [HOST]:PORT; a bare IPv6 address is a HOST."""
    match = re.fullmatch(r"\[([^\[\]]+)\](?::([0-9]+))?|([^:\[\]]+):([0-9]+)|([^\[\]]+)", text)
    if match is None or (match.group(5) or "").count(":") == 1:
        raise argparse.ArgumentTypeError(f"expected HOST or HOST:PORT, got {text!r}")
    host = match.group(1) or match.group(3) or match.group(5)
    port = match.group(2) or match.group(4)
    return host, DEFAULT_PORT if port is None else int(port)


def _json(text: str) -> Raw:
    try:
        return check(os.fsencode(text))
    except NotJSON as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _token(file: str) -> str:
    """Read a token from the first line of a file."""
    try:
        with open(file, encoding="utf-8") as lines:
            token = lines.readline(10_000).strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise argparse.ArgumentTypeError(f"{file}: {reason}") from None
    if not token:
        raise argparse.ArgumentTypeError(f"{file}: its first line is empty")
    return token


def _positive(text: str) -> int:
    if not re.fullmatch("0*[1-9][0-9]*", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"expected a positive number, got {text!r}")
    return int(text)


def _parsers(
    environ: Mapping[str, str],
) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Make the parser that tells what commands there are, and each command's own."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--dispatcher",
        metavar="HOST[:PORT]",
        type=_address,
        default=environ.get("HARPCALLER") or "localhost",
        help="where the dispatcher is (default: $HARPCALLER, or localhost)",
    )
    common.add_argument(
        "--connect-timeout",
        metavar="SECONDS",
        type=float,
        default=10.0,
        help="how long each of its addresses is tried (default: 10)",
    )
    common.add_argument(
        "--ca-file",
        metavar="FILE",
        default=environ.get("HARPCALLER_CA_FILE") or None,
        help="speak TLS with the dispatcher, which one of these CAs must have signed"
        " (default: $HARPCALLER_CA_FILE)",
    )
    common.add_argument(
        "--cert",
        metavar="FILE",
        default=environ.get("HARPCALLER_CERT") or None,
        help="the certificate and key to show the dispatcher (default: $HARPCALLER_CERT)",
    )
    # As text, a token would be seen by everybody who lists processes.
    common.add_argument(
        "--token-file",
        dest="token",
        metavar="FILE",
        type=_token,
        help="where the token is that tells the dispatcher who calls"
        " (default: $HARPCALLER_TOKEN is the token itself)",
    )
    common.add_argument("--json", action="store_true", help="print one JSON object a line")
    parser = argparse.ArgumentParser(
        prog="harp",
        description="Call procedures on hosts through a dispatcher.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"harp {__version__}")
    found = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def command(name: str, help: str, epilog: str | None = None) -> argparse.ArgumentParser:
        made = found.add_parser(
            name,
            parents=[common],
            help=help,
            description=help[0].upper() + help[1:] + ".",
            epilog=epilog,
            allow_abbrev=False,
        )
        made.set_defaults(command=name)
        commands[name] = made
        return made

    commands: dict[str, argparse.ArgumentParser] = {}
    call = command("call", "call a procedure and wait for its result", _CALL_EPILOG)
    call.add_argument(
        "host", metavar="HOST", help="a host's name in the registry; several, or a pattern"
    )
    call.add_argument("procedure", metavar="PROCEDURE")
    call.add_argument("args", metavar="ARG", nargs="*", help="ARG or NAME=VALUE")
    call.add_argument("--queue", metavar="JSON", type=_json, help="the queue's name, an object")
    call.add_argument(
        "--concurrency", metavar="N", type=int, help="the queue's width, if this call creates it"
    )
    call.add_argument(
        "--timeout", metavar="SECONDS", type=float, help="the longest silence of the procedure"
    )
    call.add_argument(
        "--max-exec-time", metavar="SECONDS", type=float, help="the longest run of the procedure"
    )
    call.add_argument("--info", metavar="JSON", type=_json, default=NULL, help="kept with the job")
    call.add_argument(
        "--batch", metavar="N", type=_positive, help="how many hosts are called at once"
    )
    call.add_argument(
        "--max-failures",
        metavar="N",
        type=_positive,
        help="after how many failures no more hosts are called",
    )
    how = call.add_mutually_exclusive_group()
    how.add_argument("--follow", action="store_true", help="print stream records as they come")
    how.add_argument("--no-wait", action="store_true", help="print the job's id and don't wait")

    job = "a job's id"
    result = command("result", "print how a job ended")
    result.add_argument("job_id", metavar="ID", help=job)
    result.add_argument("--wait", action="store_true", help="wait for its end")
    follow = command("follow", "print a job's stream records until it ends")
    follow.add_argument("job_id", metavar="ID", help=job)
    start = follow.add_mutually_exclusive_group()
    start.add_argument("--since", metavar="N", type=int, help="from record N on (default: 0)")
    start.add_argument("--recent", metavar="N", type=int, help="from the last N records on")
    command("status", "print what a job is and how far it came").add_argument(
        "job_id", metavar="ID", help=job
    )
    command("cancel", "end a job").add_argument("job_id", metavar="ID", help=job)
    hosts = command("hosts", "print which hosts there are")
    hosts.add_argument(
        "pattern", metavar="PATTERN", nargs="?", help="only those that fit, 'web*' for instance"
    )
    procedures = command("procedures", "print which procedures a host has")
    procedures.add_argument("host", metavar="HOST", help="a host's name in the registry")
    procedures.add_argument(
        "--tabs", action="store_true", help="name, signature and headline with tabs between"
    )
    completion = command("completion", "print a script by which a shell completes harp's words")
    completion.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    return parser, commands


@dataclass(frozen=True)
class Option:
    """An option, as far as a shell needs to know it."""

    name: str
    takes_value: bool
    help: str


@dataclass(frozen=True)
class Command:
    """A command, as far as a shell needs to know it."""

    name: str
    help: str
    options: tuple[Option, ...]


def command_options() -> list[Command]:
    """Give the commands with their options."""
    _, commands = _parsers({})
    return [
        Command(
            name,
            parser.description or "",
            tuple(
                Option(word, action.nargs != 0, action.help or "")
                for action in parser._actions
                for word in action.option_strings
                if word.startswith("--")
            ),
        )
        for name, parser in commands.items()
    ]


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> argparse.Namespace:
    """Read the command line.

    Returns:
        The options; ``command`` tells which command is meant.

    Raises:
        SystemExit: It can't be read, or help was asked for; that's printed by now.
    """
    parser, commands = _parsers(environ)
    if not argv or argv[0] not in commands:
        return parser.parse_args(argv)
    command = commands[argv[0]]
    # Intermixed, so that options may stand between a procedure and its arguments.  It trips
    # over "--", so what follows that is kept away from it.
    words = list(argv[1:])
    end = words.index("--") if "--" in words else len(words)
    options = command.parse_intermixed_args(words[:end])
    options.token = options.token or environ.get("HARPCALLER_TOKEN") or None
    rest = words[end + 1 :]
    if rest and "args" not in options:
        command.error(f"unrecognized arguments: {' '.join(rest)}")
    if rest:
        options.args = [*options.args, *rest]
    return options
