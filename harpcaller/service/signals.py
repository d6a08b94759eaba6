"""Unix signals, as calls on the reactor's thread."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from types import FrameType

from harpcaller.service.reactor import Reactor


def on_signals(reactor: Reactor, actions: Mapping[signal.Signals, Callable[[], object]]) -> None:
    """Call an action for each arrival of its signal.

    To be used once the reactor runs: it installs handlers of its own when it starts.
    """

    def arrived(number: int, _frame: FrameType | None) -> None:
        reactor.callFromThread(actions[signal.Signals(number)])

    for number in actions:
        signal.signal(number, arrived)
