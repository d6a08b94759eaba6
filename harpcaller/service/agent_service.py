"""``harpd`` and ``twistd harpd``: their options, and the service made of them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.application.service import IService
from twisted.python import usage

from harpcaller import __version__
from harpcaller.agent.proc import Account
from harpcaller.config.agent import DEFAULT_PATH
from harpcaller.config.problems import ConfigurationError, Problem
from harpcaller.logs.observers import LogSetup, LogTo, start_logging
from harpcaller.service.agent_daemon import AgentDaemon, Outside, environment_for_procedures
from harpcaller.service.agent_parts import CommandLine, examine, read_parts
from harpcaller.service.leaving import leave_with
from harpcaller.service.reactor import Reactor, steady_reactor


class Options(usage.Options):
    """What ``twistd harpd`` takes."""

    synopsis = "[options]"
    longdesc = "Runs the procedures of this host when they are called."
    optParameters: Sequence[Sequence[str | None]] = (
        ("config", "c", str(DEFAULT_PATH), "The configuration file."),
        ("procedures", "r", None, "The procedures file [default: /etc/harpd/harpd.py]."),
        ("logging", "l", None, "The file that says where to log, and what."),
        ("default-user", "u", None, "The user of procedures that ask for none."),
        ("default-group", "g", None, "Their group."),
    )
    optFlags: Sequence[Sequence[str | None]] = (
        ("test", "t", "Check the configuration, the procedures and the logging, and exit."),
        ("syslog", None, "Log to syslog."),
    )

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"harpd {__version__}")
        raise SystemExit(0)

    def parseArgs(self, *arguments: str) -> None:
        """Take no arguments.

        Raises:
            UsageError: There are some.
        """
        if arguments:
            raise usage.UsageError(f"unexpected argument: {arguments[0]}")

    def command_line(self, elsewhere: str | None = None) -> CommandLine:
        """Tell what was said.

        Args:
            elsewhere: Where to log if nothing was said about that; None leaves it to others.
        """
        return CommandLine(
            Path(self["config"]).absolute(),
            _path(self["procedures"]),
            _account(self["default-user"]),
            _account(self["default-group"]),
            _path(self["logging"]),
            bool(self["syslog"]),
            elsewhere,
        )


def _path(given: str | None) -> Path | None:
    return None if given is None else Path(given).absolute()


def _account(given: str | None) -> Account | None:
    return int(given) if given is not None and given.isdecimal() else given


def check_files(command: CommandLine) -> int:
    """Check all files and tell what is wrong with them; gives the exit code."""
    verdict = examine(command)
    for warning in verdict.warnings:
        print(f"harpd: warning: {warning}", file=sys.stderr)
    for problem in verdict.problems:
        print(f"harpd: {problem}", file=sys.stderr)
    if verdict.problems:
        return 1
    noun = "procedure" if verdict.procedures == 1 else "procedures"
    print(f"harpd: the configuration is fine; {verdict.procedures} {noun}")
    return 0


def make_daemon(
    command: CommandLine,
    reactor: Reactor,
    failed: Callable[[str], None],
    ready: Callable[[str | None], None] = lambda problem: None,
) -> AgentDaemon:
    """Make an agent.

    Args:
        command: What was said at the start.
        reactor: What is to run it.
        failed: Called with the reason if it can't start, after that was logged.
        ready: Called when it works, with why it has no procedures, if it has none.

    Raises:
        ConfigurationError: It can't be made of what the files say.
    """
    parts = read_parts(command)
    outside = Outside(
        os.environ,
        environment_for_procedures(os.environ, Path("/proc/self/environ").read_bytes()),
        _start_logging(parts.log_places),
        ready,
        failed,
    )
    return AgentDaemon(parts, lambda: read_parts(command), reactor, outside)


def _start_logging(places: tuple[LogTo, ...] | None) -> LogSetup | None:
    if places is None:
        return None
    logs = start_logging((), program="harpd")
    try:
        logs.log_to(places)
    except OSError as error:
        problem = Problem(str(error.filename), None, error.strerror or "can't be opened")
        raise ConfigurationError([problem]) from None
    return logs


def makeService(options: Options) -> IService:
    """Make the daemon for ``twistd``, or tell in words why it can't be.

    Raises:
        SystemExit: The files were to be tested only; or the configuration can't be used,
            and its text names every problem.
    """
    command = options.command_line()
    if options["test"]:
        raise SystemExit(check_files(command))
    running = steady_reactor()

    def failed(reason: str) -> None:
        print(f"harpd: {reason}", file=sys.__stderr__)
        leave_with(1)
        running.stop()

    try:
        return make_daemon(command, running, failed)
    except ConfigurationError as error:
        raise SystemExit(str(error)) from None
