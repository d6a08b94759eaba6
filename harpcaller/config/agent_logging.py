"""Where an agent logs to: the YAML file of ``--logging``.

::

    level: info
    handlers:
      - to: syslog
        level: error
      - to: file
        path: /var/log/harpd.log
        format: json

Reading finds every mistake in one go; a key that nobody knows is only a warning.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import attrs

from harpcaller.config import fields
from harpcaller.config.fields import Mistake, Reader
from harpcaller.config.problems import ConfigurationError, Problem
from harpcaller.config.yaml_document import Place, YAMLDocument, read_text

#: What may be logged, from what tells most on.
LEVELS = ("debug", "info", "warn", "error", "critical")
_TARGETS = ("stdout", "stderr", "syslog", "journal", "file")


@attrs.frozen(kw_only=True)
class LogHandler:
    """One place that lines go to.

    Args:
        to: ``stdout``, ``stderr``, ``syslog``, ``journal`` or ``file``.
        path: The file, if it is one.
        level: What is less than this isn't told.
        format: ``text`` or ``json``; syslog and journal have forms of their own.
    """

    to: str
    path: Path | None = None
    level: str = "info"
    format: Literal["text", "json"] = "text"


@attrs.frozen
class LoadedLogging:
    """The handlers, and what is odd about their file."""

    handlers: tuple[LogHandler, ...]
    warnings: tuple[Problem, ...] = ()


def load_logging(path: Path) -> LoadedLogging:
    """Read a logging file.

    Raises:
        ConfigurationError: It can't be read, or there are mistakes in it; tells all.
    """
    return parse_logging(read_text(path), str(path), path.parent)


def parse_logging(text: str, file: str, folder: Path) -> LoadedLogging:
    """Read what stands in a logging file.

    Args:
        text: Its text.
        file: Its name, for messages.
        folder: Where relative paths start.

    Raises:
        ConfigurationError: There are mistakes in it; tells all.
    """
    document = YAMLDocument(file)
    handlers = _Handlers(document, folder).read(document.read(text))
    if document.problems:
        raise ConfigurationError(document.problems)
    return LoadedLogging(handlers, tuple(document.warnings))


class _Handlers:
    def __init__(self, document: YAMLDocument, folder: Path) -> None:
        self._document = document
        self._level = fields.choice(*LEVELS)
        self._readers: dict[str, Reader] = {
            "to": fields.choice(*_TARGETS),
            "path": fields.path(folder),
            "level": self._level,
            "format": fields.choice("text", "json"),
        }

    def read(self, content: object) -> tuple[LogHandler, ...]:
        found = self._document.mapping((), content, "settings")
        if "version" in found:
            self._document.wrong(
                ("version",), "this is not the form of Python's logging.config; see harpd(8)"
            )
            return ()
        self._document.known((), found, ("level", "handlers"))
        default = self._one(("level",), found.get("level"), self._level) or "info"
        given = found.get("handlers")
        if not isinstance(given, list) or not given:
            self._document.wrong(("handlers",), "expected a list of at least one handler")
            return ()
        handlers = [self._handler(str(i), item, default) for i, item in enumerate(given)]
        return tuple(handler for handler in handlers if handler is not None)

    def _handler(self, number: str, item: object, default: str) -> LogHandler | None:
        place = ("handlers", number)
        found = self._document.mapping(place, item, "a handler")
        self._document.known(place, found, tuple(self._readers))
        chosen: dict[str, Any] = {"level": default}
        for key, read in self._readers.items():
            value = self._one((*place, key), found.get(key), read)
            if value is not None:
                chosen[key] = value
        if found.get("to") is None:
            self._document.wrong((*place, "to"), "missing")
        if "to" not in chosen:
            return None
        if chosen["to"] == "file" and found.get("path") is None:
            self._document.wrong((*place, "path"), "missing, as the handler is a file")
        if chosen["to"] != "file" and "path" in chosen:
            self._document.wrong((*place, "path"), f"{chosen['to']} has no path; file has")
        if chosen["to"] in ("syslog", "journal") and "format" in chosen:
            self._document.wrong((*place, "format"), f"{chosen['to']} has a form of its own")
        return LogHandler(**chosen)

    def _one(self, place: Place, value: object, read: Reader) -> Any:
        if value is None:
            return None
        try:
            return read(value)
        except Mistake as mistake:
            self._document.wrong(place, str(mistake))
            return None
