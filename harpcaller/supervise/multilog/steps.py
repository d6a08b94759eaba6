"""Work that may have to wait, written in one piece, without waiting itself.

Such work is a generator.  It yields what it waits for: a :class:`Pause` after something that the
system refused, which is then tried again, for ever: so nothing that was taken is lost; or a
:class:`Running` processor, whose wait status it gets sent.  Who drives it
(:class:`~harpcaller.supervise.multilog.log.Log`) warns, and sees to it that time passes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from typing import NamedTuple, TypeVar

from harpcaller.supervise.messages import reason

#: How long to wait before something is tried again, in seconds.
PAUSE_SECONDS = 5.0

T = TypeVar("T")


class Pause(NamedTuple):
    """Say this, wait :data:`PAUSE_SECONDS`, then go on."""

    warning: str


class Running(NamedTuple):
    """Go on with this process's wait status, when it has ended."""

    pid: int


Wait = Pause | Running
Steps = Generator[Wait, int | None, T]


def insist(what: str, action: Callable[[], T]) -> Steps[T]:
    """Do something again and again until the system lets it be done; gives its result.

    Args:
        what: What it is, as in ``unable to WHAT, pausing: REASON``.
        action: Raises ``OSError`` if it can't be done.
    """
    while True:
        try:
            return action()
        except OSError as error:
            yield trouble(f"unable to {what}", error)


def trouble(what: str, error: OSError) -> Pause:
    """Make the pause after something that the system refused."""
    return Pause(f"{what}, pausing: {reason(error)}")


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of it, however much the system takes at once."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
