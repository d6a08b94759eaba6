"""Saying that something happened.

An event is a kind (``job.submitted``), a level and a context of plain values (job,
host, procedure, peer, queue...).  Format strings are literals and data are fields: a
format made from data could call methods.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure


class EventLog:
    """Where one room tells what happens in it.

    Args:
        room: The room's name, the second part of the events' namespace.
    """

    def __init__(self, room: str) -> None:
        self._logger = Logger(namespace=f"harpcaller.{room}")

    def info(self, kind: str, /, **context: object) -> None:
        """Tell what is expected to happen."""
        self._emit(LogLevel.info, kind, context)

    def warn(self, kind: str, /, **context: object) -> None:
        """Tell what an operator may want to look at."""
        self._emit(LogLevel.warn, kind, context)

    def error(self, kind: str, /, **context: object) -> None:
        """Tell what keeps the daemon from doing its work."""
        self._emit(LogLevel.error, kind, context)

    def _emit(self, level: LogLevel, kind: str, context: dict[str, object]) -> None:
        # What Logger.emit does, but for sorting all levels to see that this is one of them.
        logger = self._logger
        logger.observer(
            {
                "log_logger": logger,
                "log_level": level,
                "log_namespace": logger.namespace,
                "log_source": logger.source,
                "log_format": "{kind} {context}",
                "log_time": time.time(),  # noqa: TID251  # as Twisted's own events
                "kind": kind,
                "context": context,
            }
        )

    def bug(self, kind: str, failure: Failure, /, **context: object) -> None:
        """Tell of an exception that nobody meant to happen, with its traceback."""
        self._logger.failure("{kind} {context}", failure=failure, kind=kind, context=context)


def forget(work: Deferred[Any], log: EventLog, what: str) -> None:
    """Let work go on that nobody waits for; a failure of it is logged as a bug.

    Args:
        work: It must have no other user.
        what: The kind of event to log a failure as.
    """

    def failed(failure: Failure) -> None:
        if not isinstance(failure.value, CancelledError):
            log.bug(what, failure)

    _ = work.addErrback(failed)
