"""From Twisted's events to the handlers that were asked for.

A line that a handler couldn't take is counted, and told as ``log.lost`` as soon as it takes
lines again; that there is a problem is told at once on standard error.  Nothing here raises
on the way of an event, and nothing here logs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from threading import RLock
from typing import Literal

import attrs
from twisted.logger import (
    ILogObserver,
    LogBeginner,
    LogEvent,
    LogLevel,
    globalLogBeginner,
    globalLogPublisher,
)
from zope.interface import implementer

from harpcaller.logs.entry import (
    Entry,
    entry_of,
    journal_message,
    json_line,
    syslog_message,
    text_line,
)
from harpcaller.logs.sinks import DatagramLog, DescriptorLog, FileLog, Format, Sink
from harpcaller.wire.values import encode

LogFormat = Literal["text", "json"]

_FORMATS: dict[str, Format] = {"text": text_line, "json": json_line}


@attrs.frozen
class Outside:
    """Where the handlers find the world; tests have one of their own."""

    stdout: int = 1
    stderr: int = 2
    syslog: Path = Path("/dev/log")
    journal: Path = Path("/run/systemd/journal/socket")


#: The events that tell who called what, where, when, with which outcome, who wasn't let, and
#: what operators had done.
AUDITED = frozenset(
    ["job.submitted", "job.ended", "job.cancelled", "client.denied", "control.command"]
)

#: How much each level matters.
_RANKS = {"debug": 0, "info": 1, "warn": 2, "error": 3, "critical": 4}


@attrs.frozen
class LogTo:
    """One place to log to.

    Args:
        handler: ``stdout``, ``stderr``, ``syslog``, ``journal`` or ``file``.
        file: The file, if it is one.
        format: How lines look on standard output, standard error and in a file.
        level: What is less than this isn't told.
        kinds: What is told of; None is everything.
    """

    handler: str
    file: Path | None = None
    format: LogFormat = "text"
    level: str = "info"
    kinds: frozenset[str] | None = None


@attrs.define
class _Outlet:
    """A sink and the count of what it has lost."""

    name: str
    sink: Sink
    complain: Callable[[str], None]
    least: int = _RANKS["info"]
    kinds: frozenset[str] | None = None
    lost: int = 0
    why: str = ""

    def wants(self, entry: Entry, rank: int) -> bool:
        return rank >= self.least and (self.kinds is None or entry.kind in self.kinds)

    def write(self, entry: Entry) -> None:
        try:
            if self.lost:
                context = encode({"handler": self.name, "lines": self.lost, "why": self.why})
                self.sink.write(Entry(entry.at, "warn", "log.lost", context))
                self.lost = 0
            self.sink.write(entry)
        except Exception as error:  # noqa: BLE001  # logging must not break what it tells about
            if not self.lost:
                self.complain(f"log handler {self.name} loses lines: {error}")
            self.lost += 1
            self.why = str(error)


@implementer(ILogObserver)
class Observer:
    """Gives each event to every outlet; from any thread."""

    def __init__(self) -> None:
        # Reentrant, since garbage collection can log in the middle of anything.
        self._lock = RLock()
        self._outlets: tuple[_Outlet, ...] = ()
        self._debugging = False

    def __call__(self, event: LogEvent) -> None:
        """Tell of an event, where it matters enough."""
        if event.get("log_level") is LogLevel.debug and not self._debugging:
            return
        entry = entry_of(event)
        rank = _RANKS.get(entry.level, _RANKS["critical"])
        with self._lock:
            for outlet in self._outlets:
                if outlet.wants(entry, rank):
                    outlet.write(entry)

    def exchange(self, outlets: tuple[_Outlet, ...]) -> None:
        """Go on with other outlets; no event falls between the old and the new."""
        with self._lock:
            old, self._outlets = self._outlets, outlets
            self._debugging = any(outlet.least == _RANKS["debug"] for outlet in outlets)
            for outlet in old:
                outlet.sink.close()

    def reopen(self) -> list[str]:
        """Reopen every sink; gives the problems."""
        problems = []
        with self._lock:
            for outlet in self._outlets:
                try:
                    outlet.sink.reopen()
                except OSError as error:
                    problems.append(f"log handler {outlet.name} can't be reopened: {error}")
        return problems


class LogSetup:
    """The logging of a daemon; made by :func:`start_logging`.

    Attributes:
        observer: What ``twistd`` is given as the application's ``ILogObserver``.
    """

    def __init__(self, program: str, outside: Outside) -> None:
        self.observer = Observer()
        self._program = program
        self._outside = outside

    def begin(self, beginner: LogBeginner = globalLogBeginner) -> None:
        """Become the process's log, where no ``twistd`` sees to it.

        What was logged before comes out now.  Standard output stays what it is.
        """
        beginner.beginLoggingTo([self.observer], redirectStandardIO=False)

    def reconfigure(
        self,
        handlers: Iterable[str],
        log_file: Path | None = None,
        log_format: LogFormat = "text",
        audit_log: Path | None = None,
    ) -> None:
        """Go on with other handlers.

        Raises:
            OSError: The log file can't be opened; then nothing has changed.
        """
        places = [LogTo(name, format=log_format) for name in handlers]
        if log_file is not None:
            places.append(LogTo("file", log_file, log_format))
        if audit_log is not None:
            places.append(LogTo("file", audit_log, "json", kinds=AUDITED))
        self.log_to(places)

    def log_to(self, places: Iterable[LogTo]) -> None:
        """Go on in other places.

        Raises:
            OSError: A file can't be opened; then nothing has changed.
        """
        outlets: list[_Outlet] = []
        try:
            for place in places:
                name = str(place.file) if place.handler == "file" else place.handler
                least = _RANKS[place.level]
                sink = self._sink(place)
                outlets.append(_Outlet(name, sink, self._complain, least, place.kinds))
        except OSError:
            for outlet in outlets:
                outlet.sink.close()
            raise
        self.observer.exchange(tuple(outlets))

    def _sink(self, place: LogTo) -> Sink:
        outside, handler, line = self._outside, place.handler, _FORMATS[place.format]
        if handler == "file" and place.file is not None:
            return FileLog(place.file, line)
        if handler in ("stdout", "stderr"):
            return DescriptorLog(outside.stdout if handler == "stdout" else outside.stderr, line)
        if handler == "syslog":
            return DatagramLog(
                outside.syslog, lambda entry: syslog_message(entry, self._program, os.getpid())
            )
        if handler == "journal":
            return DatagramLog(outside.journal, lambda entry: journal_message(entry, self._program))
        raise ValueError(f"no such log handler: {handler}")

    def _complain(self, problem: str) -> None:
        """Tell standard error, the last resort."""
        with suppress(OSError):
            _ = os.write(self._outside.stderr, f"{self._program}: {problem}\n".encode())

    def reopen(self) -> list[str]:
        """Close the log file and open it anew, losing no line.

        Returns:
            Why something couldn't be reopened; it goes on as it was.
        """
        return self.observer.reopen()

    def stop(self) -> None:
        """Log no more."""
        globalLogPublisher.removeObserver(self.observer)
        self.observer.exchange(())


def start_logging(
    handlers: Iterable[str],
    log_file: Path | None = None,
    log_format: LogFormat = "text",
    audit_log: Path | None = None,
    *,
    program: str = "harpcaller",
    outside: Outside | None = None,
) -> LogSetup:
    """Open the handlers.

    Args:
        handlers: Any of ``stdout``, ``stderr``, ``syslog``, ``journal``.
        log_file: A file to log to besides.
        log_format: How lines look on standard output, standard error and in the file.
        audit_log: A file for what is :data:`AUDITED` only.
        program: What syslog and journal know us by.
        outside: Where the handlers go; None is the real world.

    Raises:
        OSError: The log file can't be opened.
    """
    setup = LogSetup(program, outside or Outside())
    setup.reconfigure(handlers, log_file, log_format, audit_log)
    return setup
