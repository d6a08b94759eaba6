"""The ``harpd`` command: the agent in the foreground.

Exit codes: 0, 1 for what is wrong with its files or its port, 2 for a wrong command line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from twisted.internet.defer import Deferred
from twisted.python import usage

from harpcaller.config.problems import ConfigurationError
from harpcaller.logs.observers import LogSetup, start_logging
from harpcaller.service.agent_parts import CommandLine, examine
from harpcaller.service.agent_service import Options, make_daemon
from harpcaller.service.reactor import Reactor


class CommandOptions(Options):
    """What ``harpd`` takes: more than under ``twistd``, which has its own of the rest."""

    optParameters = (
        ("logging", "l", None, "How to log; not there yet."),
        ("pidfile", "p", None, "Where to write the process's number."),
    )
    optFlags = (
        ("test", "t", "Check the configuration and the procedures, and exit."),
        ("syslog", None, "Log to syslog, not to standard output."),
        ("daemon", "d", "Go to the background; not there yet."),
    )

    def postOptions(self) -> None:
        """Refuse what isn't there yet.

        Raises:
            UsageError: It was asked for.
        """
        if self["daemon"]:
            raise usage.UsageError("--daemon isn't there yet; run it under a supervisor")
        if self["logging"] is not None:
            raise usage.UsageError("--logging isn't there yet; it logs to standard output")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    options = CommandOptions()
    try:
        options.parseOptions(sys.argv[1:] if arguments is None else list(arguments))
    except usage.UsageError as error:
        _complain(str(error))
        return 2
    command = options.command_line()
    if options["test"]:
        return _test(command)
    try:
        logs = start_logging(["syslog" if options["syslog"] else "stdout"], program="harpd")
    except OSError as error:
        _complain(f"can't log: {error}")
        return 1
    return _run(command, logs, options["pidfile"])


def _complain(message: str) -> None:
    for line in message.splitlines():
        print(f"harpd: {line}", file=sys.stderr)


def _test(command: CommandLine) -> int:
    verdict = examine(command)
    for warning in verdict.warnings:
        _complain(f"warning: {warning}")
    for problem in verdict.problems:
        _complain(problem)
    if verdict.problems:
        return 1
    print(f"harpd: the configuration is fine; {verdict.procedures} procedures")
    return 0


def _run(command: CommandLine, logs: LogSetup, pid_file: str | None) -> int:
    from twisted.internet import reactor as installed

    reactor = cast(Reactor, installed)
    exit_code = 0

    def failed() -> None:
        nonlocal exit_code
        exit_code = 1
        reactor.stop()

    try:
        daemon = make_daemon(command, reactor, failed)
    except ConfigurationError as error:
        _complain(str(error))
        return 1
    if pid_file is not None:
        try:
            Path(pid_file).write_text(f"{os.getpid()}\n")
        except OSError as error:
            _complain(f"{pid_file}: {error.strerror}")
            return 1
    logs.begin()
    reactor.callWhenRunning(daemon.startService)
    reactor.addSystemEventTrigger(
        "before", "shutdown", lambda: Deferred.fromCoroutine(daemon.stopService())
    )
    reactor.run()
    if pid_file is not None:
        with suppress(OSError):
            Path(pid_file).unlink()
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
