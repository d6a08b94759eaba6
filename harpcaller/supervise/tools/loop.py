"""A small event loop: descriptors, times, signals, and the deaths of children.

It is all that ``supervise`` and ``svscan`` need, starts in no time and is at home as process
1: whoever dies is reaped, also strangers that were left to us.  Nothing here may end it but
:meth:`Loop.stop`; what goes wrong in one of its callbacks is told, and the others go on.

A callback that stops half-way for want of memory would leave a service of which nobody knows
what to do next.  So none is begun before there is enough: until then what has happened stays
where the system keeps it.
"""

from __future__ import annotations

import heapq
import mmap
import os
import selectors
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from harpcaller.supervise.machine.restarts import Ending

#: The longest that is waited at once, in seconds: a system's own limit is not far above.
_LONGEST_WAIT = 86400.0
#: What a turn may need at most, in bytes: Python takes a megabyte at once.
_A_TURN = 2 << 20
#: How often it is looked for that much, once a second, before it has to do without.
_LOOKS = 5


class Timer:
    """Something that is to happen at a time, unless it is called off."""

    __slots__ = ("_callback", "at")

    def __init__(self, at: float, callback: Callable[[], None]) -> None:
        self.at = at
        self._callback: Callable[[], None] | None = callback

    def __lt__(self, other: Timer) -> bool:
        return self.at < other.at

    @property
    def is_off(self) -> bool:
        """Whether it was called off, or has happened."""
        return self._callback is None

    def cancel(self) -> None:
        """Call it off; nothing happens if it is too late."""
        self._callback = None

    def fire(self) -> None:
        """Let it happen."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Loop:
    """The loop.

    Args:
        clock: Gives seconds on a clock that never jumps.
        warn: Told of what went wrong in a callback.
    """

    def __init__(self, clock: Callable[[], float], warn: Callable[[str], None]) -> None:
        self.clock = clock
        self._warn = warn
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._signals: dict[int, Callable[[], None]] = {}
        self._arrived: set[int] = set()
        self._children: dict[int, Callable[[Ending], None]] = {}
        self._running = True
        self._is_short = False
        self._woken, self._waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.watch(self._woken, self._wake)
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        self.on_signal(signal.SIGCHLD, self._reap)

    def close(self) -> None:
        """Let go of everything; signals have their default action again."""
        signal.set_wakeup_fd(-1)
        for number in self._signals:
            signal.signal(number, signal.SIG_DFL)
        self._selector.close()
        os.close(self._woken)
        os.close(self._waker)

    def watch(self, descriptor: int, callback: Callable[[], None]) -> None:
        """Call this whenever there is something to read.

        Raises:
            OSError: The system has no room for one more.
        """
        _ = self._selector.register(descriptor, selectors.EVENT_READ, callback)

    def unwatch(self, descriptor: int) -> None:
        """Look no more at a descriptor; has to come before it is closed."""
        _ = self._selector.unregister(descriptor)

    def at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call this when the clock shows a time, or soon after."""
        timer = Timer(when, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def on_signal(self, number: int, callback: Callable[[], None]) -> None:
        """Call this after a signal came; several may be one by then."""
        self._signals[number] = callback
        _ = signal.signal(number, self._note)

    def on_exit(self, pid: int, callback: Callable[[Ending], None]) -> None:
        """Call this once when a child has ended."""
        self._children[pid] = callback

    def call(self, callback: Callable[[], None]) -> None:
        """Call this; what goes wrong is told, and is nobody else's trouble."""
        try:
            callback()
        except MemoryError:
            self._tell_shortage()
        except Exception:  # noqa: BLE001 - all the other services' lives depend on this loop
            self._warn(f"a bug: {traceback.format_exc()}")

    def run(self) -> None:
        """Go round until :meth:`stop`."""
        while self._running:
            try:
                self.turn()
            except MemoryError:
                self._tell_shortage()

    def stop(self) -> None:
        """Let :meth:`run` return after this turn."""
        self._running = False

    def turn(self) -> None:
        """Wait for something to happen, and tell whoever wants to know."""
        ready = self._selector.select(self._patience())
        self._await_memory()
        for key, _ in ready:
            # Unwatched by one before it in this turn, its number may be another's now.
            if self._selector.get_map().get(key.fd) is key:
                self.call(key.data)
        while self._arrived:
            self.call(self._signals[self._arrived.pop()])
        now = self.clock()
        while self._timers and (self._timers[0].is_off or self._timers[0].at <= now):
            self.call(heapq.heappop(self._timers).fire)

    def _patience(self) -> float:
        while self._timers and self._timers[0].is_off:
            _ = heapq.heappop(self._timers)
        if self._arrived or not self._running:
            return 0.0
        if not self._timers:
            return _LONGEST_WAIT
        return min(max(0.0, self._timers[0].at - self.clock()), _LONGEST_WAIT)

    def _await_memory(self) -> None:
        """Wait until there is what a turn may need; not for ever, nor again if that was in vain."""
        for _ in range(1 if self._is_short else _LOOKS):
            with suppress(OSError, MemoryError):
                mmap.mmap(-1, _A_TURN, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
                self._is_short = False
                return
            self._tell_shortage()
            time.sleep(1.0)
        self._is_short = True

    def _tell_shortage(self) -> None:
        with suppress(MemoryError):
            self._warn("out of memory, pausing")

    def _note(self, number: int, _frame: object) -> None:
        self._arrived.add(number)

    def _wake(self) -> None:
        with suppress(BlockingIOError):
            while len(os.read(self._woken, 4096)) == 4096:
                pass

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            callback = self._children.pop(pid, None)
            if callback is None:
                continue  # a stranger, left to process 1 by whoever died before it
            code = os.waitstatus_to_exitcode(status)
            ending = Ending(code, None) if code >= 0 else Ending(None, -code)
            self.call(partial(callback, ending))
