"""The ``harpd`` command: the agent in the foreground, or as a daemon.

Exit codes: 0, 1 for what is wrong with its files or its port, 2 for a wrong command line.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.python import usage

from harpcaller.config.problems import ConfigurationError
from harpcaller.service.agent_parts import CommandLine
from harpcaller.service.agent_service import Options, check_files, make_daemon
from harpcaller.service.background import Starter, go_to_background
from harpcaller.service.pidfile import NotOurs, PidFile
from harpcaller.service.reactor import steady_reactor


class CommandOptions(Options):
    """What ``harpd`` takes: more than under ``twistd``, which has its own of the rest."""

    optParameters = (("pidfile", "p", None, "Where to write the process's number."),)
    optFlags = (("daemon", "d", "Go to the background once it works."),)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; gives the exit code."""
    options = CommandOptions()
    try:
        options.parseOptions(sys.argv[1:] if arguments is None else list(arguments))
    except usage.UsageError as error:
        print(f"harpd: {error}", file=sys.stderr)
        return 2
    # In the background nobody sees standard output.
    command = options.command_line("syslog" if options["daemon"] else "stdout")
    if options["test"]:
        return check_files(command)
    pid_file = None if options["pidfile"] is None else Path(options["pidfile"]).absolute()
    starter = go_to_background() if options["daemon"] else Starter()
    try:
        return _run(command, pid_file, starter)
    except (ConfigurationError, NotOurs) as error:
        for line in str(error).splitlines():
            starter.tell(f"harpd: {line}")
        return 1


def _run(command: CommandLine, pid_file: Path | None, starter: Starter) -> int:
    """Run the agent; gives the exit code.

    Raises:
        ConfigurationError: It can't be made of what the files say.
        NotOurs: The pid file can't be had.
    """
    reactor = steady_reactor()
    exit_code = 0

    def ready(problem: str | None) -> None:
        if problem is not None:
            starter.tell(f"harpd: warning: no procedures: {problem}")
        starter.release()

    def failed(reason: str) -> None:
        nonlocal exit_code
        exit_code = 1
        starter.tell(f"harpd: {reason}")
        reactor.stop()

    with ExitStack() as at_the_end:
        if pid_file is not None:
            at_the_end.enter_context(PidFile(pid_file, os.getpid()))
        daemon = make_daemon(command, reactor, failed, ready)
        daemon.begin_logging()
        reactor.callWhenRunning(daemon.startService)
        reactor.addSystemEventTrigger(
            "before", "shutdown", lambda: Deferred.fromCoroutine(daemon.stopService())
        )
        reactor.run()
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
