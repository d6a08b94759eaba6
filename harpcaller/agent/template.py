"""The template process: procedures loaded, nothing else, ready to be forked for a call.

``python -P -m harpcaller.agent.template``, started by the agent with a Unix socket as
descriptor 3, on which ``orders`` are spoken.  It forks a worker for each call, tells how
each ended, and ends all that a call has started when it is told to: through the call's
control group, or through its keeper where there are no control groups.

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
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from harpcaller.agent import keeper, worker
from harpcaller.agent.cgroups import CallCgroups, Cgroup, open_cgroups, own_folder
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
from harpcaller.agent.processes import look, signal_exactly
from harpcaller.wire.lines import LineBuffer

#: The descriptor of the socket to the server.
CONTROL = 3
#: How long calls may go on after SIGTERM when the agent died, in seconds.
ORPHAN_GRACE = 5.0
#: How long what a dead worker left may go on after SIGTERM, in seconds.
REMAINS_GRACE = keeper.REMAINS_GRACE
#: How often a control group that is being ended is looked at, in seconds.
_LOOK_EVERY = 0.05


class _Call:
    """A process that was forked for a call, and what is known of its end.

    Args:
        number: The call's number.
        pid: The worker's process number, or the keeper's if there is no control group.
        pidfd: A descriptor that tells of its end.
        cgroup: Where the worker is.
    """

    def __init__(self, number: int, pid: int, pidfd: int, cgroup: Cgroup | None) -> None:
        self.number = number
        self.pid = pid
        self.pidfd = pidfd
        self.cgroup = cgroup
        self.code: int | None = None  # None: it runs
        self.kill_at: float | None = None  # None: nobody asked for its end

    def signal(self, number: int) -> None:
        """Signal all that belongs to the call.

        The process isn't collected before all is over, so that nobody else can have its
        number, nor its group's.
        """
        if self.cgroup is None:
            # The keeper passes everything on, but can't be told to kill by SIGKILL.
            os.kill(self.pid, keeper.KILL_NOW if number == signal.SIGKILL else number)
            return
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            # It was forked but isn't the leader of a group yet; nor has it run anything.
            os.kill(self.pid, number)
        except PermissionError:
            pass  # whoever is left in it is another user's
        if number == signal.SIGKILL:
            self.cgroup.kill()
            return
        for pid in self.cgroup.members():
            seen = look(pid)
            if seen is not None and seen.group != self.pid:
                signal_exactly(seen, number)

    def is_gone(self) -> bool:
        """Tell whether nothing of the call is left."""
        if self.code is None:
            return False
        return self.cgroup is None or self.cgroup.is_empty()

    def exited(self) -> Exited:
        """Tell how the worker ended."""
        assert self.code is not None
        if self.code < 0:
            return Exited(self.number, None, -self.code)
        return Exited(self.number, self.code, None)


class Template:
    """The loop of a template process.

    Args:
        control: The socket to the server.
        procedures: What can be called.
        order: What it was told to load; has the default user and group.
        cgroups: Makes control groups for calls; None if calls have keepers instead.
        clock: Gives seconds from any start.
    """

    def __init__(
        self,
        control: socket.socket,
        buffer: LineBuffer,
        procedures: Procedures,
        order: Load,
        cgroups: CallCgroups | None,
        clock: Callable[[], float],
    ) -> None:
        self._control = control
        self._buffer = buffer
        self._procedures = procedures
        self._order = order
        self._cgroups = cgroups
        self._clock = clock
        self._open = True
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
            self._go_on_ending()

    def _patience(self) -> float | None:
        """How long to wait for something to happen, in milliseconds."""
        ending = [call for call in self._calls.values() if call.kill_at is not None]
        if any(call.code is not None for call in ending):
            return _LOOK_EVERY * 1000
        deadline = min((call.kill_at for call in ending if call.kill_at is not None), default=None)
        if deadline is None or deadline == math.inf:
            return None
        return max(0.0, deadline - self._clock()) * 1000 + 1

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
        worker_ends = self._descriptors.popleft(), self._descriptors.popleft()
        cgroup = None if self._cgroups is None else self._cgroups.new(number)
        _flush()
        try:
            pid = os.fork()  # noqa: TID251 - there are no threads here
        except OSError as error:
            self._is_unable(number, error, cgroup)
            pid = -1
        if pid == 0:
            self._be_a_call(worker_ends, cgroup)
        _close(worker_ends)
        if pid > 0:
            try:
                pidfd = os.pidfd_open(pid)
            except OSError as error:  # no descriptor is left; it hasn't run anything yet
                os.kill(pid, signal.SIGKILL)
                _ = os.waitpid(pid, 0)
                self._is_unable(number, error, cgroup)
                return
            call = _Call(number, pid, pidfd, cgroup)
            self._calls[number] = self._by_pidfd[pidfd] = call
            self._poller.register(pidfd, select.POLLIN)
            self._tell(Started(number, pid))

    def _is_unable(self, number: int, error: OSError, cgroup: Cgroup | None) -> None:
        self._let_go(cgroup)
        self._tell(Unable(number, f"no process could be started: {error.strerror}"))

    def _be_a_call(self, ends: tuple[int, int], cgroup: Cgroup | None) -> NoReturn:
        """Go on as the worker, or as its keeper."""

        def work() -> NoReturn:
            worker.run(self._procedures, *ends, self._order.uid, self._order.gid)

        try:
            self._forget_all()
            if cgroup is None:
                keeper.keep(work, lambda: _close(ends))
            cgroup.enter()
            work()
        except BaseException:  # noqa: BLE001 - a bug of ours, told in the agent's log
            traceback.print_exc()
        finally:
            os._exit(1)  # whatever happens, there is to be one template only

    def _forget_all(self) -> None:
        """Close what only the template needs.

        Files that the procedures file opened while it was loaded stay open, as they are
        part of what it set up.
        """
        _close((*self._by_pidfd, *self._descriptors))
        self._control.close()

    def _reap(self, call: _Call) -> None:
        """Look how a call's process ended; it is collected when all is over."""
        self._poller.unregister(call.pidfd)
        del self._by_pidfd[call.pidfd]
        os.close(call.pidfd)
        ended = os.waitid(os.P_PID, call.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        call.code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        if call.kill_at is None:
            if call.code == 0:
                self._over(call)  # what it left was meant to stay
            else:
                self._end(call, signal.SIGTERM, REMAINS_GRACE)

    def _end(self, call: _Call, number: int, grace_seconds: float) -> None:
        call.signal(number)
        deadline = self._clock() + grace_seconds
        call.kill_at = deadline if call.kill_at is None else min(deadline, call.kill_at)

    def _go_on_ending(self) -> None:
        """See which calls that are being ended are gone, and kill those whose grace is over."""
        now = self._clock()
        for call in list(self._calls.values()):
            if call.kill_at is None:
                continue
            if call.is_gone():
                self._over(call)
            elif now >= call.kill_at:
                call.signal(signal.SIGKILL)
                call.kill_at = math.inf

    def _over(self, call: _Call) -> None:
        del self._calls[call.number]
        _ = os.waitpid(call.pid, 0)
        self._let_go(call.cgroup)
        self._tell(call.exited())

    def _let_go(self, cgroup: Cgroup | None) -> None:
        if self._cgroups is not None and cgroup is not None:
            self._cgroups.let_go(cgroup)

    def _tell(self, report: Report) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self._control.sendall(encode_line(report))


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


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
        descriptions = procedures.descriptions()
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
    cgroups = _open_cgroups() if order.cgroups else None
    folder = None if cgroups is None else str(cgroups.folder)
    control.sendall(encode_line(Loaded(descriptions, threading.active_count() - 1, folder)))
    Template(control, buffer, procedures, order, cgroups, time.monotonic).run()
    if cgroups is not None:
        cgroups.close()
    return 0


def _open_cgroups() -> CallCgroups | None:
    here = Path("/proc/self")
    try:
        parent = own_folder(
            here.joinpath("cgroup").read_text(), here.joinpath("mountinfo").read_text()
        )
    except OSError:
        return None
    return open_cgroups(parent, os.getpid(), lambda pid: look(pid) is not None)


def main() -> int:
    """Start; gives the exit code."""
    if os.getpgrp() != os.getpid():
        os.setsid()  # a Ctrl-C is meant for the agent
    _lose_coerced_locale()
    os.set_inheritable(CONTROL, False)
    return serve(socket.socket(fileno=CONTROL))


if __name__ == "__main__":
    sys.exit(main())
