"""``twistd harpcaller``: its options, and the service made of them."""

from __future__ import annotations

import os
from pathlib import Path

from twisted.application.service import IService
from twisted.internet.defer import setDebugging
from twisted.python import usage

from harpcaller import __version__
from harpcaller.config.dispatcher import DEFAULT_PATH, load
from harpcaller.config.problems import ConfigurationError
from harpcaller.logs.events import EventLog
from harpcaller.logs.observers import start_logging
from harpcaller.service.daemon import DispatcherDaemon
from harpcaller.service.reactor import steady_reactor
from harpcaller.service.trusted import trusted_by
from harpcaller.wire.control import DEFAULT_SOCKET

_log = EventLog("config")


class Options(usage.Options):
    """What ``twistd harpcaller`` takes."""

    synopsis = "[options]"
    longdesc = "Dispatches calls to the agents on your servers, and keeps every result."
    optParameters = (
        ("config", "c", str(DEFAULT_PATH), "The configuration file."),
        ("socket", "s", DEFAULT_SOCKET, "Where to make the control socket."),
    )
    optFlags = (("debug", None, "Log to standard output, too, and with more about bugs."),)

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"harpcaller {__version__}")
        raise SystemExit(0)

    def parseArgs(self, *arguments: str) -> None:
        """Take no arguments.

        Raises:
            UsageError: There are some.
        """
        if arguments:
            raise usage.UsageError(f"unexpected argument: {arguments[0]}")


def makeService(options: Options) -> IService:
    """Make the daemon, or tell in words why it can't be.

    Raises:
        SystemExit: The configuration can't be used; its text names every problem.
    """
    config = Path(options["config"]).absolute()
    try:
        loaded = load(config)
        settings = loaded.settings
        trusted = trusted_by(settings)
    except ConfigurationError as error:
        raise SystemExit(str(error)) from None
    handlers = settings.log_handlers
    if options["debug"]:
        setDebugging(True)
        handlers = (*handlers, "stdout") if "stdout" not in handlers else handlers
    try:
        logs = start_logging(
            handlers, settings.erlang.log_file, settings.log_format, settings.audit_log
        )
    except OSError as error:
        raise SystemExit(f"{config}: the log can't be opened: {error}") from None
    for warning in (*loaded.warnings, *trusted.warnings):
        _log.warn("config.warning", warning=str(warning))
    return DispatcherDaemon(
        config,
        settings,
        trusted,
        Path(options["socket"]).absolute(),
        logs,
        steady_reactor(),
        os.environ,
    )
