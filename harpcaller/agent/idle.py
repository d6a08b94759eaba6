"""The connections that wait for their next request, between two calls: how many, how long.

Nothing here knows what is said on them; the oldest goes when there are too many.
"""

from __future__ import annotations

from typing import Protocol

import attrs


@attrs.frozen
class IdleSettings:
    """How long connections stay.

    Args:
        seconds: How long one may wait for its next request; 0 keeps none.
        most: How many may wait.
    """

    seconds: float = 90.0
    most: int = 256


class Idle(Protocol):
    """One that waits."""

    @property
    def is_being_checked(self) -> bool:
        """Whether a request has come whole, and its user isn't known yet."""

    def close(self) -> None:
        """Close when everything is out."""


class IdleConnections:
    """Those that wait, until the user of their next request is known.

    Args:
        settings: May be replaced; those that are there should be closed then.
    """

    def __init__(self, settings: IdleSettings) -> None:
        self.settings = settings
        #: Changes when connections that are there shall not stay any longer.
        self.generation = 0
        #: A dictionary, since it keeps the order.
        self._waiting: dict[Idle, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def may_stay(self, generation: int) -> bool:
        """Tell whether a connection that came in this generation may wait for a request."""
        return self.settings.seconds > 0 and generation == self.generation

    def add(self, connection: Idle) -> None:
        """Let one wait; the one that has waited longest may have to go."""
        self._waiting[connection] = None
        if len(self._waiting) > self.settings.most:
            # The new one, at least, isn't being checked.
            oldest = next(one for one in self._waiting if not one.is_being_checked)
            self._close(oldest)

    def discard(self, connection: Idle) -> None:
        """Forget one that has something to do, or is gone."""
        self._waiting.pop(connection, None)

    def close(self) -> None:
        """Close those that wait, and let none stay that is there now."""
        self.generation += 1
        for connection in list(self._waiting):
            if not connection.is_being_checked:
                self._close(connection)

    def stop(self) -> None:
        """Close those that wait, and let none stay from now on."""
        self.settings = attrs.evolve(self.settings, seconds=0.0)
        self.close()

    def _close(self, connection: Idle) -> None:
        del self._waiting[connection]
        connection.close()
