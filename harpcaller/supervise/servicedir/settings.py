"""The files by which a service asks for more than the original offers.

Each is one line in the service's directory; djb's programs don't look at them.

===================  ==========================================================================
file                 what is in it
===================  ==========================================================================
``notification-fd``  number of a descriptor, from 3 on: a newline written there says "ready"
``notify-socket``    nothing, ``main`` or ``all``: who may say ``READY=1`` to ``$NOTIFY_SOCKET``
``down-signal``      name or number of the signal that tells the service to end
``timeout-kill``     milliseconds from then to SIGKILL; 0: never
``timeout-finish``   milliseconds that ``finish`` may take; 0: any time
``restart``          ``always``, ``on-failure`` or ``never``
``backoff``          ``FIRST LONGEST``: seconds to wait after a death, doubled with each further one
``give-up``          ``DEATHS SECONDS``: so many deaths in this time, and nobody tries any more
===================  ==========================================================================

``notification-fd``, ``down-signal`` and both time-outs are s6's.  PURE: files' contents come in.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from enum import Enum
from typing import NamedTuple

from harpcaller.supervise.machine.life import Rules
from harpcaller.supervise.machine.restarts import RestartPolicy, When

#: Longer files than this aren't settings.
MAX_SIZE = 4096

#: No delay or time-out is longer than this, in seconds: a year.
_LONGEST = 366 * 86400.0
_FIRST_FREE_DESCRIPTOR = 3
_LAST_DESCRIPTOR = 1023
#: Each is remembered for a while.
_MOST_DEATHS = 1000
_MOST_DIGITS = 12


class NotifyFrom(Enum):
    """Whose word about the service's readiness counts."""

    NOBODY = "nobody"
    MAIN = "main"
    ALL = "all"


class Settings(NamedTuple):
    """All that a service asks for.

    Attributes:
        rules: For its machine.
        notification_fd: Where it writes a newline when it is ready.
        notify_from: Who may say ``READY=1``.
        problems: What isn't understood, a line each; the default holds there.
    """

    rules: Rules = Rules()
    notification_fd: int | None = None
    notify_from: NotifyFrom = NotifyFrom.NOBODY
    problems: tuple[str, ...] = ()

    @property
    def tells_readiness(self) -> bool:
        """Whether the service will say when it is ready."""
        return self.notification_fd is not None or self.notify_from is not NotifyFrom.NOBODY


def read_settings(files: Mapping[str, bytes]) -> Settings:
    """Understand the files that are there.

    Args:
        files: Contents by name, of those in :data:`NAMES`.
    """
    settings = Settings()
    problems = []
    for name in sorted(files.keys() & NAMES):
        line = files[name].decode("utf-8", "replace").partition("\n")[0].strip()
        try:
            settings = _READERS[name](settings, line)
        except ValueError as error:
            problems.append(f'{name}: found "{line[:60]}", expected {error}')
    return settings._replace(problems=tuple(problems))


def _notification_fd(settings: Settings, text: str) -> Settings:
    number = _whole(text)
    if number is None or not _FIRST_FREE_DESCRIPTOR <= number <= _LAST_DESCRIPTOR:
        raise ValueError(f"a number from {_FIRST_FREE_DESCRIPTOR} to {_LAST_DESCRIPTOR}")
    return settings._replace(notification_fd=number)


def _notify_socket(settings: Settings, text: str) -> Settings:
    if text not in ("", "main", "all"):
        raise ValueError("main, all or nothing")
    return settings._replace(notify_from=NotifyFrom(text or "main"))


def _down_signal(settings: Settings, text: str) -> Settings:
    number = _whole(text)
    if number is None:
        name = text.upper().removeprefix("SIG")
        number = getattr(signal.Signals.__members__.get(f"SIG{name}"), "value", 0)
    if number not in signal.valid_signals():
        raise ValueError("a signal's name or number")
    return settings._replace(rules=settings.rules._replace(down_signal=number))


def _timeout_kill(settings: Settings, text: str) -> Settings:
    return settings._replace(rules=settings.rules._replace(kill_after_seconds=_limit(text)))


def _timeout_finish(settings: Settings, text: str) -> Settings:
    return settings._replace(rules=settings.rules._replace(finish_seconds=_limit(text)))


def _limit(text: str) -> float | None:
    number = _whole(text)
    if number is None or number > _LONGEST * 1000:
        raise ValueError("a whole number of milliseconds")
    return number / 1000 if number else None


def _restart(settings: Settings, text: str) -> Settings:
    try:
        when = When(text)
    except ValueError:
        raise ValueError("always, on-failure or never") from None
    return _with_restarts(settings, settings.rules.restarts._replace(when=when))


def _backoff(settings: Settings, text: str) -> Settings:
    match text.split():
        case [one, other]:
            first, longest = _seconds(one), _seconds(other)
            if first is not None and longest is not None and 0 < first <= longest:
                return _with_restarts(
                    settings,
                    settings.rules.restarts._replace(
                        first_delay_seconds=first, longest_delay_seconds=longest
                    ),
                )
    raise ValueError("the first and the longest delay in seconds")


def _give_up(settings: Settings, text: str) -> Settings:
    match text.split():
        case [one, other]:
            deaths, within = _whole(one), _seconds(other)
            if deaths and within and deaths <= _MOST_DEATHS:
                return _with_restarts(
                    settings,
                    settings.rules.restarts._replace(give_up_deaths=deaths, give_up_seconds=within),
                )
    raise ValueError("a number of deaths and the seconds in which they are too many")


def _with_restarts(settings: Settings, restarts: RestartPolicy) -> Settings:
    return settings._replace(rules=settings.rules._replace(restarts=restarts))


def _whole(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def _seconds(text: str) -> float | None:
    whole, _, fraction = text.partition(".")
    if _whole(whole) is None or (fraction and _whole(fraction) is None):
        return None
    seconds = float(text)
    return seconds if seconds <= _LONGEST else None


_READERS: Mapping[str, Callable[[Settings, str], Settings]] = {
    "notification-fd": _notification_fd,
    "notify-socket": _notify_socket,
    "down-signal": _down_signal,
    "timeout-kill": _timeout_kill,
    "timeout-finish": _timeout_finish,
    "restart": _restart,
    "backoff": _backoff,
    "give-up": _give_up,
}

#: The files that count.
NAMES = frozenset(_READERS)
#: Those by which it asks to be heard when it is ready.
WORDS_OF_READINESS = ("notification-fd", "notify-socket")
