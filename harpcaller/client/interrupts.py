"""^C, held back for the moments in which it would lose something."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Callable


class HeldInterrupts:
    """Between submitting a call and knowing its job's id: the first ^C waits, the second doesn't.

    ::

        with HeldInterrupts(say) as held:
            job_id = submit()
            try:
                held.let_through()          # raises KeyboardInterrupt if there was a ^C
                ...
            except KeyboardInterrupt:
                ...                         # the id is known here

    Where ^C means something else (it is ignored, or this isn't the main thread), nothing is
    changed.

    Args:
        say: Called at the first ^C, from inside a signal handler.

    Attributes:
        came: Whether there was a ^C that waits.
    """

    def __init__(self, say: Callable[[], None]) -> None:
        self.came = False
        self._say = say
        self._before: Callable[[int, FrameType | None], Any] | None = None

    def _held(self, _number: int, _frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self.came = True
        self._say()

    def let_through(self) -> None:
        """Hold back no longer.

        Raises:
            KeyboardInterrupt: There was one.
        """
        self._restore()
        if self.came:
            self.came = False
            raise KeyboardInterrupt

    def _restore(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            signal.signal(signal.SIGINT, before)

    def __enter__(self) -> HeldInterrupts:
        before = signal.getsignal(signal.SIGINT)
        if not callable(before):
            return self
        try:
            signal.signal(signal.SIGINT, self._held)
        except ValueError:
            # Only the main thread may, and only it is interrupted.
            return self
        self._before = before
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._restore()
