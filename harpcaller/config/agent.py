"""The agent's settings: a YAML file, every key, every default.

Reading a file finds every mistake in one go.  A key that nobody knows is only a warning, so
that a file for a newer version still starts an older one.  What stands under
``authentication`` besides ``module`` is the authentication module's own business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import attrs

from harpcaller.config import fields
from harpcaller.config.fields import Mistake, Reader, unexpected
from harpcaller.config.problems import ConfigurationError, Problem
from harpcaller.config.yaml_document import Place, YAMLDocument, problem_at, read_text

#: Where the configuration and the procedures are when nobody says otherwise.
DEFAULT_PATH = Path("/etc/harpd/harpd.conf")
DEFAULT_PROCEDURES = Path("/etc/harpd/harpd.py")
#: What the kernel can number.
MOST_PROCESSES = 4_194_304
#: Less than this, in bytes, no Python program can live in; more, no machine has.
LEAST_MEMORY, MOST_MEMORY = 16 * 1024 * 1024, 2**50


@attrs.frozen(kw_only=True)
class AgentSettings:
    """Everything that an agent's operator decides.

    Args:
        certfile: The certificate and what it is signed by, as PEM.
        keyfile: Its private key, as PEM without a passphrase.
        authentication_module: The importable name of the module that knows the users.
        authentication: That module's own keys; they may hold passwords.
        address: Where to listen: an address, a host name, or ``*`` for everywhere.
        port: 0 lets the system choose one, which is of use in tests.
        client_ca_file: If given, callers need a certificate signed by one of these.
        network_user: Whom the process that strangers talk to runs as; None leaves it to us.
        python_prepend: Folders that procedures import from, before all others.
        python_append: Folders that procedures import from, after all others.
        procedures: The procedures file; None is the default one.
        reload: When procedures are loaded anew.
        max_calls: How many calls may run at once.
        request_seconds: How long a connection may take until its user is known.
        max_processes: How many processes and threads one call may have.
        max_memory: How many bytes of memory one call may have; None is all there is.
        kill_grace_seconds: How long a procedure's processes may take to end when told to.
        stop_grace_seconds: How long calls may go on when the agent is stopped.
        orphan_seconds: How long a call goes on when its connection broke and nobody comes for it;
            0 ends it at once.
        spool_folder: Where what such calls say is kept.
        spool_size: How much of it, for each call, in bytes.
        idle_seconds: How long a connection may wait for its next call; 0 keeps none.
        max_idle: How many connections may wait so.
        lines: Where in the file each key stands.
    """

    certfile: Path
    keyfile: Path
    authentication_module: str
    authentication: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    address: str = "*"
    port: int = 4306
    client_ca_file: Path | None = None
    network_user: str | int | None = None
    python_prepend: tuple[Path, ...] = ()
    python_append: tuple[Path, ...] = ()
    procedures: Path | None = None
    reload: Literal["signal", "auto"] = "signal"
    max_calls: int = 64
    max_processes: int = 512
    max_memory: int | None = None
    request_seconds: float = 10.0
    kill_grace_seconds: float = 5.0
    stop_grace_seconds: float = 10.0
    orphan_seconds: float = 600.0
    spool_folder: Path = Path("/var/tmp")  # noqa: S108 - files there have no names
    spool_size: int = 16 * 1024 * 1024
    idle_seconds: float = 90.0
    max_idle: int = 256
    file: str = "harpd.conf"
    lines: Mapping[Place, int] = attrs.field(factory=dict, eq=False, repr=False)

    def problem(self, place: Place, message: str) -> Problem:
        """Tell of a problem with what stands at a place of the file."""
        return problem_at(self.file, self.lines, place, message)


@attrs.frozen
class LoadedAgent:
    """Settings, and what is odd about their file."""

    settings: AgentSettings
    warnings: tuple[Problem, ...]


def load(path: Path) -> LoadedAgent:
    """Read a configuration file.

    Raises:
        ConfigurationError: It can't be read, or there are mistakes in it; tells all.
    """
    return parse(read_text(path), str(path), path.parent)


def parse(text: str, file: str, folder: Path) -> LoadedAgent:
    """Read a configuration.

    Args:
        text: What stands in the file.
        file: Its name, for messages.
        folder: Where relative paths start.

    Raises:
        ConfigurationError: There are mistakes in it; tells all.
    """
    document = YAMLDocument(file)
    content = document.read(text)
    values = _Values(document, content, folder)
    chosen = values.take()
    if document.problems:
        raise ConfigurationError(document.problems)
    settings = AgentSettings(**chosen, file=file, lines=document.lines)
    return LoadedAgent(settings, tuple(document.warnings))


class _Values:
    """Takes the settings out of a document, noting what is wrong with them."""

    def __init__(self, document: YAMLDocument, content: object, folder: Path) -> None:
        self._document = document
        self._folder = folder
        self._content = document.mapping((), content, "settings")
        self._chosen: dict[str, Any] = {}

    def take(self) -> dict[str, Any]:
        """Give the settings that the file has, by the names of :class:`AgentSettings`."""
        path = fields.path(self._folder)
        self._document.known(
            (),
            self._content,
            ("network", "python", "authentication", "limits", "resume", "keep"),
            ("procedures", "reload"),
        )
        self._section(
            "network",
            {
                "address": ("address", fields.text),
                "port": ("port", _whole("a port", 0, 65535)),
                "certfile": ("certfile", path),
                "keyfile": ("keyfile", path),
                "client_ca_file": ("client_ca_file", path),
                "user": ("network_user", _account),
            },
            mandatory=("certfile", "keyfile"),
        )
        self._section(
            "limits",
            {
                "max_calls": ("max_calls", _whole("a number of calls", 1, 10_000)),
                "max_processes": (
                    "max_processes",
                    _whole("a number of processes", 1, MOST_PROCESSES),
                ),
                "max_memory": ("max_memory", fields.size(LEAST_MEMORY, MOST_MEMORY)),
                "request_timeout": ("request_seconds", fields.seconds),
                "kill_grace": ("kill_grace_seconds", fields.seconds_or_zero),
                "stop_grace": ("stop_grace_seconds", fields.seconds_or_zero),
            },
        )
        self._section(
            "resume",
            {
                "orphan_timeout": ("orphan_seconds", fields.seconds_or_zero),
                "spool_folder": ("spool_folder", path),
                "spool_size": ("spool_size", _whole("a number of bytes", 65_536, 2**40)),
            },
        )
        self._section(
            "keep",
            {
                "idle_timeout": ("idle_seconds", fields.seconds_or_zero),
                "max_idle": ("max_idle", _whole("a number of connections", 1, 100_000)),
            },
        )
        self._one(("procedures",), self._content, "procedures", path)
        self._one(("reload",), self._content, "reload", fields.choice("signal", "auto"))
        self._python()
        self._authentication()
        return self._chosen

    def _section(
        self,
        name: str,
        keys: Mapping[str, tuple[str, Reader]],
        mandatory: tuple[str, ...] = (),
    ) -> None:
        found = self._document.mapping((name,), self._content.get(name), "settings")
        self._document.known((name,), found, tuple(keys))
        for key, (attribute, read) in keys.items():
            self._one((name, key), found, attribute, read)
        for key in mandatory:
            if found.get(key) is None:
                self._document.wrong((name, key), "missing")

    def _one(self, place: Place, found: Mapping[str, Any], attribute: str, read: Reader) -> None:
        value = found.get(place[-1])
        if value is None:
            return
        try:
            self._chosen[attribute] = read(value)
        except Mistake as mistake:
            self._document.wrong(place, str(mistake))

    def _python(self) -> None:
        found = self._document.mapping(("python",), self._content.get("python"), "settings")
        self._document.known(("python",), found, ("path",))
        value = found.get("path")
        folders = _folders(fields.path(self._folder))
        if isinstance(value, dict):
            place = ("python", "path")
            self._document.known(place, value, ("prepend", "append"))
            self._one((*place, "prepend"), value, "python_prepend", folders)
            self._one((*place, "append"), value, "python_append", folders)
        else:
            self._one(("python", "path"), found, "python_prepend", folders)

    def _authentication(self) -> None:
        place = ("authentication",)
        found = self._document.mapping(place, self._content.get("authentication"), "settings")
        own = {key: value for key, value in found.items() if key != "module"}
        if isinstance(own.get("file"), str):
            own["file"] = str(self._folder / own["file"])
        self._chosen["authentication"] = own
        self._one((*place, "module"), found, "authentication_module", _module)
        if found.get("module") is None:
            self._document.wrong((*place, "module"), "missing")


def _whole(what: str, least: int, most: int) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise unexpected(f"{what} from {least} to {most}", value)
        return value

    return read


def _account(value: object) -> str | int:
    if isinstance(value, str) and value:
        return value
    # The highest number means that nothing is to change.
    if type(value) is int and 0 <= value < 2**32 - 1:
        return value
    raise unexpected("the name or number of a user", value)


def _folders(read: Reader) -> Callable[[object], tuple[Path, ...]]:
    def read_all(value: object) -> tuple[Path, ...]:
        items = value if isinstance(value, list) else [value]
        return tuple(read(item) for item in items)

    return read_all


def _module(value: object) -> str:
    if not isinstance(value, str) or not all(part.isidentifier() for part in value.split(".")):
        raise unexpected("the name of a Python module", value)
    return value
