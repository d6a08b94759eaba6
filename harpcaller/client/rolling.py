"""Who may be called when, in a call of several hosts: no input or output here.

::

    rolling = Rolling(["web01", "web02", "web03"], batch=2)
    while not rolling.over:
        while (host := rolling.next_host()) is not None:
            ...                             # call it
        ...                                 # wait for one to end, and tell:
        rolling.ended(host, succeeded=True)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class Rolling:
    """How far a call of several hosts has come.

    Every host is in exactly one of the four: it waits, runs, has succeeded, or has failed.

    Args:
        hosts: In the order in which they are to be called, all different.
        batch: How many may run at once; at least 1.
        max_failures: After how many failures no more are called; None for never.
    """

    def __init__(self, hosts: Sequence[str], batch: int, max_failures: int | None = None) -> None:
        self.total = len(hosts)
        self.running: set[str] = set()
        self.succeeded: list[str] = []
        self.failed: list[str] = []
        self._waiting = deque(hosts)
        self._batch = batch
        self._max_failures = max_failures
        self._stopped = False

    @property
    def waiting(self) -> tuple[str, ...]:
        """Those that weren't called yet, or, when it is over, that won't be."""
        return tuple(self._waiting)

    @property
    def over(self) -> bool:
        """Whether nothing runs and no more will be called."""
        return not self.running and (self._stopped or not self._waiting)

    @property
    def all_succeeded(self) -> bool:
        """Whether every host was called, with success."""
        return len(self.succeeded) == self.total

    def next_host(self) -> str | None:
        """Take the next host to call, which runs from now on; None if none may be now."""
        if self._stopped or not self._waiting or len(self.running) >= self._batch:
            return None
        host = self._waiting.popleft()
        self.running.add(host)
        return host

    def ended(self, host: str, *, succeeded: bool) -> None:
        """Take note of how a host's call ended."""
        self.running.remove(host)
        (self.succeeded if succeeded else self.failed).append(host)
        if self._max_failures is not None and len(self.failed) >= self._max_failures:
            self.stop()

    def stop(self) -> None:
        """Call no more."""
        self._stopped = True
