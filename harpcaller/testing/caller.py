"""A caller without network, for tests of what calls agents.

Each call is an object that the test drives: it connects, speaks, ends, fails or vanishes when
the test says so.  The rules are those of the real caller: no request before the clearance, no
end before the records are stored, a cancelled call is closed at once.  No reactor is used.
"""

from __future__ import annotations

import enum

from twisted.internet.defer import Deferred, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from harpcaller.errors import LeftRunning, NetworkError
from harpcaller.interfaces import Host, ICaller, ICallSink, Limits
from harpcaller.wire.client import Call, JobId
from harpcaller.wire.ending import Ending, Failed
from harpcaller.wire.procedures import ProcedureList
from harpcaller.wire.values import Raw


class Stage(enum.Enum):
    """How far a call came."""

    CONNECTING = "connecting"
    AWAITS_CLEARANCE = "awaits clearance"
    ASKED = "asked"
    OVER = "over"


class FakeTalk:
    """What is done with one agent about one call; see :class:`FakeCall`.

    Attributes:
        stage: How far it came.
        asked: Whether the agent has got the request, so that the procedure may have run.
        cancelled: Whether the dispatcher gave it up.
        kept: Whether the agent keeps it.
        left: Whether the dispatcher left it to the agent.
        unstored: How many of its records are on their way into the store.
    """

    def __init__(
        self,
        host: Host,
        job_id: JobId,
        limits: Limits,
        sink: ICallSink,
        clearance: Deferred[None],
    ) -> None:
        self.host = host
        self.job_id = job_id
        self.limits = limits
        self.stage = Stage.CONNECTING
        self.asked = False
        self.cancelled = False
        self.left = False
        self.kept = False
        self.unstored = 0
        self.outcome: Deferred[Ending] = Deferred(self._given_up)
        self._sink = sink
        self._clearance = clearance
        self._is_cleared = False
        self._objection: Failure | None = None
        self._ending: Ending | None = None
        _ = clearance.addCallbacks(self._cleared, self._not_cleared)

    @property
    def ending_told(self) -> bool:
        """Whether the agent has said its last word, which may wait for records."""
        return self._ending is not None

    # What happens, as the test says.

    def connected(self) -> None:
        """Let the connection stand; the request follows as soon as it may."""
        assert self.stage is Stage.CONNECTING, self
        self.stage = Stage.AWAITS_CLEARANCE
        self._go_on()

    def keep(self) -> None:
        """Let the agent say that it keeps the call."""
        assert self.stage is Stage.ASKED and not self.kept, self
        self.kept = True
        self._sink.resumable()

    def record(self, data: bytes) -> None:
        """Let the agent stream a record."""
        assert self.stage is Stage.ASKED and not self.ending_told, self
        self.unstored += 1
        _ = self._sink.record(Raw(data)).addCallbacks(self._stored, self._over)

    def records(self, *data: bytes) -> None:
        """Let the agent stream some records."""
        for each in data:
            self.record(each)

    def end(self, ending: Ending) -> None:
        """Let the agent tell the ending; it counts when the records before it are stored."""
        assert self.stage is Stage.ASKED and not self.ending_told, self
        self._ending = ending
        self._end_when_stored()

    def fail(self, error: Exception) -> None:
        """Let the caller itself fail, which only bugs and the store's errors make it do."""
        assert self.stage is not Stage.OVER, self
        self._over(Failure(error))

    def vanish(self) -> None:
        """Let the agent close the connection, or never be reached."""
        assert self.stage is not Stage.OVER, self
        self.stage = Stage.OVER
        self.outcome.callback(Failed.because(NetworkError("the agent closed the connection")))

    def leave(self) -> bool:
        """The dispatcher leaves it to the agent, if that keeps it and hasn't told the ending."""
        if not self.kept or self.stage is Stage.OVER:
            return False
        self.left = True
        self._over(Failure(LeftRunning("the agent keeps the call")))
        return True

    # What follows from it.

    def _cleared(self, _: None) -> None:
        self._is_cleared = True
        self._go_on()

    def _not_cleared(self, failure: Failure) -> None:
        self._objection = failure
        self._go_on()

    def _go_on(self) -> None:
        if self.stage is not Stage.AWAITS_CLEARANCE:
            return
        if self._objection is not None:
            self._over(self._objection)
        elif self._is_cleared:
            self.stage = Stage.ASKED
            self.asked = True

    def _stored(self, _: None) -> None:
        self.unstored -= 1
        if self._ending is not None:
            self._end_when_stored()

    def _end_when_stored(self) -> None:
        if self.stage is Stage.ASKED and not self.unstored:
            assert self._ending is not None
            self.stage = Stage.OVER
            self.outcome.callback(self._ending)

    def _over(self, failure: Failure) -> None:
        if self.stage is not Stage.OVER:
            self.stage = Stage.OVER
            self.outcome.errback(failure)

    def _given_up(self, _outcome: Deferred[Ending]) -> None:
        waits = self.stage is Stage.AWAITS_CLEARANCE
        self.stage = Stage.OVER
        self.cancelled = True
        if waits:
            self._clearance.cancel()


class FakeCall(FakeTalk):
    """One call of a :class:`FakeCaller`."""

    def __init__(
        self,
        host: Host,
        job_id: JobId,
        call: Call,
        limits: Limits,
        sink: ICallSink,
        clearance: Deferred[None],
    ) -> None:
        super().__init__(host, job_id, limits, sink, clearance)
        self.call = call

    def __repr__(self) -> str:
        return f"<FakeCall {self.call.procedure} on {self.host.hostname}: {self.stage.value}>"


class FakeResumption(FakeTalk):
    """The going on with a call that an earlier dispatcher began.

    Attributes:
        since: The first record that is wanted.
        elapsed_seconds: How long ago it began.
    """

    def __init__(
        self,
        host: Host,
        job_id: JobId,
        since: int,
        limits: Limits,
        elapsed_seconds: float,
        sink: ICallSink,
    ) -> None:
        super().__init__(host, job_id, limits, sink, succeed(None))
        self.since = since
        self.elapsed_seconds = elapsed_seconds
        self.kept = True

    def __repr__(self) -> str:
        return f"<FakeResumption of {self.job_id} on {self.host.hostname}: {self.stage.value}>"


@implementer(ICaller)
class FakeCaller:
    """Carries nothing out, but keeps every call for the test.

    Args:
        connects: Whether calls connect by themselves, at once.

    Attributes:
        calls: Every call there was, in order; those that are over, too.
        resumptions: Likewise, of calls that an earlier dispatcher began.
        forgotten: The jobs whose agents needn't keep them any longer.
        listed: What agents say that they have, by their hosts' names.
    """

    def __init__(self, connects: bool = True) -> None:
        self.connects = connects
        self.calls: list[FakeCall] = []
        self.resumptions: list[FakeResumption] = []
        self.forgotten: list[JobId] = []
        self.listed: dict[str, ProcedureList | Failed] = {}

    def call(
        self,
        host: Host,
        job_id: JobId,
        call: Call,
        limits: Limits,
        sink: ICallSink,
        clearance: Deferred[None],
    ) -> Deferred[Ending]:
        """Begin a call."""
        one = FakeCall(host, job_id, call, limits, sink, clearance)
        self.calls.append(one)
        if self.connects:
            one.connected()
        return one.outcome

    def resume(
        self,
        host: Host,
        job_id: JobId,
        since: int,
        limits: Limits,
        elapsed_seconds: float,
        sink: ICallSink,
    ) -> Deferred[Ending]:
        """Begin to go on with a call."""
        one = FakeResumption(host, job_id, since, limits, elapsed_seconds, sink)
        self.resumptions.append(one)
        if self.connects:
            one.connected()
        return one.outcome

    def leave(self, job_id: JobId) -> bool:
        """Leave a call to its agent."""
        talks: list[FakeTalk] = [*self.calls, *self.resumptions]
        return any(talk.leave() for talk in talks if talk.job_id == job_id)

    def forget(self, job_id: JobId) -> None:
        """Note that its agent needn't keep it."""
        self.forgotten.append(job_id)

    def procedures(self, host: Host) -> Deferred[ProcedureList | Failed]:
        """Tell at once what the test said; nothing else can be reached."""
        unreachable = Failed.because(NetworkError("nobody answers"))
        return succeed(self.listed.get(host.hostname, unreachable))

    def last(self) -> FakeCall:
        """Give the call that was begun last."""
        return self.calls[-1]

    def open(self) -> list[FakeCall]:
        """Give the calls that aren't over."""
        return [call for call in self.calls if call.stage is not Stage.OVER]

    def called(self) -> list[str]:
        """Give the names of the procedures called, in order."""
        return [call.call.procedure for call in self.calls]

    def of(self, procedure: str) -> FakeCall:
        """Give the last call of the procedure; LookupError if there is none."""
        for call in reversed(self.calls):
            if call.call.procedure == procedure:
                return call
        raise LookupError(f"{procedure} was not called")
