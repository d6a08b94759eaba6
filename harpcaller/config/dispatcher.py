"""The dispatcher's settings: every key, every default.

Reading a file finds every mistake in one go.  A key that nobody knows is only a warning, so
that a file for a newer version still starts an older one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import attrs

from harpcaller.config import fields
from harpcaller.config.access import AllowRule, Door, allow_keys, door_keys, door_problems
from harpcaller.config.addresses import ListenAddress, listen_address
from harpcaller.config.fields import Mistake, Setting
from harpcaller.config.lines import Place, lines_of
from harpcaller.config.problems import ConfigurationError, Problem, nearest

#: Where the configuration is when nobody says otherwise.
DEFAULT_PATH = Path("/etc/harpcaller/harpcaller.toml")

_Table = TypeVar("_Table")

LogHandler = Literal["stdout", "syslog", "journal"]


_bare = re.compile(r"[A-Za-z0-9_-]{1,60}").fullmatch


def _key(key: str) -> str:
    return key if _bare(key) else fields.shown(key)


@attrs.frozen
class Source:
    """Where settings came from, for messages about them."""

    file: str = "harpcaller.toml"
    lines: Mapping[Place, int] = attrs.field(factory=dict)

    def problem(self, place: Place, message: str) -> Problem:
        """Tell of a problem with what stands at a place, or would stand there."""
        shorter = place
        while shorter and shorter not in self.lines:
            shorter = shorter[:-1]
        name = ".".join(_key(key) for key in place if isinstance(key, str))
        return Problem(self.file, self.lines.get(shorter), f"{name}: {message}")


@attrs.frozen(kw_only=True)
class ErlangSettings:
    """The ``[erlang]`` section.

    ``log_file`` is the event log's file; the rest is what ``dist-erl-start`` is asked with.
    """

    node_name: str = "harpcaller"
    name_type: Literal["longnames", "shortnames"] = "longnames"
    cookie_file: Path | None = None
    distributed_immediate: bool = False
    log_file: Path | None = None


@attrs.frozen(kw_only=True)
class Settings:
    """Everything that the dispatcher's operator decides.

    Args:
        listen: Ports without TLS.
        listener: More ports, with TLS or without.
        allow: What clients may do; without any rule, everything.
        tokens_file: The hashes of clients' tokens.
        audit_log: A file where calls are told of once more.
        ca_file: CAs that agents' certificates may lead to, in PEM.
        known_certs_file: Agents' certificates that are good as they are, in PEM.
        cert_file: The dispatcher's own certificate, shown to agents that ask for one, in PEM.
        key_file: Its key, in PEM.
        agent_idle_timeout_seconds: How long a connection to an agent waits for the next call, if
            the agent likes; 0 closes each after its call.
        agent_connection_age_seconds: How old a connection may be that another call is made on.
        idle_connections_per_agent: How many connections to one host may wait so.
        idle_connections: How many connections may wait so in all.
        max_age_seconds: How long ended jobs are remembered; None is for ever.
        shutdown_grace_seconds: How long running jobs get to end when the daemon stops.
        max_request_size: The longest request line, in bytes.
        log_format: How lines look on standard output and in the log file.
        source: The file all this is from.
    """

    stream_directory: Path
    host_db: Path
    host_db_script: Path
    listen: tuple[ListenAddress, ...] = (ListenAddress(None, 3502),)
    listener: tuple[Door, ...] = ()
    allow: tuple[AllowRule, ...] = ()
    tokens_file: Path | None = None
    audit_log: Path | None = None
    ca_file: Path | None = None
    known_certs_file: Path | None = None
    verify_hostname: bool = False
    cert_file: Path | None = None
    key_file: Path | None = None
    default_timeout_seconds: float = 600.0
    max_exec_time_seconds: float = 600.0
    max_age_seconds: float | None = None
    host_db_refresh_seconds: float = 900.0
    host_db_script_timeout_seconds: float = 3600.0
    log_handlers: tuple[LogHandler, ...] = ("stdout",)
    log_format: Literal["text", "json"] = "text"
    durability: Literal["full", "end", "none"] = "full"
    connect_timeout_seconds: float = 10.0
    agent_idle_timeout_seconds: float = 60.0
    agent_connection_age_seconds: float = 3600.0
    idle_connections_per_agent: int = 64
    idle_connections: int = 1024
    shutdown_grace_seconds: float = 10.0
    client_idle_timeout_seconds: float = 300.0
    max_request_size: int = 1024 * 1024
    erlang: ErlangSettings = ErlangSettings()
    source: Source = attrs.field(factory=Source, eq=False, repr=False)

    @property
    def doors(self) -> tuple[Door, ...]:
        """All ports that clients come in by."""
        return (*(Door(address=address) for address in self.listen), *self.listener)


@attrs.frozen
class Loaded:
    """Settings, and what is odd about the file they are from."""

    settings: Settings
    warnings: tuple[Problem, ...]


_HANDLERS = {
    "harpcaller_stdout_h": "stdout",
    "harpcaller_syslog_h": "syslog",
    "stdout": "stdout",
    "syslog": "syslog",
    "journal": "journal",
}

#: Settings that a running dispatcher keeps until its next start.
FIXED = {
    "stream_directory": "the jobs under way are there",
    "durability": "the store was opened with it",
}


def _main(folder: Path) -> dict[str, Setting]:
    """The keys of the main section; relative paths start at ``folder``."""
    path = fields.path(folder)
    return {
        "listen": Setting("listen", _listen),
        "tokens_file": Setting("tokens_file", path),
        "audit_log": Setting("audit_log", path),
        "ca_file": Setting("ca_file", path),
        "known_certs_file": Setting("known_certs_file", path),
        "cert_file": Setting("cert_file", path),
        "key_file": Setting("key_file", path),
        "verify_hostname": Setting("verify_hostname", fields.boolean),
        "stream_directory": Setting("stream_directory", path, mandatory=True),
        "default_timeout": Setting("default_timeout_seconds", fields.seconds),
        "max_exec_time": Setting("max_exec_time_seconds", fields.seconds),
        "max_age": Setting("max_age_seconds", fields.hours),
        "host_db": Setting("host_db", path, mandatory=True),
        "host_db_script": Setting("host_db_script", path, mandatory=True),
        "host_db_refresh": Setting("host_db_refresh_seconds", fields.seconds),
        "host_db_script_timeout": Setting("host_db_script_timeout_seconds", fields.seconds),
        "log_handlers": Setting("log_handlers", _log_handlers),
        "log_format": Setting("log_format", fields.choice("text", "json")),
        "durability": Setting("durability", fields.choice("full", "end", "none")),
        "connect_timeout": Setting("connect_timeout_seconds", fields.seconds),
        "agent_idle_timeout": Setting("agent_idle_timeout_seconds", fields.seconds_or_zero),
        "agent_connection_age": Setting("agent_connection_age_seconds", fields.seconds),
        "idle_connections_per_agent": Setting("idle_connections_per_agent", _connections),
        "idle_connections": Setting("idle_connections", _connections),
        "shutdown_grace": Setting("shutdown_grace_seconds", fields.seconds_or_zero),
        "client_idle_timeout": Setting("client_idle_timeout_seconds", fields.seconds),
        "max_request_size": Setting("max_request_size", fields.size(1024, 1024**3)),
    }


def _erlang(folder: Path) -> dict[str, Setting]:
    """The keys of the ``[erlang]`` section."""
    path = fields.path(folder)
    return {
        "node_name": Setting("node_name", fields.text),
        "name_type": Setting("name_type", fields.choice("longnames", "shortnames")),
        "cookie_file": Setting("cookie_file", path),
        "distributed_immediate": Setting("distributed_immediate", fields.boolean),
        "log_file": Setting("log_file", path),
    }


def _connections(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100_000:
        raise fields.unexpected("a number of connections from 1 to 100000", value)
    return value


def _listen(value: object) -> tuple[ListenAddress, ...]:
    addresses: tuple[ListenAddress, ...] = fields.each(
        'addresses, each "<bind-address>:<port>"', listen_address
    )(value)
    for index, address in enumerate(addresses):
        if address.port and address in addresses[:index]:
            raise Mistake(f'"{address}" stands twice', index)
    return addresses


def _log_handlers(value: object) -> tuple[str, ...]:
    names = fields.each("log handlers", fields.renamed(_HANDLERS))(value)
    return tuple(dict.fromkeys(names))


def load(path: Path) -> Loaded:
    """Read a configuration file.

    Raises:
        ConfigurationError: It can't be read or used; names every problem.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            [Problem(str(path), None, f"can't be read: {error.strerror}")]
        ) from None
    return parse(data, path)


def parse(data: bytes, path: Path) -> Loaded:
    """Read a configuration that is in memory; ``path`` is where it came from.

    Raises:
        ConfigurationError: It can't be used; names every problem.
    """
    document, source = _document(data, str(path))
    reading = _Reading(source)
    folder = path.absolute().parent
    main = _main(folder)
    erlang = _erlang(folder)
    section = document.pop("erlang", {})
    if not isinstance(section, dict):
        reading.problems.append(
            source.problem(("erlang",), f"expected a section, got {fields.shown(section)}")
        )
        section = {}
    outside = _elsewhere(None, main)
    doors = reading.tables(
        "listener", document.pop("listener", []), door_keys(folder), Door, outside
    )
    rules = reading.tables(
        "allow", document.pop("allow", []), allow_keys(folder), AllowRule, outside
    )
    values = reading.section((), document, main, _elsewhere("erlang", erlang))
    if doors:
        # Who lists ports of another kind doesn't want the usual one besides.
        values.setdefault("listen", ())
    for key, other in (("cert_file", "key_file"), ("key_file", "cert_file")):
        if key in document and other not in document:
            reading.problems.append(source.problem((other,), f"missing, and {key} is given"))
    reading.problems += [
        source.problem(place, message)
        for place, message in door_problems(values.get("listen"), doors)
    ]
    inner = reading.section(("erlang",), section, erlang, outside)
    if reading.problems:
        raise ConfigurationError(sorted(reading.problems, key=_line))
    settings = Settings(
        **values,
        listener=tuple(filter(None, doors)),
        allow=tuple(filter(None, rules)),
        erlang=ErlangSettings(**inner),
        source=source,
    )
    return Loaded(settings, tuple(sorted(reading.warnings, key=_line)))


def cannot_change(old: Settings, new: Settings) -> list[Problem]:
    """Name the settings that differ but can't be changed while the dispatcher runs."""
    return [
        new.source.problem(
            (key,),
            f"can't change while the daemon runs, since {why}; it is {getattr(old, key)}",
        )
        for key, why in FIXED.items()
        if getattr(old, key) != getattr(new, key)
    ]


def _line(problem: Problem) -> int:
    return problem.line or 0


_place = re.compile(r"(.*) \(at line ([0-9]+), column ([0-9]+)\)", re.DOTALL).fullmatch


def _document(data: bytes, file: str) -> tuple[dict[str, Any], Source]:
    """Read the TOML, with a mistake in its form told by line."""
    try:
        text = data.decode("utf-8").replace("\r\n", "\n")
        return tomllib.loads(text), Source(file, lines_of(text))
    except UnicodeDecodeError as error:
        problem = Problem(file, data.count(b"\n", 0, error.start) + 1, "not UTF-8")
    except RecursionError:
        problem = Problem(file, None, "nested too deeply")
    except ValueError as error:
        found = _place(str(error))
        if found:
            message, line, column = found.groups()
            problem = Problem(file, int(line), f"not TOML: {message}, at column {column}")
        else:
            problem = Problem(file, None, f"not TOML: {error}")
    raise ConfigurationError([problem])


#: Tells of a key that isn't known here whether it belongs to another section.
_Elsewhere = Callable[[str], str | None]


def _elsewhere(section: str | None, known: Mapping[str, Setting]) -> _Elsewhere:
    where = "before the first section" if section is None else f"in the section [{section}]"
    return lambda key: f"it belongs {where}" if key in known else None


@attrs.define
class _Reading:
    """Collects what is wrong or odd while the sections are read."""

    source: Source
    problems: list[Problem] = attrs.field(factory=list)
    warnings: list[Problem] = attrs.field(factory=list)

    def tables(
        self,
        name: str,
        found: object,
        known: Mapping[str, Setting],
        make: Callable[..., _Table],
        elsewhere: _Elsewhere,
    ) -> list[_Table | None]:
        """Read a list of tables; None stands for each that is wrong."""
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            self.problems.append(
                self.source.problem(
                    (name,), f"expected tables, [[{name}]], got {fields.shown(found)}"
                )
            )
            return []
        read: list[_Table | None] = []
        for index, item in enumerate(found):
            before = len(self.problems)
            values = self.section((name, index), item, known, elsewhere)
            read.append(make(**values) if len(self.problems) == before else None)
        return read

    def section(
        self,
        place: Place,
        found: Mapping[str, object],
        known: Mapping[str, Setting],
        elsewhere: _Elsewhere,
    ) -> dict[str, Any]:
        """Read a section's values, by attribute."""
        values: dict[str, Any] = {}
        for key, value in found.items():
            if key not in known:
                hint = elsewhere(key)
                near = nearest(key, known)
                if hint is None and near is not None:
                    hint = f"did you mean {near}?"
                message = "unknown setting" + (f"; {hint}" if hint else ", passed over")
                self.warnings.append(self.source.problem((*place, key), message))
                continue
            try:
                values[known[key].attribute] = known[key].read(value)
            except* Mistake as group:
                for mistake in group.exceptions:
                    assert isinstance(mistake, Mistake)
                    item = () if mistake.index is None else (mistake.index,)
                    self.problems.append(self.source.problem((*place, key, *item), str(mistake)))
        for key, setting in known.items():
            if setting.mandatory and key not in found:
                # It has no line, and shall not borrow its section's.
                missing = self.source.problem((*place, key), "missing")
                self.problems.append(missing if place else attrs.evolve(missing, line=None))
        return values
