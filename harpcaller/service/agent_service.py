"""``harpd`` and ``twistd harpd``: their options, and the service made of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from twisted.application.service import IService
from twisted.python import usage

from harpcaller import __version__
from harpcaller.agent.proc import Account
from harpcaller.config.agent import DEFAULT_PATH
from harpcaller.config.problems import ConfigurationError
from harpcaller.service.agent_daemon import AgentDaemon, environment_for_procedures
from harpcaller.service.agent_parts import CommandLine, read_parts
from harpcaller.service.leaving import leave_with
from harpcaller.service.reactor import Reactor


class Options(usage.Options):
    """What ``twistd harpd`` takes."""

    synopsis = "[options]"
    longdesc = "Runs the procedures of this host when they are called."
    optParameters: Sequence[Sequence[str | None]] = (
        ("config", "c", str(DEFAULT_PATH), "The configuration file."),
        ("procedures", "r", None, "The procedures file [default: /etc/harpd/harpd.py]."),
        ("default-user", "u", None, "The user of procedures that ask for none."),
        ("default-group", "g", None, "Their group."),
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

    def command_line(self) -> CommandLine:
        """Tell what was said."""
        procedures = self["procedures"]
        return CommandLine(
            Path(self["config"]).absolute(),
            None if procedures is None else Path(procedures).absolute(),
            _account(self["default-user"]),
            _account(self["default-group"]),
        )


def _account(given: str | None) -> Account | None:
    return int(given) if given is not None and given.isdecimal() else given


def make_daemon(command: CommandLine, reactor: Reactor, failed: Callable[[], None]) -> AgentDaemon:
    """Make an agent.

    Args:
        command: What was said at the start.
        reactor: What is to run it.
        failed: Called if it can't start, after that was logged.

    Raises:
        ConfigurationError: It can't be made of what the files say.
    """
    return AgentDaemon(
        read_parts(command),
        lambda: read_parts(command),
        reactor,
        os.environ,
        environment_for_procedures(os.environ, Path("/proc/self/environ").read_bytes()),
        failed,
    )


def makeService(options: Options) -> IService:
    """Make the daemon for ``twistd``, or tell in words why it can't be.

    Raises:
        SystemExit: The configuration can't be used; its text names every problem.
    """
    from twisted.internet import reactor

    running = cast(Reactor, reactor)

    def failed() -> None:
        leave_with(1)
        running.stop()

    try:
        return make_daemon(options.command_line(), running, failed)
    except ConfigurationError as error:
        raise SystemExit(str(error)) from None
