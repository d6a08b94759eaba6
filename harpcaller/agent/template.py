"""The template process: procedures loaded, nothing else, ready to be forked for a call.

``python -P -m harpcaller.agent.template``, started by the agent with a Unix socket as
descriptor 3, on which ``orders`` are spoken.  It forks a worker for each call, tells how
each ended, and ends all that a call has started when it is told to: through the call's
control group, or through its keeper where there are no control groups.

It has no threads and no reactor, since those would be inherited by every call, and its
signals are as calls expect them.  What workers would all do alike is done here, once, before
the fork, and what either side runs after it touches few objects: each page that is written
to then is copied, which is most of what a call costs.

When the agent is gone, so that the socket reads as closed, it ends all calls and exits.
"""

from __future__ import annotations

import gc
import math
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from errno import EMFILE
from typing import NoReturn

from harpcaller.agent import keeper, worker
from harpcaller.agent.cgroups import CallCgroups, Cgroup, Limits, open_cgroups, own_group
from harpcaller.agent.forked import ForkedCall
from harpcaller.agent.orders import (
    MAX_LINE,
    End,
    Load,
    Loaded,
    NotAnOrder,
    NotLoaded,
    Report,
    Unable,
    decode_order,
    encode_line,
)
from harpcaller.agent.procedures import NotLoadable, Procedures, load
from harpcaller.agent.processes import look
from harpcaller.wire.lines import LineBuffer

#: The descriptor of the socket to the server.
CONTROL = 3
#: How much is read at once; orders are short, but for the first.
_PIECE = 1024
#: How much room there is for descriptors that come with an order.
_DESCRIPTORS_SIZE = socket.CMSG_SPACE(2 * 4)
#: How long calls may go on after SIGTERM when the agent died, in seconds.
ORPHAN_GRACE = 5.0
#: How long what a dead worker left may go on after SIGTERM, in seconds.
REMAINS_GRACE = keeper.REMAINS_GRACE
#: How often a control group that is being ended is looked at, in seconds.
_LOOK_EVERY = 0.05
#: How often a call's processes are counted where the kernel doesn't do that, in seconds.
_COUNT_EVERY = 0.2


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
        controllers = frozenset[str]() if cgroups is None else cgroups.controllers
        self._kernel_counts = "pids" in controllers
        self._terms = worker.Terms(order.uid, order.gid, order.max_memory)
        self._terms_in_group = self._terms
        if "memory" in controllers:
            self._terms_in_group = replace(self._terms, memory=None)
        self._clock = clock
        self._open = True
        self._worker_ends: deque[tuple[int, int] | None] = deque()
        self._calls: dict[int, ForkedCall] = {}
        self._by_pidfd: dict[int, ForkedCall] = {}
        self._ending: set[ForkedCall] = set()
        self._uncounted: set[ForkedCall] = set()
        self._count_at = 0.0
        self._poller = select.epoll()  # which costs no more for a thousand calls that run
        self._poller.register(control, select.EPOLLIN)

    def run(self) -> None:
        """Serve until the server is gone and all calls have ended."""
        while self._open or self._calls:
            for descriptor, _ in self._poller.poll(self._patience()):
                if descriptor == self._control.fileno():
                    self._hear()
                else:
                    self._reap(self._by_pidfd[descriptor])
            self._go_on_ending()
            self._count()

    def _patience(self) -> float | None:
        """How long to wait for something to happen, in seconds; None is any time."""
        deadline = self._count_at if self._uncounted else math.inf
        for call in self._ending:
            if call.code is not None:
                return _LOOK_EVERY
            assert call.kill_at is not None
            deadline = min(deadline, call.kill_at)
        if deadline == math.inf:
            return None
        return max(0.0, deadline - self._clock())

    def _hear(self) -> None:
        try:
            # Not recv_fds: Python forgets to pass on its flags.
            data, ancillary, flags, _ = self._control.recvmsg(
                _PIECE, _DESCRIPTORS_SIZE, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionError:
            data, ancillary, flags = b"", [], 0
        came = [one for _, _, sent in ancillary for one in memoryview(sent).cast("i")]
        if flags & socket.MSG_CTRUNC:
            _close(came)
            self._worker_ends.append(None)  # there was no room for both
        elif came:
            one, other = came
            self._worker_ends.append((one, other))
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
        worker_ends = self._worker_ends.popleft()
        if worker_ends is None:
            self._is_unable(number, OSError(EMFILE, os.strerror(EMFILE)), None)
            return
        cgroup = None if self._cgroups is None else self._cgroups.new(number)
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
            call = ForkedCall(number, pid, pidfd, cgroup)
            self._calls[number] = self._by_pidfd[pidfd] = call
            is_counted = self._kernel_counts and cgroup is not None
            if self._order.max_processes is not None and not is_counted:
                self._uncounted.add(call)
            self._poller.register(pidfd, select.EPOLLIN)

    def _is_unable(self, number: int, error: OSError, cgroup: Cgroup | None) -> None:
        self._let_go(cgroup)
        self._tell(Unable(number, f"no process could be started: {error.strerror}"))

    def _be_a_call(self, ends: tuple[int, int], cgroup: Cgroup | None) -> NoReturn:
        """Go on as the worker, or as its keeper."""
        try:
            self._forget_all()
            if cgroup is None:
                terms = replace(self._terms, keeper=os.getpid())
                keeper.keep(
                    lambda: worker.run(self._procedures, *ends, terms), lambda: _close(ends)
                )
            cgroup.enter()
            worker.run(self._procedures, *ends, self._terms_in_group)
        except BaseException:  # noqa: BLE001 - a bug of ours, told in the agent's log
            traceback.print_exc()
        finally:
            os._exit(1)  # whatever happens, there is to be one template only

    def _forget_all(self) -> None:
        """Close what only the template needs.

        Files that the procedures file opened while it was loaded stay open, as they are
        part of what it set up.
        """
        _close(self._by_pidfd)
        for ends in filter(None, self._worker_ends):
            _close(ends)
        self._poller.close()
        self._control.close()

    def _reap(self, call: ForkedCall) -> None:
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

    def _end(self, call: ForkedCall, number: int, grace_seconds: float) -> None:
        call.signal(number)
        deadline = self._clock() + grace_seconds
        call.kill_at = deadline if call.kill_at is None else min(deadline, call.kill_at)
        self._ending.add(call)

    def _go_on_ending(self) -> None:
        """See which calls that are being ended are gone, and kill those whose grace is over."""
        if not self._ending:
            return
        now = self._clock()
        for call in list(self._ending):
            assert call.kill_at is not None
            if call.is_gone():
                self._over(call)
            elif now >= call.kill_at:
                call.signal(signal.SIGKILL)
                call.kill_at = math.inf

    def _count(self) -> None:
        """End calls that have more processes than they may."""
        if not self._uncounted:
            return
        now = self._clock()
        if now < self._count_at:
            return
        self._count_at = now + _COUNT_EVERY
        most = self._order.max_processes
        assert most is not None
        for call in [one for one in self._uncounted if one.has_more_than(most)]:
            self._uncounted.discard(call)
            call.why = f"the procedure had more than {most} processes, its limit, and was killed"
            self._end(call, signal.SIGKILL, 0.0)

    def _over(self, call: ForkedCall) -> None:
        del self._calls[call.number]
        self._ending.discard(call)
        self._uncounted.discard(call)
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


def _other_threads() -> int:
    # Without the threading module: it would do 0.2 ms of work in each worker, after its fork.
    return len(os.listdir("/proc/self/task")) - 1


def _reset_signals() -> None:
    """Undo what the agent, Python and the procedures file did to signals, for all workers."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        # A Python procedure expects exceptions for these, programs that it starts expect
        # to be killed.  A function gives both: over exec it turns into the default,
        # whereas Python's usual "ignored" would stay.
        signal.signal(number, lambda number, frame: None)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


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
    # As long as it runs others' code, it can't hear that the agent is gone.
    keeper.die_with(os.getppid())
    try:
        procedures = load(order.file, order.prepend, order.append)
        descriptions = procedures.descriptions()
    except NotLoadable as error:
        if error.__cause__ is not None:
            traceback.print_exception(error.__cause__)
        _flush()
        control.sendall(encode_line(NotLoaded(str(error))))
        return 1
    keeper.live_on()
    _flush()  # what is in the buffers at a fork would be printed twice
    _reset_signals()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    worker.rehearse()
    # What is alive now lives as long as this process: the collector needn't touch it, so
    # that its pages stay shared with the workers.
    gc.collect()
    gc.freeze()
    limits = Limits(order.max_processes, order.max_memory)
    own = own_group() if order.cgroups else None
    cgroups = open_cgroups(own, os.getpid(), lambda pid: look(pid) is not None, limits)
    if cgroups is None:
        keeper.go_first()
    folder = None if cgroups is None else str(cgroups.folder)
    template = Template(control, buffer, procedures, order, cgroups, time.monotonic)
    control.sendall(encode_line(Loaded(descriptions, _other_threads(), folder)))
    template.run()
    if cgroups is not None:
        cgroups.close()
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
