"""Which calls run now, and whether one more may."""

from __future__ import annotations

from itertools import count

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from harpcaller.agent.library import Library
from harpcaller.agent.locks import Locks
from harpcaller.agent.running import Core, RunningCall, make_running_call
from harpcaller.agent.seams import ICaller, Wanted
from harpcaller.errors import Shutdown, SystemUnable
from harpcaller.logs.events import EventLog
from harpcaller.wire.agent import ListProcedures, ProcedureCall, ProcedureList


class Calls:
    """The calls under way.

    Args:
        library: The procedures in force.
        clock: Measures the calls' limits.
        most: How many may be there at once, running or waiting for a lock.
        grace_seconds: How long a process may take to end when it is asked to.
        log: Where calls are told of.
    """

    def __init__(
        self,
        library: Library,
        clock: IReactorTime,
        *,
        most: int,
        grace_seconds: float,
        log: EventLog,
    ) -> None:
        self._library = library
        self._clock = clock
        self.most = most
        self.grace_seconds = grace_seconds
        self._log = log
        self._numbers = count(1)
        self._locks = Locks()
        self._running: dict[int, RunningCall] = {}
        self._stopping = False
        self._idle: list[Deferred[None]] = []

    def __len__(self) -> int:
        return len(self._running)

    def begin(self, request: ProcedureCall, caller: ICaller, peer: str) -> RunningCall:
        """Check a call and start it; the caller hears the acknowledgement first.

        If the procedure needs a lock that another call has, it runs as soon as the lock is
        free; the process is there at once, so that it is of the procedures that were in
        force when the call came.

        Raises:
            WireError: It can't run; nothing was started.
        """
        if self._stopping:
            raise Shutdown("the agent is stopping")
        description = self._library.find(request.procedure)
        description.check(request.arguments)
        if len(self._running) >= self.most:
            raise SystemUnable(f"there are {self.most} calls already, as many as max_calls allows")
        number = next(self._numbers)

        def over(ended_as: str) -> None:
            del self._running[number]
            self._log.info("agent.call_ended", call=number, ended=ended_as)
            if description.lock is not None:
                self._locks.leave(description.lock, number)
            if not self._running:
                idle, self._idle = self._idle, []
                for waiter in idle:
                    waiter.callback(None)

        user = request.credentials.user
        wanted = Wanted(number, request.procedure, request.arguments, user, peer)
        told = {"call": number, "procedure": wanted.procedure, "user": user, "peer": peer}
        if request.job is not None:
            told["job"] = request.job

        def began() -> None:
            self._log.info("agent.call_started", **told)

        limit = description.timeout_seconds
        core = Core(caller, self._clock, limit, self.grace_seconds, over, began)
        call = make_running_call(core)
        try:
            process = self._library.begin(wanted, call)
        except OSError as error:
            raise SystemUnable(f"no process could be started: {error.strerror}") from None
        self._running[number] = call
        caller.acknowledge(description.streaming)
        core.attach(process)
        lock = description.lock
        if lock is None or self._locks.enter(lock, number, call.free_to_run):
            call.free_to_run()
        else:
            self._log.info("agent.call_waits", **told, lock=lock)
        return call

    def listed(self, request: ListProcedures) -> ProcedureList:
        """Tell what can be called; to every user the same.

        Raises:
            WireError: Nothing can.
        """
        if self._stopping:
            raise Shutdown("the agent is stopping")
        return self._library.listed()

    def refuse_more(self) -> None:
        """Take no new calls from now on."""
        self._stopping = True

    def shut_down(self) -> None:
        """End all calls; their callers are told so."""
        for call in list(self._running.values()):
            call.shut_down()

    def idle(self) -> Deferred[None]:
        """Wait until there is no call; cancelling gives the waiting up."""
        waiting: Deferred[None] = Deferred(self._gave_up)
        if self._running:
            self._idle.append(waiting)
        else:
            waiting.callback(None)
        return waiting

    def _gave_up(self, waiting: Deferred[None]) -> None:
        self._idle.remove(waiting)
