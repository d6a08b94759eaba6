"""The asking side of the control socket, for the command line tool: blocking, bounded by a time.

Nothing is written to a file or a screen here.
"""

from __future__ import annotations

import math
import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from harpcaller.errors import HarpcallerError, ProtocolError
from harpcaller.wire.control import MAX_COMMAND_SIZE, Command, encode_command
from harpcaller.wire.control_answers import Closing, Refusal, decode_line
from harpcaller.wire.lines import LineBuffer, LineTooLong

#: The longest line of an answer: a job's arguments are as long as a request, or many times that.
MAX_LINE = 64 * MAX_COMMAND_SIZE
#: How often to look again at what can't be waited for, in seconds.
LOOK_SECONDS = 0.05
#: The longest that anything is waited for, in seconds; the system calls take no more.
ETERNITY_SECONDS = 1e6

T = TypeVar("T")


class Unreachable(HarpcallerError):
    """There is no talking with the daemon; the message says why.

    Attributes:
        nobody: Nothing listens there, so no daemon runs.
        broke_off: Somebody did listen, and went.
    """

    def __init__(self, message: str, *, nobody: bool = False, broke_off: bool = False) -> None:
        super().__init__(message)
        self.nobody = nobody
        self.broke_off = broke_off


class TimeIsUp(HarpcallerError):
    """What was waited for didn't come in time."""


class Deadline:
    """A moment by which something has to have happened, or none.

    Args:
        seconds: From now, or None for no limit.
        clock: A clock that only goes forward.
    """

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = None if seconds is None else clock() + min(seconds, ETERNITY_SECONDS)

    def left(self) -> float | None:
        """Give the seconds left, or None for any number.

        Raises:
            TimeIsUp: There are none.
        """
        if self._at is None:
            return None
        left = self._at - self._clock()
        if left <= 0:
            raise TimeIsUp
        return left

    def nap(self) -> float:
        """Give the seconds to sleep before looking again.

        Raises:
            TimeIsUp: There are none left.
        """
        left = self.left()
        return LOOK_SECONDS if left is None else min(left, LOOK_SECONDS)


class Connection:
    """One connection to a daemon.

    Args:
        path: The control socket.
        deadline: When to give up whatever is under way.
        max_line: The longest line of an answer, in bytes.

    Raises:
        Unreachable: It can't be connected to.
        TimeIsUp: It took longer than allowed.
    """

    def __init__(self, path: str, deadline: Deadline, max_line: int = MAX_LINE) -> None:
        self._deadline = deadline
        self._lines = LineBuffer(max_line)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._within(lambda: self._socket.connect(path))
        except (OSError, ValueError) as error:
            self.close()
            nobody = isinstance(error, (FileNotFoundError, ConnectionRefusedError))
            raise Unreachable(
                getattr(error, "strerror", None) or str(error), nobody=nobody
            ) from None
        except TimeIsUp:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def ask(self, command: Command) -> Iterator[bytes | Closing | Refusal]:
        """Send a command and give the answer's lines, the items as they are.

        Raises:
            Unreachable: The connection broke off.
            ProtocolError: What came is no answer.
            TimeIsUp: It took longer than allowed.
        """
        try:
            self._within(lambda: self._socket.sendall(encode_command(command)))
            while True:
                line = self._next_line()
                if line is None:
                    raise Unreachable("it hung up before it had answered", broke_off=True)
                closing = decode_line(line)
                yield line if closing is None else closing
                if closing is not None:
                    return
        except OSError as error:
            raise Unreachable(error.strerror or str(error), broke_off=True) from None

    def wait_for_end(self) -> None:
        """Wait until the other side has hung up, for which the end of its process is enough.

        Raises:
            TimeIsUp: It took longer than allowed.
        """
        try:
            while self._within(lambda: self._socket.recv(65536)):
                pass
        except OSError:
            pass  # reset is gone, too

    def _next_line(self) -> bytes | None:
        try:
            while (line := self._lines.next_line()) is None:
                data = self._within(lambda: self._socket.recv(65536))
                if not data:
                    return None
                self._lines.feed(data)
        except LineTooLong as error:
            raise ProtocolError(f"the daemon's answer: {error}") from None
        return line

    def _within(self, do: Callable[[], T]) -> T:
        self._socket.settimeout(self._deadline.left())
        try:
            return do()
        except TimeoutError:
            raise TimeIsUp from None


def wait_for_process(
    pid: int,
    deadline: Deadline,
    pidfd_open: Callable[[int], int] = os.pidfd_open,
    kill: Callable[[int, int], None] = os.kill,
) -> None:
    """Wait until a process is gone, whoever's child it was.

    Args:
        pid: Its process id.
        deadline: When to give up.
        pidfd_open: How to get hold of it.
        kill: How to look for it where that can't be.

    Raises:
        TimeIsUp: It took longer than allowed.
    """
    try:
        descriptor = pidfd_open(pid)
    except ProcessLookupError:
        return
    except OSError:  # an old kernel, or a sandbox that doesn't know it
        _look_for_process(pid, deadline, kill)
        return
    try:
        waiting = select.poll()
        waiting.register(descriptor, select.POLLIN)
        while True:
            left = deadline.left()
            if waiting.poll(None if left is None else math.ceil(left * 1000)):
                return
    finally:
        os.close(descriptor)


def _look_for_process(pid: int, deadline: Deadline, kill: Callable[[int, int], None]) -> None:
    while True:
        try:
            kill(pid, 0)
        except ProcessLookupError:
            return
        except PermissionError:
            pass  # it's there, and another user's
        time.sleep(deadline.nap())
