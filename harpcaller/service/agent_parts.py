"""What an agent is made of, read from its files: at start, at a reload, and for ``--test``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from harpcaller.agent.accounts import NoAccount, find
from harpcaller.agent.auth.checking import Backend
from harpcaller.agent.orders import Load
from harpcaller.agent.proc import Account
from harpcaller.agent.procedures import NotLoadable, Procedures
from harpcaller.agent.procedures import load as load_procedures
from harpcaller.config.agent import (
    DEFAULT_PATH,
    DEFAULT_PROCEDURES,
    AgentSettings,
    LoadedAgent,
    load,
)
from harpcaller.config.agent_logging import load_logging
from harpcaller.config.guarded import Guarded, judged
from harpcaller.config.problems import ConfigurationError, Problem
from harpcaller.logs.observers import LogTo
from harpcaller.service.network_user import NetworkUser, network_user
from harpcaller.service.server_tls import Identity, NotUsable, make_context, read_identity


@attrs.frozen
class LogPlaces:
    """Where to log to; None leaves that to others."""

    places: tuple[LogTo, ...] | None
    warnings: tuple[Problem, ...] = ()


@attrs.frozen
class CommandLine:
    """What was said at the start; it goes before what the file says.

    Args:
        config: The configuration file.
        procedures: The procedures file; None is what the configuration says.
        uid: The user of procedures that ask for none; None is the agent's own.
        gid: Their group.
        logging: The file that says where to log.
        syslog: Whether to log to syslog, if no file says otherwise.
        elsewhere: Where to log if nobody says anything; None leaves that to others.
    """

    config: Path = DEFAULT_PATH
    procedures: Path | None = None
    uid: Account | None = None
    gid: Account | None = None
    logging: Path | None = None
    syslog: bool = False
    elsewhere: str | None = None

    def log_places(self) -> LogPlaces:
        """Read where to log to.

        Raises:
            ConfigurationError: The logging file can't be used.
        """
        if self.logging is None:
            place = "syslog" if self.syslog else self.elsewhere
            return LogPlaces(None if place is None else (LogTo(place),))
        loaded = load_logging(self.logging)
        places = [
            LogTo(handler.to, handler.path, handler.format, handler.level)
            for handler in loaded.handlers
        ]
        return LogPlaces(tuple(places), loaded.warnings)

    def order(self, settings: AgentSettings | None) -> Load:
        """Tell what template processes load; without settings, as far as is known."""
        file = self.procedures or (settings and settings.procedures) or DEFAULT_PROCEDURES
        return Load(
            str(file.absolute()),
            [str(path) for path in settings.python_prepend] if settings else [],
            [str(path) for path in settings.python_append] if settings else [],
            self.uid,
            self.gid,
            max_processes=settings.max_processes if settings else None,
            max_memory=settings.max_memory if settings else None,
        )


@attrs.frozen
class AgentParts:
    """What the files say, ready for use."""

    settings: AgentSettings
    order: Load
    backend: Backend
    identity: Identity
    network: NetworkUser
    log_places: tuple[LogTo, ...] | None
    warnings: tuple[Problem, ...]


def read_parts(command: CommandLine) -> AgentParts:
    """Read everything but the procedures, which only template processes load.

    Raises:
        ConfigurationError: Something can't be used; tells all that is wrong.
    """
    return _parts(command, load(command.config))


def _parts(command: CommandLine, loaded: LoadedAgent) -> AgentParts:
    settings = loaded.settings
    order = command.order(settings)
    guarded = judged(_files(command, settings, order), os.geteuid())
    problems = list(guarded.problems)
    backend = _backend(settings, problems)
    identity = _identity(settings, problems)
    folder = settings.spool_folder
    if settings.orphan_seconds and not os.access(folder, os.W_OK | os.X_OK):
        place = ("resume", "spool_folder")
        problems.append(settings.problem(place, f"{folder} is no folder that can be written to"))
    logs = LogPlaces(None)
    try:
        logs = command.log_places()
    except ConfigurationError as error:
        problems.extend(error.problems)
    try:
        _ = find(command.uid, command.gid)
    except NoAccount as error:
        problems.append(Problem("the command line", None, str(error)))
    network = _network_user(settings, problems)
    if problems:
        raise ConfigurationError(problems)
    assert backend is not None and identity is not None and network is not None
    warnings = loaded.warnings + logs.warnings + guarded.warnings
    return AgentParts(settings, order, backend, identity, network, logs.places, warnings)


def _files(command: CommandLine, settings: AgentSettings, order: Load) -> Iterator[Guarded]:
    yield Guarded(command.config)
    yield Guarded(Path(order.file))
    yield Guarded(settings.certfile)
    yield Guarded(settings.keyfile, secret=True)
    yield Guarded(settings.client_ca_file)
    users = settings.authentication.get("file")
    if isinstance(users, str):
        yield Guarded(Path(users))
    for folder in (*settings.python_prepend, *settings.python_append):
        yield Guarded(folder)


def _backend(settings: AgentSettings, problems: list[Problem]) -> Backend | None:
    place = ("authentication", "module")
    name = settings.authentication_module
    for folder in (*settings.python_prepend, *settings.python_append):
        if str(folder) not in sys.path:
            # At the end, so that the agent's own modules stay what they are.
            sys.path.append(str(folder))
    try:
        module = importlib.import_module(name)
    except Exception as error:  # noqa: BLE001 - it's users' code
        said = f"can't import {name}: {type(error).__name__}: {error}"
        problems.append(settings.problem(place, said))
        return None
    create = getattr(module, "create", None)
    if not callable(create):
        problems.append(settings.problem(place, f"{name} has no function create"))
        return None
    try:
        backend: Backend = create(settings.authentication)
    except ConfigurationError as error:
        problems.extend(error.problems)
        return None
    except ValueError as error:
        problems.extend(_placed(settings, line) for line in str(error).splitlines())
        return None
    except Exception as error:  # noqa: BLE001 - it's users' code
        # Its message may have a password in it.
        problems.append(settings.problem(place, f"{name}.create raised {type(error).__name__}"))
        return None
    return backend


def _placed(settings: AgentSettings, message: str) -> Problem:
    """Give a message that begins with a key its line."""
    key, colon, rest = message.partition(": ")
    if colon and key.startswith("authentication."):
        return settings.problem(tuple(key.split(".")), rest)
    return settings.problem(("authentication",), message)


def _identity(settings: AgentSettings, problems: list[Problem]) -> Identity | None:
    ca_file = settings.client_ca_file
    try:
        identity = read_identity(
            str(settings.certfile), str(settings.keyfile), None if ca_file is None else str(ca_file)
        )
        _ = make_context(identity)  # the network process could only die of it
    except NotUsable as error:
        problems.append(settings.problem(("network",), str(error)))
        return None
    return identity


def _network_user(settings: AgentSettings, problems: list[Problem]) -> NetworkUser | None:
    try:
        return network_user(settings.network_user, os.geteuid())
    except NoAccount as error:
        problems.append(settings.problem(("network", "user"), str(error)))
        return None


@attrs.frozen
class Verdict:
    """What ``--test`` found."""

    problems: tuple[str, ...]
    warnings: tuple[str, ...]
    procedures: int


def examine(command: CommandLine) -> Verdict:
    """Check all files; runs the procedures file in this very process."""
    problems: list[str] = []
    warnings: list[str] = []
    settings: AgentSettings | None = None
    try:
        loaded = load(command.config)
        settings = loaded.settings
        parts = _parts(command, loaded)
        warnings.extend(map(str, parts.warnings))
        problems.extend(_not_writable(parts.log_places or ()))
    except ConfigurationError as error:
        problems.extend(map(str, error.problems))
        if settings is None:
            problems.extend(_logging_problems(command))
    order = command.order(settings)
    count = 0
    try:
        procedures = load_procedures(order.file, order.prepend, order.append)
        count = len(procedures.descriptions())
        warnings.extend(_without_account(order.file, procedures))
    except NotLoadable as error:
        problems.append(str(error))
    return Verdict(tuple(problems), tuple(warnings), count)


def _logging_problems(command: CommandLine) -> list[str]:
    try:
        _ = command.log_places()
    except ConfigurationError as error:
        return [str(problem) for problem in error.problems]
    return []


def _not_writable(places: Iterable[LogTo]) -> list[str]:
    """Find log files that can't be had, without making them."""
    found = []
    for path in (place.file for place in places if place.file is not None):
        if not path.parent.is_dir():
            found.append(f"{path}: its folder doesn't exist")
        elif path.is_dir():
            found.append(f"{path}: a folder, and no file")
        elif not os.access(path if path.exists() else path.parent, os.W_OK):
            found.append(f"{path}: can't be written")
    return found


def _without_account(file: str, procedures: Procedures) -> list[str]:
    found = []
    for name, procedure in procedures.by_name.items():
        try:
            _ = find(procedure.uid, procedure.gid)
        except NoAccount as error:
            found.append(f"{file}: procedure {name}: {error}")
    return found
