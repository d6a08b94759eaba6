"""The template process: procedures loaded, nothing else, ready to be forked for a call.

``python -P -m harpcaller.agent.template``, started by the agent with a Unix socket as
descriptor 3, on which ``orders`` are spoken.  It forks a worker for each call, tells how
each ended, and ends process groups when it is told to.  It is the one to do that because
it is the workers' parent: a process that it hasn't waited for yet can't have given its
number to another.

It has no threads, no reactor and no signal handlers, since all of those would be
inherited by every call.  When the agent is gone, so that the socket reads as closed, it
ends all calls and exits.
"""

from __future__ import annotations

import gc
import math
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from harpcaller.agent import worker
from harpcaller.agent.groups import living_groups, signal_group
from harpcaller.agent.orders import (
    MAX_LINE,
    End,
    Exited,
    Load,
    Loaded,
    NotAnOrder,
    NotLoaded,
    Report,
    Started,
    Unable,
    decode_order,
    encode_line,
)
from harpcaller.agent.procedures import NotLoadable, Procedures, load
from harpcaller.wire.lines import LineBuffer

#: The descriptor of the socket to the server.
CONTROL = 3
#: How long calls may go on after SIGTERM when the agent died, in seconds.
ORPHAN_GRACE = 5.0
#: How often a group that is being ended is looked at, in seconds.
_LOOK_EVERY = 0.05
#: How often all processes are looked through for its members, in seconds; that costs more.
_COUNT_EVERY = 0.25


class _Call:
    """A worker, and what is known of its end."""

    def __init__(self, number: int, pid: int, pidfd: int) -> None:
        self.number = number
        self.pid = pid
        self.pidfd = pidfd
        self.exit: Exited | None = None
        self.kill_at: float | None = None  # None: nobody asked for its end


class Template:
    """The loop of a template process.

    Args:
        control: The socket to the server.
        procedures: What can be called.
        order: What it was told to load; has the default user and group.
        clock: Gives seconds from any start.
    """

    def __init__(
        self,
        control: socket.socket,
        buffer: LineBuffer,
        procedures: Procedures,
        order: Load,
        clock: Callable[[], float],
    ) -> None:
        self._control = control
        self._buffer = buffer
        self._procedures = procedures
        self._order = order
        self._clock = clock
        self._open = True
        self._count_at = 0.0
        self._descriptors: deque[int] = deque()
        self._calls: dict[int, _Call] = {}
        self._by_pidfd: dict[int, _Call] = {}
        self._poller = select.poll()
        self._poller.register(control, select.POLLIN)

    def run(self) -> None:
        """Serve until the server is gone and all calls have ended."""
        while self._open or self._calls:
            for descriptor, _ in self._poller.poll(self._patience()):
                if descriptor == self._control.fileno():
                    self._hear()
                else:
                    self._reap(self._by_pidfd[descriptor])
            ending = [call for call in self._calls.values() if call.kill_at is not None]
            if ending:
                self._look_at(ending)

    def _patience(self) -> float | None:
        """How long to wait for something to happen, in milliseconds."""
        deadlines = [call.kill_at for call in self._calls.values() if call.kill_at is not None]
        if not deadlines:
            return None
        if any(call.exit is not None or call.kill_at == math.inf for call in self._calls.values()):
            return _LOOK_EVERY * 1000
        return max(0.0, min(deadlines) - self._clock()) * 1000 + 1

    def _hear(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(
                self._control, 65536, 64, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            data, descriptors = b"", []
        self._descriptors.extend(descriptors)
        if not data:
            self._abandoned()
            return
        self._buffer.feed(data)
        while (line := self._buffer.next_line()) is not None:
            order = decode_order(line)
            if isinstance(order, Load):
                raise NotAnOrder("there is something loaded already")
            if isinstance(order, End):
                if order.call in self._calls:
                    self._end(self._calls[order.call], order.signal, order.grace_seconds)
            else:
                self._start(order.call)

    def _abandoned(self) -> None:
        self._open = False
        self._poller.unregister(self._control)
        for call in self._calls.values():
            self._end(call, signal.SIGTERM, ORPHAN_GRACE)

    def _start(self, number: int) -> None:
        call_socket, output = self._descriptors.popleft(), self._descriptors.popleft()
        _flush()
        try:
            pid = os.fork()  # noqa: TID251 - the one fork, and there are no threads here
        except OSError as error:
            self._tell(Unable(number, f"no process could be started: {error.strerror}"))
            pid = -1
        if pid == 0:
            self._forget_all()
            worker.run(self._procedures, call_socket, output, self._order.uid, self._order.gid)
        os.close(call_socket)
        os.close(output)
        if pid > 0:
            call = _Call(number, pid, os.pidfd_open(pid))
            self._calls[number] = self._by_pidfd[call.pidfd] = call
            self._poller.register(call.pidfd, select.POLLIN)
            self._tell(Started(number, pid))

    def _forget_all(self) -> None:
        """Close what only the template needs.

        Files that the procedures file opened while it was loaded stay open, as they are
        part of what it set up.
        """
        for descriptor in (*self._by_pidfd, *self._descriptors):
            os.close(descriptor)
        self._control.close()

    def _reap(self, call: _Call) -> None:
        _, status = os.waitpid(call.pid, 0)
        self._poller.unregister(call.pidfd)
        del self._by_pidfd[call.pidfd]
        os.close(call.pidfd)
        code = os.waitstatus_to_exitcode(status)
        call.exit = (
            Exited(call.number, code, None) if code >= 0 else Exited(call.number, None, -code)
        )
        if call.kill_at is None:
            self._over(call)

    def _end(self, call: _Call, number: int, grace_seconds: float) -> None:
        _signal(call, number)
        deadline = self._clock() + grace_seconds
        call.kill_at = deadline if call.kill_at is None else min(deadline, call.kill_at)

    def _look_at(self, ending: list[_Call]) -> None:
        """Go on with ending groups: see if they are gone, kill those whose grace is over."""
        now = self._clock()
        leaderless = [call for call in ending if call.exit is not None]
        for call in leaderless:
            if not signal_group(call.pid, 0):
                self._over(call)
        leaderless = [call for call in leaderless if call.number in self._calls]
        if leaderless and now >= self._count_at:
            self._count_at = now + _COUNT_EVERY
            living = living_groups()
            for call in leaderless:
                if call.pid not in living:
                    self._over(call)
        for call in ending:
            if call.number in self._calls and call.kill_at is not None and now >= call.kill_at:
                _signal(call, signal.SIGKILL)
                call.kill_at = math.inf

    def _over(self, call: _Call) -> None:
        del self._calls[call.number]
        assert call.exit is not None
        self._tell(call.exit)

    def _tell(self, report: Report) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self._control.sendall(encode_line(report))


def _signal(call: _Call, number: int) -> None:
    if not signal_group(call.pid, number) and call.exit is None:
        # It was forked but isn't the leader of a group yet; nor has it run anything.
        os.kill(call.pid, number)


def _flush() -> None:
    # What is in the buffers at a fork would be printed twice.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()


def _first_order(control: socket.socket, buffer: LineBuffer) -> Load | None:
    while (line := buffer.next_line()) is None:
        data = control.recv(65536)
        if not data:
            return None
        buffer.feed(data)
    order = decode_order(line)
    if not isinstance(order, Load):
        raise NotAnOrder("expected to be told what to load")
    return order


def _lose_coerced_locale() -> None:
    """Take out of the environment what Python put there at its own start (PEP 538)."""
    with open("/proc/self/environ", "rb") as stream:
        original = stream.read()
    if b"LC_CTYPE=" not in original:
        os.environ.pop("LC_CTYPE", None)


def serve(control: socket.socket) -> int:
    """Be a template process on this socket until the end; gives the exit code."""
    buffer = LineBuffer(MAX_LINE)
    order = _first_order(control, buffer)
    if order is None:
        return 0
    try:
        procedures = load(order.file, order.prepend, order.append)
        loaded = Loaded(procedures.descriptions(), threading.active_count() - 1)
    except NotLoadable as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        _flush()
        control.sendall(encode_line(NotLoaded(str(error))))
        return 1
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    # What is alive now lives as long as this process: the collector needn't touch it, so
    # that its pages stay shared with the workers.
    gc.collect()
    gc.freeze()
    control.sendall(encode_line(loaded))
    Template(control, buffer, procedures, order, time.monotonic).run()
    return 0


def main() -> int:
    """Start; gives the exit code."""
    if os.getpgrp() != os.getpid():
        os.setsid()  # a Ctrl-C is meant for the agent
    _lose_coerced_locale()
    os.set_inheritable(CONTROL, False)
    return serve(socket.socket(fileno=CONTROL))


if __name__ == "__main__":
    sys.exit(main())
